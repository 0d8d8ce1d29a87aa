"""What the images themselves say, without the model: whether one shows anything, and whether the next shows it too.

A model answers nonsense about nonsense as surely as it answers about a room; two images of one place resemble
each other whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.corners import noise_level

SIDE = 160  # pixels of an image's larger side when it is compared: enough for any motion, and cheap
CELL, CELLS = 12, 8  # pixels that have one point each; so many across a smaller image
NEIGHBOURHOOD = 15  # what a point's contrast is measured against
CONTRAST_FLOOR = 2.0  # grey levels; less is taken for noise
# Of a corner the least eigenvalue of the gradients (OpenCV's scale: four times the mean square) is so much, or so much
# of the contrast around it, squared, where that is less: a dim image has corners as a bright one has, and a blurred one
# has none.
CORNER, SHARP = 20.0, 0.1
OVER_NOISE = 0.33  # the same over the squared noise level: four times what white noise alone has
FAINT = 2.0  # grey levels; what varies less around may be rounding, or the blocks of a compressed image
MARGIN = 4  # no points nearer to the border
PATCH = 9
# A point is found again where flow there and back ends within so many pixels and the patches are so alike.
ROUND_TRIP, MIN_CORRELATION = 1.0, 0.8
COMPARED = 13  # pixels of these patches' side; soft walls look alike in smaller ones
# Share of the points that are found within so much of the larger side of where a pose and a depth expect them. Of
# the embedded model's poses 0.66 and more, of poses that are wrong by 6 pixels of 96 at most 0.17.
CONFIRMED, PREDICTED = 0.35, 0.05
FEWEST_POINTS = 8  # an image with fewer has nothing to measure
SAME_PLACE = (
    0.22  # share of the points that are found again; between two places at most 0.21 (of 5,000 pairs)
)
NOISE = (
    0.4  # contrast that is left at a quarter of the resolution: of white noise 0.25, of images 0.65 to 0.85
)
FLOW = dict(winSize=(11, 11), maxLevel=3, criteria=(3, 8, 0.03))


@dataclass(frozen=True)
class View:
    """An image made small, and the points by which it is known again.

    scale: (2,) its pixels per pixel of the image, x and y.
    detail: (h, w) float32 grey levels without what changes slowly. even: (h, w) uint8, the same at one contrast, so
    that exposure does not matter. points: (N, 2) float32 pixels, one corner for each part of the image that has one.
    coarse: share of the detail's contrast that a quarter of the resolution still has.
    """

    scale: np.ndarray
    detail: np.ndarray
    even: np.ndarray
    points: np.ndarray
    coarse: float

    @property
    def problem(self) -> str:
        """Why nothing can be measured in it, in a sentence, or ''."""
        if len(self.points) < FEWEST_POINTS:
            return (
                "the image shows nothing to measure: it is of one colour, or nearly; is the lens covered, or is "
                "it dark?"
            )
        if self.coarse < NOISE:
            return "the image shows nothing to measure but noise; is the lens covered, or is it dark?"
        return ""


def view(image: np.ndarray, valid: np.ndarray | None = None) -> View:
    """The view of an image (H, W, 3) uint8. valid: (H, W) bool, pixels that it has points of; None: all."""
    import cv2

    grey, scale = small_grey(image, SIDE)
    h, w = grey.shape
    grey = grey.astype(np.float32)
    detail, contrast = local_contrast(grey)
    even = np.clip(detail / contrast * 32 + 128, 0, 255).astype(np.uint8)
    quarter = cv2.resize(detail, (max(1, w // 4), max(1, h // 4)), interpolation=cv2.INTER_AREA)
    coarse = float(quarter.std() / max(detail.std(), 1e-6))
    points = _corners(grey, contrast)
    if valid is not None:
        u, v = points.astype(np.intp).T
        points = points[shrunk_mask(valid, grey.shape)[v, u]]
    return View(scale, detail, even, points, coarse)


def small_grey(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 in grey, (h, w) uint8, its larger side `side` at most; and its pixels per pixel of
    the image, x and y, for `resized_pixels`."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    shrink = min(1.0, side / max(height, width))
    w, h = (max(2, round(shrink * n)) for n in (width, height))
    grey = cv2.resize(grey, (w, h), interpolation=cv2.INTER_AREA)
    return grey, np.array([w / width, h / height])


def shrunk_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool of a small image of this size: pixels all of whose area is in a mask (H, W) bool."""
    import cv2

    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return share > 0.999


