"""How sharp depth is where it jumps: the four configurations of the D4RT paper's Table 10, on procedural scenes.

A query may carry no RGB patch, one of the small frames that the encoder saw, or one of the frames at their own
resolution; and the grid of queries may be as coarse as the encoder or as fine as the frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

import cv2
import numpy as np
import torch
from rich.progress import track
from rich.table import Table

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.scenes import image_size
from d4rt_ros.scenes import Scenes, render
from d4rt_ros.tasks import depth_map

# Frames have so many times the encoder's pixels along either side: there is detail that it has not seen.
DETAIL = 3
REACH = 10.0  # pixels; further away an edge is another one, or none
RING = 2  # pixels on either side of an edge that count as near it
# Of the logarithm of depth: a jump that is an edge, and one that continues an edge.
EDGE, WEAK_EDGE = 0.15, 0.075
BLUR = 1.0  # pixels, standard deviation


@dataclass(frozen=True)
class Configuration:
    """One row of Table 10. patch_source: see the runtime's SceneModel. fine: a query for each of the frame's pixels."""

    name: str
    patch_source: str
    fine: bool


CONFIGURATIONS = (
    Configuration("1 no patch, encoder's grid", "none", False),
    Configuration("2 patch of encoder's frames, encoder's grid", "encoder", False),
    Configuration("3 patch of encoder's frames, fine grid", "encoder", True),
    Configuration("4 patch of full frames, fine grid", "frames", True),
)


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


@dataclass(frozen=True)
class BoundaryFigures:
    """Means over `count` scenes: of each configuration, by name, and of `trivial_boundary_errors`."""

    configurations: dict[str, BoundaryErrors]
    trivial: BoundaryErrors
    count: int


def boundary_errors(predicted: np.ndarray, truth: np.ndarray) -> BoundaryErrors:
    """The depth boundary errors of Koch et al., "Evaluation of CNN-based Single-Image Depth Estimation Methods"
    (2018), between the edges that one detector finds in both maps, and the error of depth beside the edges.

    predicted, truth: (H, W) depth of any scale; NaN where a prediction has none.
    Raises MetricError for maps of two shapes, and where the truth has no edges.
    """
    near_truth, true_edges, scaled = _prepared(predicted, truth)
    edges = depth_edges(predicted)
    near_edges = _distance(edges)
    close = edges & (near_truth < REACH)
    ring = (near_truth <= RING) & np.isfinite(scaled)
    return BoundaryErrors(
        accuracy=float(near_truth[close].mean()) if close.any() else REACH,
        completeness=float(np.minimum(near_edges[true_edges], REACH).mean()),
        depth=float(np.mean(np.abs(scaled[ring] / truth[ring] - 1))) if ring.any() else np.nan,
    )


def trivial_boundary_errors(truth: np.ndarray) -> BoundaryErrors:
    """What needs no model: edges strewn anywhere, none at all, and the same depth everywhere."""
    constant = np.ones(np.shape(truth))
    near_truth = _prepared(constant, truth)[0]
    errors = boundary_errors(constant, truth)
    return BoundaryErrors(float(near_truth[near_truth < REACH].mean()), errors.completeness, errors.depth)


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: Canny's edges of the logarithm of depth (H, W), whatever its scale."""
    good = np.isfinite(depth) & (depth > 0)
    if not good.any():
        return np.zeros(depth.shape, bool)
    log = np.log(np.where(good, depth, np.median(depth[good]))).astype(np.float32)
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


def evaluate_boundaries(
    encode: Callable, scenes: Scenes, times: torch.Tensor, frames: int, grid: tuple[int, int]
) -> BoundaryFigures:
    """Errors of every configuration in the newest frames of clips of procedural scenes.

    encode: from images (T, H, W, 3) uint8 and a patch source to something with a Scene's interface.
    scenes: N of them; times: (N, ·) seconds of the first frame, …, of the last one. frames: T of a clip.
    grid: (rows, columns) of the encoder's frames; the images have 3 times as many along either side.
    Raises MetricError where no scene's newest frame has edges.
    """
    records: list[list[BoundaryErrors]] = []
    for n in track(range(len(scenes)), description="evaluating"):
        size = image_size(scenes[n : n + 1], DETAIL**2 * grid[0] * grid[1])
        moments = torch.linspace(float(times[n, 0]), float(times[n, -1]), frames)[None]
        rendering = render(scenes[n : n + 1], moments, *size)
        truth = rendering.depth[0, -1].numpy()
        if depth_edges(truth).any():
            depths = _depths(encode, rendering.rgb[0].numpy(), size, grid)
            errors = [boundary_errors(depth, truth) for depth in depths]
            records.append([*errors, trivial_boundary_errors(truth)])
    if not records:
        raise MetricError("none of the scenes has a depth edge in its newest frame")
    means = np.nanmean([[astuple(errors) for errors in record] for record in records], axis=0)
    *ours, trivial = (BoundaryErrors(*row) for row in means.tolist())
    return BoundaryFigures({c.name: e for c, e in zip(CONFIGURATIONS, ours)}, trivial, len(records))


def boundaries_table(figures: BoundaryFigures, title: str) -> Table:
    table = Table("configuration", title=f"depth at its edges, {title}")
    for heading in ("accuracy, px", "completeness, px", f"AbsRel within {RING} px"):
        table.add_column(heading, justify="right")
    trivial = {"trivial: any edges, no edges, constant depth": figures.trivial}
    for name, errors in (figures.configurations | trivial).items():
        table.add_row(name, *(f"{value:.3f}" for value in astuple(errors)))
    return table


def _depths(encode: Callable, images: np.ndarray, size: tuple[int, int], grid: tuple[int, int]):
    """Every configuration's depth map (H, W) of the newest image."""
    source, scene = None, None
    for configuration in CONFIGURATIONS:
        if configuration.patch_source != source:
            source = configuration.patch_source
            scene = encode(images, source)
        depth = depth_map(scene, -1, size if configuration.fine else grid)
        yield depth if configuration.fine else enlarged(depth, size)


def enlarged(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A coarse grid's depth at every pixel of `size` (H, W), linearly; outer points stay outer points."""
    v, u = np.meshgrid(*(np.linspace(0, n - 1, m) for n, m in zip(depth.shape, size)), indexing="ij")
    return cv2.remap(depth, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)


def _prepared(predicted, truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pixel's distance to the nearest true edge, the true edges, and the prediction at the truth's scale."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape:
        raise MetricError(f"predicted depth has shape {predicted.shape}, the true one {truth.shape}")
    edges = depth_edges(truth)
    if not edges.any():
        raise MetricError("the true depth has no edges; boundary errors need a scene where depth jumps")
    good = np.isfinite(predicted) & (predicted > 0)
    scale = np.median(truth[good]) / np.median(predicted[good]) if good.any() else np.nan
    return _distance(edges), edges, np.where(good, predicted * scale, np.nan)


def _distance(edges: np.ndarray) -> np.ndarray:
    """Pixels (H, W) from each pixel to the nearest edge; infinite where there is none."""
    if not edges.any():
        return np.full(edges.shape, np.inf)
    return cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
