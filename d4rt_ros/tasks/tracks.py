"""Where given points go: one (u, v, t_src), asked for every time of the window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.arguments import real_array
from d4rt_ros.model.query import Answer, Queries, QueryError
from d4rt_ros.tasks.batch import Task, answered
from d4rt_ros.tasks.questions import finite_rows, frame_index, frame_indices, questions, usable_points


@dataclass(frozen=True)
class PointTracks:
    """N points over the T frames of a window.

    xyz: (N, T, 3) float32, NaN where the answer was not finite.
    uv: (N, T, 2) float32 pixels, NaN where not finite; outside the image where the point has left it.
    visibility: (N, T) float32 probability that the frame sees the point, 0 where xyz or uv is NaN.
    confidence: (N, T) float32 in 0..1, 0 where xyz is NaN.
    """

    xyz: np.ndarray
    uv: np.ndarray
    visibility: np.ndarray
    confidence: np.ndarray


def tracks_of_points(scene, u, v, t_src, t_cam: int | None = None) -> PointTracks:
    """The tracks of the points that are seen at pixels u, v (N,) of frames t_src (N,) or one for all.

    t_cam: the frame whose camera the points are given in; None gives each time in its own camera.
    """
    t_cam = None if t_cam is None else frame_index(scene, t_cam)
    return answered(scene, track_task(scene, u, v, t_src, t_cam))


def track_task(scene, u, v, t_src, t_cam: int | None) -> Task[PointTracks]:
    """`tracks_of_points`, with other tasks. t_cam: 0..T-1, or None."""
    [answer] = yield [_questions(scene, u, v, t_src, t_cam)]
    return _tracks(answer, scene.num_frames)


def _questions(scene, u, v, t_src, t_cam: int | None) -> Queries:
    """Point by point, all times of each."""
    times = np.array(frame_indices(scene))
    u, v, t_src = (
        real_array(x, name, dtype=None, error=QueryError).reshape(-1, 1)
        for x, name in ((u, "u"), (v, "v"), (t_src, "t_src"))
    )
    return questions(u, v, t_src, times, times if t_cam is None else t_cam)


def _tracks(answer: Answer, num_frames: int) -> PointTracks:
    xyz, confidence = usable_points(answer, in_front=False)
    good = np.isfinite(xyz[:, 0]) & finite_rows(answer.uv) & np.isfinite(answer.visibility)
    uv = np.where(np.isfinite(answer.uv), answer.uv, np.float32(np.nan))
    visibility = np.where(good, answer.visibility, np.float32(0))
    shape = (-1, num_frames)
    return PointTracks(
        xyz.reshape(*shape, 3), uv.reshape(*shape, 2), visibility.reshape(shape), confidence.reshape(shape)
    )
