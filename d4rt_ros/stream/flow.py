"""Where an image shows what another one showed: optical flow from the best of several guesses, and checks of it.

Pixels here are those of the small images, whose larger side is SIDE at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.pixels import (
    PATCH,
    likeness,
    local_contrast,
    patches_around,
    resized_pixels,
    shrunk_mask,
    small_grey,
)

SIDE = 320
SMOOTHING = 1.0  # pixels; sensors are noisy, and flow follows noise
COARSE = 4  # times smaller is the image in which guesses are compared
WINDOW, LEVELS = 11, 2  # of optical flow; the coarsest level is 2^LEVELS times smaller
ROUND_TRIP = 0.7  # pixels that flow there and back may differ
SURE = 17  # the same where nothing can have changed much: so much does not look alike by chance
TILE = 33  # pixels of the side of what is kept of a point, to search it when it is not in the last image
TILE_LEVELS = 1
LIKE = 0.8  # least correlation of a patch with what was found of it
SAME_GUESS = 1.5  # guesses nearer to each other lead to the same place
MARGIN = 3  # no points nearer to the border


@dataclass(frozen=True)
class Picture:
    """A small image as it is searched. scale: (2,) its pixels per pixel of the image, x and y. grey: (h, w) uint8,
    smoothed. even: (h, w) uint8, the same without what changes slowly and at one contrast everywhere, so that
    exposure does not matter. coarse: (h/4, w/4) float32, of `even`. usable: (h, w) bool, pixels that may show points;
    None: all."""

    scale: np.ndarray
    grey: np.ndarray
    even: np.ndarray
    coarse: np.ndarray
    usable: np.ndarray | None = None

    @property
    def size(self) -> np.ndarray:
        """(2,) width and height."""
        return np.array(self.even.shape[::-1])

    def small(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of the image in this one."""
        return resized_pixels(pixels, self.scale)

    def full(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of this one in the image."""
        return resized_pixels(pixels, 1 / self.scale)

    def inside(self, pixels: np.ndarray) -> np.ndarray:
        """(N,) bool, where points may be; not where NaN."""
        inside = ((pixels >= MARGIN) & (pixels <= self.size - 1 - MARGIN)).all(axis=1)
        if self.usable is not None:
            x, y = np.rint(pixels[inside]).astype(np.intp).T
            inside[inside] = self.usable[y, x]
        return inside


def picture(image: np.ndarray, usable: np.ndarray | None = None) -> Picture:
    """The picture of an image (H, W, 3) uint8. usable: (H, W) bool, pixels that may show points; None: all."""
    import cv2

    grey, scale = small_grey(image, SIDE)
    grey = cv2.GaussianBlur(grey, (0, 0), SMOOTHING)
    even = even_contrast(grey)
    h, w = even.shape
    small = cv2.resize(even, (max(2, w // COARSE), max(2, h // COARSE)), interpolation=cv2.INTER_AREA)
    usable = None if usable is None else shrunk_mask(usable, even.shape)
    return Picture(scale, grey, even, small.astype(np.float32), usable)


def even_contrast(grey: np.ndarray) -> np.ndarray:
    """An image (h, w) uint8 without what changes slowly, at one contrast everywhere: uint8."""
    import cv2

    detail, contrast = local_contrast(grey.astype(np.float32))
    ratio = detail / contrast
    return cv2.addWeighted(ratio, 32, ratio, 0, 128, dtype=cv2.CV_8U)


def whole_shift(a: Picture, b: Picture) -> np.ndarray:
    """(2,) pixels by which the whole of `a` is elsewhere in `b`, about."""
    import cv2

    window = cv2.createHanningWindow(a.coarse.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(a.coarse, b.coarse, window)
    return np.nan_to_num([x, y]) * (a.size / a.coarse.shape[::-1])


def search(
    a: Picture, b: Picture, points: np.ndarray, guesses: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where `b` shows the points (N, 2) of `a`, NaN where it does not, and how alike both are there, (N,).

    guesses: (N, 2) each, NaN where there is none. Flow starts from the one at which the images are most alike, and
    from the next where it fails.
    """
    there, alike = np.full(points.shape, np.nan), np.full(len(points), np.nan)
    guesses = _best_first(a, b, points, np.stack(guesses)) if len(points) else guesses[:0]
    for starts in (guesses[:1], guesses[1:]):
        rows, start = _to_try(np.isnan(alike), b, starts)
        if not len(rows):
            continue
        at, good = _flow(a.even, b.even, points[rows], start, LEVELS)
        rows, at = rows[good], at[good]
        like = likeness(patches(a, points[rows], SURE), patches(b, at, SURE))
        good = np.flatnonzero((like > LIKE) & b.inside(at))[::-1]  # of several of a point the first stands
        there[rows[good]], alike[rows[good]] = at[good], like[good]
    return there, alike


def tiles(picture: Picture, at: np.ndarray) -> np.ndarray:
    """(N, TILE, TILE) uint8 around pixels (N, 2)."""
    return patches_around(picture.even, at, TILE)


def search_tiles(
    known: np.ndarray, b: Picture, guesses: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where `b` shows the middles of tiles (N, TILE, TILE), and whether they are found there; guesses as above."""
    there, found = np.full((len(known), 2), np.nan), np.zeros(len(known), bool)
    guesses = _distinct(np.stack(guesses)) if len(known) else guesses[:0]
    for starts in (guesses[:1], guesses[1:]):
        rows, start = _to_try(~found, b, starts)
        if not len(rows):
            continue
        # All tiles side by side are one image, and so is what surrounds the guesses: one call finds them all.
        one, middle = _side_by_side(known[rows])
        other, _ = _side_by_side(tiles(b, start))
        at, good = _flow(one, other, middle, middle, TILE_LEVELS)
        at = at - middle
        good &= np.abs(at).max(axis=1) < TILE // 2
        rows, at = rows[good], at[good] + start[good]
        good = likeness(middles(known, SURE)[rows], patches(b, at, SURE)) > LIKE
        good = np.flatnonzero(good)[::-1]
        there[rows[good]], found[rows[good]] = at[good], True
    return there, found & b.inside(there)


def patches(picture: Picture, at: np.ndarray, side: int = PATCH) -> np.ndarray:
    """(N, side, side) float32 around pixels (N, 2)."""
    return patches_around(picture.even, at, side).astype(np.float32)


def middles(known: np.ndarray, side: int = PATCH) -> np.ndarray:
    """The patches (N, side, side) in the middle of tiles."""
    edge = (TILE - side) // 2
    return known[:, edge : edge + side, edge : edge + side].astype(np.float32)


def _to_try(missing: np.ndarray, b: Picture, starts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what is missing (N,) bool, each as often as it has a start in the picture, and these starts (M, 2), the
    likelier first. Most is found from the first; the rest is cheapest tried all at once, since a call of flow costs as
    much as a hundred points."""
    rows = [np.flatnonzero(missing & b.inside(start)) for start in starts]
    if not rows:
        return np.zeros(0, int), np.zeros((0, 2))
    return np.concatenate(rows), np.concatenate([start[row] for start, row in zip(starts, rows)])


def _best_first(a: Picture, b: Picture, points: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """The guesses (G, N, 2), for each point the likeliest first."""
    shrink = np.array(a.coarse.shape[::-1]) / a.size
    coarse = resized_pixels(np.concatenate([points[None], guesses]), shrink)
    before = patches_around(a.coarse, coarse[0], PATCH)
    after = patches_around(b.coarse, np.nan_to_num(coarse[1:]).reshape(-1, 2), PATCH)
    likely = likeness(before, after.reshape(len(guesses), *before.shape))
    known = np.isfinite(guesses).all(axis=2)
    # Where a guess is right for most it is likely right for a point whose own surroundings tell nothing.
    score = likely + (likely * known).sum(axis=1, keepdims=True) / np.maximum(
        known.sum(axis=1, keepdims=True), 1
    )
    order = np.argsort(-np.where(known, score, -9.0), axis=0, kind="stable")
    return _distinct(np.take_along_axis(guesses, order[..., None], axis=0))


def _distinct(guesses: np.ndarray) -> np.ndarray:
    """The guesses (G, N, 2), NaN where an earlier one is as good as the same."""
    guesses = guesses.copy()
    for i in range(1, len(guesses)):
        apart = np.linalg.norm(guesses[:i] - guesses[i], axis=2)
        guesses[i, (apart < SAME_GUESS).any(axis=0)] = np.nan
    return guesses


def _flow(
    a: np.ndarray, b: np.ndarray, points: np.ndarray, start: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pyramidal Lucas-Kanade from `start`, and whether the way back ends where it began."""
    import cv2

    def flow(a, b, points, start):
        at, status, _ = cv2.calcOpticalFlowPyrLK(
            a, b, points[:, None], start[:, None].copy(), winSize=(WINDOW, WINDOW), maxLevel=levels,
            criteria=(3, 15, 0.03), flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )  # fmt: skip
        return at[:, 0], status[:, 0] > 0

    points, start = points.astype(np.float32), start.astype(np.float32)
    there, found = flow(a, b, points, start)
    # It begins as far off as the way there did: a start at the point itself would only agree.
    back, found_back = flow(b, a, there, there + (points - start))
    near = np.linalg.norm(back - points, axis=1) < ROUND_TRIP
    return there.astype(np.float64), found & found_back & near


def _side_by_side(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tiles (N, s, s) as one image, and where their middles are in it (N, 2)."""
    count, side = tiles.shape[:2]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, side, side), tiles.dtype)
    padded[:count] = tiles
    row, column = np.divmod(np.arange(count), columns)
    image = (
        padded.reshape(rows, columns, side, side).transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    )
    return np.ascontiguousarray(image), np.stack([column, row], 1) * float(side) + side // 2
