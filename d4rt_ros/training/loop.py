"""The training loop."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from d4rt_ros.model.network import D4RT
from d4rt_ros.runtime.memory import keep_freed_memory
from d4rt_ros.training.augment import augment
from d4rt_ros.training.check import Check, scene_check
from d4rt_ros.training.checkpoints import CheckpointingError, Run, kept_step, restore, save, weights_path
from d4rt_ros.training.config import TrainConfig
from d4rt_ros.training.distributed import (
    DistributedError,
    Process,
    Step,
    processes,
    share,
    whole,
    without_sharing,
)
from d4rt_ros.training.examples import Examples, Source
from d4rt_ros.training.losses import composite_loss, known_counts
from d4rt_ros.training.optimisers import OptimiserError, follow, learning_rate, optimisers_of, set_rates
from d4rt_ros.training.report import Report, ReportError
from d4rt_ros.training.scene_examples import SceneSource

LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(RuntimeError):
    """A training run that cannot go on."""


class EnoughTraining(Exception):
    """Raised by a check of held-out figures: training ends here, as after its last step."""


def train(
    config: TrainConfig,
    out: Path,
    make_source: Callable[[TrainConfig, torch.device], Source] = SceneSource,
    device: str = "cpu",
    network: D4RT | None = None,
    resume: bool = False,
    make_check: Callable[[TrainConfig, Process], Check] = scene_check,
    tensorboard: bool = False,
) -> Path:
    """Train, and return the path of the averaged weights.

    network: the one to start with; a new one of `config.model` where it is None. resume: from the state in `out`,
    exactly as if the run had never stopped. make_source: see `examples.Source`. make_check: held-out figures, asked
    for every `config.check_every` steps and at the end; EnoughTraining from it ends the run.
    Started by `torchrun`, this is one of several processes that share each batch.

    Writes into `out`: weights.safetensors (fp16; an index weights.json of several files where it is large),
    state.json and its shards (to go on from), log.jsonl, curves.png, and for `tensorboard` a folder of that name.
    Ctrl-C ends the run after the step it is in, whose state is kept (a run of one process; a second Ctrl-C does not
    wait), and raises KeyboardInterrupt.
    Raises TrainingError where there is nothing to go on from, or something else than asked for, where the loss is no
    longer finite, where a file cannot be written, and where processes cannot share the work.
    """
    try:
        with processes(device) as process:
            return _train(config, Path(out), make_source, process, network, resume, make_check, tensorboard)
    except (CheckpointingError, DistributedError, OptimiserError, ReportError) as error:
        raise TrainingError(str(error)) from error


def _train(config, out, make_source, process, network, resume, make_check, tensorboard) -> Path:
    _refuse_what_does_not_fit(config, process)
    if not resume and kept_step(out) is not None:
        raise TrainingError(f"{out} holds a run already: go on with --resume, or give another folder")
    if process.device.type == "cpu":
        keep_freed_memory()
    run, step, averaged = _begin(config, network, process)
    if resume:
        restore(out, run, config)
    source, check = make_source(config, process.device), make_check(config, process)
    enough, judged = False, []

    def due(every: int) -> bool:
        return run.step % every == 0 or run.step == config.steps

    with (
        Report(out, process, config.batch, run.step, config.steps, tensorboard) as report,
        _interruption(process) as interrupted,
    ):
        while run.step < config.steps and not enough:
            terms, good = _take_step(run, step, source, config, process, report)
            judged.append(good)
            report.add(terms)
            # A GPU is not waited for at every step; but nothing is told or kept of weights that were not looked at.
            stop = interrupted()
            if (
                process.device.type == "cpu"
                or stop
                or any(map(due, (config.report_every, config.check_every, config.save_every)))
            ):
                _stop_where_bad(judged, run, source, config, process, out)
                judged = []
            if due(config.report_every):
                report.log_steps(run.step, learning_rate(run.step - 1, config))
            with report.untimed():
                if due(config.check_every):
                    enough = _checked(check, averaged, run, report)
                if due(config.save_every) or enough or stop:
                    save(out, run, config, process)
                    report.draw_curves()
            if stop:
                report.say(f"step {run.step}: interrupted, its state is kept; go on with --resume")
                raise KeyboardInterrupt
        for reason, count in getattr(source, "skipped", {}).items():
            report.say(f"skipped {count} times: {reason}")
    return weights_path(out, run.average)


@contextmanager
def _interruption(process: Process) -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed since; one press no longer raises KeyboardInterrupt.

    Several processes do not hear it in the same step, and threads other than the main one not at all: they are ended
    as before.
    """
    pressed = threading.Event()
    if process.count > 1 or threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def note(number, frame):
        pressed.set()
        signal.signal(number, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse_what_does_not_fit(config: TrainConfig, process: Process) -> None:
    if len(process.clips(config.batch)) % config.accumulate:
        raise TrainingError(
            f"accumulate: {config.accumulate} parts do not divide the {len(process.clips(config.batch))} clips "
            f"that each of {process.count} processes has of a batch"
        )
    if config.precision == "fp16" and process.device.type == "cpu":
        raise TrainingError("precision: fp16 needs a GPU; use bf16 or fp32")
    if config.shard and config.optimiser == "muon":
        raise TrainingError("optimiser: muon needs whole matrices, shard splits them; use adamw with it")
    if config.shard and config.precision == "fp16":
        raise TrainingError("precision: fp16 does not go with shard; use bf16")


def _begin(config: TrainConfig, network: D4RT | None, process: Process) -> tuple[Run, nn.Module, nn.Module]:
    """The run at its first step; what computes a step with gradients; the same with the averaged weights."""
    torch.manual_seed(config.seed)
    network = (D4RT(config.model) if network is None else network).requires_grad_(True).to(process.device)
    average = copy.deepcopy(network).requires_grad_(False)
    step, averaged = share(Step(network), process, config.shard), Step(average)
    if config.shard:
        averaged = share(averaged, process, shard=True)
    scaler = torch.amp.GradScaler(process.device.type, enabled=config.precision == "fp16")
    return Run(network, average, optimisers_of(network, config), scaler), step, averaged


def _take_step(
    run: Run, step: nn.Module, source: Source, config: TrainConfig, process: Process, report: Report
) -> tuple[dict[str, Tensor], Tensor]:
    """The terms of the loss, this process's share of each, and whether loss and gradient are finite, a 0-d bool."""
    clips = process.clips(config.batch)
    with report.data.running():
        examples = source(run.step, clips)
    counts = process.sum(known_counts(examples.truth))
    size, totals = len(clips) // config.accumulate, {}
    for start in range(0, len(clips), size):
        part = slice(start, start + size)
        with report.data.running():
            video = examples.rgb[part].movedim(-1, 2).float() / 255
            video = augment(video, config.colours, config.seed, run.step, clips[part])
        with without_sharing(step, last=part.stop == len(clips)):
            terms = _losses(step, video, examples[part], config, counts)
            # Processes take the mean of their gradients; the loss is the sum of their terms.
            run.scaler.scale(terms["total"] * process.count).backward()
        totals = {name: totals.get(name, 0.0) + value.detach() for name, value in terms.items()}
    set_rates(run.optimisers, run.step, config)
    for optimiser in run.optimisers:
        run.scaler.unscale_(optimiser)
    norm = whole(nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_norm))
    for optimiser in run.optimisers:
        run.scaler.step(optimiser)
        optimiser.zero_grad()
    run.scaler.update()
    follow(run.average, run.network, run.step, config)
    run.step += 1
    good = totals["total"].isfinite()
    # In fp16 a gradient may overflow: the scaler then leaves out the step and scales less.
    return totals, good if run.scaler.is_enabled() else good & norm.isfinite()


