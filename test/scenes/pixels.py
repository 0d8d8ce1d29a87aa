"""Where tests ask."""

import torch


def pixels_of(mask: torch.Tensor, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """t_src (B, count) and uv (B, count, 2), anywhere in pixels of `mask` (B, T, H, W); where it is empty, of all."""
    generator = torch.Generator().manual_seed(seed)
    _, t, h, w = mask.shape
    weights = torch.where(mask.flatten(1).any(1, keepdim=True), mask.flatten(1), True).float()
    pick = torch.multinomial(weights, count, replacement=True, generator=generator)
    place = torch.stack([pick % w, pick // w % h], -1) + torch.rand(*pick.shape, 2, generator=generator) - 0.5
    return pick // (w * h), (place / torch.tensor([w - 1.0, h - 1.0])).clamp(0.0, 1.0)
