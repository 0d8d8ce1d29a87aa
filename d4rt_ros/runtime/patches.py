"""The pixels that RGB patches are made of, gathered on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GREY = 128


def gather_pixels(
    frames: Sequence[np.ndarray] | None, position: np.ndarray, t: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """What bilinear patches need: (side + 1)² pixels a query, and no copy of a frame.

    frames: T of (H, W, 3) uint8, or None for grey patches; position: (N, 2) pixels x, y; t: (N,) frame numbers.
    Returns pixels (N, side + 1, side + 1, 3) uint8, clamped at the border, and the fractions (N, 2) float32 of
    a pixel by which x and y lie beyond them.
    """
    count, reach = len(position), np.arange(side + 1) - side // 2
    if frames is None:
        return np.full((count, side + 1, side + 1, 3), GREY, np.uint8), np.zeros((count, 2), np.float32)
    height, width = frames[0].shape[:2]
    corner = np.floor(position)
    columns, rows = (
        np.clip(corner[:, axis, None].astype(np.int64) + reach, 0, limit - 1)
        for axis, limit in ((0, width), (1, height))
    )
    pixels = np.empty((count, side + 1, side + 1, 3), np.uint8)
    for frame in np.unique(t):
        ours = np.flatnonzero(t == frame)
        pixels[ours] = frames[frame][rows[ours][:, :, None], columns[ours][:, None, :]]
    return pixels, (position - corner).astype(np.float32)
