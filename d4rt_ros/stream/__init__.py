"""The online system: frames in, results out. No ROS, no thread, no clock."""

from d4rt_ros.stream.pipeline import (
    Outputs,
    Pipeline,
    PipelineConfig,
    Points,
    Result,
    Scale,
    StreamTracks,
    Trust,
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
    "Scale",
    "StampError",
    "StreamTracks",
    "Trust",
    "Window",
    "fitting_depth_queries",
]
