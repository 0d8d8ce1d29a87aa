"""Fine-tuning on a recording: its first part to learn from, its last part to say when it is enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from d4rt_ros.io.recorded import RecordedError, RecordedSequence, part
from d4rt_ros.model.checkpoint import save_checkpoint
from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.network import D4RT
from d4rt_ros.training.check import Check
from d4rt_ros.training.config import DataSet, TrainConfig, load_config
from d4rt_ros.training.distributed import Process
from d4rt_ros.training.examples import Source
from d4rt_ros.training.loop import EnoughTraining, TrainingError, train
from d4rt_ros.training.mixture import Mixture
from d4rt_ros.training.recorded_examples import RecordedSource
from d4rt_ros.training.scene_examples import SceneSource

# From a network to errors by name, each with that of a trivial answer; smaller is better.
Measure = Callable[[D4RT], dict[str, tuple[float, float]]]


def finetune_config(
    model: ModelConfig, recorded: DataSet, scenes: float, steps: int, batch: int, seed: int
) -> TrainConfig:
    """The embedded model's recipe, gentler and shorter.

    recorded: what is learned from beside procedural scenes, which make up the share `scenes`.
    """
    # What a model of 192 channels stands; wider ones take smaller steps (Yang et al. 2022).
    rate = 2e-4 * min(1.0, 192 / model.encoder_width)
    return replace(
        load_config("tiny"),
        model=model,
        data=(replace(recorded, weight=1 - scenes), DataSet(weight=scenes)),
        steps=steps,
        batch=batch,
        seed=seed,
        stride=(1, 4),
        learning_rate=rate,
        final_learning_rate=rate / 10,
        warmup=min(20, steps),
        average=0.97,  # of the last few dozen steps: there are no more between two checks
        save_every=steps,
        report_every=50,
        check_every=50,
    )


def split(
    recording: RecordedSequence, held_out: float, least: int
) -> tuple[RecordedSequence, RecordedSequence]:
    """The first part of a recording and the last, which has the share `held_out` of the frames; none is in both.

    Raises RecordedError where either has fewer than `least` frames.
    """
    cut = round(len(recording) * (1 - held_out))
    if min(cut, len(recording) - cut) < least:
        raise RecordedError(
            f"{recording.name}: {len(recording)} frames are {cut} to learn from and {len(recording) - cut} to "
            f"check on; a clip needs {least}: record longer, or hold out another share"
        )
    return part(recording, 0, cut), part(recording, cut, len(recording))


def finetune(
    network: D4RT, recording: RecordedSequence, config: TrainConfig, out: Path, measure: Measure,
    patience: int, minutes: float, device: str = "cpu",
) -> Path:  # fmt: skip
    """Train `network` on a recording and return the path of the best weights, out/weights.safetensors (fp16).

    config: see `finetune_config`. measure: asked before training and every `config.check_every` steps, of the
    averaged weights. Best is where the mean of the errors, each relative to the trivial answer's, is least; that may
    be the weights given. Training ends after `patience` checks in a row that were not better, or `minutes`.
    The run itself is in out/run (see `loop.train`, whose errors are raised, as are those of RecordedSource).
    """
    best = out / "weights.safetensors"
    if best.exists():
        raise TrainingError(f"{best} is there already: give another folder")

    def source(config: TrainConfig, device: torch.device) -> Source:
        recorded = RecordedSource([recording], config, device)
        weights = [data.weight for data in config.data]
        return Mixture([recorded, SceneSource(config, device)], weights, config)

    check = early_stopping(network.to(device), best, measure, patience, 60 * minutes)
    train(config, out / "run", source, device, network, make_check=check)
    return best


def early_stopping(
    network: D4RT, best: Path, measure: Measure, patience: int, seconds: float
) -> Callable[[TrainConfig, Process], Check]:
    """What makes a check for `loop.train` that writes the best weights to `best` and says when it is enough."""
    start, least, waited = time.monotonic(), _score(measure(network)), 0
    save_checkpoint(best, network, torch.float16)

    def check(step: nn.Module) -> dict[str, tuple[float, float]]:
        nonlocal least, waited
        figures = measure(step.network)
        score = _score(figures)
        waited += 1
        if score < least:
            least, waited = score, 0
            save_checkpoint(best, step.network, torch.float16)
        if waited >= patience:
            raise EnoughTraining(
                f"{waited} checks were no better than the best, {least:.3f} of the trivial answer"
            )
        if time.monotonic() - start > seconds:
            raise EnoughTraining("the time is over")
        return figures

    return partial(_first_alone, check)


def _first_alone(check: Check, config: TrainConfig, process: Process) -> Check:
    if process.count > 1:
        raise RecordedError("fine-tuning runs in one process; start it without torchrun")
    return check


def _score(figures: dict[str, tuple[float, float]]) -> float:
    """The mean error, relative to the trivial answer's."""
    return float(np.mean([value / trivial for value, trivial in figures.values()]))
