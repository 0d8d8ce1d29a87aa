"""Weights in files: safetensors with the model's configuration beside the tensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from d4rt_ros.model.config import ConfigError, ModelConfig
from d4rt_ros.model.network import D4RT

EMBEDDED = Path(__file__).parent / "weights" / "tiny.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the sentence names the file and what is wrong with it."""


def save_checkpoint(
    path: str | Path, network: D4RT, dtype: torch.dtype = torch.float32, notes: dict | None = None
):
    """Write the weights at `dtype`, the configuration, and `notes` (text by name, such as how it was trained)."""
    tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in network.state_dict().items()}
    metadata = {"format": "d4rt_ros", "config": json.dumps(network.config.to_dict())}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")  # a reader never meets half a file
    save_file(tensors, partial, {**metadata, **(notes or {})})
    partial.replace(path)


def load_checkpoint(path: str | Path | None = None) -> D4RT:
    """A float32 network in evaluation mode from a file of `save_checkpoint`; None: the embedded weights.

    Nothing in the file is executed. Raises CheckpointError for a file that is missing, truncated, not ours,
    or that holds tensors which are missing, extra, of another shape or not finite.
    """
    path = Path(path) if path else EMBEDDED
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a .safetensors checkpoint of d4rt_ros")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated or of another format"
        ) from None
    if metadata.get("format") != "d4rt_ros":
        raise CheckpointError(
            f"{path}: a safetensors file, but not written by d4rt_ros (its metadata lack our mark)"
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
    except (KeyError, TypeError, ConfigError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its model configuration cannot be used: {error}") from None
    network = D4RT(config).eval()
    check_tensors(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return network


def check_tensors(path: Path, found: dict, expected: dict) -> None:
    """Raise CheckpointError naming the first tensor that is missing, extra, misshapen or not finite."""
    for names, what in (
        (expected.keys() - found.keys(), "is missing"),
        (found.keys() - expected.keys(), "is extra"),
    ):
        if names:
            others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise CheckpointError(f"{path}: tensor {sorted(names)[0]} {what}{others}")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinite values")
