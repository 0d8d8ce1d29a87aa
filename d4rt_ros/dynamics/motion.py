"""What moves: pixels that are not where a rigid world has them, by more than its uncertainty explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d4rt_ros.dynamics.flow_residual import CELL, Residual, Still, at, cell_centres, residual, still
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.dynamics.sharpen import Smoother, enlarged, without_specks
from d4rt_ros.geometry.camera import Pinhole, resized_matrix
from d4rt_ros.geometry.transforms import invert

SIDE = 240  # pixels of the larger side of the images that are compared
# Seconds between the newest image and those that it is compared with, about, nearest first.
LAGS = 0.13, 0.4
MEMORY = 0.5  # seconds for which images are kept
SPEED = 0.2  # of its depth, in a second: how fast things move, typically
SIGMA = 0.04, 1.0  # least and largest relative sd of a depth that is believed
CLIP = 3.0  # of a log likelihood ratio of one comparison
# The weight of what is not known, and its log likelihood ratio: at rest, if anything.
DOUBT, REST = 0.02, -3.0
KNOWN = 1e-3  # weight below which nothing is known
# This share of the view is at rest; by so much at most its disagreement makes all variances larger.
USUAL, LARGEST = 0.4, 100.0
ONSET, RELEASE = 0.1, 0.5  # seconds; share of `release_seconds`: time constants of what is remembered
REACH, EDGE = 10.0, 3.5  # cells, and of 255
SPECK = 0.001  # share of the image


@dataclass(frozen=True, eq=False)
class Observation:
    """A window of T frames.

    images: T of (H, W, 3) uint8 RGB, oldest first. stamps: (T,) ns. map_from_camera: (T, 4, 4) in one frame, NaN where
    not known. camera: of the images. depth: (h, w) of the newest on a grid over it, corner pixel to corner pixel, in
    the poses' unit, NaN where not known; sigma: (h, w) its relative standard deviation, NaN where not known. valid:
    (H, W) bool, which pixels show anything; None: all.
    """

    images: Sequence[np.ndarray]
    stamps: np.ndarray
    map_from_camera: np.ndarray
    camera: Pinhole
    depth: np.ndarray
    sigma: np.ndarray
    valid: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Image:
    """stamp: ns. grey: small, uint8. pose: map_from_camera (4, 4), NaN where not known."""

    stamp: int
    grey: np.ndarray
    pose: np.ndarray


class MotionFilter:
    """What moves, window after window.

    release_seconds: after which a thing that stops is at rest again.
    """

    def __init__(self, release_seconds: float = 1.0) -> None:
        self.release_seconds = release_seconds
        self.reset()

    def reset(self) -> None:
        """Forget everything: the world is another one."""
        self._images: list[_Image] = []
        self._state: np.ndarray | None = None  # (h, w, 2) of cells: evidence times its weight, and the weight
        self._stamp = 0

    def update(self, seen: Observation) -> Moving:
        """What moves in the newest image of a window, which is newer than the last one's, in the same world."""
        newest = self._remember(seen)
        h, w = (n // CELL for n in newest.grey.shape)
        compared = self._compared(newest, seen)
        if compared is None:
            self._state = np.zeros((h, w, 2), np.float32)
        else:
            now, found = compared
            evidence = np.mean([self._evidence(x, now, lag) for lag, x in found], axis=0)
            if self._state is not None and self._state.shape == evidence.shape:
                seconds = (newest.stamp - self._stamp) / 1e9
                # What the last window knew, where the newest image shows it: along the flow.
                lag, near = found[0]
                state = at(self._state, cell_centres(h, w) + np.float32(seconds / lag) * near.moved)
                state[near.revealed] = 0.0
                evidence = self._mixed(state, evidence, seconds)
            self._state = evidence
        self._stamp = newest.stamp
        return self._answer(seen)

    def _remember(self, seen: Observation) -> _Image:
        """The newest image; those of the window and of the time before are kept for later windows."""
        shape = small_shape(seen.images[-1].shape[:2])
        known = {image.stamp: image for image in self._images if image.grey.shape == shape}
        for image, stamp, pose in zip(seen.images, seen.stamps, seen.map_from_camera):
            stamp = int(stamp)
            grey = known[stamp].grey if stamp in known else small_grey(image)
            known[stamp] = _Image(stamp, grey, pose)
        last = int(seen.stamps[-1])
        oldest = last - 1e9 * MEMORY
        self._images = sorted((x for x in known.values() if x.stamp >= oldest), key=lambda x: x.stamp)
        if len(self._images) == 1 and len(seen.stamps) > 1:
            self._images.insert(0, known[int(seen.stamps[-2])])
        return self._images[-1]

    def _compared(
        self, newest: _Image, seen: Observation
    ) -> tuple[Still, list[tuple[float, Residual]]] | None:
        """The newest image, and how it agrees with those that are older by about LAGS, and by how many seconds they
        are, nearest first; None where nothing is known of depth or poses."""
        others = [x for x in self._images[:-1] if np.isfinite(x.pose).all()]
        if not others or not np.isfinite(newest.pose).all() or not np.isfinite(seen.depth).any():
            return None
        (h, w), size = newest.grey.shape, seen.images[-1].shape[:2]
        depth, sigma = (on_cells(x, h // CELL, w // CELL) for x in (seen.depth, seen.sigma))
        sigma = np.clip(np.nan_to_num(sigma, nan=SIGMA[1]), *SIGMA)
        now = still(newest.grey, resized_matrix(seen.camera.matrix, size, (h, w)), depth, sigma)
        chosen = {
            x.stamp: x
            for x in (min(others, key=lambda x: abs(newest.stamp - x.stamp - 1e9 * lag)) for lag in LAGS)
        }
        return now, [
            ((newest.stamp - x.stamp) / 1e9, residual(now, x.grey, invert(x.pose) @ newest.pose))
            for x in chosen.values()
        ]

    def _evidence(self, found: Residual, now: Still, seconds: float) -> np.ndarray:
        """(h, w, 2): log likelihood ratios of moving to being at rest, times their weight, and the weight."""
        speed = float(SPEED * seconds * now.matrix[0, 0]) ** 2
        rest, log_rest = found.squared(now.sigma)
        # Images, poses and depths are better or worse than their uncertainties say: most of the view tells.
        usual = np.quantile(rest[found.seen], USUAL) if found.seen.any() else 0.0
        scale = float(np.clip(usual / (-2.0 * np.log(1.0 - USUAL)), 1.0, LARGEST))
        rest, log_rest = rest / np.float32(scale), log_rest + np.float32(2.0 * np.log(scale))
        moves, log_moves = found.squared(now.sigma, speed, scale)
        ratio = 0.5 * (rest - moves + log_rest - log_moves)
        weight = np.where(found.seen, speed / (speed + scale * found.variance), 0.0).astype(np.float32)
        return np.stack([weight * np.clip(ratio, -CLIP, CLIP), weight], -1)

    def _mixed(self, state: np.ndarray, evidence: np.ndarray, seconds: float) -> np.ndarray:
        """What is remembered, and what was seen just now."""
        rising = evidence[..., 0] * state[..., 1] > state[..., 0] * evidence[..., 1]
        share = 1.0 - np.exp(-seconds / np.where(rising, ONSET, RELEASE * self.release_seconds))
        return (state + share[..., None] * (evidence - state)).astype(np.float32)

    def _answer(self, seen: Observation) -> Moving:
        image = seen.images[-1]
        H, W = image.shape[:2]
        h, w = self._state.shape[:2]
        smooth = Smoother(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), REACH, EDGE)(self._state)
        level = (smooth[..., 0] + DOUBT * REST) / (smooth[..., 1] + DOUBT)
        large = enlarged(level, image, 2)
        moves = large > 0
        large = cv2.resize(np.where(without_specks(moves, SPECK) == moves, large, -large), (W, H))
        mask = large > 0
        if seen.valid is not None:
            mask &= seen.valid
        u, v = (
            np.rint(np.linspace(0, n - 1, m)).astype(np.intp) for n, m in zip((W, H), seen.depth.shape[::-1])
        )
        grid = mask[v[:, None], u]
        known = cv2.resize(smooth[..., 1], (W, H))[v[:, None], u] > KNOWN
        probability = np.where(known, 1.0 / (1.0 + np.exp(-large[v[:, None], u])), 0.5)
        return Moving(mask, grid, probability.astype(np.float32))


def small_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the image made small, multiples of CELL."""
    shrink = SIDE / max(shape)
    rows, columns = (max(16, CELL * round(shrink * n / CELL)) for n in shape)
    return rows, columns


def small_grey(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 in grey, small."""
    shape = small_shape(image.shape[:2])
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), shape[::-1], interpolation=cv2.INTER_AREA)


def on_cells(values: np.ndarray, h: int, w: int) -> np.ndarray:
    """A grid over an image, corner pixel to corner pixel, at its h x w cells."""
    rows, columns = values.shape
    x, y = ((np.arange(n) + 0.5) / n * (m - 1) for n, m in ((w, columns), (h, rows)))
    u, v = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(values.astype(np.float32), u, v, cv2.INTER_LINEAR)


def points_moving(moving: Moving, pixels: np.ndarray) -> np.ndarray:
    """(N,) bool: which points at pixels (N, 2) are on what moves; not those outside the image, or NaN."""
    height, width = moving.mask.shape
    inside = (pixels > -0.5).all(axis=1) & (pixels < np.array([width, height]) - 0.5).all(axis=1)
    u, v = np.rint(np.where(inside[:, None], pixels, 0.0)).astype(np.intp).T
    return inside & moving.mask[v, u]