def _losses(
    step: nn.Module, video: Tensor, examples: Examples, config: TrainConfig, counts: Tensor
) -> dict[str, Tensor]:
    """video: (B, T, 3, H, W) in [0, 1], which the RGB patches are taken from too."""
    frames = video.movedim(2, -1).contiguous()
    low = LOW_PRECISION.get(config.precision)
    with torch.autocast(video.device.type, low, enabled=low is not None):
        answer = step(video, examples.aspect, frames, examples.uv, examples.times)
    return composite_loss(answer, examples.truth, config.loss, counts)


def _checked(check: Check, averaged: nn.Module, run: Run, report: Report) -> bool:
    """Whether the held-out figures, which are told, say that it is enough."""
    try:
        report.log_figures(run.step, check(averaged))
    except EnoughTraining as reason:
        report.say(f"step {run.step}: {reason}")
        return True
    return False


def _stop_where_bad(
    judged: list[Tensor], run: Run, source: Source, config: TrainConfig, process: Process, out: Path
) -> None:
    """Raise TrainingError that names the batch of the first of the last steps that was not good in some process."""
    bad = process.sum((~torch.stack(judged)).float()).tolist()
    if not any(bad):
        return
    step = run.step - len(bad) + next(i for i, value in enumerate(bad) if value)
    names = source(step, process.clips(config.batch)).names
    kept = kept_step(out)
    raise TrainingError(
        f"step {step}: loss or gradient is not finite, the run stops. Its batch: {', '.join(names)}. "
        + (
            f"The state of step {kept} is intact in {out}. "
            if kept is not None
            else "Nothing was saved yet. "
        )
        + "Look at these clips, or lower learning_rate"
    )
