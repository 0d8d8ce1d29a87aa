"""Scale from the camera's height above the ground plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.scale import NoScale, ScaleMeasurement, robust_location

SOURCE = "height"
IMAGE_UP = (0.0, -1.0, 0.0)  # in the optical frame of a camera that is mounted level
MOST_TILT = math.radians(20)  # of the plane against what is up
MOST_LOCAL_TILT = math.radians(40)  # of a point's own surface, whose slope is seen less surely
STEP = 2  # grid points to either side, between which a surface's slope is seen
TRIPLES = 200
TOLERANCE = 0.06  # relative error of the depth of a point that is taken to lie on the plane
LEAST_POINTS = 40
LEAST_SHARE = 0.08  # of all points that must lie on the plane
MOST_BENEATH = (
    0.5  # of as many points as lie on the plane may lie beneath it: beneath the ground there is nothing
)
BENEATH = 0.25  # log of how much deeper they are then
CELL = 0.15  # radians of view within which the depth's errors are alike
MOST_POINTS = 600  # more say the same again
MOST_SIGMA = 0.3  # of a measurement that is one
FLOOR = 0.015  # relative sd of one measurement: the ground is no plane
SPREAD_FLOOR = 0.01


@dataclass(frozen=True)
class Ground:
    """The plane beneath the camera. height: of the camera, in the points' unit; sigma: relative sd of it. up: (3,) its
    normal in the optical frame. share: of the points that lie on it."""

    height: float
    sigma: float
    up: np.ndarray
    share: float


def ground_plane(xyz, up=IMAGE_UP, up_sigma: float = 0.1) -> Ground:
    """The ground in a grid of points (h, w, 3) of an optical frame, NaN where there is none; its normal is within
    MOST_TILT of `up` (3,), which is known to `up_sigma` radians. Raises NoScale where no plane is sure.

    With m = normal / height the plane is m · p = -1, and m · p + 1 the relative error of a point's depth, which is
    alike near and far: so RANSAC's residual and that of the robust fit, which is linear in m. Only points whose own
    surface is level are looked at: as far as the depth's errors tell, a wall's lower part would pass for a plane.
    """
    xyz, up = np.asarray(xyz, float), np.asarray(up, float)
    if xyz.ndim != 3 or xyz.shape[2] != 3 or min(xyz.shape[:2]) <= 2 * STEP:
        raise NoScale(
            f"points of shape {xyz.shape}; a grid (h, w, 3) of more than {2 * STEP} rows and columns is needed"
        )
    if up.shape != (3,) or not np.isfinite(up).all() or not up.any():
        raise NoScale(f"up is {up}; it must be a direction (3,)")
    up = up / np.linalg.norm(up)
    seen = xyz[STEP:-STEP, STEP:-STEP]
    with np.errstate(invalid="ignore"):
        level = (_normals(xyz) @ up > math.cos(MOST_LOCAL_TILT)) & (seen @ up < 0) & (seen[..., 2] > 0)
    points, count = seen[level], int(np.isfinite(seen).all(-1).sum())
    if len(points) < LEAST_POINTS:
        raise NoScale(
            f"{len(points)} points of level surfaces are below the camera; {LEAST_POINTS} are needed"
        )
    points, count = points[:: -(-len(points) // MOST_POINTS)], count / -(-len(points) // MOST_POINTS)
    m, weights, spread = _fitted(points, _best_of_triples(points, up), up, up_sigma)
    height = 1 / np.linalg.norm(m)
    normal = m * height
    residual = -(points @ m)
    on, beneath = np.abs(residual - 1) < TOLERANCE, residual > math.exp(BENEATH)
    if normal @ up < math.cos(MOST_TILT):
        raise NoScale("the largest plane below the camera is not level: it is no ground")
    if on.sum() < min(LEAST_POINTS, MOST_POINTS) or on.sum() < LEAST_SHARE * count:
        raise NoScale(
            f"{on.sum() / count:.0%} of the points lie on one level plane; {LEAST_SHARE:.0%} must, to be the ground"
        )
    if beneath.sum() > MOST_BENEATH * on.sum():
        raise NoScale("the largest level plane has others beneath it: it is a table, no ground")
    location, _, _ = robust_location(np.log(-(points[on] @ normal)))
    covariance = np.linalg.inv(_normal_equations(points, m, weights, up, up_sigma, spread)[0])
    sigma = math.hypot(math.sqrt(m @ covariance @ m) * height**2, FLOOR)
    if sigma > MOST_SIGMA:
        raise NoScale(f"too little of the ground is seen: the height above it is known to {sigma:.0%} only")
    return Ground(math.exp(location), sigma, normal, float(on.sum() / count))


def height_scale(ground: Ground, metres: float, stamp: int) -> ScaleMeasurement:
    """Scale from the camera's height above the ground in metres. Raises NoScale for what is no height."""
    if not 0 < metres < math.inf:
        raise NoScale(f"the camera's height is {metres} m; it must be more than 0")
    return ScaleMeasurement(math.log(metres / ground.height), ground.sigma, stamp, SOURCE)


