"""Where two images disagree with a rigid world: what is left of their optical flow when depth and poses are believed.

Images here are small and grey. The earlier one is first warped to where the rigid world has the newest one's pixels,
so that the flow between the two is what is left: near zero whatever the camera did, but for what moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

FLOW_SIGMA = 0.2  # pixels, of optical flow where the images have contrast
CONTRAST = 4.0  # grey levels of local contrast at which its variance is twice that
UNLIKE = 0.8  # share of the local contrast that may differ where both images show the same
LEVEL = 3.0  # grey levels that may differ besides
PATCH = 5  # pixels
POSE_TURN, POSE_SHIFT = 0.004, 0.004  # rad, and shares of the median depth, that poses may err by in a window
ROUND_TRIP = 0.5  # pixels that flow there and back may differ
CELL, BEHIND = 2, 1.15  # pixels in which the nearest is in front; what is farther by this factor is behind it
STRIDE = 5  # of the pixels that say by how much they do
KERNEL = 3.0  # Mahalanobis length at which a pixel loses most of its weight (Geman-McClure)


@dataclass(frozen=True)
class Residual:
    """Of the newest image's pixels, h x w.

    offset: (h, w, 2) float32, pixels by which a pixel is found in the earlier image away from where the rigid world
        has it. along: (h, w, 2) float32, by how much that place moves for a relative error of 1 of the depth.
    variance: (h, w) float32 of the flow, pixels². seen: (h, w) bool, both images show it.
    """

    offset: np.ndarray
    along: np.ndarray
    variance: np.ndarray
    seen: np.ndarray
    flow: np.ndarray

    def squared(self, sigma: np.ndarray, extra: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Squared Mahalanobis lengths of the offsets and log determinants of their covariances, (h, w) float32 each.

        sigma: (h, w) relative sd of the depth. extra: variance in every direction besides.
        """
        across = self.variance + extra
        x, y = self.along[..., 0], self.along[..., 1]
        ex, ey = self.offset[..., 0], self.offset[..., 1]
        stretched = sigma**2 * (x * x + y * y)
        projected = sigma**2 * (ex * x + ey * y) ** 2 / (across + stretched)
        return (ex * ex + ey * ey - projected) / across, np.log(across * (across + stretched))


