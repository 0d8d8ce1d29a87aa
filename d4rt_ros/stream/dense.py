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
from d4rt_ros.tasks.questions import pixel_grid

NODES = 18  # of the lattice along the shorter side
SPREAD = 0.2  # typical sd of the model's log depth about a common offset
TYPICAL = 20.0  # points that this counts for, beside what the points themselves say
NEIGHBOURS = 1.0  # sd between neighbouring nodes, in units of that
DEVIATION = 20.0  # sd of each node from the common offset besides, in units of that
DEPTH_JUMP, INTENSITY_JUMP = 0.1, 20.0  # in log depth and of 255, which loosen a node from its neighbour
PASSES = 3
CUT = 2.5  # sd at which a point loses most of its weight (Geman-McClure)
MODEL_SIGMA = 0.15  # of the model's log depth about any smooth correction, in units of that
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
    (`sample_depth`). sigmas: (N,) their standard deviations. Rows that are not finite, or outside the image, count
    for nothing. prior: mean and standard deviation of the common offset before the points are seen; after a window,
    its offset and offset_sigma, widened by what may change until the next.
    """
    log_depth = real_array(log_depth, "log_depth", (None, None))
    pixels, values = real_array(pixels, "pixels", (None, 2)), real_array(values, "values", (None,))
    sigmas = real_array(sigmas, "sigmas", (None,))
    if not len(pixels) == len(values) == len(sigmas):
        raise ValueError(
            f"{len(pixels)} pixels, {len(values)} values, {len(sigmas)} sigmas; give one of each"
        )
    image, (mean, deviation) = np.asarray(image), prior
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"an image of {image.dtype} {image.shape}; (H, W) or (H, W, 3) uint8 is expected")
    if not (np.isfinite(mean) and 0 < deviation < np.inf):
        raise ValueError(f"prior = {prior}; a finite mean and a standard deviation above 0 are expected")
    corner = np.array(image.shape[1::-1]) - 1.0
    filled = _filled(log_depth)
    lattice = _Lattice.over(filled, image)
    usable = (
        ((pixels >= 0) & (pixels <= corner)).all(1) & np.isfinite(values) & (0 < sigmas) & (sigmas < np.inf)
    )
    at = pixels[usable] / corner
    points = lattice.between(at, _nearest(filled, at))
    agreement = np.zeros(len(values))
    spread = _spread(values[usable], sigmas[usable])
    posterior, agreement[usable] = lattice.posterior(points, values[usable], sigmas[usable], spread, prior)
    u, v = pixel_grid(log_depth.shape, (2, 2))
    grid = lattice.between(np.stack([u.ravel(), v.ravel()], 1), filled.ravel())
    sigma = np.sqrt(grid.of(posterior.variances()) + (MODEL_SIGMA * spread) ** 2)
    return Correction(
        grid.of(posterior.field).reshape(log_depth.shape),
        sigma.reshape(log_depth.shape),
        posterior.offset,
        posterior.information**-0.5,
        agreement,
    )


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


def _spread(values: np.ndarray, sigmas: np.ndarray) -> float:
    """The standard deviation of the model's log depth about a common offset: by the points, more than their errors
    explain, as far as there are enough of them."""
    if not len(values):
        return SPREAD
    scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
    excess = max(scatter**2 - np.median(sigmas) ** 2, 0.0)
    return float(np.sqrt((len(values) * excess + TYPICAL * SPREAD**2) / (len(values) + TYPICAL)))


def _filled(log_depth: np.ndarray) -> np.ndarray:
    """With the nearest known value where there is none; zeros where there is none at all."""
    known = np.isfinite(log_depth)
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
class _Between:
    """Points between the nodes of a lattice: the nodes (N, 4) around each, and their shares in it (N, 4)."""

    nodes: np.ndarray
    share: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """Values (nodes,) at the points (N,)."""
        return (self.share * values[self.nodes]).sum(1)


@dataclass(frozen=True)
class _Posterior:
    """Of the field, given points.

    band: (b + 1, nodes) lower form, the information of its deviation from the offset. lines: of nodes.
    field: (nodes,) the mean. per_offset: (nodes,) how it goes with the offset. offset, information: the common
    part, and its inverse variance.
    """

    band: np.ndarray
    lines: int
    field: np.ndarray
    per_offset: np.ndarray
    offset: float
    information: float

    @classmethod
    def solved(cls, band, lines: int, gradient, pull: float, prior: tuple[float, float]) -> _Posterior:
        """By elimination of the field: solveh_banded's two right sides are the points' and the offset's."""
        mean, sigma = prior
        sides = np.stack([gradient, np.full(len(gradient), pull)], 1)
        alone, per_offset = solveh_banded(band, sides, lower=True, check_finite=False).T
        information = sigma**-2 + pull * (1.0 - per_offset).sum()
        offset = (mean * sigma**-2 + pull * alone.sum()) / information
        return cls(band, lines, alone + offset * per_offset, per_offset, float(offset), float(information))

    def variances(self) -> np.ndarray:
        """(nodes,), exact: the diagonal of the inverse of the band, which is block tridiagonal, and the offset's part.

        By elimination from both ends: inv(A)ii = inv(F_i + G_i - D_i), where F_i and G_i are the Schur complements of
        the block D_i after all before and after all behind it are eliminated (the block Thomas algorithm twice).
        """
        size = self.band.shape[1] // self.lines
        blocks = np.zeros((self.lines, size, 2 * size))  # a line's nodes x those of this and the next line
        i = np.arange(size)
        for k in np.flatnonzero(self.band.any(1)):
            near = i[: 2 * size - k]  # the band of the last node ends one beyond the next line
            blocks[:, near, near + k] = self.band[k].reshape(self.lines, size)[:, near]
        diagonal = blocks[:, :, :size] + np.triu(blocks[:, :, :size], 1).swapaxes(1, 2)
        link = blocks[:-1, :, size:]
        both = np.stack([diagonal, diagonal[::-1]])
        links = np.stack([link, link[::-1].swapaxes(1, 2)])
        for n in range(self.lines - 1):
            both[:, n + 1] -= links[:, n].swapaxes(1, 2) @ np.linalg.solve(both[:, n], links[:, n])
        inverse = np.linalg.inv(both[0] + both[1, ::-1] - diagonal)
        own = np.diagonal(inverse, axis1=1, axis2=2).ravel()
        return own + self.per_offset**2 / self.information


