"""What the node reports about itself on /diagnostics, once a second."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from d4rt_ros.stream import Result, Scale

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SILENCE = 2.0  # seconds without an image after which a camera has stopped
ADVICE = {
    "unconfigured": "; configure and activate it",
    "configuring": "; its model is being loaded",
    "inactive": "; activate it",
}
FROZEN = 2.0  # seconds of bitwise the same image after which it is said


@dataclass(frozen=True)
class Problem:
    """Something that the user should know of. kind: one word for all sentences of its sort."""

    level: bytes
    kind: str
    sentence: str


@dataclass
class Statistics:
    """What happened since the start, counted from several threads. Times are seconds of a steady clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter = field(default_factory=Counter)
    latencies: deque = field(
        default_factory=lambda: deque(maxlen=100)
    )  # receipt of the newest image to its results
    started: float = field(default_factory=time.monotonic)
    first_result: float | None = None
    last_image: float | None = None
    last_problem: str = ""  # the newest sentence about an image that was dropped, or a window that failed

    def count(self, what: str, amount: int = 1) -> None:
        with self.lock:
            self.counts[what] += amount

    def problem(self, what: str, sentence: str) -> None:
        with self.lock:
            self.counts[what] += 1
            self.last_problem = sentence

    def image(self, now: float) -> None:
        with self.lock:
            self.counts["images"] += 1
            self.last_image = now

    def result(self, latency: float) -> None:
        with self.lock:
            self.counts["results"] += 1
            self.first_result = self.first_result or time.monotonic()
            self.latencies.append(latency)

    def snapshot(self) -> tuple[Counter, list[float]]:
        with self.lock:
            return Counter(self.counts), list(self.latencies)


@dataclass(frozen=True)
class NodeState:
    """The node's state at one moment, as far as diagnostics tell of it."""

    state: str  # the lifecycle state's label
    failure: str  # why the last transition failed, or ""
    image_topic: str
    info_topic: str
    image_qos: str  # of our subscription
    silence: Callable[[], str]  # why no images may come
    input_problems: list[Problem]
    info_problem: str  # what is wrong with camera_info, or ""
    window_fill: str  # "5 of 8"
    restart_reason: str
    gaps: int  # in time, over which no window goes
    gap_reason: str
    result: Result | None  # the newest one
    output_problems: list[tuple[bytes, str]]  # of publishing: level, sentence
    history: str  # what is kept for queries, "3 windows, 0.7 s, 12 MB"
    device: str
    masked: float = 0.0  # share of the last image
    depth_queries: int | None = None  # of the newest window, where the depth grid is not asked whole


def node_state(phase: str, failure: str, inputs, calibration, streaming, now: float, masks=None) -> NodeState:
    """Of the node's parts; inputs, streaming and masks are None where there are none. now: seconds of a steady
    clock."""
    result = streaming.result if streaming is not None else None
    window = streaming.window if streaming is not None else None
    return NodeState(
        state=phase,
        failure=failure,
        image_topic=inputs.image_topic if inputs else "image",
        info_topic=inputs.info_topic if inputs else "camera_info",
        image_qos=inputs.image_qos if inputs else "",
        silence=inputs.silence if inputs else str,
        input_problems=[
            *(inputs.problems(now) if inputs else []),
            *(masks.topic.problems if masks else []),
        ],
        info_problem=calibration.problem,
        window_fill=f"{len(window)} of {window.frames}" if window is not None else "",
        restart_reason=window.restart_reason if window is not None else "",
        gaps=window.gaps if window is not None else 0,
        gap_reason=window.gap_reason if window is not None else "",
        result=result,
        output_problems=streaming.problems if streaming is not None else [],
        history=streaming.history if streaming is not None else "",
        device=streaming.device if streaming is not None else "",
        masked=masks.share if masks is not None else 0.0,
        depth_queries=streaming.depth_queries if streaming is not None else None,
    )


class Reporter:
    """Makes a node's diagnostics; keeps the last counts, for rates. `now` is seconds of a steady clock."""

    def __init__(self, name: str, now: float) -> None:
        self._name = name
        self._before = now, Counter()

    def report(
        self, header, state: NodeState, statistics: Statistics, now: float
    ) -> tuple[DiagnosticArray, list[Problem]]:
        """The message, and the problems that it tells of."""
        counts, latencies = statistics.snapshot()
        rates = self._rates(now, counts)
        parts = {
            "camera": _camera(state, counts, statistics, rates, now),
            "geometry": _geometry(state, counts, latencies, rates, statistics),
            "queries": _queries(state, counts, rates),
        }
        array = DiagnosticArray(header=header)
        array.status = [self._status(part, *told) for part, told in parts.items()]
        return array, [problem for problems, _ in parts.values() for problem in problems]

    def _rates(self, now: float, counts: Counter) -> dict[str, float]:
        (then, before), self._before = self._before, (now, counts)
        return Counter({k: (n - before[k]) / max(now - then, 1e-3) for k, n in counts.items()})

    def _status(self, part: str, problems: list[Problem], figures: dict) -> DiagnosticStatus:
        """The worst problem is the level, all of them the message."""
        status = DiagnosticStatus(name=f"{self._name}: {part}", hardware_id=self._name)
        status.level = max((problem.level for problem in problems), default=OK)
        status.message = "; ".join(problem.sentence for problem in problems) or "ok"
        status.values = [
            KeyValue(key=k, value=v if isinstance(v, str) else f"{v:g}") for k, v in figures.items()
        ]
        return status


