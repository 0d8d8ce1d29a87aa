"""Random numbers for a batch of scenes."""

from __future__ import annotations

import math

import torch


class Draw:
    """Random numbers of a batch, always drawn on the CPU: a seed means the same scenes on every device."""

    def __init__(self, batch: int, generator: torch.Generator):
        self.batch, self.generator = batch, generator

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator)

    def log_uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high), *shape))

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        return torch.rand(self.batch, *shape, generator=self.generator) < probability

    def direction(self, *shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(self.normal(*shape, 3), dim=-1)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, (self.batch, *shape), generator=self.generator)

    def ranks(self, count: int) -> torch.Tensor:
        """A random order of `count` things: (B, count) of 0..count-1."""
        return torch.argsort(torch.rand(self.batch, count, generator=self.generator), -1)

    def frequencies(self, low: float, high: float, period: float | None, *shape: int) -> torch.Tensor:
        """Angular frequencies, log-uniform; with a period, whole multiples of its own."""
        frequency = self.log_uniform(low, high, *shape)
        if period is None:
            return frequency
        step = 2.0 * math.pi / period
        return step * (frequency / step).round().clamp_min(1.0)
