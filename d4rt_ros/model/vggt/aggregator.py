"""VGGT's encoder: DINOv2's patch tokens, then attention within a frame and over all frames in turns."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d4rt_ros.model.protocol import AttentionListener
from d4rt_ros.model.vggt.config import VGGTConfig
from d4rt_ros.model.vggt.layers import Block, place_angles

FRAMES = (
    16  # that pass through what looks at one frame alone at a time, so that memory does not grow with them
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PatchEncoder(nn.Module):
    """DINOv2 with registers (Oquab et al. 2023, Darcet et al. 2023): what the patches of a frame show."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        width, patch = config.width, config.patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.patch_registers, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2 + 1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.patch_heads, config.patch_hidden, 1e-6) for _ in range(config.patch_layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """images: (S, H, W, 3) uint8 RGB. Returns the patches' tokens (S, h, w, C) float32."""
        weight = self.patch_embed["proj"].weight
        mean, std = (torch.tensor(x, device=weight.device)[:, None, None] for x in (MEAN, STD))
        rgb = images.to(weight.device).movedim(-1, 1).float() / 255
        patches = self.patch_embed["proj"](((rgb - mean) / std).to(weight.dtype)).float()
        rows, columns = patches.shape[2:]
        patches = (patches + self._positions(rows, columns)).flatten(2).transpose(1, 2)
        first = torch.cat((self.cls_token + self.pos_embed[:, :1], self.register_tokens), 1)
        x = torch.cat((first.expand(len(patches), -1, -1), patches), 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, first.shape[1] :]).unflatten(1, (rows, columns))

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(1, C, rows, columns): the square grid that was trained, resized."""
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        grid = self.pos_embed[:, 1:].unflatten(1, (side, side)).movedim(-1, 1)
        if (rows, columns) == (side, side):
            return grid
        return F.interpolate(grid, (rows, columns), mode="bicubic", antialias=True)


class Aggregator(nn.Module):
    """Layer i: frame_blocks[i] looks within each frame, then global_blocks[i] over all frames."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEncoder(config)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, config.width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.registers, config.width))
        for name in ("frame_blocks", "global_blocks"):
            blocks = (
                Block(config.width, config.heads, config.hidden, 1e-5, qk_norm=True)
                for _ in range(config.layers)
            )
            self.add_module(name, nn.ModuleList(blocks))

    def forward(
        self,
        images: Tensor,
        layers: Collection[int],
        masked: Tensor | None = None,
        masked_layers: int = 0,
        listener: AttentionListener | None = None,
    ) -> tuple[dict[int, Tensor], Tensor]:
        """The image tokens (S, h, w, 2C) after each of `layers`, and the camera tokens (S, 2C) after the last layer.

        images: (S, H, W, 3) uint8 RGB, sides divisible by the patch. masked: (S, h, w) bool, tokens whose keys and
        values the first `masked_layers` layers leave out, while they go on asking themselves.
        """
        patches = torch.cat([self.patch_embed(part) for part in images.split(FRAMES)])
        frames, rows, columns, width = patches.shape
        if listener is not None:
            listener.begin(self.config.layers, rows, columns)
            listener.features(patches.flatten(1, 2))
        # Another camera and other registers for the first frame, whose camera is the world.
        own = torch.cat((self.camera_token, self.register_token), 2)[0]
        own = torch.cat((own[:1], own[1:].expand(frames - 1, -1, -1)))
        x = torch.cat((own, patches.flatten(1, 2)), 1)
        start = own.shape[1]
        del patches
        angles = place_angles(rows, columns, start, width // self.config.heads, self.config.rope, x.device)
        keep = None if masked is None else F.pad(~masked.flatten(1).to(x.device), (start, 0), value=True)
        kept = {}
        for i in range(self.config.layers):
            seen = keep if i < masked_layers else None
            for part in range(0, frames, FRAMES):
                part = slice(part, part + FRAMES)
                self.frame_blocks[i](x[part], angles, None if seen is None else seen[part])
            wanted = i in layers
            own_frame = x.clone() if wanted else x[:, 0].clone()
            hear = None if listener is None else partial(_hear, listener, i, frames, start)
            everything = x.view(1, -1, width)
            self.global_blocks[i](everything, angles, None if seen is None else seen.view(1, -1), hear)
            if wanted:
                both = torch.cat((own_frame[:, start:], x[:, start:]), -1)
                kept[i] = both.unflatten(1, (rows, columns))
                own_frame = own_frame[:, 0]
        return kept, torch.cat((own_frame, x[:, 0]), -1)


def _hear(listener: AttentionListener, layer: int, frames: int, start: int, q: Tensor, k: Tensor) -> None:
    q, k = (x[0].unflatten(1, (frames, -1))[:, :, start:] for x in (q, k))
    listener.attention(layer, q, k)
