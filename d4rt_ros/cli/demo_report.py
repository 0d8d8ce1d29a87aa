"""The demo's figures: rates and latencies of topics and queries; accuracy beside that of baselines."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError, constant_depth_errors, depth_errors
from d4rt_ros.evaluation.trajectory import aligned_poses
from d4rt_ros.geometry import invert, rotation_angle

PAIR_SECONDS = 0.5  # between the two images of a pair whose relative rotation is compared
LASTING = 3  # diagnostics, which come once a second, that must say the same before the report does
# Shown in this order; what else was listened to (the truth) is not the node's.
TOPICS = (
    "/image /d4rt/depth/image /d4rt/depth/camera_info /d4rt/points /d4rt/odometry /d4rt/tracks /tf".split()
)


@dataclass(frozen=True)
class Latency:
    """name: a topic, or a query. median, p95: milliseconds. rate: per second."""

    name: str
    count: int
    rate: float
    median: float
    p95: float


@dataclass(frozen=True)
class Error:
    """A figure beside what costs nothing; count: what it is the mean over."""

    name: str
    ours: float
    baseline: float
    unit: str
    baseline_name: str
    count: int


@dataclass(frozen=True)
class Report:
    topics: list[Latency]
    queries: list[Latency]
    errors: list[Error]
    received: str
    warnings: list[str]


def report(recording) -> Report:
    """All figures of a d4rt_ros.ros.listening.listener.Recording."""
    poses = recording.main_poses()
    errors = [depth_error(recording.depths), *pose_errors(poses, recording.true_poses)]
    return Report(
        topics=[topic_latency(name, recording.arrivals.get(name, [])) for name in TOPICS],
        queries=[query_latency(count, seconds) for count, seconds in sorted(recording.queries.items())],
        errors=[e for e in errors if e is not None],
        received=received(recording.told),
        warnings=[*worlds(len(poses), len(recording.poses)), *lasting(recording.problems)],
    )


def received(told: dict[str, str]) -> str:
    """What became of the images, as the node's diagnostics count them from its start; "" where they do not."""
    if "images" not in told:
        return ""
    dropped = {name.removeprefix("dropped: "): n for name, n in told.items() if name.startswith("dropped: ")}
    why = "".join(f", {n} dropped ({reason})" for reason, n in dropped.items())
    left = told.get("images not followed", "0")
    return f"The node received {told['images']} images{why}; too busy for {left} of them; {told['results']} results."


def worlds(main: int, every: int) -> list[str]:
    """What is to be said where the camera was lost, and another world began: poses of the main one, and of all."""
    if main == every:
        return []
    return [f"the camera was lost and another world began: path and cloud are of {main} of {every} poses"]


def lasting(problems: list[str]) -> list[str]:
    """Of what the diagnostics say, which is once a second."""
    return [f"{text} (for {n} s)" for text, n in Counter(problems).most_common() if n >= LASTING]


def topic_latency(name: str, arrivals: list[tuple[int, int]]) -> Latency:
    """arrivals: (stamp, receipt) in nanoseconds."""
    if not arrivals:
        return Latency(name, 0, 0.0, float("nan"), float("nan"))
    stamp, receipt = np.array(arrivals, np.int64).T
    span = (receipt[-1] - receipt[0]) / 1e9
    rate = (len(arrivals) - 1) / span if span > 0 else 0.0
    return Latency(name, len(arrivals), rate, *_percentiles((receipt - stamp) / 1e6))


def query_latency(count: int, seconds: list[float]) -> Latency:
    name = f"/d4rt/query, {count:,} point{'s' if count > 1 else ''}"
    return Latency(name, len(seconds), float("nan"), *_percentiles(1e3 * np.array(seconds)))


def depth_error(depths: list[tuple[np.ndarray, np.ndarray]]) -> Error | None:
    """AbsRel after scaling each image's median to the truth's; a constant scales to the true median."""
    pairs = []
    for predicted, true in depths:
        try:
            pairs.append((depth_errors(predicted, true)[0], constant_depth_errors(true)[0]))
        except MetricError:  # nothing to compare: no depth was given, or the truth is the sky
            continue
    if not pairs:
        return None
    ours, baseline = np.mean(pairs, axis=0)
    return Error("depth AbsRel", float(ours), float(baseline), "", "constant", len(pairs))


def pose_errors(poses: dict[int, np.ndarray], truth: dict[int, np.ndarray]) -> list[Error]:
    """Relative rotation over half a second, and the trajectory's error after alignment with scale."""
    stamps = sorted(poses.keys() & truth.keys())
    if len(stamps) < 5:
        return []
    ours, true = (np.array([p[s] for s in stamps]) for p in (poses, truth))
    later = np.searchsorted(stamps, np.array(stamps) + round(PAIR_SECONDS * 1e9))
    pairs = [(i, j) for i, j in enumerate(later) if j < len(stamps)]
    errors = []
    if pairs:
        i, j = np.array(pairs).T
        measured, real = (invert(path[i]) @ path[j] for path in (ours, true))
        error, still = np.degrees(rotation_angle(invert(real) @ measured)), np.degrees(rotation_angle(real))
        means = float(error.mean()), float(still.mean())
        errors.append(
            Error(f"rotation over {PAIR_SECONDS:g} s", *means, "degrees", "no rotation", len(pairs))
        )
    still = np.broadcast_to(np.eye(4), true.shape)
    path = (distances(*aligned_poses(poses, true)) for poses in (ours, still))
    means = (float(np.sqrt((off**2).mean())) for off in path)
    return [*errors, Error("trajectory (aligned, RMSE)", *means, "m", "standing still", len(stamps))]


def distances(poses: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) from each pose's place to the other's."""
    return np.linalg.norm(poses[:, :3, 3] - others[:, :3, 3], axis=1)


def show(report: Report, console) -> None:
    """Print the tables."""
    from rich.table import Table

    table = Table(title="What a subscriber gets (latency: from the image's stamp to receipt)")
    for column in ("topic or service", "messages", "rate, Hz", "median, ms", "95 %, ms"):
        table.add_column(column, justify="left" if column.startswith("topic") else "right")
    for row in report.topics:
        table.add_row(row.name, str(row.count), *map(_number, (row.rate, row.median, row.p95)))
    table.add_section()
    for row in report.queries:
        table.add_row(row.name, str(row.count), "", *map(_number, (row.median, row.p95)))
    console.print(table)
    if report.errors:
        table = Table(title="Against the truth (scale aligned)")
        for column in ("figure", "d4rt", "baseline", "which is", "mean over"):
            table.add_column(
                column, justify="right" if column in ("d4rt", "baseline", "mean over") else "left"
            )
        for e in report.errors:
            ours, baseline = (f"{value:.3g} {e.unit}".strip() for value in (e.ours, e.baseline))
            table.add_row(e.name, ours, baseline, e.baseline_name, str(e.count))
        console.print(table)
    if report.received:
        console.print(report.received, soft_wrap=True)
    for warning in report.warnings:
        console.print(f"[yellow]The node said:[/] {warning}", soft_wrap=True)


def write(report: Report, path: Path) -> None:
    path.write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n")


def _percentiles(milliseconds: np.ndarray) -> tuple[float, float]:
    return float(np.median(milliseconds)), float(np.percentile(milliseconds, 95))


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "-"
