"""Which queries are asked of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from d4rt_ros.training.config import QueryMix

NUMBERS = 6  # random ones that a query is made of


def sample_queries(
    depth: Tensor, edges: Tensor, moving: Tensor, mix: QueryMix, numbers: Tensor, jitter: bool = True
) -> tuple[Tensor, Tensor]:
    """uv (B, Q, 2) in [0, 1] and times (B, Q, 3) int64 as t_src, t_tgt, t_cam.

    depth: (B, T, H, W), NaN where nothing is known: nothing is asked there, unless all of a clip is unknown.
    edges, moving: (B, T, H, W) bool, pixels near jumps of depth and borders of what moves, and those of what moves;
    the share of a mask that is empty in a clip is drawn evenly. numbers: (B, Q, NUMBERS) uniform in [0, 1).
    jitter: uv anywhere in the pixel; else its centre, for truth that is known at centres alone.
    """
    frames, height, width = depth.shape[1:]
    rank, right, down, tgt, cam, chance = numbers.to(depth.device, non_blocking=True).unbind(-1)
    known = torch.isfinite(depth)
    pixel = _pick(known, rank)
    start = 0
    for share, mask in ((mix.near_edges, edges), (mix.on_moving, moving)):
        part = slice(start, start + round(share * rank.shape[1]))
        pixel[:, part] = _pick(mask & known, rank[:, part], pixel[:, part])
        start = part.stop
    x, y, t_src = pixel % width, pixel // width % height, pixel // (width * height)
    if jitter:
        x, y = x + (right - 0.5), y + (down - 0.5)
    uv = torch.stack((x / (width - 1), y / (height - 1)), -1).clamp(0, 1)
    t_tgt, t_cam = (tgt * frames).long(), (cam * frames).long()
    t_tgt = torch.where(chance < mix.same_all, t_src, t_tgt)
    t_cam = torch.where(chance < mix.same_all + mix.same_target_and_camera, t_tgt, t_cam)
    return uv, torch.stack((t_src, t_tgt, t_cam), -1)


def _pick(mask: Tensor, rank: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Indices (B, Q) into each clip's flattened pixels, evenly from those of `mask`.

    rank: (B, Q) in [0, 1). Where a clip's mask is empty: `otherwise`, or any pixel.
    """
    flat = mask.flatten(1)
    if otherwise is None:
        otherwise = (rank * flat.shape[1]).long()
    running = flat.cumsum(1, dtype=torch.int32)
    total = running[:, -1:]
    # Rounding must neither reach the next pixel nor, in an empty mask, fall behind the first.
    place = torch.minimum((rank * total).int(), total - 1).clamp_min(0) + 1
    return torch.where(total > 0, torch.searchsorted(running, place).clamp_max(flat.shape[1] - 1), otherwise)
