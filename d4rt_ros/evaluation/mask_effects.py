"""What masks are worth to the camera's path: the same run with nothing masked, with masks, and with true ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from rich.progress import Progress

from d4rt_ros.evaluation.mask_scenes import MaskScene
from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.run_path import run_path_errors, still_run_path_errors
from d4rt_ros.evaluation.stream_runs import Shared
from d4rt_ros.io.frame import Frame
from d4rt_ros.stream import Outputs, Pipeline, PipelineConfig, Pose, Result, Stream
from d4rt_ros.stream.config import only

NOTHING, TRUE = "nothing masked", "true masks"  # beside a method's name
FEWEST = 10  # frames that all variants trust, of which a sequence must have so many to be compared


def run_beside(
    model, frames: Iterable[tuple[Frame, np.ndarray]], dynamics: str, outputs: Outputs
) -> Iterator[tuple[Frame, np.ndarray, dict[str, tuple[Pose | None, Result | None]]]]:
    """Each frame with its true mask, and by the name of each variant what the pipeline says of it: its place, and what
    its window gave.

    frames: with true masks. dynamics: of PipelineConfig, which names its variant; the others are NOTHING, and TRUE,
    which is given the true masks as masks from outside.
    """
    shared = Shared(model)
    streams = {
        name: Stream(Pipeline(shared, PipelineConfig(dynamics=method)))
        for name, method in ((NOTHING, "off"), (dynamics, dynamics), (TRUE, "off"))
    }
    for frame, mask in frames:
        given = Frame(frame.image, frame.stamp, frame.camera)
        said = {}
        for name, stream in streams.items():
            result = stream.add(replace(given, masked=mask) if name == TRUE else given, outputs)
            said[name] = stream.pose, result
        yield frame, mask, said


@dataclass(frozen=True)
class PathFigure:
    """A variant's paths over `count` sequences. ate: by sequence, % of the path, over the frames that all variants
    trust; mean and median of these. trusted: share of all frames. better: in how many sequences it is better than with
    nothing masked."""

    variant: str
    mean: float
    median: float
    trusted: float
    better: int
    count: int
    ate: dict[str, float]


def evaluate_paths(model, scenes: Iterable[MaskScene], count: int, dynamics: str) -> list[PathFigure]:
    """Of `count` scenes; and of a camera that stands still, the trivial answer."""
    paths: dict[str, dict[str, float]] = {}
    trusted: dict[str, list[float]] = {}
    with Progress() as bar:
        task = bar.add_task("paths", total=count)
        for scene in scenes:
            bar.update(task, description=scene.name)
            errors, shares = _sequence_paths(
                run_beside(model, scene.frames(), dynamics, only(pose=True, masks=True))
            )
            for name, error in errors.items():
                paths.setdefault(name, {})[scene.name] = error
            for name, share in shares.items():
                trusted.setdefault(name, []).append(share)
            bar.advance(task)
    return [
        _figure(name, paths.get(name, {}), trusted.get(name, []), paths.get(NOTHING, {}))
        for name in (NOTHING, dynamics, TRUE, "still camera")
    ]


def _sequence_paths(run) -> tuple[dict[str, float], dict[str, float]]:
    """By variant: ATE, none where too few frames are trusted by all; and the share of frames that are trusted."""
    poses: dict[str, list[Pose | None]] = {}
    truth, stamps = [], []
    for frame, _, said in run:
        truth.append(frame.world_from_camera)
        stamps.append(frame.stamp)
        for name, (pose, _) in said.items():
            poses.setdefault(name, []).append(pose)
    known = {name: _in_main_world(path) for name, path in poses.items()}
    shares = {name: float(mask.mean()) for name, mask in known.items()}
    common = np.logical_and.reduce(list(known.values()))
    if common.sum() < FEWEST:
        return {}, shares
    truth, stamps = np.stack(truth), np.array(stamps)
    errors = {"still camera": still_run_path_errors(truth, stamps, common).ate}
    for name, path in poses.items():
        matrices = np.stack([np.full((4, 4), np.nan) if p is None else p.world_from_camera for p in path])
        try:
            errors[name] = run_path_errors(matrices, truth, stamps, common).ate
        except MetricError:
            return {}, shares
    return errors, shares


def _in_main_world(path: list[Pose | None]) -> np.ndarray:
    """(N,) bool: trusted, and in the world that most of the trusted are in."""
    worlds = np.array([pose.world if pose is not None and pose.trusted else -1 for pose in path])
    if (worlds < 0).all():
        return np.zeros(len(path), bool)
    return worlds == np.bincount(worlds[worlds >= 0]).argmax()


def _figure(name: str, ate: dict[str, float], trusted: list[float], nothing: dict[str, float]) -> PathFigure:
    values = np.array(list(ate.values()))
    return PathFigure(
        name,
        float(values.mean()) if len(values) else math.nan,
        float(np.median(values)) if len(values) else math.nan,
        float(np.mean(trusted)) if trusted else math.nan,
        sum(ate[scene] < nothing[scene] for scene in ate),
        len(ate),
        ate,
    )


def path_table(figures: list[PathFigure], title: str):
    """A rich Table of the figures."""
    from rich.table import Table

    table = Table(
        "", "ATE, % of the path", "median", "of nothing masked", "better in", "trusted", title=title
    )
    for f in figures:
        ratio = f"{f.mean / figures[0].mean:.2f}" if figures[0].mean else ""
        trusted = "" if math.isnan(f.trusted) else f"{f.trusted:.2f}"
        better = "" if f.variant == NOTHING else f"{f.better} of {f.count}"
        table.add_row(f.variant, f"{f.mean:.2f}", f"{f.median:.2f}", ratio, better, trusted)
    return table
