"""A camera's pose from points and the pixels that see them (PnP), or from points twice; robust to wrong
ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.alignment import robust_umeyama
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, nearest_rotation, pose_matrix

# Of the image's larger side: how far a pixel may be off and still agree with the pose.
THRESHOLD = 0.04
# RANSAC asks for agreement within these shares of that. A wide one ends with the first fair answer, a narrow
# one finds nothing among noise; which answer is best is judged by the median error.
RANSAC_SHARES = (0.25, 0.05)
RANSAC_ITERATIONS = 50
REFINEMENTS = 12


@dataclass(frozen=True)
class PoseFit:
    """The camera's pose (4, 4) in the frame of the points.

    inliers: (N,) bool, the points that agree. residual: their RMS, in pixels (PnP) or as a share of the
        depth.
    information: (6, 6) inverse covariance of x y z and the turns about x y z, about the axes of that frame,
        for errors that are independent.
    """

    pose: np.ndarray
    inliers: np.ndarray
    residual: float
    information: np.ndarray


def solve_pnp(points: np.ndarray, pixels: np.ndarray, weights: np.ndarray, camera: Pinhole) -> PoseFit:
    """Fit the pose to points (N, 3), their pixels (N, 2) and weights (N,) > 0, all finite.

    Starts from RANSAC or from standing still (which beats three noisy points between near frames), whichever
    has the least median error; then Gauss-Newton, reweighted to the scatter of the errors (Geman-McClure).
    Deterministic. Raises numpy's LinAlgError where the equations have no solution.
    """
    limit = THRESHOLD * max(camera.width, camera.height)
    starts = [np.eye(4)] + [
        p for share in RANSAC_SHARES for p in _ransac(points, pixels, camera, share * limit)
    ]
    pose = min(starts, key=lambda start: np.median(_errors(start, points, pixels, camera)[2]))
    for _ in range(REFINEMENTS):
        local, off, errors = _errors(pose, points, pixels, camera)
        scatter = _scatter(errors, limit)
        robust = weights / (1.0 + (errors / (2.0 * scatter)) ** 2) ** 2
        normal, gradient = _normal_equations(local, off, robust, camera)
        step = np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal)), gradient)
        pose = _moved(pose, step)
        # Done when the step moves the points' pixels by little beside their scatter.
        if step @ normal @ step <= (0.01 * scatter) ** 2 * robust.sum():
            break
    pose[:3, :3] = nearest_rotation(pose[:3, :3])
    local, off, errors = _errors(pose, points, pixels, camera)
    inliers = errors <= 3.0 * _scatter(errors, limit)
    if not inliers.any():
        raise np.linalg.LinAlgError("no point agrees with any pose")
    residual = float(np.sqrt(np.mean(errors[inliers] ** 2)))
    # Weights are relative: the residuals alone say how large the errors are, per coordinate.
    share = weights * inliers / weights[inliers].mean() / (max(residual, 1e-3) ** 2 / 2.0)
    turn = np.kron(np.eye(2), pose[:3, :3])
    information = turn @ _normal_equations(local, off, share, camera)[0] @ turn.T
    return PoseFit(pose, inliers, residual, information)


def solve_rigid(points: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> PoseFit:
    """Fit the pose of a camera to points (N, 3) and the same points as that camera has them (N, 3), all
    finite.

    Raises AlignmentError where these do not determine it.
    """
    target, source = points.astype(np.float64), seen.astype(np.float64)
    depth = target[:, 2]
    # Predicted depth is off in proportion to itself.
    fit, inliers = robust_umeyama(source, target, weights / depth**2, with_scale=False)
    errors = np.linalg.norm(fit.apply(source) - target, axis=1) / depth
    residual = float(np.sqrt(np.mean(errors[inliers] ** 2)))
    turned = source[inliers] @ fit.rotation.T
    jacobian = np.concatenate(
        [np.broadcast_to(np.eye(3), (len(turned), 3, 3)), -cross_matrix(turned)], axis=2
    )
    share = weights[inliers] / weights[inliers].mean() / (max(residual, 1e-4) * depth[inliers]) ** 2 * 3.0
    return PoseFit(fit.matrix, inliers, residual, np.einsum("nki,n,nkj->ij", jacobian, share, jacobian))


def cross_matrix(vectors) -> np.ndarray:
    """Matrices (..., 3, 3) that take the cross product of vectors (..., 3) with what they multiply."""
    x, y, z = np.moveaxis(np.asarray(vectors, np.float64), -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack([o, -z, y], -1), np.stack([z, o, -x], -1), np.stack([-y, x, o], -1)], axis=-2)


def _ransac(points, pixels, camera: Pinhole, threshold: float) -> list[np.ndarray]:
    import cv2

    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            points,
            pixels,
            camera.matrix,
            None,
            iterationsCount=RANSAC_ITERATIONS,
            reprojectionError=threshold,
            confidence=0.999,
            flags=cv2.SOLVEPNP_AP3P,
        )
    except cv2.error:
        return []
    if not (found and np.isfinite(turn).all() and np.isfinite(shift).all()):
        return []
    return [invert(pose_matrix(cv2.Rodrigues(turn)[0], shift.ravel()))]


def _errors(pose, points, pixels, camera: Pinhole) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points in the camera's frame (N, 3), how far their pixels are off (N, 2), and the distances (N,);
    these are infinite where a point is not in front of the camera, and its pixel off by nothing."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    front = local[:, 2] > 1e-6
    # Behind the camera any numbers serve that divide well, since such points weigh nothing.
    local = np.where(front[:, None], local, 1.0)
    off = np.where(front[:, None], pixels - camera.project(local), 0.0)
    return local, off, np.where(front, np.hypot(off[:, 0], off[:, 1]), np.inf)


def _scatter(errors: np.ndarray, limit: float) -> float:
    """The errors' scale in pixels: as the median has it, never so wide that a gross error counts, or
    nothing."""
    return float(np.clip(np.median(errors) / 1.1774, 1e-4 * limit, limit / 3.0))


def _normal_equations(local, off, weights, camera: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """(6, 6) and (6,) for a step of `_moved` that takes away what the pixels are off."""
    x, y, z = local.T
    # Where the camera shifts by s and turns by w, a point p of its frame moves by -s - w x p.
    ux, uz, vy, vz = camera.fx / z, -camera.fx * x / z**2, camera.fy / z, -camera.fy * y / z**2
    o = np.zeros_like(z)
    jacobian = np.array(
        [
            [-ux, o, -uz, -uz * y, uz * x - ux * z, ux * y],
            [o, -vy, -vz, vy * z - vz * y, vz * x, -vy * x],
        ]
    )
    jacobian = jacobian.transpose(1, 0, 2).reshape(6, -1)
    weighted = jacobian * np.tile(weights, 2)
    return weighted @ jacobian.T, weighted @ off.T.reshape(-1)


def _moved(pose: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The pose shifted by step[:3] and turned by step[3:], about the axes of its own camera."""
    angle = np.linalg.norm(step[3:])
    cross = cross_matrix(step[3:] / max(angle, 1e-300))
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return pose_matrix(pose[:3, :3] @ turn, pose[:3, 3] + pose[:3, :3] @ step[:3])
