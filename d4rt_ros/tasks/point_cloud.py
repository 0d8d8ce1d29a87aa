"""One coloured point cloud of several frames, in one camera frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.tasks.batch import Task, answered
from d4rt_ros.tasks.depth import point_map_questions
from d4rt_ros.tasks.questions import frame_index, frame_indices, usable_points


@dataclass(frozen=True)
class PointCloud:
    """xyz (N, 3) float32, rgb (N, 3) uint8, confidence (N,) float32; every point is finite."""

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray


def point_cloud(scene, frames=None, t_cam: int = -1, size: tuple[int, int] | None = None) -> PointCloud:
    """What the `frames` (all by default) saw, each at its own time, in the camera frame of `t_cam`.

    size: (rows, columns) of the grid of pixels in each frame; the image's own by default.
    """
    times, t_cam = frame_indices(scene, frames), frame_index(scene, t_cam)
    return answered(scene, point_cloud_task(scene, times, t_cam, scene.size if size is None else size))


def point_cloud_task(scene, times: list[int], t_cam: int, size: tuple[int, int]) -> Task[PointCloud]:
    """`point_cloud`, with other tasks. times, t_cam: 0..T-1."""
    parts = [point_map_questions(scene, t, size, t_cam) for t in times]
    answers = yield parts
    rgb = np.concatenate([colours(scene.frames[t], part.u, part.v) for t, part in zip(times, parts)])
    points = [usable_points(answer, in_front=False) for answer in answers]
    xyz, confidence = (np.concatenate(x) for x in zip(*points))
    seen = np.isfinite(xyz[:, 0])
    return PointCloud(xyz[seen], rgb[seen], confidence[seen])


def colours(image: np.ndarray, u, v) -> np.ndarray:
    """The nearest pixels' colours (..., 3) uint8 of an image (H, W, 3)."""
    columns = np.clip(np.rint(u), 0, image.shape[1] - 1).astype(np.intp)
    rows = np.clip(np.rint(v), 0, image.shape[0] - 1).astype(np.intp)
    return image[rows, columns]
