"""`load`: which backend a checkpoint needs, and the model on it."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from d4rt_ros.model.protocol import Model
from d4rt_ros.paths import expanded
from d4rt_ros.runtime.scene import check_patch_source, device_parts

BACKENDS = ("auto", "torch", "onnx")
PRECISION_NAMES = ("auto", "fp32", "bf16", "fp16")


def load(
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    patch_source: str = "encoder",
    progress: Callable[[float], None] | None = None,
    cuda_graphs: bool = False,
) -> Model:
    """A model ready to encode: the embedded weights, those of a checkpoint file, or a folder of `d4rt export`.

    checkpoint: whether a file holds a D4RT or a VGGT is seen from its tensors (see model.checkpoint.load_checkpoint
        and model.vggt.checkpoint.load_vggt); a VGGT tells cameras, depth and points, not where a point goes.
    device: auto (a GPU where there is one, else the CPU), cpu, cuda, cuda:1, …
    precision: fp32, bf16, fp16, or auto (bf16 on CUDA, fp16 where it is older than Ampere, bf16 on a CPU with
        instructions for it, else fp32). An exported model computes in fp32, and with TensorRT in fp16 on request.
    backend: torch for a file, onnx for a folder, or auto.
    patch_source: where the RGB patch of a query is taken from: encoder, frames or none; see SceneModel. VGGT has none.
    progress: called with the fraction of the checkpoint that has been read, 0 .. 1.
    cuda_graphs: for a D4RT with backend torch on CUDA, replay encoding and small decodes as CUDA graphs: for small
        models, where the GPU would wait for the CPU; takes the memory of a second scene.
    Raises CheckpointError or OnnxError (both ValueErrors) where the checkpoint cannot be used, ValueError for any
    other argument that cannot be: a device that is unknown or not there, a precision, backend or patch_source.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; use {', '.join(BACKENDS)}")
    if precision not in PRECISION_NAMES:
        raise ValueError(f"unknown precision {precision!r}; use {', '.join(PRECISION_NAMES)}")
    device_parts(device)
    if not (checkpoint is None or isinstance(checkpoint, (str, PathLike))):
        raise ValueError(f"checkpoint = {checkpoint!r}; give the path of a file or a folder, or None")
    if not (progress is None or callable(progress)):
        raise ValueError(f"progress = {progress!r}; give a function of the fraction that is read, or None")
    check_patch_source(patch_source)
    checkpoint = expanded(checkpoint) if checkpoint else None
    folder = checkpoint is not None and checkpoint.is_dir()
    if backend == "torch" and folder:
        raise ValueError(
            f"{checkpoint}: a folder, which backend torch cannot load; give the checkpoint file that it was "
            "exported from, or backend onnx"
        )
    if backend == "onnx" and not folder:
        if checkpoint and checkpoint.is_file() and _is_vggt(checkpoint):
            raise ValueError(
                f"{checkpoint}: a VGGT, which cannot be exported to ONNX; use backend torch or auto"
            )
        raise ValueError(
            f"{checkpoint or 'the embedded weights'}: backend onnx needs a folder that `d4rt export` wrote: run "
            f"`d4rt export {f'--checkpoint {checkpoint} ' if checkpoint else ''}--out DIR` and give DIR as the "
            "checkpoint"
        )
    if not folder:
        return _load_file(checkpoint, device, precision, patch_source, progress, cuda_graphs)

    from d4rt_ros.runtime.onnx_model import OnnxModel

    if precision == "bf16":
        raise ValueError(
            "an exported model computes in fp32 or fp16, not in bf16; use precision fp32 or auto"
        )
    return OnnxModel(checkpoint, device, patch_source, fp16=precision == "fp16")


def _load_file(checkpoint, device, precision, patch_source, progress, cuda_graphs) -> Model:
    """`load` of a file: a D4RT or a VGGT, whichever its tensors are."""
    from d4rt_ros.model.checkpoint import EMBEDDED
    from d4rt_ros.model.tensor_files import read_tensors
    from d4rt_ros.model.vggt.checkpoint import is_vggt, load_vggt
    from d4rt_ros.runtime.torch_model import chosen_device, chosen_dtype, load_torch
    from d4rt_ros.runtime.vggt_model import VGGTModel

    place = chosen_device(device)
    file = read_tensors(checkpoint or EMBEDDED)
    if is_vggt(file.tensors):
        return VGGTModel(load_vggt(file, chosen_dtype(precision, place), progress), place)
    return load_torch(file, device, precision, patch_source, progress, cuda_graphs)


def _is_vggt(path: Path) -> bool:
    from d4rt_ros.model.tensor_files import CheckpointError, read_tensors
    from d4rt_ros.model.vggt.checkpoint import is_vggt

    try:
        return is_vggt(read_tensors(path).tensors)
    except CheckpointError:
        return False
