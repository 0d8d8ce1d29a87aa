"""Landmarks: points of the world that images are placed by, whose depth the model said and pixels refined."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, transform
from d4rt_ros.stream.tracker import rows_among

# id: of the tracked point. keyframe: number of the one that it was found in, its anchor; pixel: where.
# log_depth: log of z in the anchor; prior: what the model said of it. variance: of log_depth.
# weight: 0..1, how well its pixels agree with a world at rest.
LANDMARK = np.dtype([
    ("id", np.uint64), ("keyframe", np.int64), ("pixel", np.float64, 2), ("log_depth", np.float64),
    ("prior", np.float64), ("variance", np.float64), ("weight", np.float64),
])  # fmt: skip


def rows_of(landmarks: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows of landmarks, which are sorted by id, with these ids; -1 where there is none."""
    rows = np.full(len(ids), -1)
    found, there = rows_among(ids, landmarks["id"])
    rows[found] = there
    return rows


def positions(
    landmarks: np.ndarray, poses: dict[int, np.ndarray], camera: Pinhole
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in the world, and the standard deviation (N, 3) of each along the ray that it was found on.

    poses: world_from_camera (4, 4) of keyframes by their number. camera: of their images.
    """
    if not len(landmarks):
        return np.zeros((0, 3)), np.zeros((0, 3))
    numbers = sorted(poses)
    which = np.searchsorted(numbers, landmarks["keyframe"])
    world_from_anchor = np.array([poses[n] for n in numbers])[which]
    arms = camera.backproject(landmarks["pixel"], np.exp(landmarks["log_depth"]))
    arms = (world_from_anchor[:, :3, :3] @ arms[..., None])[..., 0]
    return world_from_anchor[:, :3, 3] + arms, arms * np.sqrt(landmarks["variance"])[:, None]


def seen_from(
    points: np.ndarray, world_from_camera: np.ndarray, camera: Pinhole
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and depths along z (N,) of points (N, 3) of the world; NaN behind the camera."""
    local = transform(invert(world_from_camera), points)
    return camera.project(local), np.where(local[:, 2] > 0, local[:, 2], np.nan)
