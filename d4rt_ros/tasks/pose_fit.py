"""The pose of one camera in another's frame, fitted to points: robust PnP and robust rigid alignment.

Both take N rows of two kinds: `back` (N,) bool is False for points of camera i and what camera j says of
them, True for points of camera j and what camera i says of them. Together they are surer than twice either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.alignment import robust_umeyama
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import (
    adjoint,
    cross_matrix,
    invert,
    nearest_rotation,
    pose_matrix,
    transform,
)

# Of the image's larger side: how far a pixel may be off and still agree with the pose.
THRESHOLD = 0.04
# RANSAC asks for agreement within these shares of that, among the rows of either kind: a wide one ends with
# the first fair answer, a narrow one finds nothing among noise. The median error tells which is better.
RANSAC_SHARES = {False: 0.15, True: 0.05}
RANSAC_ITERATIONS = 50
REFINEMENTS = 12


@dataclass(frozen=True)
class PoseFit:
    """i_from_j (4, 4).

    inliers: (N,) bool, the rows that agree. residual: their RMS, in pixels (PnP) or as a share of the depth.
    information: (6, 6) inverse covariance of x y z and the turns about x y z, about the axes of frame i, as
        if the rows' errors were independent.
    """

    i_from_j: np.ndarray
    inliers: np.ndarray
    residual: float
    information: np.ndarray


def solve_pnp(points, pixels, back, weights, camera: Pinhole) -> PoseFit:
    """Fit i_from_j to points (N, 3) in their own camera and the other camera's pixels (N, 2) of them.

    weights: (N,) > 0; all must be finite. Starts from RANSAC or from standing still (between near frames that
    beats three noisy points), whichever has the least median error; then Gauss-Newton, reweighted to the
    scatter of the errors (Geman-McClure). Deterministic. Raises numpy's LinAlgError where the equations have
    no solution.
    """
    limit = THRESHOLD * max(camera.width, camera.height)
    starts = [np.eye(4), *_ransac(points, pixels, back, camera, limit)]
    i_from_j = min(starts, key=lambda start: np.median(_errors(start, points, pixels, back, camera)[2]))
    for _ in range(REFINEMENTS):
        seen, off, errors = _errors(i_from_j, points, pixels, back, camera)
        scatter = _scatter(errors, limit)
        robust = weights / (1.0 + (errors / (2.0 * scatter)) ** 2) ** 2
        normal, gradient = _normal_equations(i_from_j, seen, off, back, robust, camera)
        step = np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal)), gradient)
        i_from_j = _moved(i_from_j, step)
        # Done when the step moves the points' pixels by little beside their scatter.
        if step @ normal @ step <= (0.01 * scatter) ** 2 * robust.sum():
            break
    i_from_j[:3, :3] = nearest_rotation(i_from_j[:3, :3])
    if not _from_one_side(i_from_j):
        raise np.linalg.LinAlgError("the points fit two cameras alone that look at them from opposite sides")
    seen, off, errors = _errors(i_from_j, points, pixels, back, camera)
    inliers = errors <= 3.0 * _scatter(errors, limit)
    if not inliers.any():
        raise np.linalg.LinAlgError("no point agrees with any pose")
    residual = float(np.sqrt(np.mean(errors[inliers] ** 2)))
    # Weights are relative: the residuals alone say how large the errors are, per coordinate.
    share = weights * inliers / weights[inliers].mean() / (max(residual, 1e-3) ** 2 / 2.0)
    rotation = adjoint(pose_matrix(i_from_j[:3, :3]))
    information = rotation @ _normal_equations(i_from_j, seen, off, back, share, camera)[0] @ rotation.T
    return PoseFit(i_from_j, inliers, residual, information)


def solve_rigid(points, seen, back, weights) -> PoseFit:
    """Fit i_from_j to points (N, 3) in their own camera and the same points (N, 3) in the other camera.

    weights: (N,) > 0; all must be finite. Raises AlignmentError where the points do not determine the pose.
    """
    target = np.where(back[:, None], seen, points).astype(np.float64)
    source = np.where(back[:, None], points, seen).astype(np.float64)
    depth = points[:, 2].astype(np.float64)
    # Predicted depth is off in proportion to itself.
    fit, inliers = robust_umeyama(source, target, weights / depth**2, with_scale=False)
    errors = np.linalg.norm(fit.apply(source) - target, axis=1) / depth
    residual = float(np.sqrt(np.mean(errors[inliers] ** 2)))
    turned = source[inliers] @ fit.rotation.T
    shift = np.broadcast_to(np.eye(3), (len(turned), 3, 3))
    jacobian = np.concatenate([shift, -cross_matrix(turned)], axis=2)
    share = weights[inliers] / weights[inliers].mean() / (max(residual, 1e-4) * depth[inliers]) ** 2 * 3.0
    return PoseFit(fit.matrix, inliers, residual, np.einsum("nki,n,nkj->ij", jacobian, share, jacobian))


def _ransac(points, pixels, back, camera: Pinhole, limit: float) -> list[np.ndarray]:
    """i_from_j as either kind of rows has it, where that was found."""
    import cv2

    found = []
    for kind, share in RANSAC_SHARES.items():
        rows = back == kind
        if rows.sum() < 6:
            continue
        try:
            good, rotation, shift, _ = cv2.solvePnPRansac(
                points[rows],
                pixels[rows],
                camera.matrix,
                None,
                iterationsCount=RANSAC_ITERATIONS,
                reprojectionError=share * limit,
                confidence=0.999,
                flags=cv2.SOLVEPNP_AP3P,
            )
        except cv2.error:
            continue
        if not (good and np.isfinite(rotation).all() and np.isfinite(shift).all()):
            continue
        seen_from = pose_matrix(Rotation.from_rotvec(rotation.ravel()).as_matrix(), shift.ravel())
        if _from_one_side(seen_from):
            found.append(seen_from if kind else invert(seen_from))
    return found


def _from_one_side(pose: np.ndarray) -> bool:
    """Few noisy points of a plane fit a camera behind it as well; but both cameras see it from one side."""
    return pose[2, 2] > 0


def _errors(i_from_j, points, pixels, back, camera: Pinhole) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points in the frame of the camera that sees them (N, 3), how far their pixels are off (N, 2), and
    the distances (N,). Where a point is not in front, that is infinite and the pixel off by nothing."""
    seen = np.where(back[:, None], transform(i_from_j, points), transform(invert(i_from_j), points))
    front = seen[:, 2] > 1e-6
    # Behind the camera any numbers serve that divide well, since such points weigh nothing.
    seen = np.where(front[:, None], seen, 1.0)
    off = np.where(front[:, None], pixels - camera.project(seen), 0.0)
    return seen, off, np.where(front, np.hypot(off[:, 0], off[:, 1]), np.inf)


