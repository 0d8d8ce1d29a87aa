"""Where a command reads and writes: paths as people type them, outputs looked at before the work begins."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from d4rt_ros.paths import expanded, undefined

LOG_WIDTH = 160  # letters


class OutputError(OSError):
    """Nothing can be written there; says where and why."""


def path(text: str) -> Path:
    """For argparse: a path, with ~ and variables, which no shell replaces in --out=~/run."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return expanded(text)


def writable_folder(folder: Path) -> Path:
    """The folder, made where it is missing, after something was written there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
            file.flush()
    except OSError as error:
        raise OutputError(
            f"nothing can be written to {folder}{undefined(folder)}: {_reason(error, folder)}"
        ) from None
    return folder


def writable_file(file: Path) -> Path:
    """The file, which need not be there yet, its folder made where it is missing. Raises OutputError.

    What a file holds is left as it is.
    """
    if file.is_dir():
        raise OutputError(f"{file} is a folder; name a file to write")
    writable_folder(file.parent)
    if file.exists():
        try:
            file.open("ab").close()
        except OSError as error:
            raise OutputError(f"{file} cannot be written: {_reason(error, file)}") from None
    return file


def wide_console():
    """A rich Console that cuts no table in a log, which has no width."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def _reason(error: OSError, place: Path) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        nearest = next(p for p in (place, *place.absolute().parents) if p.exists())
        return f"{nearest} is a file, not a folder"
    return error.strerror or str(error)
