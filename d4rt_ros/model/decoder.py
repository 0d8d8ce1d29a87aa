"""Queries in, points out: the query embedding, the cross-attention decoder and the six heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from d4rt_ros.model.config import HEADS, ModelConfig
from d4rt_ros.model.layers import (
    Linear,
    Rotary,
    attention,
    feed_forward,
    merge_heads,
    rotate,
    split_heads,
    token_positions,
)

KeysValues = list[tuple[Tensor, Tensor]]


def fourier_features(uv: Tensor, bands: int) -> Tensor:
    """(..., 2) -> (..., 2 * (1 + 2 * bands)): per coordinate [value, sin × bands, cos × bands] of 2^k·π·value."""
    angle = uv[..., None] * (2.0 ** torch.arange(bands, device=uv.device, dtype=uv.dtype) * math.pi)
    return torch.cat((uv[..., None], angle.sin(), angle.cos()), -1).flatten(-2)


def sample_patches(frames: Tensor, uv: Tensor, t: Tensor, side: int) -> Tensor:
    """RGB patches around points of a video, bilinear, one pixel apart, clamped at the border.

    frames: (B, T, H, W, 3), uint8 or float; uv: (B, Q, 2) with u·(W-1), v·(H-1) as pixels; t: (B, Q).
    Returns (B, Q, 3, side, side) float in the frames' range ([0, 1] for uint8).
    All samples of a patch share one sub-pixel offset, so that (side + 1)² pixels a query are read, no more.
    """
    batch, count, height, width, _ = frames.shape
    # No tensor of the two factors: bringing it to a GPU would wait, and no CUDA graph may hold it.
    position = torch.stack((uv[..., 0] * (width - 1), uv[..., 1] * (height - 1)), -1)
    corner = position.floor()
    reach = torch.arange(side + 1, device=uv.device) - side // 2
    columns = (corner[..., :1].long() + reach).clamp(0, width - 1)
    rows = (corner[..., 1:].long() + reach).clamp(0, height - 1)
    first = (torch.arange(batch, device=uv.device)[:, None] * count + t) * height
    index = (first[..., None] + rows)[..., :, None] * width + columns[..., None, :]
    pixels = frames.reshape(-1, 3).index_select(0, index.flatten()).view(*index.shape, 3)
    return interpolate_patches(pixels, position - corner)


def interpolate_patches(pixels: Tensor, fraction: Tensor) -> Tensor:
    """Bilinear patches from the pixels around them.

    pixels: (B, Q, p + 1, p + 1, 3) uint8 or float; fraction: (B, Q, 2), how far x, y of the samples lie beyond the
    pixels. Returns (B, Q, 3, p, p) float in the pixels' range ([0, 1] for uint8).
    """
    fraction = fraction[..., None, None, None]
    values = pixels.to(fraction.dtype) / 255 if pixels.dtype == torch.uint8 else pixels.to(fraction.dtype)
    x, y = fraction[..., 0, :, :, :], fraction[..., 1, :, :, :]
    values = values[..., :-1, :] + x * (values[..., 1:, :] - values[..., :-1, :])
    values = values[..., :-1, :, :] + y * (values[..., 1:, :, :] - values[..., :-1, :, :])
    return values.permute(0, 1, 4, 2, 3)


class QueryEmbedding(nn.Module):
    """The token of a query: Fourier uv + three time tables + RGB patch."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.decoder_width
        self.bands = config.uv_bands
        self.uv_proj = Linear(2 * (1 + 2 * config.uv_bands), width)
        self.t_src = nn.Embedding(config.frames, width)
        self.t_tgt = nn.Embedding(config.frames, width)
        self.t_cam = nn.Embedding(config.frames, width)
        self.patch_proj = None
        if config.rgb_patch:
            self.patch_proj = nn.Sequential(
                Linear(3 * config.rgb_patch**2, width), nn.GELU(), Linear(width, width)
            )
        self.out_norm = nn.LayerNorm(width)

    def forward(self, uv: Tensor, times: Tensor, patches: Tensor | None) -> Tensor:
        """uv: (B, Q, 2); times: (B, Q, 3) as t_src, t_tgt, t_cam; patches: (B, Q, 3, p, p). Returns (B, Q, C)."""
        dtype = self.uv_proj.weight.dtype
        # In float32: 2^7·π·u is beyond what a half can tell apart.
        x = self.uv_proj(fourier_features(uv.float(), self.bands).to(dtype))
        x = x + self.t_src(times[..., 0]) + self.t_tgt(times[..., 1]) + self.t_cam(times[..., 2])
        if self.patch_proj is not None:
            x = x + self.patch_proj(patches.flatten(-3).to(dtype))
        return self.out_norm(x)


