"""Bundle adjustment of a few keyframes: poses, focal length and log depths that agree best with the pixels.

Triggs et al., "Bundle adjustment: a modern synthesis", 2000: Gauss-Newton on the robust cost, the landmarks
eliminated by the Schur complement (6.1), covariances from the same matrices (10.2). A landmark has one unknown, its log
depth in the image that it was found in (its anchor), so that what is eliminated are scalars (inverse depth: Civera et
al. 2008; its logarithm here, since the prior's error is in proportion to the depth).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.arguments import real_array, whole_number
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.perturbation import columns, cross, observe, perturbation, perturbed
from d4rt_ros.geometry.resection import GaussianPose
from d4rt_ros.geometry.robust import (
    NARROW,
    WIDE,
    check_kernel,
    inverse_information,
    kernel_calibration,
    robust_cost,
    robust_weights,
)
from d4rt_ros.geometry.transforms import adjoint, is_rigid, nearest_rotation, pose_matrix

# Levenberg-Marquardt: the first damping where a step raises the cost, its growth, and how often it is tried.
DAMPING, DAMPING_GROWTH, DAMPING_TRIALS = 1e-3, 10.0, 6
UNDETERMINED = (
    "the poses are not determined: none is held nor has a prior, or one of them sees too few landmarks"
)
# An observation of this weight agrees with the rest.
AGREES = 0.25


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
    check_kernel(kernel)
    problem = _Problem(_checked(bundle))
    fit = problem.fit(_State(problem.bundle.poses, problem.bundle.log_depth, 0.0))
    for k in np.geomspace(*kernel, iterations):
        system = problem.normal_equations(fit, k)
        damping = 0.0
        for _ in range(DAMPING_TRIALS):
            trial = problem.fit(problem.moved(fit.state, *system.step(damping)))
            if problem.cost(trial, k) <= problem.cost(fit, k):
                fit = trial
                break
            damping = max(DAMPING, damping * DAMPING_GROWTH)
    return problem.adjusted(fit, kernel[1])


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
    """How a state fits the pixels, and what the derivatives are made of. Vectors side by side, in the world.

    arms: (3, M) from the anchor's camera to the landmark. rays: (3, M) to it from the camera that observes it.
    gradients: (3, 2, M) of its pixel there by its place. used: (M,). off: (2, M) pixels, seen minus projected.
    squared: (M,) in pixel_sigma; infinite where not used.
    """

    state: _State
    camera: Pinhole
    arms: np.ndarray
    rays: np.ndarray
    gradients: np.ndarray
    used: np.ndarray
    off: np.ndarray
    squared: np.ndarray


@dataclass(frozen=True)
class _NormalEquations:
    """Of a step (p, l): p (P,) of poses and focal length, l (L,) of depths. Of the matrix the blocks are h_pp (P, P),
    h_lp (L, P) and h_l (L,), which is diagonal; b_p, b_l are the right side."""

    h_pp: np.ndarray
    h_lp: np.ndarray
    h_l: np.ndarray
    b_p: np.ndarray
    b_l: np.ndarray

    def schur_complement(self, damping: float = 0.0) -> np.ndarray:
        """(P, P): the information of poses and focal length, whatever the depths are."""
        root = self.h_lp / np.sqrt(self.h_l * (1.0 + damping))[:, None]
        return self.h_pp + damping * np.diag(np.diag(self.h_pp)) - root.T @ root

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        h_l = self.h_l * (1.0 + damping)
        right = self.b_p - (self.b_l / h_l) @ self.h_lp
        try:
            p = np.linalg.solve(self.schur_complement(damping), right)
        except np.linalg.LinAlgError:
            raise BundleError(UNDETERMINED) from None
        return p, (self.b_l - self.h_lp @ p) / h_l

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Of p (P, P), and the variances (L,) of l."""
        try:
            covariance = inverse_information(self.schur_complement())
        except np.linalg.LinAlgError:
            raise BundleError(UNDETERMINED) from None
        share = self.h_lp / self.h_l[:, None]
        return covariance, 1.0 / self.h_l + ((share @ covariance) * share).sum(axis=1)


