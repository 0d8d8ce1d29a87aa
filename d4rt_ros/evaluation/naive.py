"""The straightforward decoder, to compare with: the same weights, nothing kept from one chunk to the next.

Every block of every chunk normalises and projects the whole memory again, and every query gathers a whole frame
for its RGB patch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.model.network import D4RT


def naive_encode(network: D4RT, video: Tensor, aspect: Tensor) -> Tensor:
    """The memory (B, N, decoder width) of video (B, T, 3, H, W), RGB in [0, 1], and aspect (B,)."""
    memory = network.encoder(_normalised(network, video), aspect)
    return network.decoder.memory_proj(memory)


def naive_decode(
    network: D4RT, memory: Tensor, video: Tensor, uv: Tensor, times: Tensor, chunk: int = 512
) -> dict[str, Tensor]:
    """What `D4RT.decode` answers. memory: of `naive_encode`; video: (B, T, 3, H, W) float32 in [0, 1].

    uv: (B, Q, 2) in [0, 1]; times: (B, Q, 3). Returns raw head outputs (B, Q, size).
    """
    decoder, side = network.decoder, network.config.rgb_patch
    rotary = None if decoder.rotary is None else (decoder.cos, decoder.sin)
    parts = []
    for place, time in zip(uv.split(chunk, 1), times.split(chunk, 1)):
        patches = None
        if side:
            patches = _normalised(network, naive_patches(video, place, time[..., 0], side))
        keys_values = (block.keys_values(memory, rotary) for block in decoder.blocks)
        parts.append(decoder(keys_values, place, time, patches))
    return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}


def naive_patches(video: Tensor, uv: Tensor, t: Tensor, side: int) -> Tensor:
    """RGB patches (B, Q, 3, side, side) as `sample_patches` gives them, from one copy of a frame per query.

    video: (B, T, 3, H, W) float32; uv: (B, Q, 2) in [0, 1]; t: (B, Q).
    """
    height, width = video.shape[-2:]
    frames = video[torch.arange(len(video), device=t.device)[:, None], t]
    reach = torch.arange(side, device=uv.device) - side // 2
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), -1)
    steps = 2 / torch.tensor((width - 1, height - 1), device=uv.device, dtype=uv.dtype)
    grid = (2 * uv - 1)[..., None, None, :] + offsets * steps
    patches = F.grid_sample(
        frames.flatten(0, 1), grid.flatten(0, 1), padding_mode="border", align_corners=True
    )
    return patches.unflatten(0, uv.shape[:2])


def _normalised(network: D4RT, rgb: Tensor) -> Tensor:
    return (rgb - network.config.pixel_mean) / network.config.pixel_std
