"""Bundle adjustment of a few keyframes: poses, focal length and log depths that agree best with the pixels.

Triggs et al., "Bundle adjustment: a modern synthesis", 2000: Gauss-Newton on the robust cost, the landmarks
eliminated by the Schur complement (6.1), covariances from the same matrices (10.2). A landmark has one unknown, its log
depth in the image that it was found in (its anchor), so that what is eliminated are scalars (inverse depth: Civera et
al. 2008; its logarithm here, since the prior's error is in proportion to the depth).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array

from d4rt_ros.geometry.arguments import real_array, whole_number
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.perturbation import cross, observe, perturbation, perturbed
from d4rt_ros.geometry.resection import GaussianPose
from d4rt_ros.geometry.robust import NARROW, WIDE, kernel_calibration, robust_cost, robust_weights
from d4rt_ros.geometry.transforms import adjoint, is_rigid, pose_matrix

# Levenberg-Marquardt: the first damping where a step raises the cost, its growth, and how often it is tried.
DAMPING, DAMPING_GROWTH, DAMPING_TRIALS = 1e-3, 10.0, 6
# Of the information's smallest eigenvalue, after scaling its diagonal to 1: what is smaller is rounding.
SINGULAR = 1e-12


class BundleError(ValueError):
    """A bundle that is none, or whose poses are not determined."""


@dataclass(frozen=True)
class PosePrior:
    """What is known of one pose of a bundle, beside its pixels: of world_from_camera, or where `base` is a pose's
    index of base_from_camera, whose perturbation is about the base's axes."""

    pose: int
    known: GaussianPose
    base: int | None = None


@dataclass(frozen=True)
class Bundle:
    """K poses, L landmarks, M observations.

    poses: (K, 4, 4) world_from_camera. held: (K,) bool, which stay as they are.
    anchors: (L,) index of the pose whose image a landmark was found in; anchor_pixels: (L, 2) where.
    log_depth: (L,) log of z in the anchor's frame; prior, prior_sigma: (L,) its prior's mean and deviation.
    frames, landmarks: (M,) indices of what is observed in which image; pixels: (M, 2), NaN counts for nothing.
        Nor does an observation in the landmark's own anchor, which is what defines it.
    camera: of all images. focal_sigma: the prior's deviation of its log focal length, 0 where it is known;
        focal_prior: the prior's fx, None for the camera's own.
    pixel_sigma: deviation of a pixel's x and y where the point is followed well.
    """

    poses: np.ndarray
    held: np.ndarray
    anchors: np.ndarray
    anchor_pixels: np.ndarray
    log_depth: np.ndarray
    prior: np.ndarray
    prior_sigma: np.ndarray
    frames: np.ndarray
    landmarks: np.ndarray
    pixels: np.ndarray
    camera: Pinhole
    focal_sigma: float = 0.0
    focal_prior: float | None = None
    pixel_sigma: float = 0.5
    pose_priors: tuple[PosePrior, ...] = ()


@dataclass(frozen=True)
class Adjusted:
    """What a bundle became.

    poses (K, 4, 4), log_depth (L,), camera: the adjusted ones. focal_sigma: deviation of the log focal length.
    weights: (M,) 0..1, of the kernel; 0 where the point is behind the camera, the pixel NaN or the anchor's own.
    residuals: (M, 2) pixels, seen minus projected; 0 where the weight is.
    covariance: (6 K, 6 K) of the poses' perturbations (`geometry.perturbation`), joint, 0 where held.
    log_depth_variance: (L,) marginal.
    parallax: (L,) pixels, the most that translation since the anchor moved the landmark's pixel in an observation
        that agrees; 0 where there is none.
    cost: the robust cost, twice a negative log likelihood, priors included.
    """

    poses: np.ndarray
    log_depth: np.ndarray
    camera: Pinhole
    focal_sigma: float
    weights: np.ndarray
    residuals: np.ndarray
    covariance: np.ndarray
    log_depth_variance: np.ndarray
    parallax: np.ndarray
    cost: float

    @property
    def pose_covariance(self) -> np.ndarray:
        """(K, 6, 6): of each pose, whatever the others are."""
        count = len(self.poses)
        blocks = self.covariance.reshape(count, 6, count, 6)
        return blocks[np.arange(count), :, np.arange(count)]


