"""The programs' entry points: light, so that Ctrl-C is heard before what they need is imported."""

from __future__ import annotations

from d4rt_ros.ros import process


def node() -> int:
    return process.run("d4rt_ros.ros.node")


def scene_camera() -> int:
    return process.run("d4rt_ros.ros.scene_camera")


def video_camera() -> int:
    return process.run("d4rt_ros.ros.video_camera")
