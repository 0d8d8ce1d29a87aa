"""Photographs as textures: those that scikit-image carries in its own package."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from d4rt_ros.scenes.scene import TEXTURE_COLUMNS

SIDE = 128  # texels of a photograph's finest level
LEVELS = 5  # each half as wide as the one before
TEXELS = sum((SIDE >> level) ** 2 for level in range(LEVELS))  # of a photograph with all its levels
# Everyday things and materials first; what a microscope or a telescope sees is left out.
NAMES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "motorcycle_left.png", "page.png", "rocket.jpg", "text.png", "moon.png",
)  # fmt: skip


def photograph_table(texture: torch.Tensor) -> torch.Tensor:
    """All photographs (N,) int32, on the device of a texture table (B, S, C) that may use some.

    Without scikit-image: a table of nothing, or ImportError where the textures need it.
    """
    table = atlas(texture.device)
    if table is not None:
        return table
    if (texture[..., TEXTURE_COLUMNS.index("photo")] >= 0).any():
        raise ImportError(
            "these scenes carry photographs; pip install scikit-image, or draw scenes with photographs=0"
        )
    return torch.zeros(TEXELS, dtype=torch.int32, device=texture.device)


@lru_cache
def atlas(device: torch.device) -> torch.Tensor | None:
    """(len(NAMES) * TEXELS,) int32: photograph after photograph, level after level, row by row, a byte each of
    red, green and blue from the lowest. None without scikit-image."""
    try:
        from skimage import data_dir, io
    except ImportError:
        return None
    photographs = [_levels(io.imread(f"{data_dir}/{name}")) for name in NAMES]
    return torch.from_numpy(np.concatenate(photographs)).to(device)


def _levels(image: np.ndarray) -> np.ndarray:
    """The middle square of an image (H, W) or (H, W, C), averaged down to each level: (TEXELS,) int32."""
    rgb = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3]
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    square = torch.from_numpy(rgb[top : top + side, left : left + side].copy()).movedim(-1, 0).float()
    levels = []
    for level in range(LEVELS):
        small = torch.nn.functional.interpolate(
            square[None], (SIDE >> level, SIDE >> level), mode="bilinear", antialias=True
        )[0]
        r, g, b = small.round().clamp(0, 255).to(torch.int32).flatten(1)
        levels.append((r | g << 8 | b << 16).numpy())
    return np.concatenate(levels)
