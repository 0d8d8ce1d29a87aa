"""Scale from measured depth: a depth camera's image, or few points of a laser scanner or a range finder."""

from __future__ import annotations

import math

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.lens import Lens
from d4rt_ros.stream.results import Result
from d4rt_ros.stream.robust import robust_location
from d4rt_ros.stream.scale import NoScale, ScaleMeasurement

SOURCE = "depth"
SAME_SHAPE = 0.03  # of width / height, by which an image and its depth may differ
FARTHEST = 200.0  # metres that the middle of a depth image may lie away
LEAST_PIXELS = 30  # of an image
MOST_PIXELS = 2000  # more of them, or of points, say the same again
CELLS = (3, 4)  # of the image, within each of which the depth's errors are alike
# Relative sd of the refined depth in a cell where too few say it themselves; it counts as that many cells.
USUAL_SPREAD, USUAL_CELLS = 0.12, 2.0
FLOOR = 0.01  # relative sd of one measurement, however many pixels it has
MOST_SPREAD = 0.4  # of the log ratio, beyond which the two do not show the same
EDGE = 0.1  # of the depth between neighbours, beyond which there is an edge that nothing is interpolated over
# A point this much farther (log) than another one in its pixel's neighbourhood is hidden behind it.
HIDDEN = 0.1
NEAREST = 0.02  # metres along z; nearer is the robot itself
NEAREST_SHARE = 0.95  # of a cone's directions, which are no nearer than its surface


def image_scale(image, result: Result, lens: Lens | None = None) -> ScaleMeasurement:
    """Scale from a depth image (H, W) in metres, registered to the newest image of a result in the model's unit.

    lens: what that image was rectified from, where the depth is registered to the raw one. Raises NoScale with a
    sentence.
    """
    if result.points is None:
        raise NoScale(result.problem or "depth was not asked for")
    camera, points = result.camera.pinhole, result.points.static
    # Where the points are in the image, which may be an area of it.
    pixels = camera.project(points.camera.backproject_map(np.ones(points.depth.shape)))
    size = camera.height, camera.width
    measured = depth_at(image, lens.to_image(pixels) if lens else pixels, size)
    return depth_scale(measured, points.depth, result.stamp, points.sigma)


