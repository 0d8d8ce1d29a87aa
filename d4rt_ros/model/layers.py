"""Attention, feed-forward and positions: the parts that encoder and decoder share."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Up to here the score matrix is small, and with gradients two plain products beat the fused kernel on a CPU.
PLAIN_ATTENTION_KEYS = 1024


def attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Softmax attention. q: (..., Q, d); k, v: (..., N, d). Returns (..., Q, d).

    seen: bool, broadcasts to (..., Q, N): the keys that are attended to; None: all.
    """
    fused = q.is_cuda or not torch.is_grad_enabled() or k.shape[-2] > PLAIN_ATTENTION_KEYS
    # For one query the fused kernel takes twice as long as two products.
    if fused and (q.shape[-2] > 1 or q.is_cuda) and not torch.onnx.is_in_onnx_export():
        return F.scaled_dot_product_attention(q, k, v, seen)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ v


class Linear(nn.Linear):
    """nn.Linear that answers one row on a CPU about as fast as its weights can be read.

    A matrix library is made for many rows: for one, MKL reads them at half the rate, and no faster on more threads.
    NumPy is the fastest on one thread, torch's product of vectors on more.
    """

    def forward(self, x: Tensor) -> Tensor:
        one_row = x.numel() == self.in_features and x.device.type == "cpu" and x.dtype == torch.float32
        if not one_row or torch.is_grad_enabled() or torch.onnx.is_in_onnx_export():
            return super().forward(x)
        row = x.reshape(-1)
        if torch.get_num_threads() > 1:
            y = torch.linalg.vecdot(self.weight, row)
        else:
            y = torch.from_numpy(np.einsum("oi,i->o", self.weight.detach().numpy(), row.numpy()))
        return (y + self.bias).view(*x.shape[:-1], -1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., N, C) -> (..., heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """(..., heads, N, d) -> (..., N, heads * d)."""
    return x.transpose(-2, -3).flatten(-2)


def feed_forward(width: int, ratio: float) -> nn.Sequential:
    hidden = math.ceil(width * ratio - 1e-6)
    return nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))


def sinusoidal_table(count: int, width: int) -> Tensor:
    """(count, width) interleaved sin and cos of the index, base 10000 (Vaswani et al. 2017, 3.5)."""
    index = torch.arange(count, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(count, width)
    table[:, 0::2] = torch.sin(index * rates)
    table[:, 1::2] = torch.cos(index * rates)[:, : width // 2]
    return table


def token_positions(grid: tuple[int, int, int], frames: int, patch_time: int) -> Tensor:
    """(N, 3) centres of the tokens as (frame index, v, u), time-major; v and u in [0, 1]."""
    t, rows, columns = grid
    times = (torch.arange(t) + 0.5) * patch_time - 0.5
    v = (torch.arange(rows) + 0.5) / rows
    u = (torch.arange(columns) + 0.5) / columns
    return torch.stack(torch.meshgrid(times, v, u, indexing="ij"), -1).reshape(-1, 3).to(torch.float32)


class Rotary(nn.Module):
    """Rotary embedding of (frame index, v, u) (Su et al. 2021), a share of each head's channels per axis.

    The slowest rate turns a quarter over the whole axis, the fastest half a turn per token.
    """

    def __init__(self, head_width: int, grid: tuple[int, int, int], frames: int):
        super().__init__()
        pairs = head_width // 2
        per_axis = [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3]
        rates = torch.zeros(pairs, 3)
        start = 0
        for axis, (count, tokens, extent) in enumerate(zip(per_axis, grid, (frames, 1.0, 1.0))):
            slow, fast = 0.5 * math.pi / extent, math.pi * max(tokens, 2) / extent
            rates[start : start + count, axis] = torch.logspace(math.log10(slow), math.log10(fast), count)
            start += count
        self.register_buffer("rates", rates, persistent=False)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions: (..., 3). Returns cos and sin, (..., d / 2) each, in float32."""
        angle = positions.float() @ self.rates.float().T
        return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs (first half, second half) of x (..., d) by the angles (..., d / 2)."""
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


def initialise(module: nn.Module, scheme: str) -> None:
    """Set all Linear and convolution weights: Xavier-uniform, or normal with deviation 0.02."""
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            if scheme == "xavier":
                nn.init.xavier_uniform_(m.weight.flatten(1) if m.weight.dim() > 2 else m.weight)
            else:
                nn.init.trunc_normal_(m.weight, std=0.02)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Embedding):
            nn.init.trunc_normal_(m.weight, std=0.2 if scheme == "xavier" else 0.02)
