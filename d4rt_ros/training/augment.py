"""What cameras do to colours: the same for all frames of a clip, but for noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.training.config import Augmentation

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def augment(video: Tensor, config: Augmentation, generator: torch.Generator) -> Tensor:
    """video: (B, T, 3, H, W) in [0, 1]; returns the same, changed and clamped. Geometry stays."""
    batch, device = len(video), video.device

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, channels, 1, 1, generator=generator).to(device)

    grey = (video * torch.tensor(GREY, device=device).view(3, 1, 1)).sum(2, keepdim=True)
    saturation = draw(1 - config.saturation, 1 + config.saturation)
    saturation = torch.where(draw(0, 1) < config.drop_colour, 0.0, saturation)
    video = grey + saturation * (video - grey)
    middle = grey.mean((1, 2, 3, 4), keepdim=True)
    video = middle + draw(1 - config.contrast, 1 + config.contrast) * (video - middle)
    video = video * draw(1 - config.brightness, 1 + config.brightness)
    video = video * draw(1 - config.white_balance, 1 + config.white_balance, 3)
    video = video.clamp(0, 1) ** draw(1 - config.gamma, 1 + config.gamma)
    video = torch.where(draw(0, 1) < config.blur, _blur(video), video)
    noise = torch.randn(video.shape, generator=generator).to(device)
    return (video + draw(0, config.noise) * noise).clamp(0, 1)


def _blur(video: Tensor) -> Tensor:
    """A 3x3 binomial filter."""
    line = torch.tensor([0.25, 0.5, 0.25], device=video.device)
    kernel = (line[:, None] * line)[None, None]
    flat = F.pad(video.flatten(0, 2)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(flat, kernel).view(video.shape)
