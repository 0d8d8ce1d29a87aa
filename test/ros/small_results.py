"""Results of a stream with no more in them than a test needs."""

from dataclasses import replace

import numpy as np

from d4rt_ros.geometry import Pinhole
from d4rt_ros.stream import Camera, Pose, Result, WindowCameras

CAMERA = Camera(Pinhole(50.0, 50.0, 31.5, 23.5, 64, 48), True, 0.0)


def small_result(stamps, pose=None, covariance=None, of_pose={}, **parts):
    """A result of frames of these stamps (ns). pose: (4, 4), the newest camera's, trusted; None: not asked for."""
    stamps = np.array(stamps, np.int64)
    cameras = WindowCameras(stamps, np.full((len(stamps), 4, 4), np.nan))
    if pose is not None:
        pose = Pose(pose, np.eye(6) if covariance is None else covariance, True, "", 0)
        parts["pose"] = replace(pose, **of_pose)
    return Result(CAMERA, cameras, **parts)


def judged(result, problem="", lost="", **of_pose):
    """The result as if its images showed nothing, for this reason, or its pose was not known, for that one."""
    reason = problem or lost
    pose = result.pose and replace(result.pose, trusted=not reason, reason=reason, **of_pose)
    return replace(result, problem=problem, pose=pose)
