"""The training loop, in one process."""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from d4rt_ros.model.checkpoint import save_checkpoint
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.videomae import start_from_videomae
from d4rt_ros.runtime.memory import keep_freed_memory
from d4rt_ros.training.augment import augment
from d4rt_ros.training.config import TrainConfig
from d4rt_ros.training.losses import composite_loss
from d4rt_ros.training.sampling import Clips, clips, sample_queries, truth_of

REPORT_EVERY = 100  # steps


class TrainingError(RuntimeError):
    """A training run that cannot go on."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to the final rate."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * cosine


def train(config: TrainConfig, out: Path, device: str = "cpu", resume: bool = False, save_every: int = 500,
          compile: bool = False, init: Path | None = None) -> Path:  # fmt: skip
    """Train from scratch or go on from `out`/state.pt; returns the path of the weights.

    init: a VideoMAE checkpoint that the encoder of a new run starts from; what it gives is printed.

    Writes out/weights.safetensors (fp16), out/state.pt (to resume) and out/log.jsonl.
    Raises TrainingError where there is nothing to resume, or where the gradient is no longer finite, and
    CheckpointError where `init` cannot be used.
    """
    if device == "cpu":
        keep_freed_memory()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = D4RT(PRESETS[config.preset])
    if init and not resume:
        print(f"{init}: {start_from_videomae(network, init)}", flush=True)
    network.to(device)
    optimisers = _optimisers(network, config)
    step = _resume(out / "state.pt", network, optimisers, device) if resume else 0
    # Another stream after every resumption: no clip is seen twice.
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    size = network.config
    source = clips(
        config.batch, size.frames, size.height, size.width, config.frame_interval, draws, device, compile
    )
    tally, first, batch = _Tally(out / "log.jsonl", config), step, None
    while step < config.steps:
        with tally.data_time():
            if (step - first) % config.reuse == 0:
                batch = next(source)
            example = _example(batch, config, draws)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate(step, config) * group["rate"]
        terms = _losses(network, batch, *example, config)
        network.zero_grad(set_to_none=True)
        terms["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        if not math.isfinite(norm):
            loss = float(terms["total"].detach())
            raise TrainingError(
                f"step {step}: the gradient is not finite (loss {loss}); the last good weights are in {out}"
            )
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        tally.add(terms)
        if step % REPORT_EVERY == 0 or step == config.steps:
            tally.report(step)
        if step % save_every == 0 or step == config.steps:
            _save(out, network, optimisers, step, config)
    return out / "weights.safetensors"


class _Tally:
    """Sums of what a stretch of steps lost and took, written as a line of JSON at its end."""

    def __init__(self, log: Path, config: TrainConfig):
        self._log, self._config = log, config
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps, self._data, self._start = 0, 0.0, time.perf_counter()

    @contextmanager
    def data_time(self):
        """What runs within counts as making examples."""
        start = time.perf_counter()
        yield
        self._data += time.perf_counter() - start

    def add(self, terms: dict[str, Tensor]) -> None:
        self._steps += 1
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())

    def report(self, step: int) -> None:
        seconds = time.perf_counter() - self._start
        record = {
            "step": step,
            "clips_per_s": round(self._steps * self._config.batch / seconds, 1),
            "data_share": round(self._data / seconds, 3),
            "lr": learning_rate(step - 1, self._config),
            **{name: round(value / self._steps, 4) for name, value in self._sums.items()},
        }
        line = json.dumps(record)
        with open(self._log, "a") as log:
            log.write(line + "\n")
        print(line, flush=True)
        self._begin()


def _example(batch: Clips, config: TrainConfig, draws: torch.Generator) -> tuple:
    """(clip for the encoder, clip for the RGB patches, uv, times, truth) of rendered clips."""
    video, frames = _video(batch, config, draws)
    uv, times = sample_queries(batch, config.queries, draws)
    return video, frames, uv, times, truth_of(batch, uv, times)


def _losses(
    network: D4RT, batch: Clips, video, frames, uv, times, truth, config: TrainConfig
) -> dict[str, Tensor]:
    with torch.autocast(video.device.type, torch.bfloat16):
        answer = network.decode(network.encode(video, batch.scenes.aspect), frames, uv, times)
    return composite_loss(answer, truth, config.loss)


def _video(batch: Clips, config: TrainConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The augmented clip for the encoder (B, T, 3, H, W), and for the RGB patches (B, T, H, W, 3)."""
    video = batch.rendering.rgb.movedim(-1, 2).float() / 255
    video = augment(video, config.augmentation, generator)
    return video, video.movedim(2, -1).contiguous()


def _optimisers(network: D4RT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for what is not a matrix and for the heads, Muon (Jordan et al. 2024) for the matrices beneath.

    Biases, norms and time tables are not decayed; the heads learn at a rate of their own.
    """
    matrices, others = [], {}
    for name, parameter in network.named_parameters():
        decay = config.weight_decay if parameter.dim() > 1 and ".t_" not in name else 0.0
        rate = config.head_rate if ".heads." in name else 1.0
        if parameter.dim() == 2 and decay and rate == 1.0:
            matrices.append(parameter)
        else:
            others.setdefault((decay, rate), []).append(parameter)
    groups = [{"params": p, "weight_decay": decay, "rate": rate} for (decay, rate), p in others.items()]
    return [
        torch.optim.AdamW(groups, fused=True),
        # Its updates scaled to the size of AdamW's, so that one rate fits both.
        torch.optim.Muon([{"params": matrices, "rate": config.matrix_rate}], weight_decay=config.weight_decay,
                         adjust_lr_fn="match_rms_adamw"),
    ]  # fmt: skip


def _save(out: Path, network: D4RT, optimisers: list, step: int, config: TrainConfig) -> None:
    notes = {"step": str(step), "training": json.dumps(asdict(config))}
    save_checkpoint(out / "weights.safetensors", network, torch.float16, notes)
    partial = out / "state.part"
    states = [optimiser.state_dict() for optimiser in optimisers]
    torch.save({"network": network.state_dict(), "optimisers": states, "step": step}, partial)
    partial.replace(out / "state.pt")


def _resume(path: Path, network: D4RT, optimisers: list, device: str) -> int:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; there is nothing to resume, train without --resume first")
    state = torch.load(path, map_location=device, weights_only=True)
    network.load_state_dict(state["network"])
    for optimiser, saved in zip(optimisers, state["optimisers"]):
        optimiser.load_state_dict(saved)
    return state["step"]
