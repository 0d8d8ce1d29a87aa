"""The C library's memory, tuned once for a process that runs a network on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEEP = 1 << 28


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory instead of giving it back to the kernel at once.

    Activations of a few hundred kilobytes are otherwise mapped, faulted in page by page and unmapped again in
    every layer; for the embedded model that was two thirds of the encoder's time. No effect without glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP)
        mallopt(_M_TRIM_THRESHOLD, _KEEP)
