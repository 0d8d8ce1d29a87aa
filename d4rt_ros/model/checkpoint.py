"""Weights in files: our own, which carry the model's configuration, and OpenD4RT's."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.opend4rt import (
    from_opend4rt,
    is_opend4rt,
    opend4rt_config,
    opend4rt_shapes,
    their_name,
)
from d4rt_ros.model.shards import write_shards
from d4rt_ros.model.tensor_files import CheckpointError, TensorFile, read_tensors
from d4rt_ros.paths import expanded

__all__ = ["EMBEDDED", "CheckpointError", "empty_network", "load_checkpoint", "save_checkpoint"]

EMBEDDED = Path(__file__).parent / "weights" / "tiny.safetensors"

# Parts of tensor names that only that model has.
_OTHER_MODELS = [
    ("VGGT", ("aggregator.frame_blocks.",)),
    ("MASt3R", ("downstream_head1.head_local_features.",)),
    ("DUSt3R", ("downstream_head1.", "dec_blocks2.")),
    ("CroCo", ("enc_blocks.", "dec_blocks.")),
    ("VideoMAE", ("attn.q_bias", "patch_embed.proj.")),
    ("Segment Anything", ("image_encoder.", "mask_decoder.")),
    ("Depth Anything", ("depth_head.scratch.",)),
    ("CoTracker", ("updateformer.",)),
    ("RAFT", ("update_block.gru.",)),
    ("DINOv2", (".ls1.gamma", "cls_token")),
    ("a vision transformer", ("blocks.0.attn.qkv.weight",)),
]


def save_checkpoint(
    path: str | Path, network: D4RT, dtype: torch.dtype = torch.float32, notes: dict | None = None
):
    """Write the weights at `dtype`, the configuration, and `notes` (text by name, such as how it was trained).

    A path that ends in .json becomes the index of files of at most 16 MiB, in a folder beside it.
    The heads, which compute in float32, are written in float32.
    """
    notes = {"format": "d4rt_ros", "config": json.dumps(network.config.to_dict()), **(notes or {})}
    tensors = (
        (name, t.detach().to("cpu", _dtype_of(name, dtype))) for name, t in network.state_dict().items()
    )
    path = expanded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        write_shards(path, tensors, notes)
        return
    partial = path.with_suffix(".part")  # a reader never meets half a file
    save_file({name: t.contiguous() for name, t in tensors}, partial, notes)
    partial.chmod(0o644)  # safetensors leaves it to its owner alone, and the node may run as another user
    partial.replace(path)


def load_checkpoint(
    path: str | Path | TensorFile | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] | None = None,
) -> D4RT:
    """A network in evaluation mode on the CPU; its weights are at `dtype`, its heads and tables in float32.

    path: what `save_checkpoint` wrote, or OpenD4RT's opend4rt.ckpt, best with its model.yaml beside it: image size,
    numbers of heads, attention pattern and token limit are not in the tensors, so that without it those of the public
    models are assumed, with a warning. None: the embedded weights. Or what `read_tensors` made of one of them.
    progress: called with the fraction that has been read, 0 .. 1.

    Nothing in the file is executed. Peak memory is that of the weights at `dtype` and one tensor of the file. Raises
    CheckpointError for a file that is missing, truncated, of another model, or that would execute code; for tensors
    that are missing, extra, of another shape, not finite, or beyond what `dtype` can hold; for a model.yaml that
    cannot be read or contradicts the tensors.
    """
    file = path if isinstance(path, TensorFile) else read_tensors(path or EMBEDDED)
    theirs = not _is_ours(file)
    network = empty_network(_config(file))
    expected = network.state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    check_tensors(file, opend4rt_shapes(expected) if theirs else ours)
    tensors = from_opend4rt(file.tensors, expected) if theirs else file.tensors
    weights = checked_weights(
        file, tensors, lambda name: _dtype_of(name, dtype), progress, their_name if theirs else str
    )
    network.load_state_dict(dict(weights), assign=True)
    return network


def empty_network(config: ModelConfig) -> D4RT:
    """The network in evaluation mode without its weights (they are on the meta device), in no time and memory."""
    with weightless():
        return D4RT(config).eval()


@contextmanager
def weightless() -> Iterator[None]:
    """Modules that are made within have their weights on the meta device, without first values."""
    with torch.device("meta"), _NoInitialisation():
        yield


class _NoInitialisation(TorchFunctionMode):
    """No first values for weights: on the meta device drawing them would import torch's compiler, for seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return function(*args, **(kwargs or {}))


