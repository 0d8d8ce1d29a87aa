"""Small changes of poses and what they do to pixels: what Gauss-Newton and covariances of poses are made of.

A perturbation (x y z, turns about x y z) of a pose world_from_camera (R, t) is about the world's axes at the camera:
t + (x y z), exp([turns]x) R. The camera's own place is the fulcrum, so that a turn does not shift it.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import cross_matrix, nearest_rotation, pose_matrix

# What is nearer to the camera's plane than this, in the world's unit, is not in front of it.
NEAREST = 1e-6


def perturbed(poses: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) after perturbations (..., 6)."""
    turns = Rotation.from_rotvec(steps[..., 3:].reshape(-1, 3)).as_matrix()
    turns = turns.reshape(steps.shape[:-1] + (3, 3))
    return pose_matrix(nearest_rotation(turns @ poses[..., :3, :3]), poses[..., :3, 3] + steps[..., :3])


def perturbation(pose: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The perturbation (6,) that takes `mean` to `pose`, and its derivative (6, 6) by a perturbation of `pose`.

    Of the derivative's turns the first two terms of the series are there (Barfoot, State Estimation for Robotics,
    7.1.5): exact where the poses are the same, good to a percent at 20 degrees.
    """
    turn = Rotation.from_matrix(pose[:3, :3] @ mean[:3, :3].T).as_rotvec()
    derivative = np.eye(6)
    derivative[3:, 3:] -= cross_matrix(turn) / 2.0
    return np.concatenate([pose[:3, 3] - mean[:3, 3], turn]), derivative


def observe(
    poses: np.ndarray, points: np.ndarray, camera: Pinhole
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, 2) of points (N, 3) of the world seen from poses (4, 4) or (N, 4, 4); the pixels' derivatives
    (N, 2, 3) by the points; and which points are in front of the camera (N,) bool. For those that are not the other
    two are finite numbers without meaning.

    Of a perturbation of the pose the derivative is [-g, g x r], g this one's rows, r from the camera to the point.
    """
    axes = np.broadcast_to(np.swapaxes(poses[..., :3, :3], -1, -2), (len(points), 3, 3))  # rows x, y, z
    local = (axes @ (points - poses[..., :3, 3])[..., None])[..., 0]
    front = local[:, 2] > NEAREST
    depth = np.where(front, local[:, 2], 1.0)[:, None]
    sides = np.where(front[:, None], local[:, :2], 0.0) / depth
    focal = np.array([camera.fx, camera.fy])
    derivatives = (focal / depth)[..., None] * (axes[:, :2] - sides[..., None] * axes[:, 2:])
    return focal * sides + [camera.cx, camera.cy], derivatives, front


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """numpy.cross of vectors (..., 3), several times as fast for thousands."""
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )
