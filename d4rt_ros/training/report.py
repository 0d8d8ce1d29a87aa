"""What a run tells while it goes on: a progress bar, a line now and then, log.jsonl, curves, TensorBoard."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from d4rt_ros.training.curves import draw_curves
from d4rt_ros.training.distributed import Process


class ReportError(RuntimeError):
    """What a run tells cannot be written."""


class Stopwatch:
    """Seconds that what runs within `running()` takes: of a GPU, between what is queued before and after."""

    def __init__(self, device: torch.device):
        self._device, self._seconds, self._events = device, 0.0, []

    @contextmanager
    def running(self):
        if self._device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((first, last))
        else:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start

    def take(self) -> float:
        """The seconds since the last call. Waits for the GPU."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds += sum(first.elapsed_time(last) for first, last in self._events) / 1e3
        seconds, self._seconds, self._events = self._seconds, 0.0, []
        return seconds


class Report:
    """Sums of what a stretch of steps lost and took; all processes have one, the first one's speaks.

    out: gets log.jsonl and curves.png; lines of a log that come after `step`, which a run goes on from, are dropped.
    tensorboard: write for it too. Raises ReportError where it is not installed, and where a file cannot be written.
    """

    def __init__(self, out: Path, process: Process, batch: int, step: int, steps: int, tensorboard: bool):
        self._log, self._process, self._batch = out / "log.jsonl", process, batch
        self.data = Stopwatch(process.device)
        self._writer = None
        if process.is_first:
            with self._writing():
                out.mkdir(parents=True, exist_ok=True)
                _cut(self._log, step)
            self._writer = _writer(out, step) if tensorboard else None
        self._console = Console(quiet=not process.is_first, soft_wrap=True, highlight=False)
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(None),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        hidden = not (process.is_first and self._console.is_terminal)
        self._progress = Progress(*columns, console=self._console, disable=hidden)
        self._task = self._progress.add_task("", total=steps, completed=step)
        self._begin()

    def __enter__(self) -> Report:
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()
        if self._writer:
            self._writer.close()

    def _begin(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps, self._start = 0, time.perf_counter()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def add(self, terms: dict[str, Tensor]) -> None:
        """A step's terms, this process's part of each. Does not wait for a GPU."""
        self._steps += 1
        self._progress.advance(self._task)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()

    def log_steps(self, step: int, rate: float) -> None:
        """The line of the steps since the last one; `step` are done."""
        if not self._steps:
            return
        means = self._process.sum(torch.stack(list(self._sums.values())) / self._steps).tolist()
        data, seconds = self.data.take(), time.perf_counter() - self._start
        record = {
            "step": step,
            "steps_per_s": _round(self._steps / seconds),
            "clips_per_s": _round(self._steps * self._batch / seconds),
            "data_share": round(data / seconds, 3),
            "lr": rate,
            **{name: _round(value) for name, value in zip(self._sums, means)},
        }
        losses = "  ".join(f"{name} {value:.4g}" for name, value in zip(self._sums, means))
        self._tell(record, f"step {step}: {record['steps_per_s']} steps/s, {record['clips_per_s']} clips/s, "
                   f"{record['data_share']:.0%} of it examples; {losses}")  # fmt: skip
        self._begin()

    def log_figures(self, step: int, figures: dict[str, tuple[float, float]]) -> None:
        """Held-out figures, each with the trivial answer's."""
        text = ", ".join(
            f"{n} {value:.3g} (trivial {trivial:.3g})" for n, (value, trivial) in figures.items()
        )
        record = {"step": step, "figures": {n: [_round(v) for v in pair] for n, pair in figures.items()}}
        self._tell(record, f"step {step}, held out: {text}")

    def draw_curves(self) -> None:
        """Draw out/curves.png anew."""
        if self._process.is_first:
            with self._writing():
                draw_curves(self._log, self._log.with_name("curves.png"))

    @contextmanager
    def untimed(self):
        """What runs within counts as no part of the steps' time."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    @contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise ReportError(
                f"{self._log.parent}: cannot be written ({error}); make room, then go on with --resume from the last "
                "good state, which is intact"
            ) from error

    def _tell(self, record: dict, text: str) -> None:
        if not self._process.is_first:
            return
        self.say(text)
        with self._writing(), open(self._log, "a") as log:
            log.write(json.dumps(record) + "\n")
        if self._writer:
            scalars = {f"held out/{n}": v[0] for n, v in record.get("figures", {}).items()} or {
                name: value for name, value in record.items() if name != "step"
            }
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, record["step"])


def _round(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def _cut(log: Path, step: int) -> None:
    """Drop the lines of steps that are taken anew: all of them, where `step` is 0."""
    if log.is_file():
        lines = [line for line in log.read_text().splitlines() if step and json.loads(line)["step"] <= step]
        log.write_text("".join(f"{line}\n" for line in lines))


def _writer(out: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ReportError(
            "TensorBoard is not installed: pip install tensorboard, or leave out --tensorboard (log.jsonl and "
            "curves.png tell the same)"
        ) from None
    return SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
