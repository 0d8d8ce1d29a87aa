"""Tensors in several files of bounded size, under an index that names them: NAME.json beside the folder NAME."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SHARD_BYTES = 16 << 20  # largest size of a file
_ENTRY = 160  # bytes that a tensor's line in a file's header takes, beside its name
_GENERATION = re.compile(
    r"(\d+)-\d+\.safetensors$"
)  # how often something was written to the folder, then the file
_PIECE = "#"  # "name#2": the third of the pieces, along the first axis, of a tensor too large for one file


def write_shards(
    index: Path, tensors: Iterable[tuple[str, Tensor]], notes: dict, limit: int = SHARD_BYTES
) -> None:
    """Write named tensors into files of at most `limit` bytes, and last the index that makes them count.

    index: the .json file; notes: what it tells beside, of JSON's types. Until the new index is there the old one and
    its files are whole; what the new one does not name is then removed. Tensors are taken one by one: no more than
    `limit` bytes of them are held. Raises OSError where a file cannot be written; what was written is removed again.
    """
    folder = index.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    old = {path.name for path in folder.iterdir()}
    generation = 1 + max((int(number[1]) for name in old if (number := _GENERATION.match(name))), default=0)
    places: dict[str, str] = {}
    held: dict[str, Tensor] = {}
    size = 0
    try:
        for name, tensor in _pieces(tensors, limit):
            bytes_ = tensor.nbytes + len(name) + _ENTRY
            if held and size + bytes_ > limit:
                _write(folder, generation, places, held)
                size = 0
            held[name] = tensor
            size += bytes_
        _write(folder, generation, places, held)
        partial = index.with_suffix(".part")
        partial.write_text(json.dumps({"notes": notes, "tensors": places}))
        partial.replace(index)
    except OSError:
        index.with_suffix(".part").unlink(missing_ok=True)
        _remove(folder, {path.name for path in folder.iterdir()} - old)
        raise
    _remove(folder, old - set(places.values()))


def read_shards(index: Path) -> tuple[dict[str, Tensor], dict, bool]:
    """(tensors by name, notes, whether all of their memory is mapped from files). Raises OSError or ValueError."""
    content = json.loads(index.read_text())
    folder, places = index.with_suffix(""), content["tensors"]
    found: dict[str, Tensor] = {}
    for file in dict.fromkeys(places.values()):
        try:
            with safe_open(folder / file, framework="pt") as shard:
                found |= {name: shard.get_tensor(name) for name in shard.keys()}
        except SafetensorError as error:
            raise ValueError(f"{folder / file}: not a whole safetensors file ({error})") from None
    pieces: dict[str, list[Tensor]] = {}
    for name in places:
        pieces.setdefault(name.partition(_PIECE)[0], []).append(found[name])
    tensors = {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in pieces.items()}
    return tensors, content["notes"], len(tensors) == len(places)


def _pieces(tensors: Iterable[tuple[str, Tensor]], limit: int):
    for name, tensor in tensors:
        count = -(-(tensor.nbytes + len(name) + 2 * _ENTRY) // limit)
        if count == 1:
            yield name, tensor.detach().cpu().contiguous()
            continue
        rows = max(1, len(tensor) // (count + 1))
        for i, piece in enumerate(tensor.detach().split(rows)):
            yield f"{name}{_PIECE}{i}", piece.cpu().clone()


def _write(folder: Path, generation: int, places: dict[str, str], held: dict[str, Tensor]) -> None:
    """One file of what is held, which is then forgotten; its place is noted."""
    path = folder / f"{generation}-{len(set(places.values())) + 1:05d}.safetensors"
    try:
        save_file(held, path)
    except SafetensorError as error:  # its own kind also where the disk is full
        raise OSError(f"{path}: {error}") from None
    path.chmod(0o644)  # safetensors leaves it to its owner alone
    places.update(dict.fromkeys(held, path.name))
    held.clear()


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