def _best_of_triples(points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """m of the plane through three points that most others lie on, the lower one of two that are alike."""
    picks = np.random.default_rng(0).integers(0, len(points), (TRIPLES, 3))
    a, b, c = points[picks].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    offsets = (normals * a).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ms = -normals / offsets[:, None]
        level = (ms @ up) / np.linalg.norm(ms, axis=1) >= math.cos(MOST_TILT)
    ms = ms[np.isfinite(ms).all(1) & level]
    if not len(ms):
        raise NoScale("no level plane is below the camera")
    counts = (np.abs(points @ ms.T + 1) < TOLERANCE).sum(0)
    return ms[np.argmax(counts)]


def _normals(xyz: np.ndarray) -> np.ndarray:
    """(h - 2 STEP, w - 2 STEP, 3), of unit length and towards the camera."""
    right = xyz[STEP:-STEP, 2 * STEP :] - xyz[STEP:-STEP, : -2 * STEP]
    down = xyz[2 * STEP :, STEP:-STEP] - xyz[: -2 * STEP, STEP:-STEP]
    normals = np.cross(down, right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _fitted(points, m, up, up_sigma) -> tuple[np.ndarray, np.ndarray, float]:
    """m, weights (N,) and the sd of the residuals of the robust fit (Tukey's biweight) that starts at m."""
    weights, spread = np.ones(len(points)), TOLERANCE
    for _ in range(10):
        residual = np.abs(points @ m + 1)
        near = residual[residual < 2 * TOLERANCE]
        spread = max(1.4826 * float(np.median(near)) if len(near) else TOLERANCE, SPREAD_FLOOR)
        weights = np.clip(1 - (residual / (4 * spread)) ** 2, 0, None) ** 2
        if not weights.any():
            raise NoScale("no level plane is below the camera")
        before, m = m, -np.linalg.solve(*_normal_equations(points, m, weights, up, up_sigma, spread))
        if np.abs(m - before).max() < 1e-4 * np.linalg.norm(m):
            break
    return m, weights, spread


def _normal_equations(points, m, weights, up, up_sigma, spread):
    """Information matrix (3, 3) of m, with what is known of the tilt, and Σ p."""
    # Points of one part of the view say the same: as many count as there are parts that weigh alike.
    _, cells = np.unique(np.floor(points[:, :2] / points[:, 2:] / CELL), axis=0, return_inverse=True)
    shares = np.bincount(cells.ravel(), weights) / weights.sum()
    each = weights / spread**2 * min(1.0, 1 / (shares**2).sum() / weights.sum())
    level = np.eye(3) - np.outer(up, up)
    return (each[:, None] * points).T @ points + level / (m @ m * up_sigma**2), (each[:, None] * points).sum(
        0
    )
