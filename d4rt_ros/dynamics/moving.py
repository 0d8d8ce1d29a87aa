"""What moves in an image: the one form in which every method says it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Moving:
    """What moves in an image of H x W pixels.

    mask: (H, W) bool, True where what is seen moves in the world. What nothing is known of is False.
    grid: (h, w) bool, the same at the points of the query grid over the image, corner pixel to corner pixel.
    probability: (h, w) float32 in 0..1 of that, 0.5 where nothing is known.
    """

    mask: np.ndarray
    grid: np.ndarray
    probability: np.ndarray
