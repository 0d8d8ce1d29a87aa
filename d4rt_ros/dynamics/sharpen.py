"""From what small pixels are believed to be to the edges of the image."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.linalg import solveh_banded

SMOOTHINGS = 3
ALIKE = 8.0  # of 255: what differs more is of something else


class Smoother:
    """Smooths within the edges of an image (h, w, 3) uint8: Min et al., Fast global image smoothing, 2014.

    reach: pixels, about, over which an even surface is smoothed. edge: of 255, what differs more is apart.
    """

    def __init__(self, image: np.ndarray, reach: float, edge: float) -> None:
        i = cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32)
        self._across = self._coupling(i, edge)
        self._down = self._coupling(i.transpose(1, 0, 2), edge)
        self._strength = reach**2

    @staticmethod
    def _coupling(image: np.ndarray, edge: float) -> np.ndarray:
        near = np.zeros(image.shape[:2], np.float32)
        step = np.abs(image[:, 1:] - image[:, :-1]).max(-1)
        near[:, :-1] = np.exp(-step / np.float32(edge))
        return near

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """values (h, w, C) float32, each as smooth."""
        for k in range(SMOOTHINGS):
            strength = 1.5 * 4.0 ** (SMOOTHINGS - 1 - k) / (4.0**SMOOTHINGS - 1) * self._strength
            values = _lines(values, self._across, strength)
            values = _lines(values.transpose(1, 0, 2), self._down, strength).transpose(1, 0, 2)
        return values


def _lines(values: np.ndarray, near: np.ndarray, strength: float) -> np.ndarray:
    """Each line by weighted least squares: all of them are one tridiagonal system."""
    off = (strength * near).ravel()
    band = np.empty((2, off.size), np.float32)
    band[0, 0], band[0, 1:] = 0.0, -off[:-1]
    band[1] = 1.0 + off
    band[1, 1:] += off[:-1]
    solved = solveh_banded(band, values.reshape(off.size, -1), overwrite_ab=True, check_finite=False)
    return solved.reshape(values.shape)


def enlarged(values: np.ndarray, image: np.ndarray, factor: int) -> np.ndarray:
    """values (h, w) float32 of an image (H, W, 3) uint8 made h x w, `factor` times as large within its edges.

    Joint bilateral upsampling (Kopf et al. 2007): of the four around a pixel those of its colour count.
    """
    h, w = values.shape
    H, W = factor * h, factor * w
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    large = cv2.resize(image, (W, H), interpolation=cv2.INTER_AREA)
    x, y = ((np.arange(n) + 0.5) / factor - 0.5 for n in (W, H))
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total = weights = np.float32(0.0)
    alike = np.exp(-np.arange(256) / ALIKE).astype(np.float32)
    for j in (0, 1):
        for i in (0, 1):
            rows, columns = np.clip(y0 + j, 0, h - 1)[:, None], np.clip(x0 + i, 0, w - 1)
            near = ((1 - np.abs(y - y0 - j))[:, None] * (1 - np.abs(x - x0 - i))).astype(np.float32)
            red, green, blue = cv2.split(cv2.absdiff(large, small[rows, columns]))
            weight = near * cv2.LUT(cv2.max(cv2.max(red, green), blue), alike) + np.float32(1e-4)
            total, weights = total + weight * values[rows, columns], weights + weight
    return total / weights


def without_specks(mask: np.ndarray, share: float) -> np.ndarray:
    """A mask (H, W) bool without parts, and without holes, smaller than a share of it."""
    least = share * mask.size
    for value in (True, False):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == value).astype(np.uint8), connectivity=4
        )
        small = stats[:, cv2.CC_STAT_AREA] < least
        small[0] = False  # what is not `value`
        if small.any():
            mask = np.where(small[labels], not value, mask)
    return mask