def adjust(bundle: Bundle, iterations: int = 3, kernel: tuple[float, float] = (WIDE, NARROW)) -> Adjusted:
    """The bundle's poses, depths and focal length at the (robust) maximum of their posterior.

    Gauss-Newton, reweighted by a kernel (first, last) that narrows (`geometry.robust`); damped only where a step would
    raise the cost. Covariances count the pixels' errors as independent and the held poses as exact.

    Raises BundleError for a bundle whose parts do not fit or are not finite, and where the poses are not determined:
    none is held nor has a prior, or one sees too little.
    """
    whole_number(iterations, "iterations", 1)
    if not (len(kernel) == 2 and all(0 < k < np.inf for k in kernel)):
        raise ValueError(
            f"kernel = {kernel}; two positive numbers are expected, the first width and the last"
        )
    problem = _Problem(_checked(bundle))
    state = _State(problem.bundle.poses, problem.bundle.log_depth, 0.0)
    for k in np.geomspace(*kernel, iterations):
        fit = problem.fit(state, k)
        system = problem.linearise(fit)
        damping = 0.0
        for _ in range(DAMPING_TRIALS):
            moved = problem.moved(state, *system.step(damping))
            if problem.fit(moved, k).cost <= fit.cost:
                state = moved
                break
            damping = max(DAMPING, damping * DAMPING_GROWTH)
    return problem.adjusted(problem.fit(state, kernel[1]))


def relative_covariance(adjusted: Adjusted, i: int, j: int) -> np.ndarray:
    """Covariance (6, 6) of the pose of camera j in the frame of camera i, x y z and turns, about the axes of i."""
    _, by_i, by_j = _relative(adjusted.poses[i], adjusted.poses[j])
    rows = np.concatenate([np.arange(6 * i, 6 * i + 6), np.arange(6 * j, 6 * j + 6)])
    jacobian = np.concatenate([by_i, by_j], axis=1)
    return jacobian @ adjusted.covariance[np.ix_(rows, rows)] @ jacobian.T


@dataclass(frozen=True)
class _State:
    """What is sought: poses (K, 4, 4), log depths (L,), log of the focal length over the bundle's."""

    poses: np.ndarray
    log_depth: np.ndarray
    log_focal: float


@dataclass(frozen=True)
class _Fit:
    """The residuals at a state, and what their derivatives are made of; rows of observations, arms in the world."""

    state: _State
    camera: Pinhole
    arms: np.ndarray  # (L, 3) from the anchor's camera to the landmark
    points: np.ndarray  # (M, 3)
    gradients: np.ndarray  # (M, 2, 3) of pixels by points
    used: np.ndarray  # (M,)
    off: np.ndarray  # (M, 2) pixels
    weights: np.ndarray  # (M,)
    k: float
    cost: float


class _System:
    """The normal equations of the state's step, P of poses and focal length, L of depths.

    h_pp (P, P), h_lp (L, P), h_l (L,): the matrix, whose block of depths is diagonal. b_p, b_l: the right side.
    """

    def __init__(self, h_pp, h_lp, h_l, b_p, b_l) -> None:
        self.h_pp, self.h_lp, self.h_l, self.b_p, self.b_l = h_pp, h_lp, h_l, b_p, b_l

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """Of poses and focal length (P,), and of depths (L,)."""
        h_l = self.h_l * (1.0 + damping)
        reduced = self.reduced(damping)
        p = _factored_solve(reduced, self.b_p - self.h_lp.T @ (self.b_l / h_l))
        return p, (self.b_l - self.h_lp @ p) / h_l

    def reduced(self, damping: float = 0.0) -> np.ndarray:
        """The Schur complement (P, P): the information of poses and focal length, whatever the depths are."""
        root = self.h_lp / np.sqrt(self.h_l * (1.0 + damping))[:, None]
        reduced = self.h_pp - root.T @ root
        reduced[np.diag_indices(len(reduced))] += damping * np.diag(self.h_pp)
        return reduced

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Of poses and focal length (P, P), and each depth's variance (L,)."""
        covariance = _factored_solve(self.reduced(), np.eye(len(self.h_pp)))
        share = self.h_lp / self.h_l[:, None]
        return covariance, 1.0 / self.h_l + ((share @ covariance) * share).sum(axis=1)