class _Problem:
    """A bundle, and what of it stays the same from step to step."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.free = np.flatnonzero(~bundle.held)
        self.size = 6 * len(self.free) + (bundle.focal_sigma > 0)
        self.anchors = bundle.anchors[bundle.landmarks]
        self.counts = np.isfinite(bundle.pixels).all(axis=1) & (self.anchors != bundle.frames)
        self.pixels = np.where(self.counts, bundle.pixels.T, 0.0)
        # Where in a matrix (L, width) the derivatives by the observer's and the anchor's pose belong; those by poses
        # that are held come after all others.
        self.width = 6 * len(self.free) + 6
        first = np.full(len(bundle.poses), 6 * len(self.free))
        first[self.free] = 6 * np.arange(len(self.free))
        rows, step = self.width * bundle.landmarks, np.arange(6)[:, None]
        self.entries = np.concatenate([rows + first[x] + step for x in (bundle.frames, self.anchors)]).ravel()
        # What a pose neither observes nor anchors stays 0.
        self.by_p = np.zeros((self.size, 2, len(self.counts)))
        self.blocks = [
            (
                self.by_p[6 * i : 6 * i + 6],
                *(np.flatnonzero(x == pose) for x in (bundle.frames, self.anchors)),
            )
            for i, pose in enumerate(self.free)
        ]
        self.log_focal_prior = np.log((bundle.focal_prior or bundle.camera.fx) / bundle.camera.fx)

    def fit(self, state: _State) -> _Fit:
        bundle, factor = self.bundle, float(np.exp(state.log_focal))
        camera = replace(bundle.camera, fx=bundle.camera.fx * factor, fy=bundle.camera.fy * factor)
        rotations, centres = columns(state.poses)
        local = camera.backproject(bundle.anchor_pixels, np.exp(state.log_depth)).T
        arms = (rotations[..., bundle.anchors] * local).sum(axis=1)[:, bundle.landmarks]
        rotations, rays_from = rotations[..., bundle.frames], centres[:, bundle.frames]
        rays = centres[:, self.anchors] + arms - rays_from
        seen, gradients, front = observe(rotations, 0.0, rays, camera)
        used = self.counts & front
        off = np.where(used, self.pixels - seen, 0.0)
        squared = np.where(used, (off**2).sum(axis=0) / bundle.pixel_sigma**2, np.inf)
        return _Fit(state, camera, arms, rays, gradients, used, off, squared)

    def cost(self, fit: _Fit, k: float) -> float:
        """Twice the negative logarithm of the posterior, but for a constant; what is behind a camera costs k²."""
        bundle, state = self.bundle, fit.state
        cost = kernel_calibration(k)[0] * float(robust_cost(fit.squared[self.counts], k).sum())
        cost += float((((state.log_depth - bundle.prior) / bundle.prior_sigma) ** 2).sum())
        if bundle.focal_sigma > 0:
            cost += ((state.log_focal - self.log_focal_prior) / bundle.focal_sigma) ** 2
        for prior in bundle.pose_priors:
            away, _ = self.prior_residual(state, prior)
            cost += float(away @ prior.known.information @ away)
        return cost

    def jacobians(self, fit: _Fit, factors: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the projected pixels, times factors (M,): by the poses that observe and that anchor (6, 2, M) each, by the
        focal length (2, M) and by the depth (2, M)."""
        state, g = fit.state, fit.gradients * factors
        by_observer = np.concatenate([-g, cross(g, fit.rays[:, None])])
        by_anchor = np.concatenate([g, cross(fit.arms[:, None], g)])
        # A longer focal length spreads the image, and narrows the anchor's ray but for its part along the axis.
        axis = np.exp(state.log_depth) * columns(state.poses)[0][:, 2, self.bundle.anchors]
        centre = np.array([[fit.camera.cx], [fit.camera.cy]])
        across = fit.arms - axis[:, self.bundle.landmarks]
        by_focal = factors * (self.pixels - fit.off - centre) - (g * across[:, None]).sum(axis=0)
        return by_observer, by_anchor, by_focal, (g * fit.arms[:, None]).sum(axis=0)

    def normal_equations(self, fit: _Fit, k: float) -> _NormalEquations:
        """Their matrix is the information that pixels of normal errors and the priors carry."""
        bundle, state, count = self.bundle, fit.state, len(self.bundle.anchors)
        scale, curvature = kernel_calibration(k)
        factors = np.sqrt(scale * curvature * robust_weights(fit.squared, k)) / bundle.pixel_sigma
        by_observer, by_anchor, by_focal, by_depth = self.jacobians(fit, factors)
        by_p = self.side_by_side(by_observer, by_anchor, by_focal)
        off = fit.off * factors / curvature
        h_pp, b_p = by_p @ by_p.T, by_p @ off.ravel()
        h_lp = self.by_landmark(*((x * by_depth).sum(axis=-2) for x in (by_observer, by_anchor, by_focal)))
        precision = bundle.prior_sigma**-2.0
        h_l = precision + np.bincount(bundle.landmarks, (by_depth**2).sum(axis=0), count)
        b_l = np.bincount(bundle.landmarks, (by_depth * off).sum(axis=0), count)
        b_l = b_l - precision * (state.log_depth - bundle.prior)
        if bundle.focal_sigma > 0:
            h_pp[-1, -1] += bundle.focal_sigma**-2.0
            b_p[-1] -= (state.log_focal - self.log_focal_prior) * bundle.focal_sigma**-2.0
        for prior in bundle.pose_priors:
            away, parts = self.prior_residual(state, prior)
            jacobian = np.zeros((6, self.size))
            for pose, derivative in parts:
                if not bundle.held[pose]:
                    column = 6 * int(np.searchsorted(self.free, pose))
                    jacobian[:, column : column + 6] = derivative
            h_pp += jacobian.T @ prior.known.information @ jacobian
            b_p -= jacobian.T @ prior.known.information @ away
        return _NormalEquations(h_pp, h_lp, h_l, b_p, b_l)

    def side_by_side(
        self, by_observer: np.ndarray, by_anchor: np.ndarray, by_focal: np.ndarray
    ) -> np.ndarray:
        """The derivatives by p (P, 2 M), each pose's in its own rows; overwritten by the next call."""
        for block, seen, anchored in self.blocks:
            block[:, :, seen] = by_observer[:, :, seen]
            block[:, :, anchored] = by_anchor[:, :, anchored]
        if self.bundle.focal_sigma > 0:
            self.by_p[-1] = by_focal
        return self.by_p.reshape(self.size, 2 * len(self.counts))

    def by_landmark(self, by_observer: np.ndarray, by_anchor: np.ndarray, by_focal: np.ndarray) -> np.ndarray:
        """Sums (L, P) over each landmark's observations of values (6, M), (6, M) and (M,)."""
        count, landmarks = len(self.bundle.anchors), self.bundle.landmarks
        values = np.concatenate([by_observer, by_anchor]).ravel()
        sums = np.bincount(self.entries, values, count * self.width).reshape(count, self.width)[
            :, : self.size
        ]
        if self.bundle.focal_sigma > 0:
            sums[:, -1] = np.bincount(landmarks, by_focal, count)
        return sums

    def prior_residual(self, state: _State, prior: PosePrior):
        """(6,), and its derivatives as pairs of a pose's index and (6, 6)."""
        if prior.base is None:
            away, derivative = perturbation(state.poses[prior.pose], prior.known.mean)
            return away, ((prior.pose, derivative),)
        pose, by_base, by_pose = _relative(state.poses[prior.base], state.poses[prior.pose])
        away, derivative = perturbation(pose, prior.known.mean)
        return away, ((prior.base, derivative @ by_base), (prior.pose, derivative @ by_pose))

    def moved(self, state: _State, p: np.ndarray, depth_step: np.ndarray) -> _State:
        poses = state.poses.copy()
        poses[self.free] = perturbed(poses[self.free], p[: 6 * len(self.free)].reshape(-1, 6))
        focal_step = float(p[-1]) if self.bundle.focal_sigma > 0 else 0.0
        # A factor of e at once is more than a linear step can know.
        return _State(
            poses,
            state.log_depth + np.clip(depth_step, -1.0, 1.0),
            state.log_focal + np.clip(focal_step, -1.0, 1.0),
        )

    def adjusted(self, fit: _Fit, k: float) -> Adjusted:
        bundle, count = self.bundle, len(self.bundle.poses)
        covariance, depth_variance = self.normal_equations(fit, k).covariance()
        whole = np.zeros((6 * count, 6 * count))
        entries = (6 * self.free[:, None] + np.arange(6)).ravel()
        whole[np.ix_(entries, entries)] = covariance[: len(entries), : len(entries)]
        weights = robust_weights(fit.squared, k)
        poses = fit.state.poses.copy()
        poses[self.free, :3, :3] = nearest_rotation(poses[self.free, :3, :3])
        return Adjusted(
            poses=poses,
            log_depth=fit.state.log_depth,
            camera=fit.camera,
            focal_sigma=float(np.sqrt(covariance[-1, -1])) if bundle.focal_sigma > 0 else 0.0,
            weights=weights,
            residuals=fit.off.T,
            covariance=whole,
            log_depth_variance=depth_variance,
            parallax=self.parallax(fit, weights),
            cost=self.cost(fit, k),
        )

    def parallax(self, fit: _Fit, weights: np.ndarray) -> np.ndarray:
        """(L,): between where the landmark is seen and where it would be, had the camera turned on the spot."""
        rotations = columns(fit.state.poses)[0][..., self.bundle.frames]
        turned, _, front = observe(rotations, 0.0, fit.arms, fit.camera)
        shift = np.hypot(*(self.pixels - fit.off - turned)) * (front & (weights > AGREES))
        most = np.zeros(len(self.bundle.anchors))
        np.maximum.at(most, self.bundle.landmarks, shift)
        return most


def _relative(base: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """base_from_pose (4, 4), and its derivatives (6, 6) by perturbations of base and of pose, about base's axes."""
    away = pose[:3, 3] - base[:3, 3]
    axes = base[:3, :3].T
    into_base = adjoint(pose_matrix(axes))
    # A turn of the base swings the pose, which is away from it.
    swing = adjoint(pose_matrix(translation=-away))
    return pose_matrix(axes @ pose[:3, :3], axes @ away), -into_base @ swing, into_base


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
    for prior in bundle.pose_priors:
        tied = [prior.pose] if prior.base is None else [prior.pose, prior.base]
        _indices(tied, "a pose prior", len(tied), len(poses))
    return replace(bundle, poses=poses, held=held, pixels=pixels, **numbers, **indices)


def _indices(values, name: str, size: int, below: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (size,) or (size and array.dtype.kind not in "iu"):
        raise BundleError(f"{name} has shape {array.shape} of {array.dtype}; ({size},) indices are expected")
    if size and not (array.min() >= 0 and array.max() < below):
        raise BundleError(f"{name} points to {array.min()}..{array.max()}; there are 0..{below - 1}")
    return array.astype(np.intp)
