"""The online system: frames in, results out. No ROS, no thread, no clock."""

from d4rt_ros.io.frame import Frame
from d4rt_ros.stream.config import Outputs, PipelineConfig, fitting_depth_queries, only
from d4rt_ros.stream.pipeline import Pipeline
from d4rt_ros.stream.proposal import Proposal, Seen
from d4rt_ros.stream.results import Camera, Points, Pose, Result, Scale, StreamTracks, WindowCameras
from d4rt_ros.stream.stream import Stream, window_of
from d4rt_ros.stream.window import StampError, Window, WindowFrame

__all__ = [
    "Camera",
    "Frame",
    "Outputs",
    "Pipeline",
    "PipelineConfig",
    "Points",
    "Pose",
    "Proposal",
    "Result",
    "Scale",
    "Seen",
    "StampError",
    "Stream",
    "StreamTracks",
    "Window",
    "WindowCameras",
    "WindowFrame",
    "fitting_depth_queries",
    "only",
    "window_of",
]
