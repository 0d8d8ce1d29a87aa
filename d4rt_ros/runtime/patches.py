"""The pixels that RGB patches are made of, gathered on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

GREY = 128


def gather_pixels(
    frames: Sequence[np.ndarray] | None, position: np.ndarray, t: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """What bilinear patches need: (side + 1)² pixels a query, and no copy of a frame.

    frames: T of (H, W, 3) uint8, or None for grey patches; position: (N, 2) pixels x, y; t: (N,) frame numbers.
    Returns pixels (N, side + 1, side + 1, 3) uint8, clamped at the border, and the fractions (N, 2) float32 of
    a pixel by which x and y lie beyond them.
    """
    count = len(position)
    if frames is None:
        return np.full((count, side + 1, side + 1, 3), GREY, np.uint8), np.zeros((count, 2), np.float32)
    height, width = frames[0].shape[:2]
    corner = np.floor(position).astype(np.int64)
    column, row = (corner - side // 2).T
    inside = (row >= 0) & (row < height - side) & (column >= 0) & (column < width - side)
    pixels = np.empty((count, side + 1, side + 1, 3), np.uint8)
    for frame in np.unique(t):
        image, ours = frames[frame], t == frame
        # Away from the border a patch is some rows as they lie in memory, which is copied much faster.
        whole = np.flatnonzero(ours & inside)
        if len(whole):
            patches = sliding_window_view(image, (side + 1, side + 1), (0, 1)).transpose(0, 1, 3, 4, 2)
            pixels[whole] = patches[row[whole], column[whole]]
        cut = np.flatnonzero(ours & ~inside)
        rows, columns = (
            np.clip(first[cut, None] + np.arange(side + 1), 0, limit - 1)
            for first, limit in ((row, height), (column, width))
        )
        pixels[cut] = image[rows[:, :, None], columns[:, None, :]]
    return pixels, (position - corner).astype(np.float32)
