"""Where one image was taken: its pose from landmarks (resection), or its rotation alone from pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.arguments import real_array, whole_number
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.perturbation import columns, cross, observe, perturbation, perturbed
from d4rt_ros.geometry.robust import (
    NARROW,
    WIDE,
    check_kernel,
    inverse_information,
    kernel_calibration,
    robust_cost,
    robust_weights,
)
from d4rt_ros.geometry.transforms import is_rigid, nearest_rotation, pose_matrix

MIN_POINTS = 6
# A point of less weight than this has no say in whether a pose is determined.
USABLE_WEIGHT = 0.05
# Where more points than this share have less, something large may move.
MANY_ASTRAY = 0.15
UNDETERMINED = "the points do not determine the pose: they lie on one line or in one place"


class ResectionError(ValueError):
    """Points that do not determine a pose."""


@dataclass(frozen=True)
class GaussianPose:
    """What is known of a pose: mean (4, 4), information (6, 6), the inverse covariance of its perturbation."""

    mean: np.ndarray
    information: np.ndarray

    def __post_init__(self) -> None:
        information = real_array(self.information, "a pose's information", (6, 6))
        if not is_rigid(self.mean):
            raise ValueError("a prior's mean is no rigid transform; give a finite (4, 4) pose")
        if not (np.isfinite(information).all() and np.allclose(information, information.T, rtol=1e-6)):
            raise ValueError("a prior's information is no finite, symmetric (6, 6) matrix")
        object.__setattr__(self, "mean", real_array(self.mean, "a prior's mean"))
        object.__setattr__(self, "information", information)


@dataclass(frozen=True)
class Resection:
    """world_from_camera (4, 4).

    covariance: (6, 6) of its perturbation (see `geometry.perturbation`), as if the points' errors were independent.
    weights: (N,) 0..1, of the kernel; 0 where a point is behind the camera or not finite.
    residuals: (N, 2) pixels, seen minus projected; 0 where the weight is.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True)
class RotationFit:
    """a_from_b (3, 3); covariance (3, 3) of its turns about the axes of a; weights (N,) and residuals (N, 2) in
    pixels of b, as of a Resection."""

    a_from_b: np.ndarray
    covariance: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray


def resect(
    points,
    spread,
    pixels,
    camera: Pinhole,
    start,
    pixel_sigma: float = 0.5,
    prior: GaussianPose | None = None,
    iterations: int = 8,
    kernel: tuple[float, float] = (WIDE, NARROW),
) -> Resection:
    """The pose of a camera that sees landmarks, points (N, 3) of the world, at pixels (N, 2).

    spread: (N, 3), the standard deviation of each landmark as a vector, along the ray that it was found on; zeros
    where it is known. The covariance of a residual is pixel_sigma² I + j jᵀ, j the projected spread, so that an
    uncertain depth counts across its epipolar line alone. start: (4, 4), near the truth. prior: what a motion model
    says. Gauss-Newton, reweighted by a kernel (first, last) that narrows (`geometry.robust`); where many points
    disagree also from the start by the narrow one alone, and the better of the two is the answer. Whether enough points
    agree for it to be believed is the caller's to judge, by the weights.

    Raises ResectionError where fewer than 6 points are usable (finite, in front, and in the end of some weight), or
    these do not determine a pose; ValueError for arguments that cannot be.
    """
    points, spread = (real_array(x, name, (None, 3)) for x, name in ((points, "points"), (spread, "spread")))
    pixels, start = real_array(pixels, "pixels", (None, 2)), real_array(start, "start", (4, 4))
    _check_settings(pixel_sigma, iterations, kernel)
    if not len(points) == len(spread) == len(pixels):
        raise ValueError(
            f"{len(points)} points, {len(spread)} spreads, {len(pixels)} pixels; one of each is expected"
        )
    if not is_rigid(start):
        raise ValueError("start is no rigid transform; give a finite (4, 4) pose")
    finite = np.isfinite(np.concatenate([points, spread, pixels], axis=1)).all(axis=1)
    # Side by side, as `columns` are.
    points, spread, pixels = (np.where(finite, x.T, 0.0) for x in (points, spread, pixels))

    def linearise(pose: np.ndarray):
        rotation, centre = columns(pose[None])
        seen, by_point, front = observe(rotation, centre, points, camera)
        used = finite & front
        _check_count(used)
        off = np.where(used, pixels - seen, 0.0)
        by_turn = cross(by_point, (points - centre)[:, None])
        line = (by_point * spread[:, None]).sum(axis=0)
        residual, *jacobian = _whitened(np.concatenate([off[None], -by_point, by_turn]), line, pixel_sigma)
        return off, residual, np.array(jacobian), used

    def descended(widths) -> _Descent:
        pose = start
        for k in widths:
            _, residual, jacobian, used = linearise(pose)
            normal, gradient, _ = _normal_equations(jacobian, residual, used, k)
            if prior is not None:
                _add_prior(normal, gradient, pose, prior)
            pose = perturbed(pose, _step(normal, gradient))
        off, residual, jacobian, used = linearise(pose)
        k = kernel[1]
        information, _, weights = _normal_equations(jacobian, residual, used, k)
        squared = np.where(used, (residual**2).sum(axis=0), np.inf)[finite]
        cost = kernel_calibration(k)[0] * float(robust_cost(squared, k).sum())
        if prior is not None:
            cost += _add_prior(information, np.zeros(6), pose, prior)
        return _Descent(cost, pose, information, weights, off)

    best = descended(np.geomspace(*kernel, iterations))
    if np.count_nonzero(best.weights < USABLE_WEIGHT) > MANY_ASTRAY * np.count_nonzero(finite):
        # The wide kernel may have gone half way towards what moves; the narrow one stays with what is near the start.
        try:
            best = min(best, descended([kernel[1]] * iterations), key=lambda x: x.cost)
        except ResectionError:
            pass
    _check_count(best.weights > USABLE_WEIGHT)
    pose = pose_matrix(nearest_rotation(best.pose[:3, :3]), best.pose[:3, 3])
    return Resection(pose, _covariance(best.information), best.weights, best.off.T)


