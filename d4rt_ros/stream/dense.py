"""Dense depth from few sure points: a smooth correction of the model's log depth, and how sure it is.

The correction f is a Gaussian Markov random field (Rue and Held 2005) on a coarse lattice over the image: neighbours
differ little, except across jumps of the model's depth and edges of the image. f deviates from a common offset, which
has a prior of its own; where no point says anything, the offset stands, and where no point is at all, its prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import distance_transform_edt

from d4rt_ros.geometry.arguments import real_array

NODES = 18  # of the lattice along the shorter side
NEIGHBOURS = 0.3  # sd between neighbouring nodes
DEVIATION = 2.0  # sd of each node from the common offset, besides
DEPTH_JUMP, INTENSITY_JUMP = 0.15, 15.0  # in log depth and of 255, which loosen a node from its neighbour
PASSES = 3
CUT = 2.5  # sd at which a point loses most of its weight (Geman-McClure)
MODEL_SIGMA = 0.05  # of the model's log depth about any smooth correction
BLUR = 0.1  # nodes whose log depth differs by more say little of a pixel between them (Kopf 2007)
SURFACE = 0.15  # pixels of a grid that differ less in log depth are of one surface


@dataclass(frozen=True)
class Correction:
    """What the model's depth is to be multiplied by.

    log: (h, w) float64, its logarithm; sigma: (h, w), the relative standard deviation of the corrected depth.
    offset, offset_sigma: the common part of `log` and its standard deviation: the prior for the next window.
    agreement: (N,) in 0..1, the weight of each point by how well it agrees with the others; 0 for unusable ones.
    """

    log: np.ndarray
    sigma: np.ndarray
    offset: float
    offset_sigma: float
    agreement: np.ndarray


def correction(
    log_depth,
    image,
    pixels,
    values,
    sigmas,
    prior: tuple[float, float] = (0.0, 0.3),
) -> Correction:
    """The correction of a model's log depth (h, w) by N points of known depth.

    log_depth: on a grid over the image, corner pixel to corner pixel (`tasks.pixel_grid`); NaN where unknown.
    image: (H, W) or (H, W, 3) uint8. pixels: (N, 2). values: (N,) log depth of the points minus the model's there
    (`sample_depth`). sigmas: (N,) their standard deviations. Rows that are not finite count for nothing.
    prior: mean and standard deviation of the common offset before the points are seen.
    """
    log_depth = real_array(log_depth, "log_depth", (None, None))
    pixels, values = real_array(pixels, "pixels", (None, 2)), real_array(values, "values", (None,))
    sigmas = real_array(sigmas, "sigmas", (None,))
    if not len(pixels) == len(values) == len(sigmas):
        raise ValueError(
            f"{len(pixels)} pixels, {len(values)} values, {len(sigmas)} sigmas; give one of each"
        )
    size = np.shape(image)[:2]
    known = np.isfinite(log_depth)
    filled = _filled(log_depth, known)
    lattice = _Lattice.over(filled, image)
    usable = np.isfinite(pixels).all(1) & np.isfinite(values) & np.isfinite(sigmas) & (sigmas > 0)
    agreement = np.zeros(len(values))
    at = pixels[usable] / (np.array(size[::-1]) - 1.0)
    nodes, share = lattice.interpolation(at, _nearest(filled, at))
    y, variance = values[usable], sigmas[usable] ** 2 + MODEL_SIGMA**2
    weight = np.ones(len(y))
    for k in range(PASSES + 1):
        band = lattice.precision(nodes, share, weight / variance)
        field, per_offset, offset, information = _solve(
            band, lattice.information(nodes, share, weight / variance, y), prior
        )
        if k < PASSES:
            residual = (y - (share * field[nodes]).sum(1)) / np.sqrt(variance)
            weight = 1.0 / (1.0 + (residual / CUT) ** 2) ** 2
    agreement[usable] = weight
    node_variance = lattice.variances(band) + per_offset**2 / information
    h, w = log_depth.shape
    u, v = np.meshgrid(np.linspace(0, 1, w), np.linspace(0, 1, h))
    nodes, share = lattice.interpolation(np.stack([u.ravel(), v.ravel()], 1), filled.ravel())
    log = (share * field[nodes]).sum(1).reshape(h, w)
    sigma = np.sqrt((share * node_variance[nodes]).sum(1) + MODEL_SIGMA**2).reshape(h, w)
    return Correction(log, sigma, float(offset), float(information**-0.5), agreement)


def sample_depth(log_depth, pixels, size: tuple[int, int]) -> np.ndarray:
    """The model's log depth at pixels (N, 2) of an image of `size` (H, W): (N,), interpolated on its grid (h, w).

    NaN where the four grid pixels around are not of one surface: unknown, or with a jump of depth among them; and
    outside the image.
    """
    log_depth = real_array(log_depth, "log_depth", (None, None))
    pixels = real_array(pixels, "pixels", (None, 2))
    h, w = log_depth.shape
    inside = ((pixels >= 0) & (pixels <= np.array(size[::-1]) - 1.0)).all(1)
    at = np.where(inside[:, None], pixels, 0.0) * (np.array([w, h]) - 1.0) / (np.array(size[::-1]) - 1.0)
    corner = np.minimum(at.astype(int), np.array([w, h]) - 2)
    x, y = (at - corner).T
    i, j = corner[:, 1], corner[:, 0]
    four = np.stack([log_depth[i, j], log_depth[i, j + 1], log_depth[i + 1, j], log_depth[i + 1, j + 1]], 1)
    share = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)
    one_surface = inside & (four.max(1) - four.min(1) < SURFACE)
    return np.where(one_surface, (share * four).sum(1), np.nan)


def _filled(log_depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """With the nearest known value where there is none; zeros where there is none at all."""
    if known.all():
        return log_depth
    if not known.any():
        return np.zeros_like(log_depth)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return log_depth[tuple(nearest)]


def _nearest(grid: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of a grid at points (N, 2) in 0..1 of it."""
    h, w = grid.shape
    j, i = np.clip(np.rint(at * (np.array([w, h]) - 1.0)).astype(int), 0, [w - 1, h - 1]).T
    return grid[i, j]


