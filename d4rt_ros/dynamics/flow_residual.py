"""Where two images disagree with a rigid world: what is left of their optical flow when depth and poses are believed.

The earlier image is first warped to where the rigid world has the newest one's pixels, so that the flow between the two
is what is left: near zero whatever the camera did, but for what moves. Flow is of small grey images; all else is of
cells of CELL x CELL of their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

CELL = 3
FLOW_SIGMA = 0.2  # pixels, of optical flow where the images have contrast
CONTRAST = 4.0  # grey levels of local contrast at which its variance is twice that
# Share of the local contrast, and grey levels, that may differ where both images show the same.
UNLIKE, LEVEL = 2.0, 3.0
ROUND_TRIP = 0.6  # pixels that flow there and back may differ
BEHIND = 1.15  # what is farther by this factor than something before it is hidden
POSE_TURN, POSE_SHIFT = 0.01, 0.01  # rad, and shares of the median depth, that poses may err by
KERNEL, PASSES = 3.0, 3  # Mahalanobis length at which a cell loses most of its weight (Geman-McClure)
STRIDE = 4  # of the cells that say by how much poses err
FEWEST = 20  # of them
LEFT = 2.0  # pixels by which something must have moved to have left another place
FARTHEST = 1e6  # beside the depths in use


@dataclass(frozen=True)
class Still:
    """The newest image, small, and what depth says of it, at its h x w cells.

    grey: (CELL·h, CELL·w) uint8. matrix: (3, 3) of its camera. contrast: (h, w) float32 grey levels. depth: (h, w)
    float32, NaN where not known; sigma: (h, w) float32, its relative standard deviation.
    """

    grey: np.ndarray
    matrix: np.ndarray
    contrast: np.ndarray
    depth: np.ndarray
    sigma: np.ndarray


@dataclass(frozen=True)
class Residual:
    """Of the newest image's h x w cells.

    offset: (h, w, 2) float32, small pixels by which a cell is found in the earlier image away from where the rigid
        world has it; 0 where not seen. along: (h, w, 2), by how much that place moves for a relative error of 1 of the
        depth. variance: (h, w) of the flow. seen: (h, w) bool, both images show it.
    moved: (h, w, 2), small pixels from a cell to where the earlier image shows it, as far as is known.
    revealed: (h, w) bool, not seen since in the earlier image something is before it that has moved away.
    """

    offset: np.ndarray
    along: np.ndarray
    variance: np.ndarray
    seen: np.ndarray
    moved: np.ndarray
    revealed: np.ndarray

    def squared(
        self, sigma: np.ndarray, extra: float = 0.0, scale: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared Mahalanobis lengths of the offsets, and the log determinants of their covariances, (h, w) each.

        sigma: (h, w) relative standard deviation of the depth. extra: variance in every direction, besides. scale: of
        the variances of flow and depth.
        """
        across = np.float32(scale) * self.variance + np.float32(extra)
        x, y = self.along[..., 0], self.along[..., 1]
        dx, dy = self.offset[..., 0], self.offset[..., 1]
        loose = np.float32(scale) * sigma**2
        wide = loose * (x * x + y * y)
        explained = loose * (dx * x + dy * y) ** 2 / (across + wide)
        return (dx * dx + dy * dy - explained) / across, np.log(across * (across + wide))


def still(grey: np.ndarray, matrix: np.ndarray, depth: np.ndarray, sigma: np.ndarray) -> Still:
    """See Still; depth and sigma at its cells."""
    f = grey.astype(np.float32)
    mean, square = cv2.blur(f, (5, 5)), cv2.blur(f * f, (5, 5))
    contrast = averaged(np.sqrt(np.maximum(square - mean * mean, 0.0)))
    return Still(grey, matrix, contrast, depth, sigma)


