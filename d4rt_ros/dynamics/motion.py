"""What moves: pixels that are not where a rigid world has them, by more than its uncertainty explains."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d4rt_ros.dynamics.flow_residual import Residual, residual
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.dynamics.sharpen import Smoother, without_specks
from d4rt_ros.geometry.camera import Pinhole, resized_matrix
from d4rt_ros.geometry.transforms import invert

SIDE = 160  # pixels of the larger side of the images that are compared
LAGS = 0.13, 0.4  # seconds between the newest image and those that it is compared with, about
MEMORY = 0.45  # seconds for which images are kept
SPEED = 0.08  # of its depth, in a second: how fast things move, typically
SIGMA = 0.04, 0.3  # least and largest relative sd of a depth that is believed
CLIP = 3.0  # of a log likelihood ratio of one comparison
ON = 0.0
ONSET, RELEASE = 0.1, 0.5
REACH, EDGE = 8.0, 8.0
SPECK = 0.001


@dataclass(frozen=True, eq=False)
class Observation:
    """A window of T frames.

    images: T of (H, W, 3) uint8 RGB, oldest first. stamps: (T,) ns. map_from_camera: (T, 4, 4) in one frame, NaN where
    not known. camera: of the images. depth: (h, w) of the newest on a grid over it, corner pixel to corner pixel, in
    the poses' unit, NaN where not known; sigma: (h, w) its relative sd. valid: (H, W) bool, which pixels of the newest
    show anything; None: all.
    """

    images: Sequence[np.ndarray]
    stamps: np.ndarray
    map_from_camera: np.ndarray
    camera: Pinhole
    depth: np.ndarray
    sigma: np.ndarray
    valid: np.ndarray | None = None


class MotionFilter:
    """What moves, window after window.

    release_seconds: after which a thing that stops is at rest again.
    """

    def __init__(self, release_seconds: float = 1.0) -> None:
        self.release_seconds = release_seconds
        self.reset()

    def reset(self) -> None:
        """Forget everything: the world is another one."""
        self._seen: deque[tuple[int, np.ndarray, np.ndarray]] = deque()  # stamp, small grey image, pose
        self._state: np.ndarray | None = None  # (h, w, 2): evidence times weight, weight
        self._stamp = 0

    def update(self, seen: Observation) -> Moving:
        """What moves in the newest image of a window, which is newer than the last one's, in the same world."""
        grey = self._remember(seen)
        h, w = grey.shape
        size = half(grey.shape)
        H, W = seen.images[-1].shape[:2]
        matrix = resized_matrix(seen.camera.matrix, (H, W), (h, w))
        depth, sigma = (_enlarged(x, h, w) for x in (seen.depth, seen.sigma))
        sigma = np.clip(np.nan_to_num(sigma, nan=SIGMA[1]), *SIGMA)
        stamp, _, pose = self._seen[-1]
        total, moved = np.zeros((h, w, 2), np.float32), None
        if np.isfinite(pose).all() and np.isfinite(depth).any():
            for then, earlier, its_pose in self._compared():
                seconds = (stamp - then) / 1e9
                found = residual(grey, earlier, matrix, depth, sigma, invert(its_pose) @ pose)
                total += self._evidence(found, sigma, matrix, seconds)
                moved = self._step(found, then, moved)
        total = cv2.resize(total, size, interpolation=cv2.INTER_AREA)
        self._state = self._mixed(self._carried(moved, size), total, (stamp - self._stamp) / 1e9)
        self._stamp = stamp
        return self._answer(seen, size)

    def _evidence(self, found: Residual, sigma, matrix, seconds: float) -> np.ndarray:
        still, log_still = found.squared(sigma)
        speed = np.float32((SPEED * seconds * matrix[0, 0]) ** 2)
        moves, log_moves = found.squared(sigma, speed)
        ratio = 0.5 * (still - moves + log_still - log_moves)
        weight = np.where(found.seen, speed / (speed + found.variance), 0.0).astype(np.float32)
        return np.stack([weight * np.clip(ratio, -CLIP, CLIP), weight], -1)

    def _mixed(self, state, total, seconds):
        if state is None:
            return total
        rising = total[..., 0] * state[..., 1] > state[..., 0] * total[..., 1]
        tau = np.where(rising, ONSET, self.release_seconds * RELEASE)
        share = 1.0 - np.exp(-seconds / tau)
        return ((1 - share)[..., None] * state + share[..., None] * total).astype(np.float32)

    def _step(self, found, then, best):
        """Where the last window's newest image shows the pixels, from the comparison nearest to it in time."""
        if best is not None and abs(best[0] - self._stamp) <= abs(then - self._stamp):
            return best
        return then, found

    def _carried(self, moved, size) -> np.ndarray | None:
        """The last state at the newest pixels: along the flow."""
        if self._state is None or self._state.shape[1::-1] != size:
            return None
        if moved is None:
            return self._state
        then, found = moved
        newest = self._seen[-1][0]
        share = (newest - self._stamp) / (newest - then)
        shift = (
            share
            * cv2.resize(found.flow, size, interpolation=cv2.INTER_AREA)
            * np.float32(size[0] / found.flow.shape[1])
        )
        there = shift + np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1)
        return cv2.remap(
            self._state, there.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )

    def _answer(self, seen: Observation, size) -> Moving:
        image = seen.images[-1]
        H, W = image.shape[:2]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        smooth = Smoother(small, REACH, EDGE)(self._state)
        self.level = smooth[..., 0] / (smooth[..., 1] + 0.02)
        large = cv2.resize(self.level, (W, H))
        mask = without_specks(large > ON, SPECK)
        grid = cv2.resize(self.level, seen.depth.shape[::-1]) - ON
        return Moving(mask, grid > 0, (1 / (1 + np.exp(-2 * grid))).astype(np.float32))

    def _compared(self):
        """The images kept that are nearest to LAGS, each once, and their poses."""
        newest, known = self._seen[-1][0], [x for x in list(self._seen)[:-1] if np.isfinite(x[2]).all()]
        if not known:
            return []
        chosen = {min(range(len(known)), key=lambda i: abs(newest - known[i][0] - 1e9 * lag)) for lag in LAGS}
        return [known[i] for i in sorted(chosen)]

    def _remember(self, seen: Observation) -> np.ndarray:
        """The newest image, small; all those of the window that are not yet known are kept."""
        known = {stamp: grey for stamp, grey, _ in self._seen}
        poses = {int(stamp): pose for stamp, pose in zip(seen.stamps, seen.map_from_camera)}
        oldest = seen.stamps[-1] - 1e9 * MEMORY
        older = [(s, g, p) for s, g, p in self._seen if s not in poses and s >= oldest]
        these = []
        for image, stamp in zip(seen.images, seen.stamps):
            if stamp >= oldest or stamp == seen.stamps[-1] or len(seen.images) == 2:
                these.append(
                    (
                        int(stamp),
                        known.get(int(stamp)) if int(stamp) in known else small_grey(image),
                        poses[int(stamp)],
                    )
                )
        self._seen = deque(older + these)
        return self._seen[-1][1]


def small_grey(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    shrink = min(1.0, SIDE / max(height, width))
    w, h = (max(16, round(shrink * n)) for n in (width, height))
    return cv2.resize(grey, (w, h), interpolation=cv2.INTER_AREA)


def _enlarged(values: np.ndarray, h: int, w: int) -> np.ndarray:
    """A grid over an image (corner to corner) at the pixels of that image resized to h x w."""
    rows, columns = values.shape
    # resized pixel x is at (x + 0.5) / w of the image's width; corner pixels' centres are half an image's pixel inside
    x = np.clip((np.arange(w) + 0.5) / w * (columns - 1), 0, columns - 1).astype(np.float32)
    y = np.clip((np.arange(h) + 0.5) / h * (rows - 1), 0, rows - 1).astype(np.float32)
    u, v = np.meshgrid(x, y)
    return cv2.remap(values.astype(np.float32), u, v, cv2.INTER_LINEAR)


def half(shape):
    return shape[1] // 2, shape[0] // 2
