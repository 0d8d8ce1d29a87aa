"""What the node reports about itself on /diagnostics, once a second."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from d4rt_ros.stream import Trust

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SILENCE = 2.0  # seconds without an image after which a camera has stopped


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
    info_problem: str  # what is wrong with camera_info, or ""
    calibrated: bool
    window_fill: str  # "5 of 8"
    restart_reason: str
    trust: Trust | None  # of the newest result; None where there is none, or no pose is computed
    inliers: float | None
    device: str
    depth_queries: int | None = None  # of the newest window, where the depth grid is not asked whole
    output_problems: list[tuple[bytes, str]] = field(default_factory=list)  # of publishing: level, sentence
    history: str = ""  # what is kept for queries, "3 windows, 0.7 s, 12 MB"


class Reporter:
    """Makes a node's diagnostics; keeps the last counts, for rates. `now` is seconds of a steady clock."""

    def __init__(self, name: str, now: float) -> None:
        self._name = name
        self._before = now, Counter()

    def report(self, header, state: NodeState, statistics: Statistics, now: float) -> DiagnosticArray:
        counts, latencies = statistics.snapshot()
        rates = self._rates(now, counts)
        array = DiagnosticArray(header=header)
        array.status = [
            self._status("camera", _camera(state, counts, statistics, rates, now)),
            self._status("geometry", _geometry(state, counts, latencies, rates, statistics)),
            self._status("queries", _queries(state, counts, rates)),
        ]
        return array

    def _rates(self, now: float, counts: Counter) -> dict[str, float]:
        (then, before), self._before = self._before, (now, counts)
        return Counter({k: (n - before[k]) / max(now - then, 1e-3) for k, n in counts.items()})

    def _status(self, part: str, told: tuple[list, dict]) -> DiagnosticStatus:
        """The worst problem is the level, all of them the message."""
        problems, figures = told
        status = DiagnosticStatus(name=f"{self._name}: {part}", hardware_id=self._name)
        status.level = max((level for level, _ in problems), default=OK)
        status.message = "; ".join(sentence for _, sentence in problems) or "ok"
        status.values = [
            KeyValue(key=k, value=v if isinstance(v, str) else f"{v:g}") for k, v in figures.items()
        ]
        return status


def _camera(c: NodeState, counts: Counter, statistics: Statistics, rates, now: float) -> tuple[list, dict]:
    problems, last = [], statistics.last_image
    dropped = {k: n for k, n in counts.items() if k.startswith("dropped: ")}
    if c.state != "active":
        pass  # no images are wanted
    elif last is None:
        problems.append(
            (
                WARN,
                f"no images on {c.image_topic} yet; is the camera running, the topic remapped to it "
                "and image_transport right?",
            )
        )
    elif now - last > SILENCE:
        problems.append(
            (WARN, f"no images on {c.image_topic} for {now - last:.1f} s; the camera has stopped")
        )
    if c.info_problem:
        problems.append((WARN, c.info_problem))
    elif c.state == "active" and not c.calibrated:
        problems.append(
            (WARN, f"not calibrated: no usable camera_info on {c.info_topic}; the intrinsics are estimated")
        )
    if any(rates[reason] > 0 for reason in dropped):
        problems.append((WARN, f"images are dropped: {statistics.last_problem}"))
    figures = {
        "images": counts["images"],
        "image rate (Hz)": rates["images"],
        "calibrated": str(c.calibrated),
        "window": c.window_fill,
        "restarts": counts["restarts"],
        "last restart": c.restart_reason,
        **dropped,
    }
    return problems, figures


def _geometry(
    c: NodeState, counts: Counter, latencies: list[float], rates, statistics: Statistics
) -> tuple[list, dict]:
    problems = []
    if c.failure:
        problems.append((ERROR, c.failure))
    elif c.state != "active":
        problems.append((WARN, f"the node is {c.state}; configure and activate it"))
    if rates["failures"] > 0:
        problems.append((ERROR, "computing a window failed; see the log"))
    if c.trust is not None and not c.trust.pose:
        problems.append((WARN, f"the pose is not trusted: {c.trust.reason}"))
    problems += c.output_problems
    first = statistics.first_result
    tracking = "not computed" if c.trust is None else "good" if c.trust.pose else "lost"
    figures = {
        "state": c.state,
        "results": counts["results"],
        "result rate (Hz)": rates["results"],
        "latency median (ms)": _percentile(latencies, 50),
        "latency 95 % (ms)": _percentile(latencies, 95),
        "start to first result (s)": np.nan if first is None else first - statistics.started,
        "depth queries": "all" if c.depth_queries is None else c.depth_queries,
        "windows skipped": counts["skipped"],
        "windows failed": counts["failures"],
        "tracking": tracking,
        "pose inliers": np.nan if c.inliers is None else c.inliers,
        "metric": "False",
        "device": c.device,
        **_memory(c.device),
    }
    return problems, figures


def _queries(c: NodeState, counts: Counter, rates) -> tuple[list, dict]:
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