@dataclass(frozen=True)
class _Lattice:
    """Nodes over the image, from corner to corner, numbered along the shorter side first, which keeps the band narrow.

    shape: (rows, columns). depth: (nodes,) log depth. smooth: the band, (b + 1, nodes) lower form, of the prior.
    """

    shape: tuple[int, int]
    depth: np.ndarray
    smooth: np.ndarray

    @classmethod
    def over(cls, log_depth: np.ndarray, image) -> _Lattice:
        height, width = np.shape(image)[:2]
        unit = NODES / min(height, width)
        rows, columns = max(round(height * unit), 2), max(round(width * unit), 2)
        u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
        middle = cv2.medianBlur(log_depth.astype(np.float32), 3) if min(log_depth.shape) > 2 else log_depth
        depth = _nearest(middle, np.stack([u.ravel(), v.ravel()], 1)).reshape(rows, columns).astype(float)
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        grey = (cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.ndim == 3 else small).astype(float)
        lines = depth.T if rows <= columns else depth
        grey = grey.T if rows <= columns else grey
        short = min(rows, columns)
        across, along = _coupling(lines, grey, 0), _coupling(lines, grey, 1)
        band = np.zeros((short + 2, depth.size))
        diagonal = np.full(lines.shape, DEVIATION**-2)
        for coupling, before, after in (
            (across, np.s_[:-1], np.s_[1:]),
            (along, np.s_[:, :-1], np.s_[:, 1:]),
        ):
            diagonal[before] += coupling
            diagonal[after] += coupling
        band[0] = diagonal.ravel()
        band[1].reshape(lines.shape)[:, :-1] = -along
        band[short].reshape(lines.shape)[:-1] = -across
        return cls((rows, columns), lines.ravel(), band)

    def interpolation(self, at: np.ndarray, log_depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of points (N, 2) in 0..1 of the image, with their log depth: nodes (N, 4) and their shares (N, 4).

        Joint bilateral (Kopf et al. 2007): of the four nodes around those of the same depth count.
        """
        rows, columns = self.shape
        place = np.clip(at, 0.0, 1.0) * (np.array([columns, rows]) - 1.0)
        corner = np.minimum(place.astype(int), np.array([columns, rows]) - 2)
        x, y = (place - corner).T
        step_x, step_y = (rows, 1) if rows <= columns else (1, columns)
        first = corner[:, 0] * step_x + corner[:, 1] * step_y
        nodes = first[:, None] + np.array([0, step_x, step_y, step_x + step_y])
        share = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1) + 1e-3
        share /= 1e-3 + ((self.depth[nodes] - log_depth[:, None]) / BLUR) ** 4 + 1.0
        return nodes, share / share.sum(1, keepdims=True)

    def precision(self, nodes: np.ndarray, share: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The prior's band with that of the points' information."""
        count = len(self.depth)
        i, j = np.triu_indices(4)
        low = np.minimum(nodes[:, i], nodes[:, j])
        offset = np.abs(nodes[:, i] - nodes[:, j])
        value = weight[:, None] * share[:, i] * share[:, j]
        band = np.bincount((offset * count + low).ravel(), value.ravel(), self.smooth.size)
        return self.smooth + band.reshape(self.smooth.shape)

    def information(self, nodes, share, weight, y) -> np.ndarray:
        return np.bincount(nodes.ravel(), (share * (weight * y)[:, None]).ravel(), len(self.depth))

    def variances(self, band: np.ndarray) -> np.ndarray:
        """The diagonal of the inverse of a matrix in lower band form, which is block tridiagonal.

        By elimination from both ends: inv(A)ii = inv(F_i + G_i - D_i), where F_i and G_i are the Schur complements of
        the block D_i after all before and after all behind it are eliminated (block Thomas algorithm).
        """
        short = min(self.shape)
        lines = band.shape[1] // short
        blocks = np.zeros((lines, short, 2 * short))  # of columns of nodes: rows of these and of the next
        i = np.arange(short)
        for k in np.flatnonzero(band.any(1)):
            near = i[: 2 * short - k]  # the band of the last node ends one beyond the next line
            blocks[:, near, near + k] = band[k].reshape(lines, short)[:, near]
        diagonal = blocks[:, :, :short].copy()
        diagonal += np.triu(diagonal, 1).swapaxes(1, 2)
        next_ = blocks[:-1, :, short:]  # rows: nodes of this line; columns: of the next
        both = np.stack([diagonal, diagonal[::-1]])
        link = np.stack([next_, next_[::-1].swapaxes(1, 2)])
        for n in range(lines - 1):
            both[:, n + 1] -= link[:, n].swapaxes(1, 2) @ np.linalg.solve(both[:, n], link[:, n])
        inverse = np.linalg.inv(both[0] + both[1, ::-1] - diagonal)
        return np.diagonal(inverse, axis1=1, axis2=2).ravel()


def _coupling(depth: np.ndarray, grey: np.ndarray, axis: int) -> np.ndarray:
    jump = (np.diff(depth, axis=axis) / DEPTH_JUMP) ** 2 + (np.diff(grey, axis=axis) / INTENSITY_JUMP) ** 2
    return NEIGHBOURS**-2 / (1.0 + jump)


def _solve(band, information, prior: tuple[float, float]):
    """The field and its dependence on the offset, the offset and its information, that of the points in it."""
    mean, sigma = prior
    pull = DEVIATION**-2
    alone, per_offset = solveh_banded(
        band, np.stack([information, np.full(len(information), pull)], 1), lower=True, check_finite=False
    ).T
    certainty = sigma**-2 + pull * (1.0 - per_offset).sum()
    offset = (mean * sigma**-2 + pull * alone.sum()) / certainty
    return alone + offset * per_offset, per_offset, offset, certainty