class DecoderBlock(nn.Module):
    """Cross-attention from queries to the memory, and feed-forward. Queries do not see each other."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.heads = heads
        self.norm_q = nn.LayerNorm(width)
        self.norm_kv = nn.LayerNorm(width)
        self.q_proj = Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width)
        self.out_proj = Linear(width, width)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = feed_forward(width, mlp_ratio)

    def keys_values(self, memory: Tensor, angles: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """What the queries attend to, (B, heads, N, d) each; it depends on the scene alone."""
        k, v = (split_heads(part, self.heads) for part in self.kv_proj(self.norm_kv(memory)).chunk(2, -1))
        return (k if angles is None else rotate(k, *angles)), v

    def forward(self, x: Tensor, k: Tensor, v: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        q = split_heads(self.q_proj(self.norm_q(x)), self.heads)
        q = q if angles is None else rotate(q, *angles)
        x = x + self.out_proj(merge_heads(attention(q, k, v)))
        return x + self.ff(self.norm_ff(x))


class Decoder(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        width, heads = config.decoder_width, config.decoder_heads
        self.memory_proj = (
            nn.Identity() if config.encoder_width == width else nn.Linear(config.encoder_width, width)
        )
        self.embedding = QueryEmbedding(config)
        self.blocks = nn.ModuleList(
            DecoderBlock(width, heads, config.decoder_mlp_ratio) for _ in range(config.decoder_layers)
        )
        self.out_norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in HEADS.items()})
        self.rotary = None
        if config.position == "rotary":
            with torch.device("cpu"):  # computed even where the weights are only described (meta)
                self.rotary = Rotary(width // heads, config.token_grid, config.frames)
                cos, sin = self.rotary.angles(
                    token_positions(config.token_grid, config.frames, config.patch[0])
                )
                extra = int(config.aspect_token)
                self.register_buffer("cos", torch.cat((cos, torch.ones_like(cos[:extra]))), persistent=False)
                self.register_buffer("sin", torch.cat((sin, torch.zeros_like(sin[:extra]))), persistent=False)
                # A third of the heads look from the query's place in frame t_src, in t_tgt, in t_cam.
                self.register_buffer("head_time", torch.arange(heads) * 3 // heads, persistent=False)

    def project(self, memory: Tensor) -> KeysValues:
        """The memory (B, N, encoder width) -> each layer's keys and values, once for a scene."""
        angles = None if self.rotary is None else (self.cos, self.sin)
        memory = self.memory_proj(memory)
        # In one piece for each head: a few queries take as long as reading this takes.
        return [
            tuple(part.contiguous() for part in block.keys_values(memory, angles)) for block in self.blocks
        ]

    def forward(
        self, keys_values: KeysValues, uv: Tensor, times: Tensor, patches: Tensor | None
    ) -> dict[str, Tensor]:
        """uv: (B, Q, 2) in [0, 1]; times: (B, Q, 3); patches: (B, Q, 3, p, p), normalised like the video.

        Returns raw float32 head outputs (B, Q, size); visibility and confidence are logits.
        """
        x = self.embedding(uv, times, patches)
        angles = None if self.rotary is None else self._angles(uv, times)
        for block, (k, v) in zip(self.blocks, keys_values):
            x = block(x, k, v, angles)
        x = self.out_norm(x).float()
        # In float32 whatever the rest computes in: a bf16 depth of 1 would come in steps of 0.8 %.
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):  # it knows no meta
            answer = {name: head(x) for name, head in self.heads.items()}
        if self.config.uv_offset:
            answer["uv"] = answer["uv"] + uv.float()
        return answer

    def _angles(self, uv: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        time = times[..., self.head_time].transpose(-1, -2).to(uv.dtype)
        place = uv.flip(-1)[:, None].expand(-1, time.shape[1], -1, -1)
        return self.rotary.angles(torch.cat((time[..., None], place), -1))
