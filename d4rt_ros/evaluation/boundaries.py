"""The depth boundary error: where a depth map jumps, against where the true one does."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from d4rt_ros.evaluation.metrics import MetricError

REACH = 10.0  # pixels; further away an edge is another one, or none
RING = 2  # pixels on either side of an edge that count as near it
BESIDE = 3.0  # pixels: an edge so near to unknown depth may be one of the measuring
# Of the logarithm of depth: a jump that is an edge, and one that continues an edge.
EDGE, WEAK_EDGE = 0.15, 0.075
BLUR = 1.0  # pixels, standard deviation


@dataclass(frozen=True)
class BoundaryErrors:
    """Errors at the edges of a depth map.

    accuracy: mean distance in pixels from its edges to the nearest true one, of those that have one within 10.
    completeness: mean distance in pixels from the true edges to its nearest one; 10 where it is further or none.
    depth: absolute relative error within 2 pixels of true edges, after median scaling of the whole map.
    """

    accuracy: float
    completeness: float
    depth: float


def boundary_errors(predicted: np.ndarray, truth: np.ndarray) -> BoundaryErrors:
    """The depth boundary errors of Koch et al., "Evaluation of CNN-based Single-Image Depth Estimation Methods"
    (2018), between the edges that one detector finds in both maps (hence "pseudo", PDBE), and the error of depth
    beside the edges.

    predicted, truth: (H, W) depth of any scale; NaN where a prediction has none, or where the truth is not known:
    edges that near that count in neither map.
    Raises MetricError for maps of two shapes, and where the truth has no edges.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape:
        raise MetricError(f"predicted depth has shape {predicted.shape}, the true one {truth.shape}")
    true_edges = known_edges(truth)
    if not true_edges.any():
        raise MetricError("the true depth has no edges; boundary errors need a scene where depth jumps")
    edges = depth_edges(predicted) & _far_from_unknown(truth)
    near_truth, near_edges = _distance(true_edges), _distance(edges)
    close = edges & (near_truth < REACH)
    both = _known(predicted) & _known(truth)
    scale = np.median(truth[both]) / np.median(predicted[both]) if both.any() else np.nan
    ring = (near_truth <= RING) & both
    return BoundaryErrors(
        accuracy=float(near_truth[close].mean()) if close.any() else REACH,
        completeness=float(np.minimum(near_edges[true_edges], REACH).mean()),
        depth=float(np.mean(np.abs(scale * predicted[ring] / truth[ring] - 1))) if ring.any() else np.nan,
    )


def trivial_boundary_errors(truth: np.ndarray) -> BoundaryErrors:
    """What needs no model: edges strewn anywhere, none at all, and the same depth everywhere."""
    errors = boundary_errors(np.ones(np.shape(truth)), truth)
    near_truth = _distance(known_edges(truth))[_far_from_unknown(truth)]
    return BoundaryErrors(float(near_truth[near_truth < REACH].mean()), errors.completeness, errors.depth)


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: Canny's edges of the logarithm of depth (H, W), whatever its scale; NaN is as its nearest."""
    known = _known(depth)
    if not known.any():
        return np.zeros(depth.shape, bool)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    log = np.log(depth[tuple(nearest)]).astype(np.float32)
    log = cv2.GaussianBlur(log, (0, 0), BLUR, borderType=cv2.BORDER_REPLICATE)
    # In 16 bits, as OpenCV wants them. A blurred jump of 1 has a slope of 1 / (BLUR sqrt(2 pi)).
    scale = 4000 * BLUR * np.sqrt(2 * np.pi)
    slopes = (
        np.clip(
            cv2.Sobel(log, cv2.CV_32F, *axis, scale=scale / 8, borderType=cv2.BORDER_REPLICATE), -32000, 32000
        )
        for axis in ((1, 0), (0, 1))
    )
    dx, dy = (np.rint(slope).astype(np.int16) for slope in slopes)
    return cv2.Canny(dx, dy, 4000 * WEAK_EDGE, 4000 * EDGE, L2gradient=True) > 0


def known_edges(truth: np.ndarray) -> np.ndarray:
    """(H, W) bool: `depth_edges` that are not beside unknown depth."""
    return depth_edges(truth) & _far_from_unknown(truth)


def _known(depth: np.ndarray) -> np.ndarray:
    return np.isfinite(depth) & (depth > 0)


def _far_from_unknown(truth: np.ndarray) -> np.ndarray:
    return _distance(~_known(truth)) > BESIDE


def _distance(edges: np.ndarray) -> np.ndarray:
    """Pixels (H, W) from each pixel to the nearest edge; infinite where there is none."""
    if not edges.any():
        return np.full(edges.shape, np.inf)
    return cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
