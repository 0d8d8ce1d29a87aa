"""Frames as VGGT takes them, prepared on 8-bit images as its published demos do, and where their pixels come to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

PREPROCESSING = ("crop", "pad")


@dataclass(frozen=True)
class FittedImage:
    """image: (H, W, 3) uint8 RGB, as given; pixels: (h, w, 3) uint8, as the network takes it.

    scale, offset: (2,) each: what lies at x, y of the image, measured from its upper left corner, is at
    x, y · scale + offset of `pixels`, measured from its corner.
    """

    image: np.ndarray
    pixels: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


def fit(image: np.ndarray, side: int, patch: int, preprocessing: str) -> FittedImage:
    """An image (H, W, 3) uint8 RGB whose sides are both divisible by `patch` as it is; any other resized.

    crop: to a width of `side`, and what is higher than that cut off above and below alike. pad: the longer side to
    `side`, and white around it to a square. The other side becomes a multiple of the patch.
    """
    height, width = image.shape[:2]
    if height % patch == 0 and width % patch == 0:
        return FittedImage(image, image, np.ones(2), np.zeros(2))
    longest = width if preprocessing == "crop" else max(width, height)
    columns, rows = (
        side if n == longest else max(round(n * side / longest / patch), 1) * patch for n in (width, height)
    )
    pixels = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))
    scale = np.array((columns / width, rows / height))
    if preprocessing == "crop":
        above = max(rows - side, 0) // 2
        return FittedImage(image, pixels[above : above + side], scale, np.array((0.0, -above)))
    left, above = (side - columns) // 2, (side - rows) // 2
    square = np.full((side, side, 3), 255, np.uint8)
    square[above : above + rows, left : left + columns] = pixels
    return FittedImage(image, square, scale, np.array((left, above), float))


def on_white(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image with an alpha channel (H, W, 4)."""
    coloured = Image.fromarray(image, "RGBA")
    white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, coloured).convert("RGB"))


def masked_tokens(masks: np.ndarray, fitted: FittedImage, patch: int) -> np.ndarray:
    """(S, h, w) bool: the tokens that any masked pixel reaches. masks: (S, H, W) bool, of images that lie as `fitted`
    does."""
    rows, columns = (n // patch for n in fitted.pixels.shape[:2])
    left, right = _covered(columns, masks.shape[2], fitted.scale[0], fitted.offset[0], patch)
    top, bottom = _covered(rows, masks.shape[1], fitted.scale[1], fitted.offset[1], patch)
    tokens = np.empty((len(masks), rows, columns), bool)
    for mask, token in zip(masks, tokens):
        count = np.pad(mask.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0)))
        count = count[bottom] - count[top]
        np.greater(count[:, right], count[:, left], out=token)
    return tokens


def _covered(
    tokens: int, pixels: int, scale: float, offset: float, patch: int
) -> tuple[np.ndarray, np.ndarray]:
    """First and last but one of the image's pixels that each token shows a part of."""
    edges = (np.arange(tokens + 1) * patch - offset) / scale
    first, end = np.floor(edges[:-1] + 1e-9), np.ceil(edges[1:] - 1e-9)
    return tuple(np.clip(x, 0, pixels).astype(int) for x in (first, end))