def _camera(
    c: NodeState, counts: Counter, statistics: Statistics, rates, now: float
) -> tuple[list[Problem], dict]:
    problems, last = [], statistics.last_image
    active, result = c.state == "active", c.result
    calibrated = result is not None and result.camera.calibrated
    frozen_seconds = 0.0 if result is None else result.frozen_seconds
    dropped = {k: n for k, n in counts.items() if k.startswith("dropped: ")}

    def warn(kind: str, sentence: str) -> None:
        problems.append(Problem(WARN, kind, sentence))

    if active and last is None:
        warn("silence", f"no images on {c.image_topic} yet: {c.silence()}")
    elif active and now - last > SILENCE:
        warn(
            "silence",
            f"no images on {c.image_topic} for {now - last:.1f} s, the camera has stopped: {c.silence()}",
        )
    problems += c.input_problems
    if c.info_problem:
        warn("camera_info", c.info_problem)
    elif active and result is not None and not calibrated:
        warn(
            "uncalibrated",
            f"not calibrated: no usable camera_info on {c.info_topic}; the intrinsics are estimated",
        )
    if active and frozen_seconds > FROZEN:
        warn("frozen", f"the image has not changed for {frozen_seconds:.0f} s, though its stamps go on")
    if any(rates[reason] > 0 for reason in dropped):
        warn("dropped", f"images are dropped: {statistics.last_problem}")
    figures = {
        "images": counts["images"],
        "image rate (Hz)": rates["images"],
        "subscription": c.image_qos,
        "calibrated": str(calibrated),
        "masked (%)": 100 * c.masked,
        "window": c.window_fill,
        "restarts": counts["restarts"],
        "last restart": c.restart_reason,
        "gaps": c.gaps,
        "last gap": c.gap_reason,
        **dropped,
    }
    return problems, figures


def _geometry(
    c: NodeState, counts: Counter, latencies: list[float], rates, statistics: Statistics
) -> tuple[list[Problem], dict]:
    problems, result = [], c.result
    pose, scale = (None, Scale()) if result is None else (result.pose, result.scale)
    moving = None if result is None else result.moving
    bodies = None if result is None else result.objects
    if c.failure:
        problems.append(Problem(ERROR, "failure", c.failure))
    elif c.state != "active":
        problems.append(Problem(WARN, "state", f"the node is {c.state}" + ADVICE.get(c.state, "")))
    if rates["failures"] > 0:
        problems.append(Problem(ERROR, "window", "computing a window failed; see the log"))
    lost = "" if result is None else result.reason if pose else result.problem
    if lost:
        what = "what the images show is" if result.problem else "the pose is"
        problems.append(Problem(WARN, "trust", f"{what} not trusted: {lost}"))
    for level, told in c.output_problems:
        problems.append(Problem(level, re.sub(r"[\d.]+", "", told), told))  # one kind whatever its figures
    first = statistics.first_result
    tracking = "lost" if lost else "good" if pose else "not computed"
    figures = {
        "state": c.state,
        "results": counts["results"],
        "result rate (Hz)": rates["results"],
        "latency median (ms)": _percentile(latencies, 50),
        "latency 95 % (ms)": _percentile(latencies, 95),
        "start to first result (s)": np.nan if first is None else first - statistics.started,
        "depth queries": "all" if c.depth_queries is None else c.depth_queries,
        "images not followed": counts["not followed"],
        "windows skipped": counts["skipped"],
        "windows failed": counts["failures"],
        "tracking": tracking,
        "reason": lost,
        "last loss": pose.last_loss if pose else "",
        "pose inliers": pose.step.inliers if pose and pose.step else np.nan,
        "moves (%)": np.nan if moving is None else 100 * moving.mask.mean(),
        "moving bodies": np.nan if bodies is None else len(bodies),
        "metric": str(scale.metric),
        "metres in a unit": scale.metres if scale.metric else np.nan,
        "scale sigma": scale.sigma,
        "scale source": scale.source,
        "device": c.device,
        **_memory(c.device),
    }
    return problems, figures


def _queries(c: NodeState, counts: Counter, rates) -> tuple[list[Problem], dict]:
    return [], {
        "requests": counts["requests"],
        "request rate (Hz)": rates["requests"],
        "not answered": counts["requests refused"],
        "kept": c.history,
    }


def _percentile(seconds: list[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1e3 if seconds else np.nan


def _memory(device: str) -> dict[str, float]:
    """Resident memory of the process and what torch holds on the GPU, MiB."""
    figures = {}
    try:
        with open("/proc/self/statm") as f:
            figures["memory (MiB)"] = int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        pass  # not Linux
    if device.startswith("cuda"):
        import torch  # here, since a model on the GPU has imported it already and others need not

        figures["GPU memory (MiB)"] = torch.cuda.memory_allocated(device) / 2**20
    return figures
