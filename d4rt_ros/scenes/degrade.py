"""What a real camera does to a picture, for training: exposure, white balance, contrast, blur, noise."""

from __future__ import annotations

import torch


def degrade(rgb: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 -> the same, each clip with its own camera; only the noise changes over time."""
    b, device = len(rgb), rgb.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(b, *shape, generator=generator).to(device)

    image = rgb.float() / 255.0
    image = torch.where(
        (uniform(0, 1) < 0.4)[:, None, None, None, None], _blurred(image, uniform(0.0, 1.0)), image
    )
    gain = torch.exp(uniform(-0.45, 0.45, 1) + uniform(-0.12, 0.12, 3))[:, None, None, None]
    gamma = torch.exp(uniform(-0.3, 0.3))[:, None, None, None, None]
    image = (image * gain).clamp(0.0, 1.0).pow(gamma)
    black = uniform(-0.05, 0.1)[:, None, None, None, None]
    grey = image.mean(-1, keepdim=True)
    colour = uniform(0.5, 1.2)[:, None, None, None, None]
    image = grey + (image - grey) * colour
    image = black + (1.0 - black) * image
    noise = torch.randn(image.shape, generator=generator).to(device)
    image = image + noise * (uniform(0.0, 0.03) ** 1.0)[:, None, None, None, None]
    return (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def _blurred(image: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """A 3-tap blur along both axes; amount (B,) in 0..1 is up to the binomial kernel."""
    side = (0.25 * amount)[:, None, None, None, None]
    for dim in (2, 3):
        size = image.shape[dim]
        before = torch.cat([image.narrow(dim, 0, 1), image.narrow(dim, 0, size - 1)], dim)
        after = torch.cat([image.narrow(dim, 1, size - 1), image.narrow(dim, size - 1, 1)], dim)
        image = image * (1.0 - 2.0 * side) + (before + after) * side
    return image
