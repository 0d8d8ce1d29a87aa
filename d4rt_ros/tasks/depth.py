"""Depth maps and maps of points: every pixel of a grid, t_src = t_tgt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.tasks.batch import Task, answered
from d4rt_ros.tasks.questions import check_grid, frame_index, pixel_grid, questions, usable_points


@dataclass(frozen=True)
class PointMap:
    """The points that a grid of h x w pixels of one frame shows.

    xyz: (h, w, 3) float32, NaN where the answer was not finite or not in front of its own camera.
    confidence: (h, w) float32 in 0..1, 0 where xyz is NaN.
    u, v: (h, w) float64 pixels.
    """

    xyz: np.ndarray
    confidence: np.ndarray
    u: np.ndarray
    v: np.ndarray


def point_map(scene, t: int = -1, size: tuple[int, int] | None = None, t_cam: int | None = None) -> PointMap:
    """The points of frame `t`, in the camera frame of `t_cam` (its own by default).

    size: (rows, columns) of the grid; the image's own by default.
    """
    t = frame_index(scene, t)
    t_cam = t if t_cam is None else frame_index(scene, t_cam)
    return answered(scene, point_map_task(scene, t, scene.size if size is None else size, t_cam))


def depth_map(scene, t: int = -1, size: tuple[int, int] | None = None) -> np.ndarray:
    """Depth along z (h, w) float32 of frame `t`; NaN where the answer is not in front of the camera."""
    return np.ascontiguousarray(point_map(scene, t, size).xyz[..., 2], np.float32)


def point_map_task(scene, t: int, size: tuple[int, int], t_cam: int) -> Task[PointMap]:
    """`point_map`, with other tasks. t, t_cam: 0..T-1."""
    asked = point_map_questions(scene, t, check_grid(size), t_cam)
    [answer] = yield [asked]
    return point_map_of(answer, asked, size, in_front=t_cam == t)


def point_map_questions(scene, t: int, size: tuple[int, int], t_cam: int) -> Queries:
    """What a `point_map` asks, row by row."""
    u, v = pixel_grid(size, scene.size)
    return questions(u, v, t, t, t_cam)


def point_map_of(answer: Answer, asked: Queries, size: tuple[int, int], in_front: bool = True) -> PointMap:
    """The map from the answer to `point_map_questions`."""
    xyz, confidence = usable_points(answer, in_front)
    u, v = asked.u.reshape(size), asked.v.reshape(size)
    return PointMap(xyz.reshape(*size, 3), confidence.reshape(size), u, v)


@dataclass(frozen=True)
class PointDepths:
    """What N pixels of one frame show. log_depth: (N,) float64, log of z, NaN where it is not known. confidence: (N,)
    float32 in 0..1, 0 there. moved: (N,) float64, how far the point has gone since the oldest frame, as a share of its
    depth; NaN there, and where the model cannot tell."""

    log_depth: np.ndarray
    confidence: np.ndarray
    moved: np.ndarray


def point_depths_task(scene, t: int, pixels: np.ndarray, filled: Callable) -> Task[PointDepths]:
    """Depths and motions of pixels (N, 2) of frame t, 0..T-1, those outside the image or not `filled`
    (`io.Frame.filled`) not known."""
    height, width = scene.size
    u, v = pixels.T
    inside = (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)
    rows = np.flatnonzero(inside)
    rows = rows[filled(np.clip(u[rows], 0, width - 1), np.clip(v[rows], 0, height - 1))]
    times = (t, 0) if scene.tells_motion else (t,)
    here, *then = yield [questions(u[rows], v[rows], t, t_tgt, t) for t_tgt in times]
    xyz, known = usable_points(here, in_front=True)
    log_depth, confidence = np.full(len(pixels), np.nan), np.zeros(len(pixels), np.float32)
    log_depth[rows], confidence[rows] = np.log(xyz[:, 2]), known
    moved = np.full(len(pixels), np.nan)
    if then:
        moved[rows] = np.linalg.norm(then[0].displacements, axis=1) / xyz[:, 2]
    return PointDepths(log_depth, confidence, moved)