def _is_ours(file: TensorFile) -> bool:
    return file.notes.get("format") == "d4rt_ros"


def _config(file: TensorFile) -> ModelConfig:
    try:
        if _is_ours(file):
            return ModelConfig.from_dict(json.loads(file.notes["config"]))
        if not is_opend4rt(file.tensors):
            raise CheckpointError(f"{file.path}: {_whose(file.tensors)}")
        config, assumed = opend4rt_config(file.tensors, file.path.with_name("model.yaml"))
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file.path}: its model configuration cannot be used: {error}") from None
    if assumed:
        warnings.warn(
            f"{file.path}: assumed, as in OpenD4RT's public models, since no model.yaml beside it says so: "
            f"{', '.join(assumed)}. If it is another model, its answers are wrong: put its model.yaml there",
            stacklevel=3,
        )
    return config


def _whose(names: Iterable[str]) -> str:
    """What a state dict that is no D4RT's seems to be, and what can be done with it."""
    names = list(names)
    d4rt = "a .safetensors file of d4rt_ros, or OpenD4RT's opend4rt.ckpt"
    wanted = f"expected {d4rt} (or, to load and not to train, VGGT's model.pt)"
    if "decoder.embedding.uv_proj.weight" in names:
        return "tensors of d4rt_ros without their configuration (a training's state?); give its weights.safetensors"
    for model, parts in _OTHER_MODELS:
        if all(any(part in name for name in names) for part in parts):
            if model == "VGGT":
                return (
                    "weights of VGGT, which d4rt_ros.load and the parameter model.checkpoint take as they are, and "
                    f"which can be neither trained, converted nor exported here; expected {d4rt}"
                )
            if model == "VideoMAE":
                return (
                    f"weights of VideoMAE, which a training can start from: d4rt train --init FILE; {wanted}"
                )
            return f"weights of {model}, not of a D4RT; {wanted}"
    return f"not written by d4rt_ros, and no D4RT's tensors (it holds {', '.join(sorted(names)[:3])}, …); {wanted}"


def check_tensors(file: TensorFile, expected: dict[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError that names the tensors which are missing, extra or misshapen."""
    found = file.tensors
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if tuple(found[name].shape) != expected[name]
    ]
    problems = (
        ("missing", sorted(expected.keys() - found.keys())),
        ("extra", sorted(found.keys() - expected.keys())),
        ("of another shape", misshapen),
    )
    sentences = [
        f"{len(names)} tensor{'s' if len(names) > 1 else ''} {what}: {_first_few(names)}"
        for what, names in problems
        if names
    ]
    if sentences:
        raise CheckpointError(f"{file.path}: {'; '.join(sentences)}. Nothing was loaded")


def _first_few(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def checked_weights(
    file: TensorFile,
    tensors: dict[str, Tensor],
    dtype_of: Callable[[str], torch.dtype],
    progress: Callable[[float], None] | None,
    name_in_file: Callable[[str], str] = str,
) -> Iterator[tuple[str, Tensor]]:
    """The tensors by name, one after the other, checked, in memory of their own.

    Raises CheckpointError for values that are not finite, or beyond what their type can hold.
    """
    total, done = sum(tensor.nbytes for tensor in tensors.values()), 0
    for name, tensor in tensors.items():
        dtype = dtype_of(name)
        copy = file.take(tensor, dtype)
        if not _is_finite(copy):
            beyond = _is_finite(tensor)
            raise CheckpointError(
                f"{file.path}: tensor {name_in_file(name)} holds "
                + (
                    f"values beyond the range of {dtype}; use bf16 or fp32"
                    if beyond
                    else "NaN or infinite values; the training that wrote it diverged, or the file is damaged"
                )
            )
        yield name, copy
        done += tensor.nbytes
        if progress is not None:
            progress(done / total)


def _is_finite(tensor: Tensor) -> bool:
    # By the extremes, in which a NaN stays: isfinite would need the tensor's memory again, and leave holes in the heap.
    return all(math.isfinite(extreme) for extreme in torch.aminmax(tensor))


def _dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """The heads stay in float32, as they compute (see Decoder.forward)."""
    return torch.float32 if name.startswith("decoder.heads.") else dtype
