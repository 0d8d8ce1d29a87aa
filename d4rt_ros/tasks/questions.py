"""Putting queries together: several tasks share one call, which costs as much as 100 queries."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from d4rt_ros.geometry.arguments import whole_number
from d4rt_ros.model.query import Answer, Queries, broadcast_queries

# In the model's unit. So far away nothing is seen, and what is made of such numbers would overflow.
FAR = 1e6
# A grid of more points than this (6k x 6k) is a mistake, and would fill a machine's memory.
MAX_GRID = 1 << 25


class FrameNumberError(IndexError, ValueError):
    """A frame number outside the window."""


def pixel_grid(size: tuple[int, int], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels u, v, each (h, w) float64, of a grid of `size` (h, w) over an image of `image_size` (H, W).

    The grid is the image resized: its corners are the image's corner pixels, and its camera is the image's
    `Pinhole.grid(w, h)`. Raises ValueError for a grid of fewer than 2x2 or more than 33 million points.
    """
    (h, w), (height, width) = check_grid(size), _pair(image_size, "an image")
    u, v = np.meshgrid(np.linspace(0, width - 1, w), np.linspace(0, height - 1, h))
    return u, v


def check_grid(size: tuple[int, int]) -> tuple[int, int]:
    """A size (rows, columns) as two ints. Raises ValueError for one that no grid over an image has."""
    rows, columns = _pair(size, "a grid")
    if rows < 2 or columns < 2:
        raise ValueError(f"a grid of {rows}x{columns} rows x columns; it needs 2x2 or more")
    if rows * columns > MAX_GRID:
        raise ValueError(
            f"a grid of {rows}x{columns} is {rows * columns:,} points; at most {MAX_GRID:,} can be asked for"
        )
    return rows, columns


def _pair(size, what: str) -> tuple[int, int]:
    try:
        rows, columns = size
    except (TypeError, ValueError):
        raise ValueError(f"{what} of size {size!r}; its size is (rows, columns)") from None
    return whole_number(rows, f"{what}'s rows"), whole_number(columns, f"{what}'s columns")


def frame_index(scene, t: int) -> int:
    """0..T-1 of a frame number that may count from the newest (-1).

    Raises FrameNumberError (an IndexError and a ValueError) outside the window and for what is no whole number.
    """
    t = whole_number(t, "frame number", error=FrameNumberError)
    if not scene.num_frames:
        raise FrameNumberError(f"frame {t} is asked of a window that has no frames")
    if not -scene.num_frames <= t < scene.num_frames:
        raise FrameNumberError(
            f"frame {t} is outside the window of {scene.num_frames} frames: 0 (oldest) to "
            f"{scene.num_frames - 1}, or -1 (newest) to -{scene.num_frames}"
        )
    return t % scene.num_frames


def frame_indices(scene, frames=None) -> list[int]:
    """0..T-1 of frame numbers, of one or, where None, of all frames. Raises FrameNumberError, also for none."""
    if frames is None:
        frames = range(scene.num_frames)
    elif np.ndim(frames) == 0:
        frames = [frames]
    if not len(frames):
        raise FrameNumberError("no frames to ask; give one frame number or more of a window that has frames")
    return [frame_index(scene, t) for t in frames]


def questions(u, v, t_src, t_tgt, t_cam) -> Queries:
    """Queries of one length, from arrays that broadcast together; their order is the broadcast array's."""
    return Queries(*(x.reshape(-1) for x in broadcast_queries(u, v, t_src, t_tgt, t_cam)))


def ask(scene, *parts: Queries) -> list[Answer]:
    """One call to the scene for all parts; one answer each."""
    if not parts:
        return []
    names = [f.name for f in fields(Queries)]
    answer = scene.query(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})
    ends = np.cumsum([len(p) for p in parts])
    return [
        Answer(**{f.name: getattr(answer, f.name)[end - len(part) : end] for f in fields(Answer)})
        for part, end in zip(parts, ends)
    ]


def usable_points(answer: Answer, in_front: bool) -> tuple[np.ndarray, np.ndarray]:
    """xyz (N, 3), NaN where it is not usable, and confidence (N,), 0 there; see `usable`."""
    good = usable(answer, in_front)
    if good.all():
        return answer.xyz, answer.confidence
    xyz = np.where(good[:, None], answer.xyz, np.float32(np.nan))
    return xyz, np.where(good, answer.confidence, np.float32(0))


def usable(answer: Answer, in_front: bool) -> np.ndarray:
    """(N,) bool: whether point and confidence are finite and, if asked, the point in front of the camera."""
    near = np.abs(answer.xyz) < FAR
    good = near[:, 0] & near[:, 1] & near[:, 2] & np.isfinite(answer.confidence)
    return good & (answer.xyz[:, 2] > 0) if in_front else good


def finite_rows(values: np.ndarray) -> np.ndarray:
    """Where all of the last axis is finite, (...). Reducing so short an axis is slow; this is not."""
    finite = np.isfinite(values)
    rows = finite[..., 0].copy()
    for k in range(1, values.shape[-1]):
        rows &= finite[..., k]
    return rows