def resized_pixels(pixels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Where pixels (..., 2) of an image are once it is `scale` times as large, x and y; with 1 / scale the way back."""
    return (pixels + 0.5) * scale - 0.5


def seen_again(a: View, b: View) -> float:
    """Share of the points of `a` that `b` shows too, wherever; 0 where either has nothing to measure."""
    if a.problem or b.problem or a.even.shape != b.even.shape:
        return 0.0
    return float(_found(a, b, a.points)[1].mean())


def confirmed(a: View, b: View, predicted: np.ndarray) -> float | None:
    """Share of the points of `a` that `b` shows where they were predicted, (N, 2) in pixels of its image, NaN where
    it does not see them; None where it is to see fewer than can tell."""
    expected = resized_pixels(predicted, b.scale).astype(np.float32)
    # Comparisons with NaN are false.
    told = ((expected > MARGIN) & (expected < np.array(b.even.shape[::-1]) - MARGIN)).all(axis=1)
    if told.sum() < FEWEST_POINTS:
        return None
    there, found = _found(a, b, a.points[told], expected[told])
    return float(
        (found & (np.linalg.norm(there - expected[told], axis=1) < PREDICTED * max(b.even.shape))).mean()
    )


def _found(
    a: View, b: View, points: np.ndarray, expected: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where `b` shows the points of `a` (N, 2), and whether they are really found there (N,); expected: where to look
    first."""
    import cv2

    if expected is None:
        there, status, _ = cv2.calcOpticalFlowPyrLK(a.even, b.even, points[:, None], None, **FLOW)
        back = cv2.calcOpticalFlowPyrLK(b.even, a.even, there, None, **FLOW)[0]
    else:
        near = FLOW | dict(maxLevel=1, flags=cv2.OPTFLOW_USE_INITIAL_FLOW)
        there, status, _ = cv2.calcOpticalFlowPyrLK(
            a.even, b.even, points[:, None], expected[:, None].copy(), **near
        )
        back = cv2.calcOpticalFlowPyrLK(b.even, a.even, there, points[:, None].copy(), **near)[0]
    there, status = there[:, 0], status[:, 0] > 0
    same = np.linalg.norm(back[:, 0] - points, axis=1) < ROUND_TRIP
    inside = ((there > -1) & (there < b.even.shape[::-1])).all(axis=1)
    patches = patches_around(a.detail, points, COMPARED), patches_around(b.detail, there, COMPARED)
    alike = likeness(*patches) > MIN_CORRELATION
    return there, status & same & inside & alike


def local_contrast(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of an image (h, w) float32 what is left without what changes slowly, and how much that varies around, no less
    than noise does: (h, w) float32 each."""
    import cv2

    around = (NEIGHBOURHOOD, NEIGHBOURHOOD)
    detail = grey - cv2.blur(grey, around)
    # A blur of squares is a running sum, which rounding takes below zero where there is nothing.
    variance = np.maximum(cv2.blur(detail * detail, around), 0)
    return detail, np.sqrt(variance) + np.float32(CONTRAST_FLOOR)


def patches_around(image: np.ndarray, at: np.ndarray, side: int = PATCH) -> np.ndarray:
    """(N, side, side) of the image's type around pixels (N, 2), interpolated."""
    import cv2

    if not len(at):
        return np.zeros((0, side, side), image.dtype)
    offset = np.arange(side, dtype=np.float32) - side // 2
    at = at.astype(np.float32)
    x, y = at[:, :1] + np.tile(offset, side), at[:, 1:] + np.repeat(offset, side)
    found = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(len(at), side, side)


def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation (..., N) of patches (..., N, p, p) float32, broadcast; 0 where one of them is
    flat."""
    one, other = (p.reshape(*p.shape[:-2], p.shape[-1] * p.shape[-2]) for p in (one, other))
    one, other = (p - p.mean(axis=-1, keepdims=True) for p in (one, other))
    # Sums of squares without an array of them in between.
    both, ones, others = (
        np.einsum("...i,...i", *pair) for pair in ((one, other), (one, one), (other, other))
    )
    return both / np.sqrt(ones * others + 1e-6)


def _corners(grey: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """The best corner (x, y) of every cell of an image (h, w) float32 that has one, (N, 2) float32.

    contrast: (h, w) of `local_contrast`.
    """
    import cv2

    strength = cv2.cornerMinEigenVal(grey, 5, 3)
    enough = np.maximum(np.minimum(SHARP * contrast**2, CORNER), OVER_NOISE * noise_level(grey) ** 2)
    strength[(contrast < FAINT + CONTRAST_FLOOR) | (strength < enough)] = 0.0
    inner = strength[MARGIN:-MARGIN, MARGIN:-MARGIN]
    cell = max(2, min(CELL, min(grey.shape) // CELLS))
    rows, columns = inner.shape[0] // cell, inner.shape[1] // cell
    if rows * columns == 0:
        return np.zeros((0, 2), np.float32)
    cells = inner[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    cells = cells.transpose(0, 2, 1, 3).reshape(rows * columns, cell * cell)
    best = cells.argmax(axis=1)
    x = np.tile(np.arange(columns), rows) * cell + best % cell + MARGIN
    y = np.repeat(np.arange(rows), columns) * cell + best // cell + MARGIN
    return np.stack([x, y], 1).astype(np.float32)[cells[np.arange(len(cells)), best] > 0]
