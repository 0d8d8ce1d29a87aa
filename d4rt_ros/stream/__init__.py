"""The online system: frames in, results out. No ROS, no thread, no clock."""

from d4rt_ros.stream.config import Outputs, PipelineConfig, fitting_depth_queries
from d4rt_ros.stream.pipeline import Pipeline
from d4rt_ros.stream.results import Points, Result, Scale, StreamTracks
from d4rt_ros.stream.trust import Trust
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
