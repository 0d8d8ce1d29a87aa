"""Where in an image a point can be followed: corners that stand out from the noise, one for each part of the image."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

CELL = 16  # pixels; each has one point
APART = 6.4  # pixels; points that are nearer to each other show the same
AROUND = np.ones((13, 13), np.uint8)  # the pixels that are so near
BLOCK = 5  # pixels over which gradients are averaged
WEAKEST = 20.0  # mean squared gradient (Sobel's, in grey levels) across the weaker direction
OVER_NOISE = (
    60.0  # the same, over the square of the noise (below): twice what the highest of noise's own corners have
)
EDGE = 0.1  # a corner's weaker direction has so much of the stronger; on a straight edge points slide
ROUNDS = 2  # what is near a stronger corner waits until that one's own neighbours have made way
BORDER = 5  # pixels without corners


def corners(grey: np.ndarray, taken: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """The best corner (x, y) of every cell of an image (h, w) uint8 that has one and no taken point, (M, 2) float64.

    taken: (N, 2) pixels; no corner is near one. allowed: (h, w) bool, where corners may be.
    """

    strength = _strength(grey)
    if allowed is not None:
        strength *= allowed
    found = np.zeros((0, 2))
    for _ in range(ROUNDS):
        more = _peaks(strength, np.concatenate([taken, found]))
        if not len(more):
            break
        found = np.concatenate([found, more])
    twins = cKDTree(found).query_pairs(
        APART, output_type="ndarray"
    )  # equally strong, on two sides of a cell's border
    return np.delete(found, twins.max(axis=1), axis=0)


def _peaks(strength: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """What is strongest around and in its cell, (M, 2), the strongest first; not near what is taken."""
    import cv2

    h, w = strength.shape
    free = np.zeros((h, w), np.uint8)
    free[BORDER : h - BORDER, BORDER : w - BORDER] = 1
    x, y = np.clip(np.rint(taken).astype(int), 0, (w - 1, h - 1)).T
    free[y, x] = 2
    free[cv2.dilate(free, AROUND) == 2] = 0
    strength *= free
    rows, columns = -(-h // CELL), -(-w // CELL)
    cells = np.zeros((rows * CELL, columns * CELL), np.float32)
    cells[:h, :w] = strength * (strength == cv2.dilate(strength, AROUND))
    cells = (
        cells.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3).reshape(rows * columns, CELL * CELL)
    )
    best = cells.argmax(axis=1)
    strongest = cells[np.arange(len(cells)), best]
    strongest[y // CELL * columns + x // CELL] = 0.0
    row, column = np.divmod(np.arange(len(cells)), columns)
    at = np.stack([column * CELL + best % CELL, row * CELL + best // CELL], axis=1).astype(np.float64)
    return at[np.argsort(-strongest)[: np.count_nonzero(strongest)]]


def _strength(grey: np.ndarray) -> np.ndarray:
    """(h, w) float32, the least eigenvalue of the gradients' structure (Shi and Tomasi, CVPR 1994); 0 where there
    is no corner."""
    import cv2

    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, yy, xy = (cv2.blur(cv2.multiply(*pair), (BLOCK, BLOCK)) for pair in ((x, x), (y, y), (x, y)))
    half = cv2.addWeighted(xx, 0.5, yy, 0.5, 0)
    root = cv2.magnitude(cv2.addWeighted(xx, 0.5, yy, -0.5, 0), xy)
    least = half - root
    threshold = max(WEAKEST, OVER_NOISE * noise_level(grey) ** 2)
    least *= (least > threshold) & (least > EDGE * (half + root))
    return least


def noise_level(grey: np.ndarray) -> float:
    """Mean magnitude of the second derivatives where an image (h, w) is quietest, in its grey levels: 3.6 times the
    standard deviation of white noise."""
    import cv2

    h, w = grey.shape
    curved = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    parts = cv2.resize(curved, (max(1, w // CELL), max(1, h // CELL)), interpolation=cv2.INTER_AREA)
    parts = parts[parts > 0.1]  # what is black or burnt out has no noise
    return float(np.sort(parts)[len(parts) // 5]) if len(parts) else 0.0
