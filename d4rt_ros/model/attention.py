"""Which layers and which tokens of a transformer over images are meant: for those who hear or mask its attention."""

from __future__ import annotations

import numpy as np

PUBLISHED_LAYERS = 24  # of global attention, that layer numbers of publications about VGGT speak of


def layers_at(first: int, last: int, layers: int) -> range:
    """The layers of an encoder with `layers` of them that lie as deep as the layers first..last of 24.

    Those whose middle lies in that part of the depth; where none does, the one layer that the part's middle is in.
    With 24 layers they are first..last themselves.
    """
    # Middles are compared in 48ths of a layer, in whole numbers: halves would be rounded.
    inside = [
        i
        for i in range(layers)
        if 2 * first * layers <= PUBLISHED_LAYERS * (2 * i + 1) < 2 * (last + 1) * layers
    ]
    if inside:
        return range(inside[0], inside[-1] + 1)
    one = (first + last + 1) * layers // (2 * PUBLISHED_LAYERS)
    return range(one, one + 1)


def token_mask(mask: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Which tokens have a masked pixel: max-pooling of a mask to a grid of tokens.

    mask: bool of as many axes as `grid` has numbers, such as (T, H, W) and (frames, rows, columns) of tokens that
    share the clip evenly. Where a token's border cuts a pixel, the pixel belongs to both. Returns bool of shape `grid`.
    """
    for axis, tokens in enumerate(grid):
        pixels, edges = mask.shape[axis], np.arange(tokens + 1)
        count = np.cumsum(mask, axis, dtype=np.int64)
        count = np.concatenate((np.zeros_like(np.take(count, [0], axis)), count), axis)
        start, stop = edges[:-1] * pixels // tokens, -(-edges[1:] * pixels // tokens)
        mask = np.take(count, stop, axis) > np.take(count, start, axis)
    return mask
