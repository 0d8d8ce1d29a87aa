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

from d4rt_ros.evaluation.boundaries import (
    RING,
    BoundaryErrors,
    boundary_errors,
    known_edges,
    trivial_boundary_errors,
)
from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.scenes import image_size
from d4rt_ros.scenes import Scenes, render
from d4rt_ros.tasks import depth_map

# Frames have so many times the encoder's pixels along either side: there is detail that it has not seen.
DETAIL = 3


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
class BoundaryFigures:
    """Means over `count` scenes: of each configuration, by name, and of `trivial_boundary_errors`."""

    configurations: dict[str, BoundaryErrors]
    trivial: BoundaryErrors
    count: int


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
        if known_edges(truth).any():
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