def residual(newest: np.ndarray, earlier: np.ndarray, matrix: np.ndarray, depth: np.ndarray, sigma: np.ndarray,
             earlier_from_newest: np.ndarray) -> Residual:  # fmt: skip
    """newest, earlier: (h, w) uint8. matrix: (3, 3) of their camera. depth: (h, w) float32, NaN where not known, and its
    relative sd. earlier_from_newest: (4, 4)."""
    h, w = newest.shape
    pose = earlier_from_newest.astype(np.float32)
    rays = _rays(h, w, *(float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))))
    turned = (rays.reshape(-1, 3) @ pose[:3, :3].T).reshape(h, w, 3) * depth[..., None]
    points = turned + pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = points[..., 2]
        z = np.where(z > 0.05 * depth, z, np.float32(np.nan))
        sides = points[..., :2] / z[..., None]
        focal = np.array([matrix[0, 0], matrix[1, 1]], np.float32)
        centre = np.array([matrix[0, 2], matrix[1, 2]], np.float32)
        place = sides * focal + centre
        along = (turned[..., :2] - sides * turned[..., 2:]) / z[..., None] * focal
    known = np.isfinite(place).all(-1)
    place[~known] = -1e4
    warped = cv2.remap(earlier, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # The flow must not run away from what is not known.
    inside = known & (place > -0.5).all(-1) & (place < np.array([w - 0.5, h - 0.5])).all(-1)
    filled = np.where(inside, warped, newest)
    flow, back = _flow(newest, filled), _flow(filled, newest)
    there = flow + _pixels(h, w)
    back = cv2.remap(back, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    trip = np.abs(flow + back).max(-1)
    offset = cv2.remap(place, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - place
    found = cv2.remap(filled, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    contrast, unlike = _contrast(newest), _unlike(newest, found)
    # A hole in `place` around makes the offset of it worthless.
    whole = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    seen = whole & (unlike < LEVEL + UNLIKE * contrast) & (np.abs(offset).max(-1) < 0.5 * max(h, w))
    seen &= trip < ROUND_TRIP + 0.1 * np.abs(flow).max(-1)
    seen &= ~_hidden(place, z, inside)
    seen &= (there > 0).all(-1) & (there < np.array([w - 1, h - 1])).all(-1)
    offset[~seen], along[~seen] = 0.0, 0.0
    variance = np.float32(FLOW_SIGMA**2) * (1.0 + (CONTRAST / np.maximum(contrast, 0.1)) ** 2)
    whole = np.where(
        seen[..., None], place + offset, np.where(inside[..., None], place, _pixels(h, w))
    ) - _pixels(h, w)
    found = Residual(offset, along, variance.astype(np.float32), seen, whole)
    return _settled(found, sigma, rays, np.where(known, z, 1.0), sides, focal)


def _settled(found: Residual, sigma, rays, z, sides, focal) -> Residual:
    """Without what an error of the pose explains: robustly, by most of the view."""
    rows = np.s_[::STRIDE, ::STRIDE]
    use = found.seen[rows]
    if use.sum() < 20:
        return found
    e, along, variance = (
        x[rows][use].astype(np.float64) for x in (found.offset, found.along, found.variance)
    )
    s, zz, xy = (
        sigma[rows][use].astype(np.float64),
        z[rows][use].astype(np.float64),
        sides[rows][use].astype(np.float64),
    )
    jacobian = _jacobian(xy, zz, focal.astype(np.float64))
    shift = POSE_SHIFT * float(np.median(zz))
    prior = np.diag([shift**-2] * 3 + [POSE_TURN**-2] * 3)
    cov = variance[:, None, None] * np.eye(2) + (s**2)[:, None, None] * along[:, :, None] * along[:, None]
    info = np.linalg.inv(cov)
    weighted = np.einsum("nij,nik->nkj", info, jacobian)  # (N, 6, 2)
    x = np.zeros(6)
    for kernel in (4 * KERNEL, 2 * KERNEL, KERNEL):
        left = e - jacobian @ x
        squared = np.einsum("ni,nij,nj->n", left, info, left)
        weight = (1.0 + squared / kernel**2) ** -2
        normal = np.einsum("n,nki,nil->kl", weight, weighted, jacobian) + prior
        x = np.linalg.solve(normal, np.einsum("n,nki,ni->k", weight, weighted, e))
    full = _jacobian(sides, z, focal) @ x.astype(np.float32)
    offset = found.offset - np.where(found.seen[..., None], full, 0.0)
    return Residual(offset.astype(np.float32), found.along, found.variance, found.seen, found.flow)


def _jacobian(sides: np.ndarray, z: np.ndarray, focal: np.ndarray) -> np.ndarray:
    """(..., 2, 6): how pixels at `sides` (x/z, y/z) and depth z move with a shift and a turn of the points."""
    x, y = sides[..., 0], sides[..., 1]
    zero, inverse = np.zeros_like(x), 1.0 / z
    u = np.stack([inverse, zero, -x * inverse, -x * y, 1 + x * x, -y], -1)
    v = np.stack([zero, inverse, -y * inverse, -1 - y * y, x * y, x], -1)
    return np.stack([u * focal[0], v * focal[1]], -2)


def _hidden(place: np.ndarray, z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels behind others in the earlier image, as far as depth and poses say."""
    h, w = z.shape
    rows = np.flatnonzero(inside[::2, ::2])
    cells = np.rint(place[::2, ::2].reshape(-1, 2)[rows] / CELL).astype(np.intp)
    depths = z[::2, ::2].ravel()[rows]
    first = np.full((h // CELL + 2, w // CELL + 2), 1e9, np.float32)
    order = np.argsort(-depths)
    first[cells[order, 1], cells[order, 0]] = depths[order]  # the nearest comes last
    first = cv2.erode(first, np.ones((3, 3)))
    nearest = cv2.remap(first, place / np.float32(CELL), None, cv2.INTER_NEAREST)
    return inside & (z > BEHIND * nearest)


def _flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _dis().calc(a, b, None)


@lru_cache(maxsize=1)
def _dis():
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setVariationalRefinementIterations(3)
    return dis


def _contrast(grey: np.ndarray) -> np.ndarray:
    """(h, w) float32, the sd of grey levels around."""
    f = grey.astype(np.float32)
    mean = cv2.blur(f, (PATCH, PATCH))
    return np.sqrt(np.maximum(cv2.blur(f * f, (PATCH, PATCH)) - mean * mean, 0.0))


def _unlike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(h, w) float32, the sd of the difference around, whatever the exposure."""
    f = a.astype(np.float32) - b
    mean = cv2.blur(f, (PATCH, PATCH))
    return np.sqrt(np.maximum(cv2.blur(f * f, (PATCH, PATCH)) - mean * mean, 0.0))


@lru_cache(maxsize=4)
def _pixels(h: int, w: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).astype(np.float32)


@lru_cache(maxsize=4)
def _rays(h: int, w: int, fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    sides = (_pixels(h, w) - [cx, cy]) / [fx, fy]
    return np.concatenate([sides, np.ones((h, w, 1))], -1).astype(np.float32)
