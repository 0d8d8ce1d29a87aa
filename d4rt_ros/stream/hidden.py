"""Followed points that the newest image does not show: where the model says that they have gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, transform
from d4rt_ros.model.protocol import Scene
from d4rt_ros.stream.tracker import Tracker, rows_among
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.batch import Task
from d4rt_ros.tasks.questions import questions, usable_points


@dataclass(frozen=True, eq=False)
class HiddenPoints:
    """ids: (N,), of points that a window's newest image does not show. pixels: (N, 2) where they were seen last, and
    frames: (N,) where in the window that was. seconds: (N,) how long ago."""

    ids: np.ndarray
    pixels: np.ndarray
    frames: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True, eq=False)
class Gone:
    """Where hidden points are, and how they move. ids: (N,), ascending. stamp: ns, of the positions (N, 3), NaN where
    not known; velocities: (N, 3) a second. confidence: (N,) in 0..1."""

    stamp: int
    ids: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    confidence: np.ndarray

    def moved(self, pose: np.ndarray, scale: float) -> Gone:
        """The same in the frame that `pose` (4, 4) leads to, in another unit."""
        positions = transform(pose, scale * self.positions)
        velocities = scale * self.velocities @ pose[:3, :3].T
        return Gone(self.stamp, self.ids, positions, velocities, self.confidence)

    def expected(self, ids: np.ndarray, stamp: int, pose: np.ndarray, camera: Pinhole) -> np.ndarray:
        """Pixels (N, 2) where an image of this stamp and pose would show points, NaN for others than these."""
        pixels = np.full((len(ids), 2), np.nan)
        rows, there = rows_among(ids, self.ids)
        where = self.positions[there] + (stamp - self.stamp) / 1e9 * self.velocities[there]
        pixels[rows] = camera.project(transform(invert(pose), where))
        return pixels


def hidden_points(clip: Sequence[WindowFrame], tracker: Tracker) -> HiddenPoints | None:
    """Those that an earlier image of a window shows; None where there are none."""
    newest = tracker.at(clip[-1].stamp)
    if newest is None:
        return None
    ids = newest.ids[~newest.seen]
    pixels, frames = np.full((len(ids), 2), np.nan), np.full(len(ids), -1)
    for i, frame in enumerate(clip[:-1]):
        points = tracker.at(frame.stamp)
        if points is not None:
            rows, there = rows_among(ids, points.ids)
            seen = points.seen[there]
            pixels[rows[seen]], frames[rows[seen]] = points.pixels[there[seen]], i
    known = frames >= 0
    if not known.any():
        return None
    seconds = (clip[-1].stamp - np.array([frame.stamp for frame in clip])[frames[known]]) / 1e9
    return HiddenPoints(ids[known], pixels[known], frames[known], seconds)


def hidden_task(scene: Scene, stamp: int, points: HiddenPoints) -> Task[Gone]:
    """Ask where they are at the newest frame, of this stamp, in its camera."""
    newest, (height, width) = scene.num_frames - 1, scene.size
    u, v = np.clip(points.pixels, 0, [width - 1, height - 1]).T
    [answer] = yield [questions(u, v, points.frames, newest, newest)]
    xyz, confidence = usable_points(answer, in_front=True)
    velocities = answer.displacements / points.seconds[:, None]
    return Gone(
        stamp, points.ids, xyz.astype(float), np.nan_to_num(velocities, posinf=0, neginf=0), confidence
    )
