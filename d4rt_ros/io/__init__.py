"""Frames in: messages, videos, folders, cameras, streams, bags; and the calibration of the camera that took them."""

from d4rt_ros.io.frame import Frame

__all__ = ["Frame"]