def rotation_only(
    pixels_a,
    pixels_b,
    camera: Pinhole,
    pixel_sigma: float = 0.5,
    iterations: int = 8,
    kernel: tuple[float, float] = (WIDE, NARROW),
) -> RotationFit:
    """The rotation between two images of one camera that takes pixels a (N, 2) nearest to pixels b (N, 2).

    What it leaves is parallax, besides noise and what moves: where the residuals of most points are like
    pixel_sigma, the camera may have turned on the spot and no depth can be had from the two. Starts from the rotation
    between the rays (Kabsch 1976), with a kernel as wide as the residuals. Raises as `resect`.
    """
    a, b = real_array(pixels_a, "pixels_a", (None, 2)), real_array(pixels_b, "pixels_b", (None, 2))
    _check_settings(pixel_sigma, iterations, kernel)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} pixels of one image and {len(b)} of the other; pairs are expected")
    finite = np.isfinite(np.concatenate([a, b], axis=1)).all(axis=1)
    _check_count(finite)
    a, b = np.where(finite[:, None], a, 0.0), np.where(finite[:, None], b, 0.0)
    rays, rays_b = camera.backproject(a, np.ones(len(a))), camera.backproject(b, np.ones(len(b)))

    def linearise(pose: np.ndarray):
        seen, by_point, front = observe(pose[:3, :3, None], 0.0, rays.T, camera)
        used = finite & front
        _check_count(used)
        off = np.where(used, b.T - seen, 0.0)
        return off, off / pixel_sigma, cross(by_point, rays.T[:, None]) / pixel_sigma, used

    pose = np.eye(4)
    pose[:3, :3] = Rotation.align_vectors(rays[finite], rays_b[finite])[0].as_matrix()
    _, residual, _, used = linearise(pose)
    wide = max(kernel[0], 2.0 * float(np.median(np.hypot(*residual[:, used]))))
    for k in np.geomspace(wide, kernel[1], iterations):
        _, residual, jacobian, used = linearise(pose)
        normal, gradient, _ = _normal_equations(jacobian, residual, used, k)
        pose = perturbed(pose, np.concatenate([np.zeros(3), _step(normal, gradient)]))
    off, residual, jacobian, used = linearise(pose)
    information, _, weights = _normal_equations(jacobian, residual, used, kernel[1])
    return RotationFit(nearest_rotation(pose[:3, :3]), _covariance(information), weights, off.T)


@dataclass(frozen=True)
class _Descent:
    """Where Gauss-Newton ended: robust cost, pose (4, 4), information (6, 6), weights (N,), off (2, N) pixels."""

    cost: float
    pose: np.ndarray
    information: np.ndarray
    weights: np.ndarray
    off: np.ndarray


def _whitened(values: np.ndarray, line: np.ndarray, sigma: float) -> np.ndarray:
    """Values (..., 2, N) times the inverse root of sigma² I + line lineᵀ, line (2, N)."""
    length = np.maximum(np.hypot(*line), np.finfo(float).tiny)
    direction = line / length
    along = (values * direction).sum(axis=-2, keepdims=True)
    return (values - direction * along * (1.0 - sigma / np.hypot(sigma, length))) / sigma


def _normal_equations(jacobian, residual, used, k: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix (P, P), right side (P,) and weights (N,) of whitened residuals (2, N), seen minus projected, and of the
    projections' derivatives (P, 2, N); the matrix is the information that normal residuals carry."""
    weights = used * robust_weights((residual**2).sum(axis=0), k)
    scale, curvature = kernel_calibration(k)
    weighted = (jacobian * (scale * weights)).reshape(len(jacobian), -1)
    normal = curvature * weighted @ jacobian.reshape(len(jacobian), -1).T
    return normal, weighted @ residual.ravel(), weights


def _add_prior(normal: np.ndarray, gradient: np.ndarray, pose: np.ndarray, prior: GaussianPose) -> float:
    """Adds to both in place, and returns the prior's cost."""
    away, derivative = perturbation(pose, prior.mean)
    normal += derivative.T @ prior.information @ derivative
    gradient -= derivative.T @ prior.information @ away
    return float(away @ prior.information @ away)


def _step(normal: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    try:
        step = np.linalg.solve(normal, gradient)
    except np.linalg.LinAlgError:
        raise ResectionError(UNDETERMINED) from None
    if not np.isfinite(step).all():
        raise ResectionError(UNDETERMINED)
    return step


def _covariance(information: np.ndarray) -> np.ndarray:
    try:
        return inverse_information(information)
    except np.linalg.LinAlgError:
        raise ResectionError(UNDETERMINED) from None


def _check_count(used: np.ndarray) -> None:
    count = np.count_nonzero(used)
    if count < MIN_POINTS:
        raise ResectionError(
            f"{count} of {len(used)} points are usable (finite, in front of the camera and in agreement); "
            f"a pose needs {MIN_POINTS}"
        )


def _check_settings(pixel_sigma: float, iterations: int, kernel: tuple[float, float]) -> None:
    whole_number(iterations, "iterations", 1)
    if not 0 < pixel_sigma < np.inf:
        raise ValueError(f"pixel_sigma = {pixel_sigma}; a positive number of pixels is expected")
    check_kernel(kernel)
