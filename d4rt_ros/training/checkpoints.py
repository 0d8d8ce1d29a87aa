"""What is kept of a run: its whole state, to go on exactly, and the averaged weights, to use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from d4rt_ros.model.checkpoint import empty_network, save_checkpoint
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.shards import SHARD_BYTES, read_shards, write_shards
from d4rt_ros.training.config import MAY_CHANGE, TrainConfig, differences
from d4rt_ros.training.distributed import Process, set_whole, whole


class CheckpointingError(RuntimeError):
    """A state that cannot be written or gone on from; says which file and what is still there."""


@dataclass
class Run:
    """What changes during training. step: how many steps are done.

    network: what learns; average: the averaged weights, of the same kind; with FSDP both keep a part of each tensor.
    """

    network: D4RT
    average: D4RT
    optimisers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    step: int = 0


def save(out: Path, run: Run, config: TrainConfig, process: Process) -> None:
    """Write out/state.json and its shards, then the averaged weights in fp16 (see `weights_path`).

    Of each the last good one stays until the new one is whole. All processes call it, the first one writes.
    Raises CheckpointingError in all of them where a file cannot be written.
    """
    notes = {"step": run.step, "config": config.to_dict(), "scaler": run.scaler.state_dict()}
    state = ((name, whole(tensor)) for name, tensor in _tensors(run))
    weights = {name: whole(tensor) for name, tensor in run.average.state_dict().items()}
    problem = None
    if process.is_first:
        try:
            write_shards(out / "state.json", state, notes)
            network = empty_network(config.model)
            network.load_state_dict(weights, assign=True)
            told = {"step": str(run.step), "training": json.dumps(config.to_dict())}
            save_checkpoint(weights_path(out, network), network, torch.float16, told)
        except (OSError, SafetensorError) as error:
            problem = error
    for _ in state:  # the others' part in gathering tensors; and the first one's, where writing failed
        pass
    failed = process.sum(torch.tensor(float(problem is not None), device=process.device))
    if failed:
        kept = kept_step(out)
        raise CheckpointingError(
            f"step {run.step} cannot be written to {out} ({problem or 'the first process says why'}); "
            + (
                f"step {kept} is intact there: make room, then go on with --resume"
                if kept is not None
                else "make room"
            )
        ) from problem


def weights_path(out: Path, network: nn.Module) -> Path:
    """Where the weights are in the folder of a run: one file, or an index of several where one would be too large."""
    size = sum(p.numel() * 2 for p in network.parameters()) + (1 << 20)
    return out / ("weights.safetensors" if size <= SHARD_BYTES else "weights.json")


def restore(out: Path, run: Run, config: TrainConfig) -> None:
    """Set a run to the state in `out`.

    Raises CheckpointingError where there is none, where it cannot be read, or where it is of another configuration.
    """
    path = out / "state.json"
    saved = saved_config(out)
    changed = [
        change for change in differences(saved, config.to_dict()) if change.split(":")[0] not in MAY_CHANGE
    ]
    if changed:
        raise CheckpointingError(
            f"{path}: of another configuration: {'; '.join(changed)}. Only {', '.join(sorted(MAY_CHANGE))} may "
            "change; start a new run from its weights with --from, in another folder"
        )
    try:
        tensors, notes, _ = read_shards(path)
        for name, tensor in _modules(run):
            set_whole(tensor, tensors[name])
        for i, optimiser in enumerate(run.optimisers):
            _set_state(optimiser, f"optimiser/{i}/", tensors)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointingError(
            f"{path}: cannot be gone on from ({error}); use its weights with --from"
        ) from None
    run.scaler.load_state_dict(notes["scaler"])
    run.step = notes["step"]


def saved_config(out: Path) -> dict:
    """The configuration of the run in a folder, as a mapping. Raises CheckpointingError where there is none."""
    path = out / "state.json"
    try:
        return json.loads(path.read_text())["notes"]["config"]
    except FileNotFoundError:
        raise CheckpointingError(
            f"{path}: no such file; there is nothing to resume, train without --resume first"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointingError(f"{path}: not the state of a training run ({error})") from None


def kept_step(out: Path) -> int | None:
    """The step of the state in a folder; None where there is none that can be read."""
    try:
        return json.loads((out / "state.json").read_text())["notes"]["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _modules(run: Run) -> Iterator[tuple[str, Tensor]]:
    for kind in ("network", "average"):
        for name, tensor in getattr(run, kind).state_dict().items():
            yield f"{kind}/{name}", tensor


def _tensors(run: Run) -> Iterator[tuple[str, Tensor]]:
    yield from _modules(run)
    for i, optimiser in enumerate(run.optimisers):
        for number, values in optimiser.state_dict()["state"].items():
            for key, value in values.items():
                yield f"optimiser/{i}/{number}/{key}", value


def _set_state(optimiser: torch.optim.Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            number, key = name[len(prefix) :].split("/")
            like = parameters[int(number)]
            if tensor.shape == like.shape:
                part = torch.empty_like(like)
                set_whole(part, tensor)
                tensor = part
            state.setdefault(int(number), {})[key] = tensor.clone()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
