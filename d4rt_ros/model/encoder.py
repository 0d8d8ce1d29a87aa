"""The video encoder: frames in, the global scene representation (the memory) out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d4rt_ros.model.attention import layers_at
from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.layers import (
    Rotary,
    attention,
    feed_forward,
    merge_heads,
    rotate,
    sinusoidal_table,
    split_heads,
    token_positions,
)
from d4rt_ros.model.protocol import AttentionListener


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.heads = heads
        self.norm_attn = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = feed_forward(width, mlp_ratio)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        seen: Tensor | None = None,
        heard: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """x: (..., N, C); angles: cos and sin of the rotary positions of the N tokens, or None.

        seen: (..., N) bool, the tokens that are attended to; heard: is told queries and keys (..., heads, N, d).
        """
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self.norm_attn(x)).chunk(3, -1))
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        if heard is not None:
            heard(q, k)
        seen = None if seen is None else seen[..., None, None, :]  # whatever the head and the query
        x = x + self.out_proj(merge_heads(attention(q, k, v, seen)))
        return x + self.ff(self.norm_ff(x))


class Stem(nn.Module):
    """Two strided convolutions over a frame and its neighbours in time, a quarter of the resolution out.

    Motion between neighbouring frames is visible here before patches blur it.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(9, channels, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, 2 * channels, H / 4, W / 4)."""
        before = torch.cat((video[:, :1], video[:, :-1]), 1)
        after = torch.cat((video[:, 1:], video[:, -1:]), 1)
        x = torch.cat((before, video, after), 2)
        batch, frames = x.shape[:2]
        x = F.gelu(self.conv1(x.flatten(0, 1)))
        return F.gelu(self.conv2(x)).unflatten(0, (batch, frames))


class PatchEmbedding(nn.Module):
    """Tokens of non-overlapping space-time patches. The weight has the shape of a Conv3d's."""

    def __init__(self, channels: int, width: int, patch: tuple[int, int, int]):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, width, patch, stride=patch)

    def forward(self, video: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, t, rows, columns, width)."""
        (pt, ph, pw), (b, frames, c, height, width) = self.patch, video.shape
        x = video.view(b, frames // pt, pt, c, height // ph, ph, width // pw, pw)
        x = x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4)
        # Kernel equals stride, so the convolution is one matrix product, which is faster on a CPU.
        return F.linear(x, self.proj.weight.flatten(1), self.proj.bias)


class Encoder(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.grid = config.token_grid
        tokens, width = self.grid[0] * self.grid[1] * self.grid[2], config.encoder_width
        pt, ph, pw = config.patch
        self.stem = Stem(config.stem) if config.stem else None
        self.patch_embed = (
            PatchEmbedding(2 * config.stem, width, (pt, ph // 4, pw // 4))
            if config.stem
            else PatchEmbedding(3, width, config.patch)
        )
        self.rotary = None
        with torch.device("cpu"):  # tables are computed even where the weights are only described (meta)
            if config.position == "rotary":
                positions = token_positions(self.grid, config.frames, pt)
                self.rotary = Rotary(width // config.encoder_heads, self.grid, config.frames)
                cos, sin = self.rotary.angles(positions)
                # The aspect token has no place: it is not turned.
                self.register_buffer("cos", torch.cat((cos, torch.ones_like(cos[:1]))), persistent=False)
                self.register_buffer("sin", torch.cat((sin, torch.zeros_like(sin[:1]))), persistent=False)
                table = _separable_table(self.grid, width)
            else:
                table = sinusoidal_table(tokens, width)
            rows, columns = config.height // config.patch[1], config.width // config.patch[2]
            self.register_buffer("pool_rows", _pooling(rows, self.grid[1]), persistent=False)
            self.register_buffer("pool_columns", _pooling(columns, self.grid[2]), persistent=False)
        self.register_buffer("table", table, persistent=False)
        self.aspect_proj = (
            nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))
            if config.aspect_token
            else None
        )
        self.blocks = nn.ModuleList(
            EncoderBlock(width, config.encoder_heads, config.encoder_mlp_ratio)
            for _ in range(config.encoder_layers)
        )
        self.final_norm = nn.LayerNorm(width)

    def forward(
        self,
        video: Tensor,
        aspect: Tensor,
        mask: Tensor | None = None,
        listener: AttentionListener | None = None,
    ) -> Tensor:
        """video: (B, T, 3, H, W), normalised; aspect: (B,) width / height. Returns (B, N [+ 1], C).

        mask: (B, t, rows, columns) bool of the token grid, tokens whose keys and values the early layers leave out;
        listener: hears the layers of global attention, each temporal row of tokens as a frame, of a batch of one.
        """
        if self.stem is not None:
            video = self.stem(video)
        x = self.patch_embed(video)
        if x.shape[1:4] != self.grid:
            x = (self.pool_rows.to(x.dtype) @ x.flatten(3)).unflatten(3, x.shape[3:])
            x = self.pool_columns.to(x.dtype) @ x
        x = x.flatten(1, 3)
        x = x + self.table.to(x.dtype)
        extra = None if self.aspect_proj is None else self.aspect_proj(aspect.to(x.dtype)[:, None, None])
        hears = {} if listener is None else self._begin(listener)
        seen, early = (None, 0) if mask is None else (~mask.flatten(2), self._early_blocks())
        for i, block in enumerate(self.blocks):
            left = seen if i < early else None
            if self._framed(i):
                x = self._framewise(block, x, left)
                continue
            both = x if extra is None else torch.cat((x, extra), 1)
            both = block(both, self._turn(0, both.shape[1]), self._seen_of_all(left), hears.get(i))
            x, extra = (both, None) if extra is None else (both[:, :-1], both[:, -1:])
        if listener is not None:
            listener.features(self.final_norm(x)[0].unflatten(0, (self.grid[0], -1)))
        return self.final_norm(x if extra is None else torch.cat((x, extra), 1))

    def _framed(self, block: int) -> bool:
        """Whether a block attends within temporal rows alone."""
        return self.config.attention == "interleaved" and block % 2 == 0

    def _early_blocks(self) -> int:
        """How many blocks are as early as the first five of VGGT's 24 pairs of frame and global attention."""
        each = 2 if self.config.attention == "interleaved" else 1
        return each * layers_at(0, 4, -(-len(self.blocks) // each)).stop

    def _begin(self, listener: AttentionListener) -> dict[int, Callable[[Tensor, Tensor], None]]:
        """What hears the blocks of global attention, by their number."""
        blocks = [i for i in range(len(self.blocks)) if not self._framed(i)]
        t, rows, columns = self.grid
        listener.begin(len(blocks), rows, columns)

        def frames(x: Tensor) -> Tensor:
            return x[0, :, : t * rows * columns].unflatten(1, (t, -1))

        def hears(layer: int):
            return lambda q, k: listener.attention(layer, frames(q), frames(k))

        return {block: hears(layer) for layer, block in enumerate(blocks)}

    def _seen_of_all(self, seen: Tensor | None) -> Tensor | None:
        """(B, N [+ 1]): of (B, t, tokens), and the aspect token. Where nothing would be left, all is."""
        if seen is None:
            return None
        seen = seen.flatten(1)
        if self.aspect_proj is not None:
            return F.pad(seen, (0, 1), value=True)
        return seen | ~seen.any(-1, keepdim=True)

    def _framewise(self, block: EncoderBlock, x: Tensor, seen: Tensor | None) -> Tensor:
        """Attention within each temporal row of tokens; seen: (B, t, tokens). Rows with nothing left see all."""
        rows = x.unflatten(1, (self.grid[0], -1))
        if seen is not None:
            seen = seen | ~seen.any(-1, keepdim=True)
        # Rotary attention sees differences of positions alone, so the first row's angles serve every row.
        return block(rows, self._turn(0, rows.shape[2]), seen).flatten(1, 2)

    def _turn(self, start: int, stop: int) -> tuple[Tensor, Tensor] | None:
        return None if self.rotary is None else (self.cos[start:stop], self.sin[start:stop])


def _pooling(count: int, fewer: int) -> Tensor:
    """(fewer, count): adaptive average pooling along an axis, as a matrix, which ONNX can do too."""
    matrix = torch.zeros(fewer, count)
    for i in range(fewer):
        start, stop = i * count // fewer, -(-(i + 1) * count // fewer)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _separable_table(grid: tuple[int, int, int], width: int) -> Tensor:
    """(N, width): a third of the channels each for sin-cos of the token's time, row and column."""
    share = 2 * (width // 6)
    shares = (width - 2 * share, share, share)
    # Sixteen steps an index: the table's rates are made for long sequences, these axes are short.
    axes = [sinusoidal_table(16 * n, c)[8::16] for n, c in zip(grid, shares)]
    t, rows, columns = grid
    parts = (
        axes[0][:, None, None].expand(t, rows, columns, -1),
        axes[1][None, :, None].expand(t, rows, columns, -1),
        axes[2][None, None, :].expand(t, rows, columns, -1),
    )
    return torch.cat(parts, -1).reshape(t * rows * columns, width)