@dataclass(frozen=True)
class _Lattice:
    """Nodes over the image, from corner to corner, numbered along the shorter side first, which keeps the band narrow.

    shape: (rows, columns). depth: (nodes,) log depth. smooth: (b + 1, nodes), lower form of the band of the prior's
    information about the field's deviation from the offset.
    """

    shape: tuple[int, int]
    depth: np.ndarray
    smooth: np.ndarray

    @classmethod
    def over(cls, log_depth: np.ndarray, image: np.ndarray) -> _Lattice:
        height, width = image.shape[:2]
        unit = NODES / min(height, width)
        rows, columns = max(round(height * unit), 2), max(round(width * unit), 2)
        u, v = pixel_grid((rows, columns), (2, 2))
        calm = cv2.medianBlur(log_depth.astype(np.float32), 3)
        depth = _nearest(calm, np.stack([u.ravel(), v.ravel()], 1)).reshape(rows, columns).astype(float)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        while min(grey.shape) >= 4 * NODES:  # halving is many times as fast as what follows
            grey = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
        grey = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA).astype(float)
        if rows <= columns:
            depth, grey = depth.T, grey.T
        lines, size = depth.shape
        within, onwards = _coupling(depth, grey, 1), _coupling(depth, grey, 0)
        diagonal = np.full(depth.shape, DEVIATION**-2)
        diagonal[:, :-1] += within
        diagonal[:, 1:] += within
        diagonal[:-1] += onwards
        diagonal[1:] += onwards
        band = np.zeros((size + 2, lines, size))
        band[0], band[1, :, :-1], band[size, :-1] = diagonal, -within, -onwards
        return cls((rows, columns), depth.ravel(), band.reshape(size + 2, -1))

    def between(self, at: np.ndarray, log_depth: np.ndarray) -> _Between:
        """Points (N, 2) in 0..1 of the image, with their log depth.

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
        share /= 1.0 + ((self.depth[nodes] - log_depth[:, None]) / BLUR) ** 4
        return _Between(nodes, share / share.sum(1, keepdims=True))

    def posterior(
        self,
        points: _Between,
        values: np.ndarray,
        sigmas: np.ndarray,
        spread: float,
        prior: tuple[float, float],
    ) -> tuple[_Posterior, np.ndarray]:
        """The field given values (N,) at points, and their robust weights (N,) (Geman-McClure)."""
        i, j = np.triu_indices(4)
        low = np.minimum(points.nodes[:, i], points.nodes[:, j])
        place = (np.abs(points.nodes[:, i] - points.nodes[:, j]) * len(self.depth) + low).ravel()
        product = points.share[:, i] * points.share[:, j]
        variance = sigmas**2 + (MODEL_SIGMA * spread) ** 2
        smooth, pull = self.smooth / spread**2, (DEVIATION * spread) ** -2
        weight = np.ones(len(values))
        for k in range(PASSES + 1):
            sure = (weight / variance)[:, None]
            band = np.bincount(place, (sure * product).ravel(), smooth.size)
            gradient = np.bincount(
                points.nodes.ravel(), (points.share * sure * values[:, None]).ravel(), len(self.depth)
            )
            band = smooth + band.reshape(smooth.shape)
            posterior = _Posterior.solved(band, max(self.shape), gradient, pull, prior)
            if k < PASSES:
                residual = (values - points.of(posterior.field)) / np.sqrt(variance)
                weight = 1.0 / (1.0 + (residual / CUT) ** 2) ** 2
        return posterior, weight


def _coupling(depth: np.ndarray, grey: np.ndarray, axis: int) -> np.ndarray:
    jump = (np.diff(depth, axis=axis) / DEPTH_JUMP) ** 2 + (np.diff(grey, axis=axis) / INTENSITY_JUMP) ** 2
    return NEIGHBOURS**-2 / (1.0 + jump)
