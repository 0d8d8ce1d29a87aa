"""What lenses and sensors do to a clip: colours and blur, alike in all its frames, and which part is seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.training.config import Colours, Crops
from d4rt_ros.training.draws import normal_like, uniform

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
# To luma and the two axes of chroma (NTSC's YIQ), in which hue is an angle.
YIQ = torch.tensor(((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)))


def augment(video: Tensor, config: Colours, seed: int, step: int, clips: range) -> Tensor:
    """video: (B, T, 3, H, W) in [0, 1]; returns the same, changed and clamped. Geometry stays.

    clips: the B numbers that the clips have in the batch of this step. Nothing here waits for a GPU.
    """
    numbers = uniform(seed, "colours", step, clips, 11)
    matrix, contrast = _colour_matrix(config, numbers)
    matrix, contrast = (t.to(video.device, non_blocking=True) for t in (matrix, contrast))
    grey = video.mean((1, 3, 4)) @ torch.tensor(GREY).to(video.device, non_blocking=True)
    # Contrast is about the clip's mean grey.
    offset = matrix.sum(-1) * ((1 / contrast - 1) * grey)[:, None]
    video = (matrix[:, None] @ video.flatten(3)).view(video.shape) + offset[:, None, :, None, None]
    video = video.clamp_(0, 1)
    if config.gamma:
        exponent = 1 + config.gamma * (2 * numbers[:, 8] - 1)
        video = video ** exponent.to(video.device, non_blocking=True)[:, None, None, None, None]
    blurred = (numbers[:, 9] < config.blur).nonzero()[:, 0]
    if len(blurred):
        low, high = config.blur_sigma
        sigma = low + (high - low) * numbers[blurred, 10]
        blurred = blurred.to(video.device, non_blocking=True)
        video[blurred] = _blur(video[blurred], sigma, math.ceil(3 * high))
    if config.noise:
        strength = config.noise * uniform(seed, "noise's strength", step, clips, 1, 1, 1, 1)
        video = video + normal_like(video, seed, "noise", step, clips) * strength.to(
            video.device, non_blocking=True
        )
    return video.clamp(0, 1)


def sample_windows(config: Crops, seed: int, step: int, clips: range) -> Tensor:
    """(B, 4) windows u0, v0, u1, v1 of the image, normalised like uv and within it; the whole image where not cropped.

    The area is uniform in its range, the aspect (relative to the image's) log-uniform in what the border leaves of
    its range: for every area as likely wide as tall.
    """
    chance, area, aspect, zoom, factor, centred, u, v = uniform(seed, "crop", step, clips, 8).unbind(-1)
    area = _between(config.area, area)
    narrow, wide = (torch.tensor(limit).log() for limit in config.stretch)
    narrow, wide = torch.maximum(narrow, area.log()), torch.minimum(wide, -area.log())
    aspect = torch.exp(narrow + (wide - narrow) * aspect)
    size = torch.stack(((area * aspect).sqrt(), (area / aspect).sqrt()), -1).clamp_max(1.0)
    factor = torch.exp(_between(tuple(math.log(f) for f in config.zoom_factor), factor))
    size = size / torch.where(zoom < config.zoom, factor, 1.0)[:, None]
    size = torch.where((chance < config.probability)[:, None], size, 1.0)
    place = torch.where((centred < config.centred)[:, None], 0.5, torch.stack((u, v), -1))
    first = (1 - size) * place
    return torch.cat((first, first + size), -1)


def _between(limits: tuple[float, float], share: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * share


def _colour_matrix(config: Colours, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, 3) of hue, saturation, contrast, brightness and white balance, and the contrast (B,)."""
    either = 2 * numbers - 1
    angle = 2 * math.pi * config.hue * either[:, 0]
    saturation = 1 + config.saturation * either[:, 1]
    saturation = torch.where(numbers[:, 2] < config.drop_colour, 0.0, saturation)
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    chroma = torch.zeros(len(numbers), 3, 3)
    chroma[:, 0, 0] = 1
    chroma[:, 1:, 1:] = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), 1)
    # A contrast of zero would leave nothing to divide by.
    contrast = (1 + config.contrast * either[:, 3]).clamp_min(1e-3)
    gain = contrast * (1 + config.brightness * either[:, 4])
    balance = 1 + config.white_balance * either[:, 5:8]
    return (gain[:, None] * balance)[..., None] * (torch.linalg.inv(YIQ) @ chroma @ YIQ), contrast


def _blur(video: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Gaussian blur of each clip (B, T, 3, H, W) with its own deviation (B,), in pixels."""
    batch, frames, _, height, width = video.shape
    x = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (x / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(-1, keepdim=True)).to(video.device, non_blocking=True)[:, None]
    # One group of channels a clip, its images as the batch.
    flat = F.pad(
        video.reshape(batch, frames * 3, height, width).transpose(0, 1), (reach,) * 4, mode="replicate"
    )
    flat = F.conv2d(flat, kernel[:, :, None], groups=batch)
    flat = F.conv2d(flat, kernel[..., None], groups=batch)
    return flat.transpose(0, 1).reshape(video.shape)
