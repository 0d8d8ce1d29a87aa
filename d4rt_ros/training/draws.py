"""Random numbers that are a function of what they are for, never of what was drawn before.

A run that was interrupted, and each of several processes with a slice of every batch, thus see what one process
that runs through would.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """A seed of 63 bits from numbers and words: other parts, another seed."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(seed: int, purpose: str, step: int, clips: range, *shape: int) -> Tensor:
    """(len(clips), *shape) float32 in [0, 1), on the CPU: a row for each clip number."""
    generator = torch.Generator()
    rows = torch.empty(len(clips), *shape)
    for row, clip in zip(rows, clips):
        row.uniform_(generator=generator.manual_seed(seed_of(seed, purpose, step, clip)))
    return rows


def normal_like(video: Tensor, seed: int, purpose: str, step: int, clips: range) -> Tensor:
    """Standard normal numbers of the shape of `video` (B, …) on its device: a block for each clip number."""
    generator = torch.Generator(video.device)
    noise = torch.empty(video.shape, dtype=video.dtype, device=video.device)
    for block, clip in zip(noise, clips):
        block.normal_(generator=generator.manual_seed(seed_of(seed, purpose, step, clip)))
    return noise
