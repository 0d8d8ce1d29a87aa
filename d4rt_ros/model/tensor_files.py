"""Tensors in files, mapped into memory: nothing is read before it is needed, and nothing is executed."""

from __future__ import annotations

import argparse
import ctypes
import mmap
import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from d4rt_ros.file_kinds import file_kind
from d4rt_ros.model.shards import read_shards
from d4rt_ros.paths import expanded, undefined

# Where the weights lie in a training checkpoint, in the order in which they are looked for.
STATE_DICT_KEYS = ("model", "module", "state_dict", "model_state_dict", "network")
SAFE_TORCH = "2.6.0"  # the first that executes nothing where weights_only is asked for
_WANTED = "give the path of a .safetensors file of d4rt_ros, or of OpenD4RT's opend4rt.ckpt"
_COMPARE = "compare its size with its source's"
_MADV_DONTNEED = 4  # sys/mman.h of Linux


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the sentence names the file and what is wrong with it."""


@dataclass(frozen=True)
class TensorFile:
    """The tensors of a file by name, of any shapes and types.

    mapped: their memory is the file's pages, which may be given back; notes: the text by name of a safetensors file.
    """

    path: Path
    tensors: dict[str, Tensor]
    mapped: bool = True
    notes: dict[str, str] = field(default_factory=dict)

    def take(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy of one of the tensors, or of a part of it, at `dtype` and in memory of its own.

        The pages that it was read from are given back: reading a whole file takes one tensor's memory, not the file's.
        """
        copy = tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)
        if self.mapped and tensor.is_contiguous():
            _give_back_pages(tensor)
        return copy


def read_tensors(path: str | Path) -> TensorFile:
    """Open a safetensors file or a torch checkpoint, of whatever suffix; .safetensors is the former alone.

    A .json is the index of tensors in several files, see `shards`. What a file is its first bytes say.
    Raises CheckpointError for a file that is missing, truncated, of neither format, or that would execute code; and
    for every torch checkpoint where torch is older than 2.6, whose weights_only could be got round (CVE-2025-32434).
    """
    path = expanded(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; {_WANTED}{_weights_in(path)}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file{undefined(path)}; {_WANTED}")
    try:
        with open(path, "rb") as file:
            start = file.read(16)
        kind = "" if _begins_as_safetensors(start, path.stat().st_size) else file_kind(path)
        zipped = _names_in_zip(path) if start[:4] == b"PK\x03\x04" else []
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    suffix = path.suffix.lower()
    if suffix == ".json" and (not kind or kind.startswith("JSON")):
        return _read_index(path)
    if suffix != ".safetensors" and start[:1] == b"\x80":  # as torch wrote until 2020
        return _read_torch(path, mapped=False)
    if suffix != ".safetensors" and zipped is None:
        raise CheckpointError(
            f"{path}: not a whole torch checkpoint (its end is missing), truncated: {_COMPARE}"
        )
    if suffix != ".safetensors" and any(name.endswith("/data.pkl") for name in zipped or ()):
        return _read_torch(path, mapped=True)
    if kind:
        inside = f" with {', '.join(sorted(zipped)[:3])}" if zipped else ""
        raise CheckpointError(f"{path}: not a whole safetensors file, but {kind}{inside}; {_WANTED}")
    return _read_safetensors(path)


def _begins_as_safetensors(start: bytes, size: int) -> bool:
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _names_in_zip(path: Path) -> list[str] | None:
    """What a zip archive holds; None where its end, which lists it, is missing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


def _weights_in(folder: Path) -> str:
    """Files of a folder that may be what is meant."""
    names = [
        f.name
        for f in sorted(folder.iterdir())
        if f.suffix.lower() in (".safetensors", ".ckpt", ".pth", ".pt")
    ]
    return f": it holds {', '.join(names[:3])}" if names else ""


def _read_safetensors(path: Path) -> TensorFile:
    try:
        with safe_open(path, framework="pt") as file:
            return TensorFile(
                path, {name: file.get_tensor(name) for name in file.keys()}, True, file.metadata() or {}
            )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be of another format, or truncated: {_COMPARE}"
        ) from None


def _read_index(path: Path) -> TensorFile:
    try:
        tensors, notes, mapped = read_shards(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not the index of weights that are all there ({_first_line(error)}); copy it together with the "
            f"folder {path.stem} beside it"
        ) from None
    return TensorFile(path, tensors, mapped, notes)


def _read_torch(path: Path, mapped: bool) -> TensorFile:
    if torch.__version__ < SAFE_TORCH:
        raise CheckpointError(
            f"{path}: refused, since torch {torch.__version__} can be made to execute code by such a file; install "
            f"torch {SAFE_TORCH} or later, or give a .safetensors file (`d4rt convert` writes one where that torch is)"
        )
    try:
        # What public checkpoints keep their command line in: a bag of values without code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            payload = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = asked[1] if asked else "more than weights need"
        raise CheckpointError(
            f"{path}: refused, nothing of it was executed: it asks for {what}, and what is not a tensor or a "
            "plain value could execute code. Get the weights from their makers, or save their state dict alone"
        ) from None
    except Exception as error:  # what a damaged file raises can be anything
        raise CheckpointError(
            f"{path}: not a whole torch checkpoint ({_first_line(error)}); it may be truncated, {_COMPARE}"
        ) from None
    return TensorFile(path, _state_dict(path, payload), mapped)


def _state_dict(path: Path, payload: object) -> dict[str, Tensor]:
    """The weights within what a training script saved, without the prefixes of its wrappers."""
    found = payload
    if isinstance(payload, dict):
        found = next((payload[key] for key in STATE_DICT_KEYS if isinstance(payload.get(key), dict)), payload)
    if not isinstance(found, dict) or not any(isinstance(value, Tensor) for value in found.values()):
        keys = f" with {', '.join(map(str, list(payload)[:5]))}" if isinstance(payload, dict) else ""
        raise CheckpointError(f"{path}: holds no weights but a {type(payload).__name__}{keys}")
    tensors = {}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name} is of type {type(value).__name__}, where a tensor is expected"
            )
        tensors[re.sub(r"^((module|_orig_mod)\.)+", "", str(name))] = value
    return tensors


def _give_back_pages(tensor: Tensor) -> None:
    """Let the kernel drop the whole pages of a file mapping that lie within a contiguous tensor."""
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None and size > 0:
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