class _Problem:
    """A bundle, and what of it does not change from step to step."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.free = np.flatnonzero(~bundle.held)
        self.columns = np.full(
            len(bundle.poses), len(self.free)
        )  # of blocks of 6; the held ones share the last
        self.columns[self.free] = np.arange(len(self.free))
        self.size = 6 * len(self.free) + (bundle.focal_sigma > 0)
        self.anchors = bundle.anchors[bundle.landmarks]
        self.counts = np.isfinite(bundle.pixels).all(axis=1) & (self.anchors != bundle.frames)
        self.pixels = np.where(self.counts[:, None], bundle.pixels, 0.0)
        self.log_focal_prior = np.log((bundle.focal_prior or bundle.camera.fx) / bundle.camera.fx)

    def camera(self, state: _State) -> Pinhole:
        camera, factor = self.bundle.camera, float(np.exp(state.log_focal))
        return replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)

    def moved(self, state: _State, p: np.ndarray, depth_step: np.ndarray) -> _State:
        poses = state.poses.copy()
        poses[self.free] = perturbed(poses[self.free], p[: 6 * len(self.free)].reshape(-1, 6))
        focal_step = float(p[-1]) if self.bundle.focal_sigma > 0 else 0.0
        return _State(poses, state.log_depth + depth_step, state.log_focal + focal_step)

    def fit(self, state: _State, k: float) -> _Fit:
        """The residuals, and the cost with a kernel k; infinite where a step went beyond numbers."""
        bundle, camera = self.bundle, self.camera(state)
        anchor_poses, poses = state.poses[bundle.anchors], state.poses[bundle.frames]
        with np.errstate(over="ignore", invalid="ignore"):
            local = camera.backproject(bundle.anchor_pixels, np.exp(state.log_depth))
            arms = (anchor_poses[:, :3, :3] @ local[..., None])[..., 0]
            points = (anchor_poses[:, :3, 3] + arms)[bundle.landmarks]
            seen, gradients, front = observe(poses, points, camera)
            used = self.counts & front
            off = np.where(used[:, None], self.pixels - seen, 0.0)
            squared = np.where(used, (off**2).sum(axis=1) / bundle.pixel_sigma**2, np.inf)
            cost = kernel_calibration(k)[0] * float(robust_cost(squared[self.counts], k).sum())
            cost += float((((state.log_depth - bundle.prior) / bundle.prior_sigma) ** 2).sum())
        if bundle.focal_sigma > 0:
            cost += ((state.log_focal - self.log_focal_prior) / bundle.focal_sigma) ** 2
        for prior in bundle.pose_priors:
            away, _ = self.prior_residual(state, prior)
            cost += float(away @ prior.known.information @ away)
        cost = cost if np.isfinite(cost) else np.inf
        return _Fit(state, camera, arms, points, gradients, used, off, robust_weights(squared, k), k, cost)

    def jacobians(self, fit: _Fit) -> tuple[np.ndarray, np.ndarray]:
        """Of the observations' pixels (2 M, ...): by poses and focal length (2 M, P), and by their depth (2 M,)."""
        bundle, state, g = self.bundle, fit.state, fit.gradients
        rows, free = np.arange(len(g)), len(self.free)
        arms = fit.arms[bundle.landmarks]
        blocks = np.zeros((len(g), 2, free + 1, 6))
        blocks[rows, :, self.columns[bundle.frames], :3] = -g
        rays = fit.points - state.poses[bundle.frames, :3, 3]
        blocks[rows, :, self.columns[bundle.frames], 3:] = cross(g, rays[:, None])
        blocks[rows, :, self.columns[self.anchors], :3] += g
        blocks[rows, :, self.columns[self.anchors], 3:] += cross(arms[:, None], g)
        depth = (g @ arms[..., None])[..., 0]
        if bundle.focal_sigma > 0:
            # A longer focal length narrows the anchor's ray, but for its part along the axis.
            axis = state.poses[self.anchors, :3, 2] * np.exp(state.log_depth)[bundle.landmarks, None]
            centre = np.array([fit.camera.cx, fit.camera.cy])
            by_ray = (self.pixels - fit.off - centre) - (g @ (arms - axis)[..., None])[..., 0]
            blocks[:, :, free, 0] = by_ray
        return blocks.reshape(2 * len(g), -1)[:, : self.size], depth.ravel()

    def linearise(self, fit: _Fit, curvature: float = 1.0) -> _System:
        """curvature: what the observations' part of the matrix is multiplied by (`kernel_calibration`)."""
        bundle, state = self.bundle, fit.state
        scale = kernel_calibration(fit.k)[0] / bundle.pixel_sigma**2
        root = np.repeat(np.sqrt(scale * fit.weights), 2)
        j_p, j_l = self.jacobians(fit)
        j_p, j_l, off = j_p * root[:, None], j_l * root, fit.off.ravel() * root
        rows = np.arange(len(off) + 1)
        by_landmark = csr_array(
            (j_l, np.repeat(bundle.landmarks, 2), rows), (len(off), len(bundle.anchors))
        ).T
        h_l = curvature * np.bincount(np.repeat(bundle.landmarks, 2), j_l**2, len(bundle.anchors))
        h_pp, h_lp = curvature * (j_p.T @ j_p), curvature * (by_landmark @ j_p)
        b_p, b_l = j_p.T @ off, by_landmark @ off
        precision = bundle.prior_sigma**-2.0
        h_l, b_l = h_l + precision, b_l - precision * (state.log_depth - bundle.prior)
        if bundle.focal_sigma > 0:
            h_pp[-1, -1] += bundle.focal_sigma**-2.0
            b_p[-1] -= (state.log_focal - self.log_focal_prior) * bundle.focal_sigma**-2.0
        for prior in bundle.pose_priors:
            away, parts = self.prior_residual(state, prior)
            jacobian = np.zeros((6, self.size + 6))
            for pose, derivative in parts:
                column = 6 * self.columns[pose] if not bundle.held[pose] else self.size
                jacobian[:, column : column + 6] = derivative
            jacobian = jacobian[:, : self.size]
            h_pp += jacobian.T @ prior.known.information @ jacobian
            b_p -= jacobian.T @ prior.known.information @ away
        return _System(h_pp, h_lp, h_l, b_p, b_l)

    def prior_residual(self, state: _State, prior: PosePrior):
        """(6,), and its derivatives as pairs of a pose's index and (6, 6)."""
        if prior.base is None:
            away, derivative = perturbation(state.poses[prior.pose], prior.known.mean)
            return away, ((prior.pose, derivative),)
        pose, by_base, by_pose = _relative(state.poses[prior.base], state.poses[prior.pose])
        away, derivative = perturbation(pose, prior.known.mean)
        return away, ((prior.base, derivative @ by_base), (prior.pose, derivative @ by_pose))

    def adjusted(self, fit: _Fit) -> Adjusted:
        bundle, count = self.bundle, len(self.bundle.poses)
        covariance, depth_variance = self.linearise(fit, kernel_calibration(fit.k)[1]).covariance()
        whole = np.zeros((6 * count, 6 * count))
        entries = (6 * self.free[:, None] + np.arange(6)).ravel()
        whole[np.ix_(entries, entries)] = covariance[: len(entries), : len(entries)]
        return Adjusted(
            poses=fit.state.poses,
            log_depth=fit.state.log_depth,
            camera=fit.camera,
            focal_sigma=float(np.sqrt(covariance[-1, -1])) if bundle.focal_sigma > 0 else 0.0,
            weights=fit.weights,
            residuals=fit.off,
            covariance=whole,
            log_depth_variance=depth_variance,
            parallax=self.parallax(fit),
            cost=fit.cost,
        )

    def parallax(self, fit: _Fit) -> np.ndarray:
        """(L,): between where the landmark is seen and where it would be, had the camera turned on the spot."""
        landmarks = self.bundle.landmarks
        poses = fit.state.poses[self.bundle.frames].copy()
        poses[:, :3, 3] = fit.state.poses[self.anchors, :3, 3]
        turned, _, front = observe(poses, fit.points, fit.camera)
        shift = np.linalg.norm(self.pixels - fit.off - turned, axis=1) * (front & (fit.weights > 0.25))
        most = np.zeros(len(self.bundle.anchors))
        np.maximum.at(most, landmarks, shift)
        return most


