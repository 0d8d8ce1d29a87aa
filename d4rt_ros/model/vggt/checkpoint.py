"""VGGT's weights, by their tensors' names as they were published."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import torch
from torch import nn

from d4rt_ros.model.checkpoint import check_tensors, checked_weights, weightless
from d4rt_ros.model.config import ConfigError
from d4rt_ros.model.tensor_files import CheckpointError, TensorFile
from d4rt_ros.model.vggt.config import VGGTConfig, vggt_config
from d4rt_ros.model.vggt.network import VGGT

_BLOCKS = ("aggregator.frame_blocks.", "aggregator.global_blocks.")
# Not built here: it follows points that are given to it; and a token of DINOv2's training.
_IGNORED = ("track_head.", "aggregator.patch_embed.mask_token")


def is_vggt(names: Iterable[str]) -> bool:
    """Whether names of tensors are a VGGT's."""
    return any(name.startswith(_BLOCKS) for name in names)


def load_vggt(
    file: TensorFile, dtype: torch.dtype = torch.float32, progress: Callable[[float], None] | None = None
) -> VGGT:
    """The network in evaluation mode on the CPU. Products of the aggregator are at `dtype`, all else in float32.

    file: model.pt or model.safetensors of VGGT-1B, VGGT-1B-Commercial or VGGT_tracker_fixed, or of another size with a
    config.yaml beside it that tells what the tensors do not: heads of the DINOv2 part and of the camera head, and the
    layers that depth and points are read from. progress: called with the fraction that has been read, 0 .. 1.

    Raises CheckpointError for a file without camera or depth head, for tensors that are missing, extra, of another
    shape, not finite, or beyond what `dtype` can hold; for a config.yaml that cannot be read or contradicts them.
    """
    tensors = {n: t for n, t in file.tensors.items() if not n.startswith(_IGNORED)}
    file = TensorFile(file.path, tensors, file.mapped, file.notes)
    for head in ("camera_head", "depth_head"):
        if not any(name.startswith(f"{head}.") for name in tensors):
            what = "cameras" if head == "camera_head" else "depth"
            raise CheckpointError(
                f"{file.path}: a VGGT without {head}.* tensors, which {what} would come from; give the whole model.pt"
            )
    try:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        config, assumed = vggt_config(shapes, file.path.with_name("config.yaml"))
    except ConfigError as error:
        raise CheckpointError(f"{file.path}: a VGGT that cannot be used: {error}") from None
    network = empty_vggt(config)
    check_tensors(file, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    if assumed:
        warnings.warn(
            f"{file.path}: assumed, as in VGGT-1B, since no config.yaml beside it says so: {', '.join(assumed)}. "
            "It is of another size: if they are wrong, its answers are",
            stacklevel=2,
        )
    lower = products(network)
    weights = checked_weights(file, tensors, lambda n: dtype if n in lower else torch.float32, progress)
    network.load_state_dict(dict(weights), assign=True)
    return network.requires_grad_(False)


def empty_vggt(config: VGGTConfig) -> VGGT:
    """The network in evaluation mode without its weights (they are on the meta device), in no time and memory."""
    with weightless():
        return VGGT(config).eval()


def products(network: VGGT) -> set[str]:
    """Names of the weights that published inference has in lower precision: the aggregator's matrices."""
    return {
        f"aggregator.{name}.{kind}"
        for name, module in network.aggregator.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        for kind in ("weight", "bias")
    }