def depth_at(image, pixels, size: tuple[int, int]) -> np.ndarray:
    """Depth (...) of a depth image (H, W) that shows what an image of `size` (height, width) shows, at pixels (..., 2)
    of that one: the nearest, NaN outside and where there is none. Raises NoScale for what is no depth image."""
    image, pixels = np.asarray(image, np.float32), np.asarray(pixels, float)
    if image.ndim != 2 or not image.size:
        raise NoScale(f"a depth image of shape {image.shape}; it must be (height, width)")
    if abs(math.log(image.shape[1] * size[0] / (image.shape[0] * size[1]))) > SAME_SHAPE:
        raise NoScale(
            f"the depth image is {image.shape[1]}x{image.shape[0]}, the image {size[1]}x{size[0]}: of another shape, "
            "so the one is not registered to the other"
        )
    shape = np.array(image.shape[::-1])
    scaled = (pixels + 0.5) * shape / np.array(size[::-1]) - 0.5
    usable = np.isfinite(scaled).all(-1) & (scaled > -0.5).all(-1) & (scaled < shape - 0.5).all(-1)
    column, row = (
        np.rint(np.where(usable[..., None], scaled, 0)).astype(np.intp).transpose(-1, *range(pixels.ndim - 1))
    )
    depth = image[row, column]
    return np.where(usable & np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def depth_scale(measured, depth, stamp: int, sigma=None) -> ScaleMeasurement:
    """Scale from depth `measured` (h, w) in metres, where the model says `depth` (h, w) of relative sd `sigma` (h, w)
    or None. NaN, 0 and less are no depth. Raises NoScale with a sentence."""
    measured, depth = np.asarray(measured, float), np.asarray(depth, float)
    if measured.shape != depth.shape or depth.ndim != 2:
        raise NoScale(
            f"measured depth of shape {measured.shape} for depth of shape {depth.shape}; give two of one"
        )
    known = _positive(measured) & _positive(depth)
    count = int(_positive(measured).sum())
    if not count:
        raise NoScale("the depth image holds no depth: all of it is NaN or 0")
    if np.median(measured[_positive(measured)]) > FARTHEST:
        raise NoScale(
            "the depth image is hundreds of metres deep: is it millimetres in a 32FC1 image of metres?"
        )
    if known.sum() < LEAST_PIXELS:
        raise NoScale(
            f"{known.sum()} pixels have both measured and estimated depth; {LEAST_PIXELS} are needed"
        )
    rows, columns = (x[:: -(-len(x) // MOST_PIXELS)] for x in np.nonzero(known))
    cells = _cells(columns + 0.5, rows + 0.5, depth.shape)
    weights = None if sigma is None else _weights(np.asarray(sigma, float)[rows, columns])
    return _measurement(np.log(measured[rows, columns] / depth[rows, columns]), cells, weights, stamp)


def points_scale(points, depth, camera: Pinhole, stamp: int, sigma=None) -> ScaleMeasurement:
    """Scale from points (N, 3), metres in the optical frame, where the model says `depth` (h, w) in the image of
    `camera`. What another point, or an edge, may hide does not count. Raises NoScale with a sentence."""
    logs, pixels, weights = _compared(points, depth, camera, sigma)
    pixels, logs_z = pixels[:, :2], pixels[:, 2]
    seen = np.flatnonzero(~_hidden(pixels, logs_z))
    if not len(seen):
        raise NoScale("none of the measured points is where the image shows depth")
    seen = seen[:: -(-len(seen) // MOST_PIXELS)]
    cells = _cells(pixels[seen, 0] + 0.5, pixels[seen, 1] + 0.5, np.shape(depth))
    return _measurement(logs[seen], cells, None if weights is None else weights[seen], stamp)


def cone_scale(cap, depth, camera: Pinhole, stamp: int, sigma=None) -> ScaleMeasurement:
    """Scale from a range finder that hears the nearest thing in its cone.

    cap: (N, 3), points at the measured range in directions all over the cone, metres in the optical frame. The
    surface touches this cap and is nowhere before it, so the scale is the greatest ratio. Raises NoScale.
    """
    logs, _, _ = _compared(cap, depth, camera, sigma)
    if len(logs) < 0.5 * len(cap):
        raise NoScale(
            f"the image shows {len(logs) / max(len(cap), 1):.0%} of the range finder's cone; half is needed"
        )
    return ScaleMeasurement(
        float(np.quantile(logs, NEAREST_SHARE)), math.hypot(USUAL_SPREAD, FLOOR), stamp, SOURCE
    )


def _compared(points, depth, camera: Pinhole, sigma):
    """Log ratios (M,), pixels and log z (M, 3) and weights of the points that fall on depth without an edge."""
    points, depth = np.asarray(points, float), np.asarray(depth, float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise NoScale(f"measured points of shape {points.shape}; they must be (N, 3)")
    if depth.shape != (camera.height, camera.width):
        raise NoScale(f"depth of shape {depth.shape} is not of this {camera.width}x{camera.height} camera")
    points = points[np.isfinite(points).all(1) & (points[:, 2] > NEAREST)]
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels <= [camera.width - 1, camera.height - 1])).all(1)
    pixels, logs_z = pixels[inside], np.log(points[inside, 2])
    if not len(pixels):
        raise NoScale("none of the measured points is within the image")
    at, even = _interpolated(depth, pixels)
    weights = None
    if sigma is not None:
        column, row = np.rint(pixels).astype(np.intp).T
        weights = _weights(np.asarray(sigma, float)[row, column])[even]
    return (logs_z - at)[even], np.column_stack([pixels, logs_z])[even], weights


def _interpolated(depth: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log depth (N,) at pixels (N, 2) between its four neighbours, and where these are of one surface."""
    height, width = depth.shape
    left = np.clip(np.floor(pixels[:, 0]).astype(np.intp), 0, width - 2)
    top = np.clip(np.floor(pixels[:, 1]).astype(np.intp), 0, height - 2)
    x, y = pixels[:, 0] - left, pixels[:, 1] - top
    logs = np.log(np.where(_positive(depth), depth, np.nan))
    corners = np.stack([logs[top + j, left + i] for j in (0, 1) for i in (0, 1)])
    shares = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    even = np.isfinite(corners).all(0)
    even[even] = np.ptp(corners[:, even], axis=0) < 2 * EDGE
    return (corners * shares).sum(0), even


def _hidden(pixels: np.ndarray, logs_z: np.ndarray) -> np.ndarray:
    """(N,) bool: which points lie behind another one in their pixel or those around it."""
    if not len(pixels):
        return np.zeros(0, bool)
    import cv2  # here, because importing it takes 0.1 s

    column, row = np.rint(pixels).astype(np.intp).T
    nearest = np.full((row.max() + 1, column.max() + 1), np.inf, np.float32)
    np.minimum.at(nearest, (row, column), logs_z)
    return logs_z > cv2.erode(nearest, np.ones((3, 3)))[row, column] + HIDDEN


def _measurement(logs: np.ndarray, cells: np.ndarray, weights, stamp: int) -> ScaleMeasurement:
    """Robust location of log ratios (N,), its sd from how much the cells (N,) differ, since errors within one are
    alike (cluster-robust: Liang & Zeger 1986)."""
    location, spread, counts = robust_location(logs, weights)
    if spread > MOST_SPREAD:
        raise NoScale(
            f"measured and estimated depth differ by {spread:.0%} from pixel to pixel; do they show the same?"
        )
    weights = np.ones(len(logs)) if weights is None else weights
    sums = np.bincount(cells, weights * counts * (logs - location))
    # By how much less the weighted sum becomes as the location grows: of r (1 - r²)², with counts (1 - r²)².
    slope = max((weights * (5 * counts - 4 * np.sqrt(counts))).sum(), 0.2 * (weights * counts).sum())
    shares = np.bincount(cells, weights * counts) / (weights * counts).sum()
    number = 1 / (shares**2).sum()  # of cells that count alike
    variance = ((sums / slope) ** 2).sum() * number  # of one of them
    # As if some more cells of the usual spread had been seen: few do not tell how much they differ.
    variance = (number * variance + USUAL_CELLS * USUAL_SPREAD**2) / (number + USUAL_CELLS)
    sigma = math.hypot(math.sqrt(variance / max(number - 1, 1)), FLOOR)
    return ScaleMeasurement(location, sigma, stamp, SOURCE)


def _cells(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    row = np.clip(y / shape[0] * CELLS[0], 0, CELLS[0] - 1).astype(np.intp)
    return row * CELLS[1] + np.clip(x / shape[1] * CELLS[1], 0, CELLS[1] - 1).astype(np.intp)


def _weights(sigma: np.ndarray) -> np.ndarray:
    return 1 / (np.where(np.isfinite(sigma), sigma, 1.0) ** 2 + FLOOR**2 + 0.05**2)


def _positive(depth: np.ndarray) -> np.ndarray:
    return np.isfinite(depth) & (depth > 0)
