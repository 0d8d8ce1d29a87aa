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
_FILE = re.compile(r"[\w-][\w.-]{0,100}\.safetensors", re.ASCII)  # no folders in it, and none above
INDEX_BYTES = 64 << 20  # largest size of an index
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
    """(tensors by name, notes, whether all of their memory is mapped from files).

    Raises OSError or ValueError; also for an index that names a file elsewhere than in its folder.
    """
    if index.stat().st_size > INDEX_BYTES:
        raise ValueError(f"{index.stat().st_size:,} bytes are too many for an index")
    content = json.loads(index.read_bytes())
    folder, places, notes = index.with_suffix(""), *_checked(content)
    pieces_by_name = _pieces_by_name(places)
    found: dict[str, Tensor] = {}
    for file in dict.fromkeys(places.values()):
        try:
            with safe_open(folder / file, framework="pt") as shard:
                found |= {name: shard.get_tensor(name) for name in shard.keys()}
        except SafetensorError as error:
            raise ValueError(f"{folder / file}: not a whole safetensors file ({error})") from None
    missing = places.keys() - found.keys()
    if missing:
        raise ValueError(f"{folder / places[min(missing)]} lacks the tensor {min(missing)}")
    tensors = {}
    for name, pieces in pieces_by_name.items():
        try:
            tensors[name] = (
                found[pieces[0]] if len(pieces) == 1 else torch.cat([found[piece] for piece in pieces])
            )
        except RuntimeError:
            raise ValueError(f"the pieces of the tensor {name} do not fit together") from None
    return tensors, notes, len(tensors) == len(places)


def _checked(content) -> tuple[dict[str, str], dict]:
    """(file by tensor, notes) of an index's content, once nothing in it leads out of its folder."""
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), dict) for key in ("tensors", "notes")
    ):
        other = " (Hugging Face's weight_map is another format)" if "weight_map" in content else ""
        raise ValueError(f"it has no tensors and notes by name{other}")
    for name, file in content["tensors"].items():
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise ValueError(
                f"the file of {name[:80]!r} is {str(file)[:80]!r}; expected a name such as 1-00001.safetensors"
            )
    return content["tensors"], content["notes"]


def _pieces_by_name(places: Iterable[str]) -> dict[str, list[str]]:
    """The pieces of each tensor in their order. Raises ValueError where one is missing or has no number."""
    found: dict[str, dict[int, str]] = {}
    for piece in places:
        name, cut, number = piece.partition(_PIECE)
        if cut and not re.fullmatch(r"0|[1-9]\d{0,5}", number):
            raise ValueError(
                f"{piece[:80]!r} is no piece of a tensor; expected NAME{_PIECE}0, NAME{_PIECE}1, …"
            )
        found.setdefault(name, {})[int(number or 0)] = piece
    for name, pieces in found.items():
        if len(pieces) != max(pieces) + 1:
            raise ValueError(f"of the tensor {name} pieces are missing")
    return {name: [pieces[i] for i in range(len(pieces))] for name, pieces in found.items()}


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
