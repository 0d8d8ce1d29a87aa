"""The C library's memory, tuned once for a process that runs a network on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEEP = 1 << 28


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory instead of giving it back to the kernel at once.

    Activations of a few hundred kilobytes are otherwise mapped, faulted in page by page and unmapped again in
    every layer; for the embedded model that was two thirds of the encoder's time. Images in numpy and OpenCV are of
    that size, too: to look for corners takes a third less. No effect without glibc.
    """
    _mallopt(_M_MMAP_THRESHOLD, _KEEP)
    _mallopt(_M_TRIM_THRESHOLD, _KEEP)


def _mallopt(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(parameter, value)


def available_bytes() -> int:
    """Bytes of memory that a program can still get without swapping; a very large number where that is unknown."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 1 << 62


def gigabytes(count: float) -> str:
    """Bytes for people, such as "1.5 GB"."""
    return f"{count / 1e9:.3g} GB"
