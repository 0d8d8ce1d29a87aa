"""Runs of the online system, with and without refinement side by side, and what all of them say together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import Progress

from d4rt_ros.evaluation.calibration import FIFTHS, coverage
from d4rt_ros.evaluation.run_depth import on_grid
from d4rt_ros.evaluation.run_tracks import EVERY, LAG
from d4rt_ros.evaluation.run_truth import Run, RunTruth
from d4rt_ros.evaluation.stream import (
    ERRORS,
    SHARES,
    SIGMAS,
    Alone,
    Records,
    outcome_of,
    run_doubts,
    run_records,
)
from d4rt_ros.stream import Frame, PipelineConfig
from d4rt_ros.stream.config import FRAMES
from d4rt_ros.stream.recorder import Recorder
from d4rt_ros.tasks import point_map
from d4rt_ros.tasks.questions import pixel_grid

POINTS = 12, 16  # grid of the points that the model is asked about by itself


@dataclass(frozen=True)
class RunFigure:
    """A figure over `count` runs: mean, median and worst with refinement; means without it and of the trivial answer.

    better: in how many runs refinement makes it better. ratio: the worst of the ratios of with to without, NaN where
    there is none. runs: by their names (with, without, trivial).
    """

    name: str
    mean: float
    median: float
    worst: float
    without: float
    trivial: float
    trivial_name: str
    better: int
    ratio: float
    count: int
    runs: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class SigmaFigure:
    """The share of `count` true errors within 2 sigma: of all, and of each fifth of sigma, the surest first."""

    name: str
    share: float
    fifths: tuple[float, ...]
    count: int


class Shared:
    """A model that several pipelines ask for the same windows, one right after the other: it encodes them once.

    newest: the last scene.
    """

    def __init__(self, model) -> None:
        self._model, self.num_frames = model, model.num_frames
        self._prepared: deque[tuple] = deque(maxlen=model.num_frames or FRAMES)
        self._clip = self.newest = None

    def prepare(self, image: np.ndarray):
        for known, prepared in self._prepared:
            if known is image:
                return prepared
        self._prepared.append((image, self._model.prepare(image)))
        return self._prepared[-1][1]

    def encode(self, frames: Sequence, mask=None, listener=None):
        if mask is not None or listener is not None:  # who masks or listens has a pass of its own
            return self._model.encode(frames, mask=mask, listener=listener)
        same = self._clip is not None and len(frames) == len(self._clip)
        if not (same and all(a is b for a, b in zip(frames, self._clip))):
            self._clip, self.newest = list(frames), self._model.encode(frames)
        return self.newest

    def __getattr__(self, name: str):
        return getattr(self._model, name)


def evaluate_run(
    model, run: Run, configs: tuple[PipelineConfig, PipelineConfig], calibrated: bool = True
) -> tuple[Records, dict]:
    """The figures of a run, and what sigmas it gave for which errors (`run_doubts`).

    configs: of the pipeline, with refinement and without. calibrated: whether the system is told the camera.
    """
    shared = Shared(model)
    recorders = [Recorder(shared, config, online=True) for config in configs]
    size, stamps, depths, poses = configs[0].depth_size, [], [], []
    alone = _AloneSoFar(shared, size)
    for frame in run.frames():
        given = Frame(frame.image, frame.stamp, frame.camera if calibrated else None)
        for recorder in recorders:
            recorder.add(given)
        alone.note()
        stamps.append(frame.stamp)
        depths.append(on_grid(frame.depth, size) if frame.depth is not None else np.full(size, np.nan))
        pose = frame.world_from_camera
        poses.append(np.full((4, 4), np.nan) if pose is None else pose)
    truth = RunTruth(
        np.array(stamps, np.int64),
        np.stack(depths),
        np.stack(poses),
        frame.image.shape[:2],
        run.whereabouts,
    )
    refined, plain = (outcome_of(recorder.reconstruction()) for recorder in recorders)
    return run_records(refined, plain, alone.known(), truth), run_doubts(refined, truth)


class _AloneSoFar:
    """Asks every new scene of a shared model what the model says by itself."""

    def __init__(self, shared: Shared, size: tuple[int, int]) -> None:
        self._shared, self._size, self._asked = shared, size, None
        self._depth: list[np.ndarray] = []
        self._points: list[np.ndarray] = [np.zeros((0, 6))]

    def note(self) -> None:
        """After each frame."""
        scene, number = self._shared.newest, len(self._depth)
        if scene is self._asked or scene is None:
            self._depth.append(np.full(self._size, np.nan, np.float32))
            return
        self._asked = scene
        self._depth.append(point_map(scene, -1, self._size).xyz[..., 2])
        if number % EVERY or not scene.tells_motion:
            return
        newest = scene.num_frames - 1
        u, v = (x.ravel() for x in pixel_grid(POINTS, scene.size))
        for back in range(1, min(LAG, newest) + 1):
            places = scene.query(u, v, newest, newest - back, newest - back).uv
            times = np.broadcast_to([number, number - back], (len(u), 2))
            self._points.append(np.concatenate([np.stack([u, v], 1), places, times], axis=1))

    def known(self) -> Alone:
        points = np.concatenate(self._points)
        source, target = points[:, 4:].T.astype(np.intp)
        return Alone(np.stack(self._depth), points[:, :2], source, target, points[:, 2:4])


def evaluate_runs(
    model,
    runs: Iterable[Run],
    count: int,
    configs: tuple[PipelineConfig, PipelineConfig],
    calibrated: bool = True,
) -> tuple[list[RunFigure], list[SigmaFigure]]:
    """Of `count` runs, with a bar of progress. See `evaluate_run`."""
    records, doubts = [], {}
    with Progress() as bar:
        task = bar.add_task("runs", total=count)
        for run in runs:
            bar.update(task, description=run.name)
            figures, more = evaluate_run(model, run, configs, calibrated)
            records.append((run.name, figures))
            for key, pair in more.items():
                doubts.setdefault(key, []).append(pair)
            bar.advance(task)
    return run_figures(records), sigma_figures(doubts)


def run_figures(records: list[tuple[str, Records]]) -> list[RunFigure]:
    """Over runs, of which each has its name; in the order of ERRORS and SHARES. Values that are not known count for
    nothing, and the others of that run do not either."""
    figures = []
    for key, (name, trivial) in (ERRORS | SHARES).items():
        runs = {run: values[key] for run, values in records if key in values}
        if not runs:
            continue
        refined, without, plain = np.array(list(runs.values()), float).T
        known = np.isfinite(refined)
        if not known.any():
            continue
        more, worst = (refined > without, np.min) if key in SHARES else (refined < without, np.max)
        ratios = refined[known & (without > 0)] / without[known & (without > 0)]
        means = (
            float(x.mean()) if len(x) else np.nan
            for x in (x[known & np.isfinite(x)] for x in (without, plain))
        )
        refined = refined[known]
        figures.append(
            RunFigure(
                name, float(refined.mean()), float(np.median(refined)), float(worst(refined)), *means, trivial,
                int((more & known).sum()), float(worst(ratios)) if len(ratios) else np.nan, len(refined), runs,
            )
        )  # fmt: skip
    return figures


def sigma_figures(doubts: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> list[SigmaFigure]:
    """Over all runs together, in the order of SIGMAS."""
    figures = []
    for key, name in SIGMAS.items():
        if key not in doubts:
            continue
        error, sigma = (np.concatenate(x) for x in zip(*doubts[key]))
        known = np.isfinite(error) & ~np.isnan(sigma)
        if known.any():
            share = float((np.abs(error) <= 2 * sigma)[known].mean())
            fifths = tuple(map(float, coverage(error, sigma)))
            figures.append(SigmaFigure(name, share, fifths, int(known.sum())))
    return figures


def run_table(figures: list[RunFigure]):
    """A rich Table of the figures."""
    from rich.table import Table

    names = (
        "figure",
        "refined",
        "median",
        "worst",
        "not refined",
        "worst ratio",
        "better in",
        "trivial answer",
    )
    table = Table(*names)
    for f in figures:
        numbers = (f"{x:.3f}" for x in (f.mean, f.median, f.worst, f.without))
        ratio = f"{f.ratio:.2f}" if np.isfinite(f.ratio) else ""
        trivial = f"{f.trivial:.3f}  {f.trivial_name}"
        table.add_row(f.name, *numbers, ratio, f"{f.better} of {f.count}", trivial)
    return table


def sigma_table(figures: list[SigmaFigure]):
    """A rich Table of the shares."""
    from rich.table import Table

    title = "true errors within 2 sigma: of all, and of each fifth of sigma, the surest first"
    table = Table(
        "figure", "all", *(f"{k + 1}/{FIFTHS}" for k in range(FIFTHS)), "n", title=title, min_width=90
    )
    for f in figures:
        table.add_row(f.name, f"{f.share:.2f}", *(f"{x:.2f}" for x in f.fifths), f"{f.count}")
    return table
