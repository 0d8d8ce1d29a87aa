"""Odometry's mathematics: the pose of a child frame (camera or base), its velocity, and the covariances of both.

Covariances (6, 6) are over x, y, z and the turns about x, y, z, of small motions (Barfoot, State Estimation for
Robotics, chapter 7): those of a pose about the axes of the frame that the pose is given in, at the child's origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import adjoint, cross_matrix, invert, pose_matrix
from d4rt_ros.stream import Pose, Result
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR

# Of what was not measured: a filter that gates its input rejects it, another gives it no weight.
UNKNOWN_VARIANCE = 1e6


@dataclass(frozen=True)
class Placed:
    """A result with a pose, and where its child is. camera_from_child: (4, 4) at the result's own stamp."""

    result: Result
    camera_from_child: np.ndarray

    @property
    def pose(self) -> Pose:
        return self.result.pose

    @property
    def world_from_child(self) -> np.ndarray:
        return self.pose.world_from_camera @ self.camera_from_child


def pose_covariance(placed: Placed) -> np.ndarray:
    """(6, 6) of the child's pose, about the world's axes at the child's origin.

    The result's is at the camera's origin. A point that lies r away, about the world's axes, moves by dp + dw x r.
    """
    lever = placed.pose.world_from_camera[:3, :3] @ placed.camera_from_child[:3, 3]
    return _carried(adjoint(pose_matrix(translation=-lever)), placed.pose.covariance)


def twist(now: Placed, before: Placed | None) -> tuple[np.ndarray, np.ndarray]:
    """The child's velocity (6,) in its own frame (m/s, rad/s), its mean since the result before, and its covariance.

    Zero and UNKNOWN_VARIANCE where nothing says how the child has moved since then.
    """
    if before is None or not _joined(now.result, before.result):
        return np.zeros(6), np.eye(6) * UNKNOWN_VARIANCE
    seconds = (now.result.stamp - before.result.stamp) / 1e9
    moved = invert(before.world_from_child) @ now.world_from_child
    covariance = _carried(adjoint(invert(now.camera_from_child)), step_covariance(now.result, before.result))
    motion, jacobian = _motion(moved)
    return motion / seconds, _carried(jacobian, covariance) / seconds**2


def step_covariance(now: Result, before: Result) -> np.ndarray:
    """(6, 6) of the camera's motion M = a_from_b between two results a (before) and b (now), about b's own axes.

    Where a is the keyframe that b was measured from, it is b's step. Where both were measured from one keyframe k,
    M = inv(k_from_a) k_from_b, and the errors add: cov = cov_b + Ad(inv(M)) cov_a Ad(inv(M))^T, each about its
    camera's own axes. Both steps share the keyframe's errors, which partly cancel: it is rather too large. Of
    poses that share none the same, with the world for k. Without a step (the image is bitwise the same) the camera
    is taken to stand as still as a pose can be told.
    """
    b, a = now.pose, before.pose
    if b.step is None:
        return COVARIANCE_FLOOR
    moved = invert(a.world_from_camera) @ b.world_from_camera
    if b.keyframe == before.stamp:
        return _own_axes(b.step.i_from_j, b.step.covariance)
    if a.step is not None and b.keyframe == a.keyframe is not None:
        a, b = (_own_axes(pose.step.i_from_j, pose.step.covariance) for pose in (a, b))
    else:
        a, b = (_own_axes(pose.world_from_camera, pose.covariance) for pose in (a, b))
    return b + _carried(adjoint(invert(moved)), a)


def _joined(now: Result, before: Result) -> bool:
    """Whether the way from one result's pose to the other's was measured. A camera that was found again by its image,
    after a pause of any length, may have been anywhere in between."""
    measured = now.pose.step is not None or now.frozen_seconds > 0
    trusted = now.trusted and before.trusted and now.pose.world == before.pose.world
    return trusted and measured and now.stamp > before.stamp


def _own_axes(pose: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """A pose's covariance, about the child's own axes instead of those that the pose is given in."""
    return _carried(adjoint(pose_matrix(pose[:3, :3].T)), covariance)


def _carried(jacobian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return jacobian @ covariance @ jacobian.T


def _motion(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A step (4, 4) as a motion (6,): its translation in the new frame's axes, and its rotation vector.

    With it the Jacobian (6, 6) for small motions of the new frame about its own axes: the translation y becomes
    y + dp + y x dw, and the rotation vector f + inv(Jr(f)) dw, Jr being the right Jacobian of SO(3) (Barfoot, 7.1.3).
    """
    rotation = Rotation.from_matrix(moved[:3, :3])
    vector, translation = rotation.as_rotvec(), moved[:3, :3].T @ moved[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = cross_matrix(translation)
    angle, cross = np.linalg.norm(vector), cross_matrix(vector)
    # (1/a² - (1 + cos a) / (2 a sin a)), written so that half a turn is no division by zero; 1/12 for no turn.
    share = 1 / 12 if angle < 1e-4 else (1 - angle / 2 / np.tan(angle / 2)) / angle**2
    jacobian[3:, 3:] += cross / 2 + share * cross @ cross
    return np.concatenate([translation, vector]), jacobian
