"""Masks of what moves without any network: what a mask has to beat.

Each takes the frames of a sequence, (H, W, 3) uint8 RGB of one size, and gives for each a mask (H, W) bool, or None
where it says nothing. Thresholds, pixels of an image of 320x240 or grey levels, were chosen once, on sequences of
mask_scenes.TUNING_SEED.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

STEP = 5  # frames between those that are compared: a third of a second of the procedural sequences
BRIGHTER = 8.0  # grey levels by which a pixel must differ after the homography
OFF = 1.0  # pixels of a width of 320 by which flow must miss its epipolar line
EVERY = 8  # pixels between the points that homography and fundamental matrix are fitted to
INLIER = 1.0  # pixels by which these may be off
FEWEST = 12  # points


def nothing_moves(images: Sequence[np.ndarray]) -> Iterator[None]:
    return (None for _ in images)


def frame_difference(images: Sequence[np.ndarray]) -> Iterator[np.ndarray | None]:
    """Where an image differs from an earlier one that a homography has laid upon it."""
    greys = [cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0) for image in images]
    for now, before in _pairs(greys):
        yield None if before is None else _difference(now, before)


def rigid_flow(images: Sequence[np.ndarray]) -> Iterator[np.ndarray | None]:
    """Where dense optical flow (DIS) to an earlier image leaves its epipolar line, of the fundamental matrix that most
    of the flow agrees on. What moves along its line is not seen."""
    dense = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    for now, before in _pairs(greys):
        yield None if before is None else _off_epipolar(dense.calc(now, before, None))


def _pairs(images: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Each image, and the one to compare it with; None for the first."""
    for k, now in enumerate(images):
        yield now, images[max(0, k - STEP)] if k else None


def _difference(now: np.ndarray, before: np.ndarray) -> np.ndarray | None:
    corners = cv2.goodFeaturesToTrack(before, 500, 0.01, EVERY)
    if corners is None or len(corners) < FEWEST:
        return None
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, None)
    found = found.ravel() > 0
    if found.sum() < FEWEST:
        return None
    now_from_before, _ = cv2.findHomography(corners[found], there[found], cv2.RANSAC, INLIER)
    if now_from_before is None:
        return None
    size = now.shape[::-1]
    laid = cv2.warpPerspective(before, now_from_before, size)
    shown = cv2.warpPerspective(np.full_like(before, 255), now_from_before, size) == 255
    return _cleaned((cv2.absdiff(now, laid) > BRIGHTER) & shown)


def _off_epipolar(flow: np.ndarray) -> np.ndarray | None:
    """flow: (H, W, 2) float32 pixels."""
    height, width = flow.shape[:2]
    v, u = np.mgrid[:height, :width].astype(np.float64)
    here, there = np.stack([u, v], -1), np.stack([u, v], -1) + flow
    scale = width / 320
    thin = slice(EVERY // 2, None, EVERY), slice(EVERY // 2, None, EVERY)
    points = here[thin].reshape(-1, 2), there[thin].reshape(-1, 2)
    inside = ((points[1] >= 0) & (points[1] <= (width - 1, height - 1))).all(1)
    if inside.sum() < FEWEST:
        return None
    points = [p[inside] for p in points]
    try:
        matrix, _ = cv2.findFundamentalMat(*points, cv2.FM_LMEDS, INLIER * scale, 0.999, 1000)
    except cv2.error:  # points that determine none
        return None
    if matrix is None or matrix.shape != (3, 3):
        return None
    return _cleaned(_sampson(here, there, matrix) > OFF * scale)


def _sampson(here: np.ndarray, there: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(H, W) pixels by which pairs (H, W, 2) are off, to first order (Hartley and Zisserman 2003, 11.4.3)."""
    x, y = (np.concatenate([p, np.ones_like(p[..., :1])], -1) for p in (here, there))
    line, back = x @ matrix.T, y @ matrix
    square = (line[..., :2] ** 2).sum(-1) + (back[..., :2] ** 2).sum(-1)
    return np.abs((y * line).sum(-1)) / np.sqrt(np.maximum(square, 1e-12))


def _cleaned(mask: np.ndarray) -> np.ndarray:
    """Without specks, and without holes of their size."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk).astype(bool)
