"""Scale from the camera's height above the ground plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.robust import robust_location
from d4rt_ros.stream.scale import NoScale, ScaleMeasurement

SOURCE = "height"
IMAGE_UP = (0.0, -1.0, 0.0)  # in the optical frame of a camera that is mounted level
MOST_TILT = math.radians(20)  # of the plane against what is up
MOST_LOCAL_TILT = math.radians(40)  # of a point's own surface, whose slope is seen less surely
STEP = 2  # grid points to either side, between which a surface's slope is seen
TRIPLES = 200
TOLERANCE = 0.06  # relative error of the depth of a point that is taken to lie on the plane
LEAST_POINTS = 40
LEAST_SHARE = 0.08  # of all points that must lie on the plane
BENEATH = 0.3  # log of how much lower a point is that lies beneath a plane
AGAINST = 2.0  # points on it that one beneath it outweighs: beneath the ground there is nothing
CELL = 0.15  # radians of view within which the depth's errors are alike
USUAL_SPREAD = 0.12  # relative sd of the refined depth where it does not come with one
SHARED = 0.5  # of that, which all of the plane has in common, so that the plane does not show it
SPAN = 4.0  # seconds over which the depth's errors stay the same
MOST_ROWS = 48  # of the grid; of a finer one every so-many-th row and column is taken
MOST_POINTS = 600  # more say the same again
MOST_SIGMA = 0.3  # of a measurement that is one
SPREAD_FLOOR = 0.01


@dataclass(frozen=True)
class Ground:
    """The plane beneath the camera. height: of the camera, in the points' unit; sigma: relative sd of it. up: (3,) its
    normal in the optical frame. share: of the points that lie on it."""

    height: float
    sigma: float
    up: np.ndarray
    share: float


def ground_plane(xyz, up=IMAGE_UP, up_sigma: float = 0.1, depth_sigma=None) -> Ground:
    """The ground in a grid of points (h, w, 3) of an optical frame, NaN where there is none; its normal is within
    MOST_TILT of `up` (3,), which is known to `up_sigma` radians. depth_sigma: (h, w) relative sd of the points' depth,
    or None. Raises NoScale where no plane is sure.

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
    every = slice(None, None, -(-len(xyz) // MOST_ROWS))
    xyz = xyz[every, every]
    seen = xyz[STEP:-STEP, STEP:-STEP]
    count = int(np.isfinite(seen).all(-1).sum())
    with np.errstate(invalid="ignore"):
        below = (seen @ up < 0) & (seen[..., 2] > 0)
        level = below & (_normals(xyz) @ up > math.cos(MOST_LOCAL_TILT))
    if level.sum() < LEAST_POINTS:
        raise NoScale(
            f"{level.sum()} points of level surfaces are below the camera; {LEAST_POINTS} are needed"
        )
    points, all_below, spread = seen[level], seen[below], np.full(int(level.sum()), np.nan)
    if depth_sigma is not None:
        spread = np.asarray(depth_sigma, float)[every, every][STEP:-STEP, STEP:-STEP][level]
    start = _best_of_triples(_few(points), _few(all_below), len(points), len(all_below), up, 4 * up_sigma)
    m, covariance = _fitted(_few(points), start, up, up_sigma)
    height = float(1 / np.linalg.norm(m))
    on = np.abs(points @ m + 1) < TOLERANCE
    beneath = (all_below @ m < -math.exp(BENEATH)).sum()
    if m @ up * height < math.cos(MOST_TILT):
        raise NoScale("the largest plane below the camera is not level: it is no ground")
    if on.sum() - AGAINST * beneath < max(LEAST_POINTS, LEAST_SHARE * count):
        raise NoScale(
            f"{on.sum() / count:.0%} of the points lie on the likeliest ground and {beneath / count:.0%} beneath it: "
            "it is not sure"
        )
    location, _, _ = robust_location(np.log(-(points[on] @ m) * height))
    known = spread[on][np.isfinite(spread[on])]
    shared = SHARED * (float(np.median(known)) if len(known) else USUAL_SPREAD)
    sigma = math.hypot(math.sqrt(m @ covariance @ m) * height**2, shared)
    if sigma > MOST_SIGMA:
        raise NoScale(f"too little of the ground is seen: the height above it is known to {sigma:.0%} only")
    return Ground(math.exp(location), sigma, m * height, float(on.sum() / count))


def height_scale(ground: Ground, metres: float, stamp: int) -> ScaleMeasurement:
    """Scale from the camera's height above the ground in metres. Raises NoScale for what is no height."""
    if not 0 < metres < math.inf:
        raise NoScale(f"the camera's height is {metres} m; it must be more than 0")
    return ScaleMeasurement(math.log(metres / ground.height), ground.sigma, stamp, SOURCE, SPAN)


def _few(points: np.ndarray) -> np.ndarray:
    return points[:: -(-len(points) // MOST_POINTS)]


def _best_of_triples(points, below, all_points: int, all_below: int, up, tilt: float) -> np.ndarray:
    """m of the plane through three points, tilted by so many radians at most, that most others lie on and fewest of
    what is below the camera are beneath of. all_points, all_below: of how many these are some."""
    picks = np.random.default_rng(0).integers(0, len(points), (TRIPLES, 3))
    a, b, c = points[picks].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        ms = -normals / (normals * a).sum(1)[:, None]
        level = (ms @ up) / np.linalg.norm(ms, axis=1) >= math.cos(min(tilt, MOST_TILT))
    ms = ms[np.isfinite(ms).all(1) & level]
    if not len(ms):
        raise NoScale("no level plane is below the camera")
    on = (np.abs(points @ ms.T + 1) < TOLERANCE).mean(0) * all_points
    beneath = (below @ ms.T < -math.exp(BENEATH)).mean(0) * all_below
    return ms[np.argmax(on - AGAINST * beneath)]


def _normals(xyz: np.ndarray) -> np.ndarray:
    """(h - 2 STEP, w - 2 STEP, 3), of unit length and towards the camera."""
    right = xyz[STEP:-STEP, 2 * STEP :] - xyz[STEP:-STEP, : -2 * STEP]
    down = xyz[2 * STEP :, STEP:-STEP] - xyz[: -2 * STEP, STEP:-STEP]
    normals = np.cross(down, right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _fitted(points, m, up, up_sigma) -> tuple[np.ndarray, np.ndarray]:
    """m and its covariance (3, 3), of the robust fit (Tukey's biweight) that starts at m. up, up_sigma: as known."""
    across, down = np.floor(points[:, :2] / points[:, 2:] / CELL).astype(np.intp).T
    _, cells = np.unique(across * 100_000 + down, return_inverse=True)
    level = np.eye(3) - np.outer(up, up)
    for _ in range(10):
        residual = np.abs(points @ m + 1)
        near = residual[residual < 2 * TOLERANCE]
        spread = max(1.4826 * float(np.median(near)) if len(near) else TOLERANCE, SPREAD_FLOOR)
        weights = np.clip(1 - (residual / (4 * spread)) ** 2, 0, None) ** 2
        if not weights.any():
            raise NoScale("no level plane is below the camera")
        # Points of one part of the view say the same: as many count as there are parts that weigh alike.
        shares = np.bincount(cells, weights) / weights.sum()
        each = (weights / spread**2 * min(1.0, 1 / (shares**2).sum() / weights.sum()))[:, None]
        information = (each * points).T @ points + level / (m @ m * up_sigma**2)
        before, m = m, -np.linalg.solve(information, (each * points).sum(0))
        if np.abs(m - before).max() < 1e-4 * np.linalg.norm(m):
            break
    return m, np.linalg.inv(information)
