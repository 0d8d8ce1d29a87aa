"""An encoder that starts from a VideoMAE's weights (Tong et al. 2022; v2: Wang et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.tensor_files import CheckpointError, TensorFile, read_tensors
from d4rt_ros.paths import expanded

# Their part of a block -> ours; the attention's biases are put together below.
_BLOCK = {
    "norm1.weight": "norm_attn.weight",
    "norm1.bias": "norm_attn.bias",
    "attn.qkv.weight": "qkv.weight",
    "attn.qkv.bias": "qkv.bias",
    "attn.proj.weight": "out_proj.weight",
    "attn.proj.bias": "out_proj.bias",
    "norm2.weight": "norm_ff.weight",
    "norm2.bias": "norm_ff.bias",
    "mlp.fc1.weight": "ff.0.weight",
    "mlp.fc1.bias": "ff.0.bias",
    "mlp.fc2.weight": "ff.2.weight",
    "mlp.fc2.bias": "ff.2.bias",
}
_KERNEL = "patch_embed.proj.weight"


@dataclass(frozen=True)
class TransferReport:
    """What an encoder took from a file: names of its tensors, of those that keep their own start, of the file's rest.

    resized: (frames, rows, columns) of the patch kernels in the file, where they are not the model's; else None.
    """

    taken: list[str]
    kept: list[str]
    unused: list[str]
    resized: tuple[int, int, int] | None

    def __str__(self) -> str:
        resized = f" (patch kernels resized from {'x'.join(map(str, self.resized))})" if self.resized else ""
        return (
            f"the encoder takes {len(self.taken)} tensors of the file{resized}; "
            f"{len(self.kept)} keep their own start: {_groups(self.kept)}; "
            f"{len(self.unused)} of the file are not used: {_groups(self.unused)}"
        )


@torch.no_grad()
def start_from_videomae(network: D4RT, path: str | Path) -> TransferReport:
    """Set the encoder's weights to a VideoMAE's, of pre-training or of fine-tuning, and report what was taken.

    Patch kernels of another size are resized trilinearly; a missing bias of the keys is zero, as there; blocks that
    the network has not, and the decoder that VideoMAE was trained with, are left out. Raises CheckpointError,
    with the network as it was, for a file that cannot be read, is no VideoMAE's, lacks tensors of a block, holds
    NaN, or is of another width.
    """
    path = expanded(path)
    file = read_tensors(path)
    prefix = "encoder." if any(name.startswith("encoder.blocks.0.") for name in file.tensors) else ""
    theirs = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    if "blocks.0.attn.qkv.weight" not in theirs:
        raise CheckpointError(f"{path}: no VideoMAE; it has no tensor [encoder.]blocks.0.attn.qkv.weight")
    if network.encoder.stem is not None:
        raise CheckpointError(
            f"{path}: this model's patches are those of its convolutional stem, a VideoMAE's are of pixels; "
            f"train one without a stem{_fitting(theirs)}"
        )
    own = network.encoder.state_dict()
    new, used = _renamed(file, theirs, len(network.encoder.blocks))
    size = tuple(new[_KERNEL].shape[2:]) if _KERNEL in new else None
    resized = size if size not in (None, tuple(own[_KERNEL].shape[2:])) else None
    if resized:
        new[_KERNEL] = F.interpolate(
            new[_KERNEL].float(), own[_KERNEL].shape[2:], mode="trilinear", align_corners=False
        )
    for name, tensor in new.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: its tensor for the encoder's {name} has shape {tuple(tensor.shape)} instead of "
                f"{tuple(own[name].shape)}; the sizes must be the file's{_fitting(theirs)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: its tensor for the encoder's {name} holds NaN or infinite values")
    for name, tensor in new.items():
        own[name].copy_(tensor)  # the state dict shares its memory with the network
    unused = sorted(file.tensors.keys() - {prefix + name for name in used})
    return TransferReport(sorted(new), sorted(own.keys() - new.keys()), unused, resized)


def _renamed(file: TensorFile, theirs: dict[str, Tensor], layers: int) -> tuple[dict[str, Tensor], set[str]]:
    """The file's tensors under the encoder's names, and the names in the file that they come from."""
    pairs = {_KERNEL: _KERNEL, "patch_embed.proj.bias": "patch_embed.proj.bias"}
    pairs |= {"norm.weight": "final_norm.weight", "norm.bias": "final_norm.bias"}
    new = {ours: theirs[name] for name, ours in pairs.items() if name in theirs}
    used = {name for name in pairs if name in theirs}
    for i in range(layers):
        block = {n[len(f"blocks.{i}.") :]: t for n, t in theirs.items() if n.startswith(f"blocks.{i}.")}
        if not block:
            break  # the file has fewer
        used |= {f"blocks.{i}.{name}" for name in block if name in _BLOCK}
        if {"attn.q_bias", "attn.v_bias"} <= block.keys():
            used |= {f"blocks.{i}.attn.q_bias", f"blocks.{i}.attn.v_bias"}
            q, v = block["attn.q_bias"], block["attn.v_bias"]
            block["attn.qkv.bias"] = torch.cat((q, torch.zeros_like(q), v))  # keys have none there
        missing = [name for name in _BLOCK if name not in block]
        if missing:
            raise CheckpointError(
                f"{file.path}: tensor blocks.{i}.{missing[0]} is missing"
                + (f", and {len(missing) - 1} more of that block" if len(missing) > 1 else "")
            )
        new |= {f"blocks.{i}.{ours}": block[name] for name, ours in _BLOCK.items()}
    return new, used


def _fitting(theirs: dict[str, Tensor]) -> str:
    """ "; --preset base fits", where a preset has the file's sizes."""
    width = theirs["blocks.0.attn.qkv.weight"].shape[-1]
    layers = len({name.split(".")[1] for name in theirs if name.startswith("blocks.")})
    for name, preset in PRESETS.items():
        if (preset.encoder_width, preset.encoder_layers, preset.stem) == (width, layers, 0):
            return f": --preset {name} fits it"
    return f" (it has {layers} layers of width {width}, as no preset)"


def _groups(names: Iterable[str]) -> str:
    """Names without the numbers and parts that repeat: "decoder.blocks, mask_token"."""
    groups = {re.sub(r"(\.\d+\..*|\.(weight|bias))$", "", name) for name in names}
    return ", ".join(sorted(groups)) or "none"
