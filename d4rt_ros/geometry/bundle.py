"""Bundle adjustment of a few keyframes: poses, focal length and log depths that agree best with the pixels.

Triggs et al., "Bundle adjustment: a modern synthesis", 2000: Gauss-Newton on the robust cost, the landmarks
eliminated by the Schur complement (6.1), covariances from the same matrices (10.2). A landmark's unknown is its log
depth in the image that it was found in, its anchor (inverse depth: Civera et al. 2008; its logarithm here, since the
prior's error is in proportion to the depth), and where asked for the drift of what is followed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.arguments import whole_number
from d4rt_ros.geometry.bundle_problem import Bundle, BundleError, PosePrior, checked
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.perturbation import between, columns, cross, observe, perturbation, perturbed
from d4rt_ros.geometry.robust import (
    NARROW,
    WIDE,
    check_kernel,
    inverse_information,
    kernel_calibration,
    robust_cost,
    robust_weights,
)
from d4rt_ros.geometry.transforms import nearest_rotation

__all__ = ["Adjusted", "Bundle", "BundleError", "PosePrior", "adjust", "relative_covariance"]

# Levenberg-Marquardt: the first damping where a step raises the cost, its growth, and how often it is tried.
DAMPING, DAMPING_GROWTH, DAMPING_TRIALS = 1e-3, 10.0, 6
# An observation of this weight agrees with the rest.
AGREES = 0.25


@dataclass(frozen=True)
class Adjusted:
    """What a bundle became.

    poses (K, 4, 4), log_depth (L,), camera: the adjusted ones. focal_sigma: deviation of the log focal length.
    weights: (M,) 0..1, of the kernel; 0 where the point is behind the camera, the pixel NaN or the anchor's own.
    residuals: (M, 2) pixels, seen minus projected and drifted; 0 where the weight is.
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
    raise the cost. Three iterations serve a window that was adjusted a keyframe ago; from farther away, or where much
    moves, take five. Covariances count the pixels' errors as independent, but for drift, and the held poses as exact.

    Raises BundleError for a bundle whose parts do not fit or are not finite, and where the poses are not determined:
    none is held nor has a prior, or one sees too little.
    """
    whole_number(iterations, "iterations", 1)
    check_kernel(kernel)
    problem = _Problem(checked(bundle))
    fit = problem.fit(problem.start())
    try:
        for k in np.geomspace(*kernel[::-1], iterations)[::-1]:
            fit = _descended(problem, fit, k)
        return problem.adjusted(fit, kernel[1])
    except np.linalg.LinAlgError:
        raise BundleError(
            "the poses are not determined: none is held nor has a prior, or one of them shares too few landmarks "
            f"with others; it is {', '.join(map(str, problem.shared(fit)))} observations in their order"
        ) from None


def _descended(problem: _Problem, fit: _Fit, k: float) -> _Fit:
    """One step on, or where no step lowers the cost the same."""
    equations, cost, damping = problem.normal_equations(fit, k), problem.cost(fit, k), 0.0
    for _ in range(DAMPING_TRIALS):
        trial = problem.fit(problem.moved(fit.state, *equations.step(damping)))
        if problem.cost(trial, k) <= cost:
            return trial
        damping = max(DAMPING, damping * DAMPING_GROWTH)
    return fit


def relative_covariance(adjusted: Adjusted, i: int, j: int) -> np.ndarray:
    """Covariance (6, 6) of the pose of camera j in the frame of camera i, x y z and turns, about the axes of i."""
    _, by_i, by_j = between(adjusted.poses[i], adjusted.poses[j])
    rows = np.concatenate([np.arange(6 * i, 6 * i + 6), np.arange(6 * j, 6 * j + 6)])
    jacobian = np.concatenate([by_i, by_j], axis=1)
    return jacobian @ adjusted.covariance[np.ix_(rows, rows)] @ jacobian.T


@dataclass(frozen=True)
class _State:
    """What is sought: poses (K, 4, 4), each landmark's own numbers (L, n), log of the focal length over the bundle's.

    own: log depth, and where drift is sought also its x and y in pixels, n = 1 or 3.
    """

    poses: np.ndarray
    own: np.ndarray
    log_focal: float

    @property
    def log_depth(self) -> np.ndarray:
        return self.own[:, 0]


@dataclass(frozen=True)
class _Fit:
    """How a state fits the pixels, and what the derivatives are made of. Vectors side by side, in the world.

    arms: (3, M) from the anchor's camera to the landmark. rays: (3, M) to it from the camera that observes it.
    gradients: (3, 2, M) of its pixel there by its place. seen: (2, M) the pixel. off: (2, M) what is observed minus
    this and the drift, 0 where it counts for nothing. squared: (M,) in pixel_sigma; infinite where that is so.
    """

    state: _State
    camera: Pinhole
    arms: np.ndarray
    rays: np.ndarray
    gradients: np.ndarray
    seen: np.ndarray
    off: np.ndarray
    squared: np.ndarray


class _Problem:
    """A bundle, and what of it stays the same from step to step. The unknowns of a step are p (P,), six of each free
    pose and perhaps the focal length, and the landmarks' own (L, n). counts: which observations say anything; only
    these, M here, are in `bundle`."""

    def __init__(self, bundle: Bundle) -> None:
        anchored = bundle.anchors[bundle.landmarks] == bundle.frames
        self.counts = np.isfinite(bundle.pixels).all(axis=1) & ~anchored
        parts = {name: getattr(bundle, name)[self.counts] for name in ("frames", "landmarks", "pixels")}
        self.bundle = bundle = replace(bundle, **parts)
        self.free = np.flatnonzero(~bundle.held)
        self.size = 6 * len(self.free) + (bundle.focal_sigma > 0)
        self.anchors = bundle.anchors[bundle.landmarks]
        self.pixels = np.ascontiguousarray(bundle.pixels.T)
        self.log_focal_prior = np.log((bundle.focal_prior or bundle.camera.fx) / bundle.camera.fx)
        drift = np.zeros((len(bundle.anchors), 2 if bundle.drift_sigma > 0 else 0))
        self.own_prior = np.c_[bundle.prior, drift]
        self.own_precision = np.c_[bundle.prior_sigma, drift + bundle.drift_sigma] ** -2.0
        # In the derivatives by p (P, 2, M), which observations are a pose's. What it has no part in stays 0.
        self.by_p = np.zeros((self.size, 2, len(self.anchors)))
        self.rows = [
            (slice(6 * i, 6 * i + 6), *(np.flatnonzero(x == pose) for x in (bundle.frames, self.anchors)))
            for i, pose in enumerate(self.free)
        ]
        # Where in a matrix (L, width) the derivatives by the observer's and the anchor's pose belong; those by poses
        # that are held come after all others.
        self.width = 6 * len(self.free) + 6
        first = np.full(len(bundle.poses), 6 * len(self.free))
        first[self.free] = 6 * np.arange(len(self.free))
        line, step = self.width * bundle.landmarks, np.arange(6)[:, None]
        self.entries = np.concatenate([line + first[x] + step for x in (bundle.frames, self.anchors)]).ravel()

    def start(self) -> _State:
        own = self.own_prior.copy()
        own[:, 0] = self.bundle.log_depth
        return _State(self.bundle.poses, own, 0.0)

    def moved(self, state: _State, p: np.ndarray, own: np.ndarray) -> _State:
        poses = state.poses.copy()
        poses[self.free] = perturbed(poses[self.free], p[: 6 * len(self.free)].reshape(-1, 6))
        log_focal = state.log_focal
        # A factor of e at once is more than a linear step can know.
        if self.bundle.focal_sigma > 0:
            log_focal += float(np.clip(p[-1], -1.0, 1.0))
        own = np.c_[np.clip(own[:, :1], -1.0, 1.0), own[:, 1:]]
        return _State(poses, state.own + own, log_focal)

    def fit(self, state: _State) -> _Fit:
        """The residuals."""
        bundle, factor = self.bundle, float(np.exp(state.log_focal))
        camera = replace(bundle.camera, fx=bundle.camera.fx * factor, fy=bundle.camera.fy * factor)
        rotations, centres = columns(state.poses)
        local = camera.backproject(bundle.anchor_pixels, np.exp(state.log_depth)).T
        arms = np.einsum("ijl,jl->il", rotations[..., bundle.anchors], local)[:, bundle.landmarks]
        rays = centres[:, self.anchors] + arms - centres[:, bundle.frames]
        seen, gradients, front = observe(rotations[..., bundle.frames], 0.0, rays, camera)
        off = self.pixels - seen
        if bundle.drift_sigma > 0:
            off -= state.own[bundle.landmarks, 1:].T
        off = np.where(front, off, 0.0)
        squared = np.where(front, (off**2).sum(axis=0) / bundle.pixel_sigma**2, np.inf)
        return _Fit(state, camera, arms, rays, gradients, seen, off, squared)

    def cost(self, fit: _Fit, k: float) -> float:
        """Twice the negative logarithm of the posterior, but for a constant; what is behind a camera costs k²."""
        bundle, state = self.bundle, fit.state
        cost = kernel_calibration(k)[0] * float(robust_cost(fit.squared, k).sum())
        cost += float(((state.own - self.own_prior) ** 2 * self.own_precision).sum())
        if bundle.focal_sigma > 0:
            cost += ((state.log_focal - self.log_focal_prior) / bundle.focal_sigma) ** 2
        for prior in bundle.pose_priors:
            away, _ = self.prior_residual(state, prior)
            cost += float(away @ prior.known.information @ away)
        return cost

    def jacobians(self, fit: _Fit, factors: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the projected pixels, times factors (M,): by the poses that observe and that anchor (6, 2, M) each, by the
        focal length (2, M) and by the landmark's own (n, 2, M)."""
        state, g = fit.state, fit.gradients * factors
        by_observer = np.concatenate([-g, cross(g, fit.rays[:, None])])
        by_anchor = np.concatenate([g, cross(fit.arms[:, None], g)])
        # A longer focal length spreads the image, and narrows the anchor's ray but for its part along the axis.
        axis = np.exp(state.log_depth) * columns(state.poses)[0][:, 2, self.bundle.anchors]
        across = fit.arms - axis[:, self.bundle.landmarks]
        centre = np.array([[fit.camera.cx], [fit.camera.cy]])
        by_focal = factors * (fit.seen - centre) - np.einsum("icm,im->cm", g, across)
        by_own = np.zeros((state.own.shape[1], 2, len(factors)))
        by_own[0] = np.einsum("icm,im->cm", g, fit.arms)
        for drift in range(len(by_own) - 1):
            by_own[1 + drift, drift] = factors
        return by_observer, by_anchor, by_focal, by_own

    def normal_equations(self, fit: _Fit, k: float) -> _NormalEquations:
        """Their matrix is the information that pixels of normal errors and the priors carry."""
        bundle, state = self.bundle, fit.state
        scale, curvature = kernel_calibration(k)
        factors = np.sqrt(scale * curvature * robust_weights(fit.squared, k)) / bundle.pixel_sigma
        *by_shared, by_own = self.jacobians(fit, factors)
        by_p = self.side_by_side(*by_shared)
        off = fit.off * factors / curvature
        h_pp, b_p = by_p @ by_p.T, by_p @ off.ravel()
        own = range(len(by_own))
        products = [[np.einsum("...cm,cm->...m", x, by_own[i]) for x in by_shared] for i in own]
        h_op = np.stack([self.by_landmark(*product) for product in products], axis=1)
        h_oo = np.stack([self.summed(np.einsum("icm,cm->im", by_own, by_own[i])) for i in own], axis=1)
        b_o = self.summed(np.einsum("icm,cm->im", by_own, off))
        b_o = b_o - self.own_precision * (state.own - self.own_prior)
        h_oo[:, own, own] += self.own_precision
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
        return _NormalEquations(h_pp, h_op, h_oo, b_p, b_o)

    def side_by_side(
        self, by_observer: np.ndarray, by_anchor: np.ndarray, by_focal: np.ndarray
    ) -> np.ndarray:
        """The derivatives by p (P, 2 M), each pose's in its own rows; overwritten by the next call."""
        for rows, seen, anchored in self.rows:
            self.by_p[rows][:, :, seen] = by_observer[:, :, seen]
            self.by_p[rows][:, :, anchored] = by_anchor[:, :, anchored]
        if self.bundle.focal_sigma > 0:
            self.by_p[-1] = by_focal
        return self.by_p.reshape(self.size, 2 * len(self.anchors))

    def by_landmark(self, by_observer: np.ndarray, by_anchor: np.ndarray, by_focal: np.ndarray) -> np.ndarray:
        """Sums (L, P) over each landmark's observations of values (6, M), (6, M) and (M,)."""
        count, values = len(self.bundle.anchors), np.concatenate([by_observer, by_anchor]).ravel()
        sums = np.bincount(self.entries, values, count * self.width).reshape(count, self.width)[
            :, : self.size
        ]
        if self.bundle.focal_sigma > 0:
            sums[:, -1:] = self.summed(by_focal[None])
        return sums

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Sums (L, n) over each landmark's observations of values (n, M)."""
        count, landmarks = len(self.bundle.anchors), self.bundle.landmarks
        return np.stack([np.bincount(landmarks, x, count) for x in values], axis=1).astype(float)

    def prior_residual(self, state: _State, prior: PosePrior):
        """(6,), and its derivatives as pairs of a pose's index and (6, 6)."""
        if prior.base is None:
            away, derivative = perturbation(state.poses[prior.pose], prior.known.mean)
            return away, ((prior.pose, derivative),)
        pose, by_base, by_pose = between(state.poses[prior.base], state.poses[prior.pose])
        away, derivative = perturbation(pose, prior.known.mean)
        return away, ((prior.base, derivative @ by_base), (prior.pose, derivative @ by_pose))

    def adjusted(self, fit: _Fit, k: float) -> Adjusted:
        bundle, count = self.bundle, len(self.bundle.poses)
        covariance, own_variances = self.normal_equations(fit, k).covariance()
        whole = np.zeros((6 * count, 6 * count))
        entries = (6 * self.free[:, None] + np.arange(6)).ravel()
        whole[np.ix_(entries, entries)] = covariance[: len(entries), : len(entries)]
        used = robust_weights(fit.squared, k)
        weights, residuals = np.zeros(len(self.counts)), np.zeros((len(self.counts), 2))
        weights[self.counts], residuals[self.counts] = used, fit.off.T
        poses = fit.state.poses.copy()
        poses[self.free, :3, :3] = nearest_rotation(poses[self.free, :3, :3])
        return Adjusted(
            poses=poses,
            log_depth=fit.state.log_depth,
            camera=fit.camera,
            focal_sigma=float(np.sqrt(covariance[-1, -1])) if bundle.focal_sigma > 0 else 0.0,
            weights=weights,
            residuals=residuals,
            covariance=whole,
            log_depth_variance=own_variances[:, 0],
            parallax=self.parallax(fit, used),
            cost=self.cost(fit, k),
        )

    def shared(self, fit: _Fit) -> np.ndarray:
        """(K,): how many usable observations tie each pose to another, as observer or as anchor."""
        used = np.isfinite(fit.squared)
        ends = np.concatenate([self.bundle.frames[used], self.anchors[used]])
        return np.bincount(ends, minlength=len(self.bundle.poses))

    def parallax(self, fit: _Fit, weights: np.ndarray) -> np.ndarray:
        """(L,): between where the landmark is seen and where it would be, had the camera turned on the spot."""
        rotations = columns(fit.state.poses)[0][..., self.bundle.frames]
        turned, _, front = observe(rotations, 0.0, fit.arms, fit.camera)
        shift = np.hypot(*(fit.seen - turned)) * (front & (weights > AGREES))
        most = np.zeros(len(self.bundle.anchors))
        np.maximum.at(most, self.bundle.landmarks, shift)
        return most