def _relative(base: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """base_from_pose (4, 4), and its derivatives (6, 6) by perturbations of base and of pose, about base's axes."""
    away = pose[:3, 3] - base[:3, 3]
    axes = base[:3, :3].T
    into_base = adjoint(pose_matrix(axes))
    # A turn of the base swings the pose, which is away from it.
    swing = adjoint(pose_matrix(translation=-away))
    return pose_matrix(axes @ pose[:3, :3], axes @ away), -into_base @ swing, into_base


def _factored_solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """matrix⁻¹ right; raises BundleError where there is none."""
    size = np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    scaled = matrix / np.outer(size, size)
    try:
        if len(scaled) and not np.linalg.eigvalsh(scaled)[0] > SINGULAR:
            raise LinAlgError
        solved = cho_solve(cho_factor(scaled), (right.T / size).T) if len(scaled) else right
    except (LinAlgError, ValueError):
        raise BundleError(
            "the poses are not determined: none is held nor has a prior, or one of them sees too few landmarks"
        ) from None
    return (solved.T / size).T


def _checked(bundle: Bundle) -> Bundle:
    """The bundle with arrays of the right types; raises BundleError for what does not fit."""
    error = BundleError
    poses = real_array(bundle.poses, "poses", (None, 4, 4), error=error)
    held = np.asarray(bundle.held, bool)
    if held.shape != (len(poses),):
        raise BundleError(f"held has shape {held.shape}; one of each of the {len(poses)} poses is expected")
    if not all(is_rigid(pose) for pose in poses):
        raise BundleError("a pose is no rigid transform; give finite (4, 4) poses")
    count, seen = len(bundle.anchors), len(bundle.frames)
    numbers = {
        name: real_array(getattr(bundle, name), name, shape, error=error)
        for name, shape in (
            ("anchor_pixels", (count, 2)),
            ("log_depth", (count,)),
            ("prior", (count,)),
            ("prior_sigma", (count,)),
        )
    }
    for name, values in numbers.items():
        if not np.isfinite(values).all() or (name == "prior_sigma" and not (values > 0).all()):
            raise BundleError(f"{name} has numbers that are not finite, or deviations that are not positive")
    indices = {
        name: _indices(getattr(bundle, name), name, size, below)
        for name, size, below in (
            ("anchors", count, len(poses)),
            ("frames", seen, len(poses)),
            ("landmarks", seen, count),
        )
    }
    if not (np.isfinite(bundle.focal_sigma) and bundle.focal_sigma >= 0):
        raise BundleError(f"focal_sigma = {bundle.focal_sigma}; 0 or a positive number is expected")
    if bundle.focal_prior is not None and not 0 < bundle.focal_prior < np.inf:
        raise BundleError(f"focal_prior = {bundle.focal_prior}; a positive number of pixels is expected")
    if not 0 < bundle.pixel_sigma < np.inf:
        raise BundleError(f"pixel_sigma = {bundle.pixel_sigma}; a positive number of pixels is expected")
    pixels = real_array(bundle.pixels, "pixels", (seen, 2), error=error)
    return replace(bundle, poses=poses, held=held, pixels=pixels, **numbers, **indices)


def _indices(values, name: str, size: int, below: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (size,) or (size and array.dtype.kind not in "iu"):
        raise BundleError(f"{name} has shape {array.shape} of {array.dtype}; ({size},) indices are expected")
    if size and not (array.min() >= 0 and array.max() < below):
        raise BundleError(f"{name} points to {array.min()}..{array.max()}; there are 0..{below - 1}")
    return array.astype(np.intp)