def _scatter(errors: np.ndarray, limit: float) -> float:
    """The errors' scale in pixels, from their median: never nothing, nor so wide that gross errors count."""
    return float(np.clip(np.median(errors) / 1.1774, 1e-4 * limit, limit / 3.0))


def _normal_equations(i_from_j, seen, off, back, weights, camera: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """(6, 6) and (6,) for a step of `_moved` that takes away what the pixels are off."""
    x, y, z = seen.T
    # Where the seeing camera shifts by s and turns by w, a point p of its frame moves by -s - w x p.
    ux, uz, vy, vz = camera.fx / z, -camera.fx * x / z**2, camera.fy / z, -camera.fy * y / z**2
    o = np.zeros_like(z)
    jacobian = np.array(
        [
            [-ux, o, -uz, -uz * y, uz * x - ux * z, ux * y],
            [o, -vy, -vz, vy * z - vz * y, vz * x, -vy * x],
        ]
    )
    # A step of camera j is the opposite step of camera i, as i would measure it.
    opposite = -adjoint(i_from_j)
    jacobian = jacobian.transpose(1, 0, 2).reshape(6, -1)
    back = np.concatenate([back, back])
    jacobian[:, back] = opposite.T @ jacobian[:, back]
    weighted = jacobian * np.concatenate([weights, weights])
    return weighted @ jacobian.T, weighted @ off.T.reshape(-1)


def _moved(i_from_j: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The pose shifted by step[:3] and turned by step[3:], about the axes of camera j."""
    rotation = i_from_j[:3, :3]
    turned = rotation @ Rotation.from_rotvec(step[3:]).as_matrix()
    return pose_matrix(turned, i_from_j[:3, 3] + rotation @ step[:3])