@dataclass(frozen=True)
class _NormalEquations:
    """Of a step (p, o), o the landmarks' own. Of the matrix the blocks are h_pp (P, P), h_op (L, n, P) and h_oo
    (L, n, n), since no two landmarks meet in an observation; b_p (P,) and b_o (L, n) are the right side."""

    h_pp: np.ndarray
    h_op: np.ndarray
    h_oo: np.ndarray
    b_p: np.ndarray
    b_o: np.ndarray

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """p (P,) and o (L, n); each diagonal entry counts 1 + damping times. Raises numpy's LinAlgError."""
        damped = self.h_oo * (1.0 + damping * np.eye(self.h_oo.shape[1]))
        inverse, information = self.schur_complement(
            self.h_pp + damping * np.diag(np.diag(self.h_pp)), damped
        )
        right = self.b_p - np.tensordot(self.b_o, inverse @ self.h_op, 2)
        p = np.linalg.solve(information, right)
        if not np.isfinite(p).all():
            raise np.linalg.LinAlgError("singular but for rounding")
        return p, (inverse @ (self.b_o - self.h_op @ p)[..., None])[..., 0]

    def schur_complement(self, h_pp: np.ndarray, h_oo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h_oo⁻¹ (L, n, n), and the information (P, P) of p, whatever o is."""
        inverse, width = np.linalg.inv(h_oo), len(h_pp)
        h_op = self.h_op.reshape(h_oo.shape[0] * h_oo.shape[1], width)
        return inverse, h_pp - h_op.T @ (inverse @ self.h_op).reshape(h_op.shape)

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Of p (P, P), and the variances (L, n) of o."""
        inverse, information = self.schur_complement(self.h_pp, self.h_oo)
        covariance = inverse_information(information)
        share = inverse @ self.h_op
        own = np.diagonal(inverse, axis1=1, axis2=2)
        return covariance, own + ((share @ covariance) * share).sum(axis=2)
