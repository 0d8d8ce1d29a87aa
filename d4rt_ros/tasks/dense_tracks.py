"""Tracks of every pixel of a window, asking for each surface point once: Algorithm 1 of the D4RT paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from d4rt_ros.geometry.arguments import whole_number
from d4rt_ros.tasks.questions import frame_index, frame_indices
from d4rt_ros.tasks.tracks import PointTracks, tracks_of_points

VISIBLE = 0.5
# Of T x rows x columns; 48 frames of 1024x1024. So much needs a stride: every cell may become a track.
MAX_CELLS = 48 << 20


@dataclass(frozen=True)
class DenseTracks:
    """N tracks over the T frames of a window that together pass through all of its pixels.

    The frames are divided into cells of stride x stride pixels, (T, rows, columns) in all; every cell is either
    passed by a track that is visible there or has a track that starts from it.

    tracks: of the N points; see PointTracks.
    u, v: (N,) float64 pixels and t_src: (N,) int64 frames that the tracks start from.
    visited: (T, rows, columns) bool, the cells that have a track; all of them where `complete`.
    stride: side of a cell in pixels.
    complete: False where a budget stopped it before every cell had a track.
    """

    tracks: PointTracks
    u: np.ndarray
    v: np.ndarray
    t_src: np.ndarray
    visited: np.ndarray
    stride: int
    complete: bool

    @property
    def queries(self) -> int:
        """How many queries were asked."""
        return self.tracks.visibility.size

    @property
    def saving(self) -> float:
        """How many times fewer queries than a track from each of the visited cells."""
        return np.count_nonzero(self.visited) / max(len(self.u), 1)


def dense_tracks(
    scene, stride: int = 1, t_cam: int | None = None, batch: int = 1024, budget: int | None = None
) -> DenseTracks:
    """Track all that a window shows, by Algorithm 1 of the D4RT paper: new tracks start only from cells that no
    visible track has passed.

    stride: side in pixels of the cells of the occupancy grid; a track starts from a cell's middle.
    t_cam: the frame whose camera the points are given in; None gives each time in its own camera.
    batch: tracks, of T queries each, that are asked for in one call.
    budget: the most tracks to make; the newest frame's come first, spread evenly over it.
    Raises ValueError for a stride, batch or budget below 1, for a grid of too many cells and for a t_cam outside
    the window.
    """
    visited = _empty_grid(scene, stride)
    parts = list(_tracked(scene, visited, stride, t_cam, batch, budget))
    u, v, t_src = (np.concatenate(x) for x in list(zip(*parts))[:3])
    columns = {
        f.name: np.concatenate([getattr(part[3], f.name) for part in parts]) for f in fields(PointTracks)
    }
    return DenseTracks(PointTracks(**columns), u, v, t_src, visited, stride, bool(visited.all()))


def tracking_cost(scene, stride: int = 1, batch: int = 1024) -> dict[str, float]:
    """What `dense_tracks` costs on a scene, beside a track from every cell; nothing of the tracks is kept.

    "tracks" and "queries" asked for, "every pixel": the queries of a track from every cell, "times fewer".
    """
    visited = _empty_grid(scene, stride)
    tracks = sum(len(u) for u, *_ in _tracked(scene, visited, stride, None, batch, None))
    times = scene.num_frames
    return {
        "tracks": tracks,
        "queries": tracks * times,
        "every pixel": visited.size * times,
        "times fewer": visited.size / tracks,
    }


def _empty_grid(scene, stride: int) -> np.ndarray:
    """(T, rows, columns) bool, False."""
    stride = whole_number(stride, "stride", 1)
    rows, columns = (-(-n // stride) for n in scene.size)
    cells = len(frame_indices(scene)) * rows * columns
    if cells > MAX_CELLS:
        raise ValueError(
            f"{scene.num_frames} frames of {rows}x{columns} cells are {cells:,}; at most {MAX_CELLS:,} can be "
            f"tracked. Use a stride above {stride}"
        )
    return np.zeros((scene.num_frames, rows, columns), bool)


def _tracked(
    scene, visited: np.ndarray, stride: int, t_cam: int | None, batch: int, budget: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, PointTracks]]:
    """u, v, t_src (n,) of each batch and its tracks; marks in `visited` where they go."""
    batch = whole_number(batch, "batch", 1)
    left = visited.size if budget is None else whole_number(budget, "budget", 1)
    t_cam = None if t_cam is None else frame_index(scene, t_cam)
    while left > 0 and not visited.all():
        # The frame with the most to do, the newest of equals. Its cells do not cover each other, so that all
        # of them are needed, in any batches.
        missing = np.count_nonzero(~visited, axis=(1, 2))
        t = len(missing) - 1 - int(np.argmax(missing[::-1]))
        cells = np.argwhere(~visited[t])
        if len(cells) > left:
            cells = cells[np.linspace(0, len(cells) - 1, left).astype(np.intp)]
        left -= len(cells)
        for start in range(0, len(cells), batch):
            rows, columns = cells[start : start + batch].T
            v, u = (_middle(i, stride, n) for i, n in zip((rows, columns), scene.size))
            tracks = tracks_of_points(scene, u, v, t, t_cam)
            visited[t, rows, columns] = True
            _mark(visited, tracks, t, stride, scene.size)
            yield u, v, np.full(len(u), t), tracks


def _middle(cell: np.ndarray, stride: int, count: int) -> np.ndarray:
    """The pixel in the middle of the cells along an axis of `count` pixels; the last cell may be cut off."""
    return (cell * stride + np.minimum(cell * stride + stride, count) - 1) / 2


def _mark(visited: np.ndarray, tracks: PointTracks, t_src: int, stride: int, size: tuple[int, int]) -> None:
    """Mark the cells in which the tracks are visible, but in frame t_src, where each is where it was asked."""
    (u, v), (height, width) = np.moveaxis(tracks.uv, 2, 0), size
    # Comparisons with NaN are false.
    seen = (
        (tracks.visibility > VISIBLE) & (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)
    )
    seen[:, t_src] = False
    track, t = np.nonzero(seen)
    rows, columns = (
        np.minimum(np.floor((x[track, t] + 0.5) / stride).astype(np.intp), last - 1)
        for x, last in zip((v, u), visited.shape[1:])
    )
    visited[t, rows, columns] = True