def residual(newest: Still, earlier: np.ndarray, earlier_from_newest: np.ndarray) -> Residual:
    """earlier: (CELL·h, CELL·w) uint8, the earlier image. earlier_from_newest: (4, 4) of the cameras."""
    h, w = newest.depth.shape
    centres = cell_centres(h, w)
    focal, centre = np.diag(newest.matrix)[:2].astype(np.float32), newest.matrix[:2, 2].astype(np.float32)
    pose = earlier_from_newest.astype(np.float32)
    rays = np.concatenate([(centres - centre) / focal, np.ones((h, w, 1), np.float32)], -1)
    turned = (rays.reshape(-1, 3) @ pose[:3, :3].T).reshape(h, w, 3) * newest.depth[..., None]
    z = turned[..., 2] + pose[2, 3]
    known = z > 0.05 * newest.depth  # not where NaN
    z = np.where(known, z, np.float32(1.0))
    sides = np.where(known[..., None], (turned[..., :2] + pose[:2, 3]) / z[..., None], np.float32(-1e3))
    place = sides * focal + centre
    along = np.where(
        known[..., None], (turned[..., :2] - sides * turned[..., 2:]) / z[..., None] * focal, 0.0
    )
    inside = known & _within(place, newest.grey.shape)
    # What the earlier image does not show is filled with the newest: flow finds nothing there, and runs to nowhere.
    full = cv2.resize(place, newest.grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    shown = cv2.resize(inside.astype(np.uint8), newest.grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    warped = cv2.remap(earlier, full, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    warped = np.where(shown, warped, newest.grey)
    dis = _optical_flow()
    flow, back = dis.calc(newest.grey, warped, None), dis.calc(warped, newest.grey, None)
    flow, back = averaged(flow), averaged(back)
    there = centres + flow
    offset = at(place, there) - place
    trip = larger(np.abs(flow + at(back, there)))
    difference = at(averaged(warped).astype(np.float32), there) - averaged(newest.grey)
    mean, square = cv2.blur(difference, (3, 3)), cv2.blur(difference * difference, (3, 3))
    unlike = np.sqrt(np.maximum(square - mean * mean, 0.0))
    seen = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & _within(
        there, newest.grey.shape
    )
    seen &= (unlike < LEVEL + UNLIKE * newest.contrast) & (trip < ROUND_TRIP + 0.1 * larger(np.abs(flow)))
    seen &= ~_hidden(place, z, inside)
    variance = np.float32(FLOW_SIGMA**2) * (1.0 + (CONTRAST / np.maximum(newest.contrast, 0.1)) ** 2)
    offset[~seen] = 0.0
    moved = np.where(inside[..., None], place + offset, centres) - centres
    found = Residual(offset, along.astype(np.float32), variance.astype(np.float32), seen, moved, ~seen)
    found = _settled(found, newest.sigma, sides, z, focal)
    return replace(found, revealed=_revealed(found))


def _settled(found: Residual, sigma, sides, z, focal) -> Residual:
    """Without what an error of the pose explains: the one that most of the view agrees on."""
    rows = np.s_[::STRIDE, ::STRIDE]
    use = found.seen[rows]
    if use.sum() < FEWEST:
        return replace(found, seen=np.zeros_like(found.seen))
    e, along, variance, s, xy, depth = (
        x[rows][use].astype(np.float64) for x in (found.offset, found.along, found.variance, sigma, sides, z)
    )
    jacobian = _jacobian(xy, depth, focal)
    covariance = (
        variance[:, None, None] * np.eye(2) + (s**2)[:, None, None] * along[:, :, None] * along[:, None]
    )
    information = np.linalg.inv(covariance)
    weighted = jacobian.swapaxes(1, 2) @ information
    prior = np.diag([(POSE_SHIFT * float(np.median(depth))) ** -2] * 3 + [POSE_TURN**-2] * 3)
    weighted, flat = weighted.swapaxes(1, 2), jacobian.reshape(-1, 6)  # (N, 2, 6), (2 N, 6)
    error = np.zeros(6)
    for _ in range(PASSES):
        left = e - (flat @ error).reshape(-1, 2)
        squared = (left * (information @ left[..., None])[..., 0]).sum(axis=1)
        each = ((1.0 + squared / KERNEL**2) ** -2)[:, None, None] * weighted
        each = each.reshape(-1, 6).T
        error = np.linalg.solve(each @ flat + prior, each @ e.ravel())
    explained = _jacobian(sides, z, focal) @ error.astype(np.float32)
    return replace(
        found, offset=np.where(found.seen[..., None], found.offset - explained, 0.0).astype(np.float32)
    )


def _revealed(found: Residual) -> np.ndarray:
    """See Residual: where the earlier image shows what is elsewhere by now, something else was hidden."""
    h, w = found.seen.shape
    places = cell_centres(h, w) + found.moved
    left = places[found.seen & (larger(np.abs(found.offset)) > LEFT)]
    columns, rows = np.rint((left - (CELL - 1) / 2) / CELL).astype(np.intp).T
    covered = np.zeros((h, w), np.float32)
    covered[rows.clip(0, h - 1), columns.clip(0, w - 1)] = 1.0
    covered = cv2.dilate(covered, np.ones((3, 3), np.uint8))
    return ~found.seen & (at(covered, places) > 0.5)


def _jacobian(sides: np.ndarray, z: np.ndarray, focal: np.ndarray) -> np.ndarray:
    """(..., 2, 6): how pixels at `sides` (x/z, y/z) and depth z go with a shift and a turn of the points."""
    x, y = sides[..., 0], sides[..., 1]
    zero, near = np.zeros_like(x), 1.0 / z
    u = np.stack([near, zero, -x * near, -x * y, 1 + x * x, -y], -1)
    v = np.stack([zero, near, -y * near, -1 - y * y, x * y, x], -1)
    return np.stack([u * focal[0], v * focal[1]], -2)


def _hidden(place: np.ndarray, z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(h, w) bool: cells behind others in the earlier image, as far as depth and poses say."""
    h, w = z.shape
    columns, rows = np.rint((place[inside] - 0.5) / CELL).astype(np.intp).T
    depths = z[inside]
    nearest = np.full((h + 1, w + 1), np.float32(FARTHEST * depths.max(initial=1.0)))
    order = np.argsort(-depths)
    nearest[rows[order], columns[order]] = depths[order]  # of several the nearest comes last
    nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8))
    hidden = np.zeros((h, w), bool)
    hidden[inside] = depths > BEHIND * nearest[rows, columns]
    return hidden


@lru_cache(maxsize=4)
def cell_centres(h: int, w: int) -> np.ndarray:
    """(h, w, 2) float32, small pixels."""
    return (CELL * np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1) + (CELL - 1) / 2).astype(np.float32)


def larger(pairs: np.ndarray) -> np.ndarray:
    """The larger of each pair (h, w, 2)."""
    return np.maximum(pairs[..., 0], pairs[..., 1])


def averaged(values: np.ndarray) -> np.ndarray:
    """Small pixels' values, averaged."""
    h, w = values.shape[:2]
    return cv2.resize(values, (w // CELL, h // CELL), interpolation=cv2.INTER_AREA)


def at(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values (h, w, …) of cells at small pixels (h, w, 2)."""
    cells = (there - np.float32((CELL - 1) / 2)) / np.float32(CELL)
    return cv2.remap(values, cells, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _within(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    x, y = pixels[..., 0], pixels[..., 1]
    return (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1)


@lru_cache(maxsize=1)
def _optical_flow():
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setVariationalRefinementIterations(3)
    return dis
