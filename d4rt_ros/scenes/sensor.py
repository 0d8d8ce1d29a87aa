"""What a camera does to a picture besides projecting it: exposure, vignetting, softness and noise."""

from __future__ import annotations

import torch

from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.texture import hash_noise

SENSOR_COLUMNS = (
    "auto_exposure drift drift_frequency drift_phase vignetting softness colour_softness noise row_noise seed"
).split()
MIDDLE = 0.45  # brightness of a picture, in 0..1, that automatic exposure aims at


def sample_sensors(draw: Draw, config) -> torch.Tensor:
    """(B, len(SENSOR_COLUMNS)); zeros for cameras that are perfect."""
    values = dict(
        auto_exposure=draw.uniform(0.4, 0.9), drift=draw.uniform(0.0, 0.12) * draw.chance(0.5),
        drift_frequency=draw.frequencies(0.5, 3.0, config.period), drift_phase=draw.uniform(0, 6.28),
        vignetting=draw.uniform(0.0, 0.4) * draw.chance(0.5), softness=draw.uniform(0.0, 0.22),
        colour_softness=draw.uniform(0.0, 0.25), noise=draw.log_uniform(0.004, 0.04),
        row_noise=draw.log_uniform(0.001, 0.012) * draw.chance(0.3), seed=draw.integers(1, 1 << 20).float(),
    )  # fmt: skip
    real = draw.chance(config.real_sensors)[:, None]
    return torch.stack([values[name] for name in SENSOR_COLUMNS], -1) * real


def develop(rgb: torch.Tensor, times: torch.Tensor, sensor: torch.Tensor) -> torch.Tensor:
    """Pictures (B, T, H, W, 3) uint8 as a real camera would have taken them, the same at the same `times`.

    times: (B, T) seconds. sensor: (B, len(SENSOR_COLUMNS)) of `sample_sensors`; zeros change nothing.
    """
    s = {name: sensor[:, i, None, None, None, None] for i, name in enumerate(SENSOR_COLUMNS)}
    height, width = rgb.shape[2:4]
    picture = rgb.float() * (1.0 / 255.0)
    bright = picture.mean((1, 2, 3, 4), keepdim=True).clamp_min(0.02)
    gain = torch.exp(s["auto_exposure"] * torch.log(MIDDLE / bright)).clamp(0.4, 2.5)
    t = times[:, :, None, None, None]
    gain = gain * (1.0 + s["drift"] * torch.sin(s["drift_frequency"] * t + s["drift_phase"]))
    x = torch.linspace(-1, 1, width, device=rgb.device)[:, None]
    y = torch.linspace(-1, 1, height, device=rgb.device)[:, None, None]
    picture = picture * (gain * (1.0 - 0.5 * s["vignetting"] * (x * x + y * y)))
    grey = picture.mean(-1, keepdim=True)
    colour = _soft(_soft(picture - grey, s["colour_softness"]), s["colour_softness"])
    picture = _soft(grey + colour, s["softness"])
    key = s["seed"].to(torch.int32) * 1103515245 ^ torch.round(t * 1e3).to(torch.int32) * 381201580
    place = torch.arange(height * width * 3, dtype=torch.int32, device=rgb.device).view(height, width, 3)
    row = torch.arange(height, dtype=torch.int32, device=rgb.device)[:, None, None]
    grain = hash_noise(key ^ place * 1597334677) + hash_noise(key ^ (place * 1597334677 + 97))
    grain = s["noise"] * grain * torch.sqrt(picture.clamp_min(0.05)) + s["row_noise"] * hash_noise(
        key ^ row * 40503
    )
    return ((picture + grain) * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8)


def _soft(x: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Every pixel gives the share `amount` of itself to each of its two neighbours along rows, then columns."""
    for dim in (2, 3):
        n = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)], dim)
        x = x + amount * (before + after - 2.0 * x)
    return x
