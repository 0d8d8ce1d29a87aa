"""The online system: frames in, results out. No ROS, no thread, no clock."""

from d4rt_ros.stream.pipeline import (
    Outputs,
    Pipeline,
    PipelineConfig,
    Points,
    Result,
    StreamTracks,
    fitting_depth_queries,
)
from d4rt_ros.stream.window import Frame, StampError, Window

__all__ = [
    "Frame",
    "Outputs",
    "Pipeline",
    "PipelineConfig",
    "Points",
    "Result",
    "StampError",
    "StreamTracks",
    "Window",
    "fitting_depth_queries",
]
