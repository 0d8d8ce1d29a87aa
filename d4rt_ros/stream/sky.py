"""The sky: what has no finite depth is no wall, though a model may say so.

Confidence alone does not tell it from a far wall. It is what is unsure, no nearer than most, smooth, rather bright and
rather blue, and reaches the image's upper edge. Of procedural skies two thirds are found so, and 0.25 % of what has a
depth is taken for one.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from d4rt_ros.stream.pixels import SIDE
from d4rt_ros.stream.results import Points

UNSURE = 0.8  # confidence below which a point may be of the sky
SMOOTH, AROUND = 8.0, 9  # grey levels of standard deviation in so many pixels of the small image
BLUE, COLOUR = 5.0, 5  # levels by which blue exceeds red, in the mean of so many pixels


def sky(points: Points, image: np.ndarray) -> np.ndarray:
    """(h, w) bool, which points of a grid over an image (H, W, 3) uint8, corner to corner, are of the sky. The image's
    upper edge is the view's."""
    import cv2

    rows, columns = points.depth.shape
    if not np.isfinite(points.depth).any():
        return np.zeros((rows, columns), bool)
    shrink = min(1.0, SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = small.mean(axis=2)
    mean = cv2.blur(grey, (AROUND, AROUND))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (AROUND, AROUND)) - mean**2, 0))
    colour = cv2.blur(small, (COLOUR, COLOUR))
    v, u = (np.rint(np.linspace(0, n - 1, k)).astype(np.intp) for n, k in zip(grey.shape, (rows, columns)))
    deviation, colour = deviation[v[:, None], u], colour[v[:, None], u]
    bright = colour.mean(axis=2)
    likely = (points.confidence < UNSURE) & (deviation < SMOOTH) & (colour[..., 2] >= colour[..., 0] + BLUE)
    likely &= (bright > np.median(bright)) & ~(points.depth < np.nanmedian(points.depth))
    parts, _ = label(likely)
    return np.isin(parts, np.setdiff1d(parts[0], 0))
