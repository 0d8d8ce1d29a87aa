"""The similarity or rigid transform that takes one point set onto another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.arguments import real_array, whole_number
from d4rt_ros.geometry.transforms import pose_matrix

# The median length of a vector of three normal errors of deviation 1.
MEDIAN_LENGTH = 1.538


class AlignmentError(ValueError):
    """Point sets that do not determine a transform."""


@dataclass(frozen=True)
class Similarity:
    """target = scale · rotation · source + translation; rotation (3, 3), translation (3,), float64."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4), the scale within; rigid where the scale is 1."""
        return pose_matrix(self.scale * self.rotation, self.translation)

    def apply(self, points) -> np.ndarray:
        """Points (..., 3) of the source in the target."""
        points = real_array(points, "points", (..., 3), dtype=None)
        return self.scale * (points @ self.rotation.T) + self.translation


def umeyama(source, target, weights=None, with_scale: bool = True) -> Similarity:
    """The weighted least-squares similarity of (N, 3) source to (N, 3) target points (Umeyama 1991).

    weights: (N,) >= 0, or None for all alike. Rows that are not finite count for nothing. Raises
    AlignmentError where fewer than 3 points are left or these lie on one line (any turn about it would do).
    """
    source, target, weights = _checked(source, target, weights)
    total = weights.sum()
    if np.count_nonzero(weights) < 3:
        raise AlignmentError(
            f"{np.count_nonzero(weights)} usable points; a transform needs 3 that are finite and weigh"
        )
    share = (weights / total)[:, None]
    source_mean, target_mean = (share * source).sum(0), (share * target).sum(0)
    a, b = source - source_mean, target - target_mean
    variance = float((share * a * a).sum())
    u, singular, vt = np.linalg.svd((share * b).T @ a)
    if not singular[1] > 1e-9 * max(np.sqrt(variance * (share * b * b).sum()), np.finfo(float).tiny):
        raise AlignmentError(
            "the points lie on one line or in one place, so their rotation is not determined"
        )
    # Without this sign noise can turn the best orthogonal matrix into a mirror.
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / variance) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def robust_umeyama(
    source, target, weights=None, with_scale: bool = True, iterations: int = 20
) -> tuple[Similarity, np.ndarray]:
    """`umeyama` that up to nearly half of the points may contradict (moving things, gross errors).

    Returns the similarity and which points (N,) bool agree with it. Starts from all points or from the three
    that the median residual likes best, whichever it likes better; then iteratively reweights (Geman-McClure)
    to the scatter of the residuals. Residuals count in proportion to sqrt(weight): with weights confidence /
    depth² it is relative error that is compared, as is right for predicted depth. Deterministic. Raises
    AlignmentError as `umeyama` does.
    """
    iterations = whole_number(iterations, "iterations", 1)
    source, target, weights = _checked(source, target, weights)
    used, root = weights > 0, np.sqrt(weights)
    fit = umeyama(source, target, weights, with_scale)
    # What rounding leaves must not count as a scatter to cut into.
    size = root * np.linalg.norm(target - fit.translation, axis=1)
    floor = max(1e-9 * float(size.max()), np.finfo(float).tiny)

    def residuals(similarity: Similarity) -> np.ndarray:
        return root * np.linalg.norm(similarity.apply(source) - target, axis=1)

    starts = (fit, _best_of_triples(source, target, root, used, with_scale))
    residual = min((residuals(start) for start in starts), key=lambda r: np.median(r[used]))
    for _ in range(iterations):
        sigma = max(float(np.median(residual[used])) / MEDIAN_LENGTH, floor)
        fit = umeyama(source, target, weights / (1.0 + (residual / (2.0 * sigma)) ** 2) ** 2, with_scale)
        previous, residual = residual, residuals(fit)
        if np.abs(residual - previous).max() <= 1e-6 * sigma:
            break
    inliers = used & (residual <= 3.0 * max(float(np.median(residual[used])) / MEDIAN_LENGTH, floor))
    return umeyama(source, target, weights * inliers, with_scale), inliers


def _best_of_triples(source, target, root, used, with_scale: bool, count: int = 64) -> Similarity:
    """Of `count` triples of points, the one whose similarity has the least median residual."""
    rows = np.flatnonzero(used)
    picks = rows[np.random.default_rng(0).integers(0, len(rows), (count, 3))]
    a, b = source[picks], target[picks]
    a_mean, b_mean = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    a, b = a - a_mean, b - b_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(b, 1, 2) @ a)
    sign = np.ones((count, 3))
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[:, None, :]) @ vt
    variance = np.maximum((a * a).sum(axis=(1, 2)), np.finfo(float).tiny)
    scale = (singular * sign).sum(axis=1) / variance if with_scale else np.ones(count)
    scaled = scale[:, None, None] * rotation
    translation = b_mean[:, 0] - (scaled @ a_mean.swapaxes(1, 2))[..., 0]
    moved = source[rows] @ scaled.swapaxes(1, 2) + translation[:, None]
    residual = np.median(root[rows] * np.linalg.norm(moved - target[rows], axis=2), axis=1)
    k = int(np.argmin(residual))
    return Similarity(float(scale[k]), rotation[k], translation[k])


def _checked(source, target, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 arrays with the useless rows zeroed, in points and in weight."""
    source, target = (real_array(x, "a point set", error=AlignmentError) for x in (source, target))
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 3:
        raise AlignmentError(
            f"point sets of shapes {source.shape} and {target.shape}; give two of one (N, 3)"
        )
    weights = (
        np.ones(len(source)) if weights is None else real_array(weights, "weights", error=AlignmentError)
    )
    if weights.shape != (len(source),) or (weights < 0).any():
        raise AlignmentError(
            f"weights of shape {weights.shape}; give ({len(source)},) numbers, none negative"
        )
    usable = np.isfinite(source).all(1) & np.isfinite(target).all(1) & np.isfinite(weights)
    return (
        np.where(usable[:, None], source, 0.0),
        np.where(usable[:, None], target, 0.0),
        np.where(usable, weights, 0.0),
    )
