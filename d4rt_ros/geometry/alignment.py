"""The similarity or rigid transform that takes one point set onto another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import pose_matrix


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
        return self.scale * (np.asarray(points) @ self.rotation.T) + self.translation


def umeyama(source, target, weights=None, with_scale: bool = True) -> Similarity:
    """The weighted least-squares similarity of (N, 3) source to (N, 3) target points (Umeyama 1991).

    weights: (N,) >= 0, or None for all alike. Rows that are not finite count for nothing. Raises
    AlignmentError where fewer than 3 points are left or these lie on one line (any turn about it would do).
    """
    source, target, weights = _checked(source, target, weights)
    total = weights.sum()
    if np.count_nonzero(weights) < 3:
        raise AlignmentError(f"{np.count_nonzero(weights)} usable points; a transform needs 3 that are finite and weigh")
    share = (weights / total)[:, None]
    source_mean, target_mean = (share * source).sum(0), (share * target).sum(0)
    a, b = source - source_mean, target - target_mean
    variance = float((share * a * a).sum())
    u, singular, vt = np.linalg.svd((share * b).T @ a)
    if not singular[1] > 1e-9 * max(np.sqrt(variance * (share * b * b).sum()), np.finfo(float).tiny):
        raise AlignmentError("the points lie on one line or in one place, so their rotation is not determined")
    # Without this sign noise can turn the best orthogonal matrix into a mirror.
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / variance) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def robust_umeyama(
    source, target, weights=None, with_scale: bool = True, iterations: int = 20
) -> tuple[Similarity, np.ndarray]:
    """`umeyama` that up to nearly half of the points may contradict (moving things, gross errors).

    Returns the similarity and which points (N,) bool agree with it. Iteratively reweighted (Geman-McClure),
    its width following the median residual, then least squares over the points within it. Residuals count in
    proportion to sqrt(weight): with weights confidence / depth² it is relative error that is compared, as is
    right for depth that was predicted. Raises AlignmentError as `umeyama` does.
    """
    source, target, weights = _checked(source, target, weights)
    used = weights > 0
    root = np.sqrt(weights)
    # What is left of rounding must not count as a scatter to cut into.
    floor = 1e-6 * np.sqrt((weights[:, None] * (target - target[used].mean(0)) ** 2).sum() / max(used.sum(), 1)) \
        if used.any() else 0.0
    fit, robust, last = None, weights, np.inf
    for _ in range(iterations):
        fit = umeyama(source, target, robust, with_scale)
        residual = root * np.linalg.norm(fit.apply(source) - target, axis=1)
        sigma = max(1.4826 * float(np.median(residual[used])), floor, np.finfo(float).tiny)
        robust = weights / (1.0 + (residual / (2.0 * sigma)) ** 2) ** 2
        if abs(last - sigma) <= 1e-4 * sigma:
            break
        last = sigma
    inliers = used & (residual <= 3.0 * sigma)
    fit = umeyama(source, target, weights * inliers, with_scale)
    return fit, inliers


def _checked(source, target, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 arrays with the useless rows zeroed, in points and in weight."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 3:
        raise AlignmentError(f"point sets of shapes {source.shape} and {target.shape}; give two of one (N, 3)")
    weights = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(source),) or (weights < 0).any():
        raise AlignmentError(f"weights of shape {weights.shape}; give ({len(source)},) numbers, none negative")
    usable = np.isfinite(source).all(1) & np.isfinite(target).all(1) & np.isfinite(weights)
    return np.where(usable[:, None], source, 0.0), np.where(usable[:, None], target, 0.0), np.where(usable, weights, 0.0)
