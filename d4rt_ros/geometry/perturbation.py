"""Small changes of poses and what they do to pixels: what Gauss-Newton and covariances of poses are made of.

A perturbation (x y z, turns about x y z) of a pose world_from_camera (R, t) is about the world's axes at the camera:
t + (x y z), exp([turns]x) R. The camera's own place is the fulcrum, so that a turn does not shift it.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import adjoint, cross_matrix, pose_matrix

# What is nearer to the camera's plane than this, in the world's unit, is not in front of it.
NEAREST = 1e-6


def perturbed(poses: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) after perturbations (..., 6)."""
    if not steps.size:  # of which older SciPy makes no Rotation
        return poses.copy()
    turns = Rotation.from_rotvec(steps[..., 3:].reshape(-1, 3)).as_matrix()
    turns = turns.reshape(steps.shape[:-1] + (3, 3))
    return pose_matrix(turns @ poses[..., :3, :3], poses[..., :3, 3] + steps[..., :3])


def perturbation(pose: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The perturbation (6,) that takes `mean` to `pose`, and its derivative (6, 6) by a perturbation of `pose`.

    Of the derivative's turns the first terms of the series are there (the inverse left Jacobian; Barfoot, State
    Estimation for Robotics, 7.1.5): right to 1e-4 at 30 degrees.
    """
    turn = Rotation.from_matrix(pose[:3, :3] @ mean[:3, :3].T).as_rotvec()
    derivative = np.eye(6)
    across = cross_matrix(turn)
    derivative[3:, 3:] += across @ across / 12.0 - across / 2.0
    return np.concatenate([pose[:3, 3] - mean[:3, 3], turn]), derivative


def between(base: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """base_from_pose (4, 4), and its derivatives (6, 6) by perturbations of base and of pose, about base's axes."""
    away = pose[:3, 3] - base[:3, 3]
    axes = base[:3, :3].T
    into_base = adjoint(pose_matrix(axes))
    # A turn of the base swings the pose, which is away from it.
    swing = adjoint(pose_matrix(translation=-away))
    return pose_matrix(axes @ pose[:3, :3], axes @ away), -into_base @ swing, into_base


def observe(
    rotations: np.ndarray, centres: np.ndarray, points: np.ndarray, camera: Pinhole
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (2, N) of points (3, N) of the world, the pixels' derivatives (3, 2, N) by the points, and which points
    are in front of the camera (N,) bool. For those that are not the other two are finite numbers without meaning.

    rotations (3, 3, N) and centres (3, N) of the cameras (see `columns`), or (3, 3, 1) and (3, 1) of one.
    Of a perturbation of the camera's pose the derivative is [-g, g x ray], g the one by the point, ray from the camera
    to the point.
    """
    rays, focal = points - centres, np.array([[camera.fx], [camera.fy]])
    one = rotations.shape[2] == 1
    local = rotations[..., 0].T @ rays if one else (rotations * rays[:, None]).sum(axis=0)
    front = local[2] > NEAREST
    depth = np.where(front, local[2], 1.0)
    side = np.where(front, local[:2], 0.0) / depth
    # In the camera the derivatives by x and y are focal / depth, by z -side * focal / depth; along its axes in the
    # world, which the columns of the rotations are.
    derivatives = (rotations[:, :2] - side * rotations[:, 2:]) * (focal / depth)
    return focal * side + [[camera.cx], [camera.cy]], derivatives, front


def columns(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (3, 3, N) and positions (3, N) of poses (N, 4, 4).

    Thousands of small vectors lie side by side here, their components along the first axes: numpy then works on long
    rows, which is several times as fast.
    """
    across = np.ascontiguousarray(np.moveaxis(poses[:, :3], 0, -1))
    return across[:, :3], across[:, 3]


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross products of vectors (3, ..., N) that lie side by side."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
