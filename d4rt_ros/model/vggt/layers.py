"""The transformer block that VGGT is made of, and the rotary embedding of places in the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d4rt_ros.model.layers import merge_heads

ROWS = 1 << 15  # tokens that are normed and fed forward at a time: the hidden layer is the widest of all


class Block(nn.Module):
    """Attention and feed-forward, each normed before and scaled after, on a residual stream in float32.

    Weights of products may be of lower precision: then these are made in it, and all between them in float32.
    """

    def __init__(self, width: int, heads: int, hidden: int, eps: float, qk_norm: bool = False):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, eps if qk_norm else None)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden)
        self.ls2 = LayerScale(width)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None = None,
        keep: Tensor | None = None,
        hear: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """x: (B, N, C) float32, contiguous, changed in place. angles, keep, hear: see Attention."""
        x += self.ls1(self.attn(self.norm1(x), angles, keep, hear))
        for rows in x.view(-1, x.shape[-1]).split(ROWS):
            rows += self.ls2(self.mlp(self.norm2(rows)))
        return x


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, norm_eps: float | None):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        if norm_eps is not None:
            self.q_norm = nn.LayerNorm(width // heads, eps=norm_eps)
            self.k_norm = nn.LayerNorm(width // heads, eps=norm_eps)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        keep: Tensor | None,
        hear: Callable[[Tensor, Tensor], None] | None,
    ) -> Tensor:
        """x: (B, N, C). angles: cos and sin for P tokens, of which N is a multiple, see `place_angles`.

        keep: (B, N) bool, tokens whose keys and values are there; None: all. hear: told queries and keys
        (B, heads, N, d) float32, after norm and rotation.
        """
        dtype = self.qkv.weight.dtype
        q, k, v = self.qkv(x.to(dtype)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        del x
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        if hear is not None:
            hear(q, k)
        q, k = q.to(dtype), k.to(dtype)
        allowed = None
        if keep is not None and len(keep) == 1:
            k, v = k[:, :, keep[0]], v[:, :, keep[0]]
        elif keep is not None:  # another number of keys in each of the batch
            allowed = keep[:, None, None]
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v, allowed)))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.to(self.fc1.weight.dtype))))


class LayerScale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def place_angles(rows: int, columns: int, without: int, head_width: int, base: float, device) -> tuple:
    """cos and sin (P, 2, head_width / 4) float32 of `without` tokens that have no place and rows·columns that have.

    The first half of a head's channels is turned by the row, the second by the column, both counted from 1, so that
    place 0 turns nothing (Su et al. 2021, once for each axis).
    """
    count = head_width // 4
    rates = base ** -(torch.arange(count, dtype=torch.float32, device=device) / count)
    y, x = (torch.arange(1, n + 1, dtype=torch.float32, device=device) for n in (rows, columns))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).view(-1, 2)
    angles = F.pad(places, (0, 0, without, 0))[..., None] * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, heads, N, d) turned by `place_angles` of P tokens, time after time where N is a multiple of P."""
    parts = x.unflatten(2, (-1, len(cos))).unflatten(-1, (2, 2, -1))
    a, b = parts[..., 0, :], parts[..., 1, :]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -2).flatten(-3).flatten(2, 3)
