"""What dense tracking costs on procedural scenes, beside a track from every pixel of every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from rich.table import Table

from d4rt_ros.evaluation.scenes import image_size
from d4rt_ros.scenes import OracleScene, Scenes, render
from d4rt_ros.tasks import tracking_cost

PIXELS = 48 * 64
# The ground truth's window: as the paper's.
FRAMES, RATE = 48, 30.0


@dataclass(frozen=True)
class TrackingFigure:
    """Means over `count` scenes of one kind, each a window of `frames`: see `tracking_cost`.

    answers: who says where points go. kind: whether something moves in the scenes, besides the camera.
    """

    answers: str
    kind: str
    frames: int
    queries: float
    every_pixel: float
    times_fewer: float
    count: int


def evaluate_tracking(
    encode: Callable, scenes: Scenes, times: torch.Tensor, frames: int, count: int = 4
) -> list[TrackingFigure]:
    """By a model and by the ground truth, in scenes in which nothing moves and in others.

    encode: from images (T, H, W, 3) uint8 to something with a Scene's interface. frames: its T.
    scenes: N of them; times: (N, ·) seconds of the first frame, …, of the last one.
    count: at most so many scenes of either kind.
    """
    some = scenes.moving.any(1)
    parts = {"static": torch.nonzero(~some)[:count, 0], "dynamic": torch.nonzero(some)[:count, 0]}
    records: dict[tuple[str, str, int], list] = {}
    for kind, n in track([(kind, int(n)) for kind in parts for n in parts[kind]], description="tracking"):
        scene, size = scenes[n], image_size(scenes[n], PIXELS)
        moments = torch.linspace(float(times[n, 0]), float(times[n, -1]), frames)
        ours = encode(render(scene, moments[None], *size).rgb[0].numpy())
        truth = OracleScene(scene, times[n, 0] + torch.arange(FRAMES) / RATE, *size)
        records.setdefault(("model", kind, frames), []).append(tracking_cost(ours))
        records.setdefault(("ground truth", kind, FRAMES), []).append(tracking_cost(truth))
    return [
        TrackingFigure(
            *key, *(_mean(costs, name) for name in ("queries", "every pixel", "times fewer")), len(costs)
        )
        for key, costs in sorted(records.items())
    ]


def tracking_table(figures: list[TrackingFigure], title: str) -> Table:
    table = Table("answers", "scenes", title=f"dense tracking, {title}")
    for heading in ("frames", "queries", "every pixel", "times fewer", "n"):
        table.add_column(heading, justify="right")
    for f in figures:
        numbers = (f.frames, f"{f.queries:,.0f}", f"{f.every_pixel:,.0f}", f"{f.times_fewer:.1f}", f.count)
        table.add_row(f.answers, f.kind, *map(str, numbers))
    return table


def _mean(costs: list[dict], name: str) -> float:
    return float(np.mean([cost[name] for cost in costs]))
