"""Many points made few: one for each small cube that holds any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

# Cubes along an axis, to either side of the origin: three such numbers make one of 63 bits.
REACH = 1 << 20
CHUNK = 1 << 20  # points that are sorted into cubes at a time, beside those that there are already


def thinned(
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """One point for each cube of side `voxel` that holds any: the weighted means of places and of colours.

    parts: (xyz (N, 3), rgb (N, 3) uint8, weights (N,)) each; points that are not finite, weigh nothing, or are more
    than a million cubes from the origin do not count. Returns xyz (M, 3) float32 and rgb (M, 3) uint8, in an order
    that depends on the points alone. Memory is bounded by the cubes, however many parts there are. Raises ValueError
    for a cube that is none.
    """
    if not (np.isfinite(voxel) and voxel > 0):
        raise ValueError(f"voxel = {voxel}; the side of a cube must be positive")
    keys, sums = np.empty(0, np.int64), np.empty((0, 7))
    for xyz, rgb, weights in _gathered(parts):
        more = _rows(np.asarray(xyz, np.float64), rgb, weights, voxel)
        keys, sums = _merged([(keys, sums), more])
    means = sums[:, 1:] / sums[:, :1]
    return means[:, :3].astype(np.float32), np.rint(means[:, 3:]).astype(np.uint8)


def _gathered(parts) -> Iterator[list[np.ndarray]]:
    """The parts, so many as one that they hold about CHUNK points: many small arrays take longer than one large."""
    waiting, count = [], 0
    for part in parts:
        waiting.append(part)
        count += len(part[0])
        if count >= CHUNK:
            yield [np.concatenate(x) for x in zip(*waiting)]
            waiting, count = [], 0
    if waiting:
        yield [np.concatenate(x) for x in zip(*waiting)]


def _rows(xyz, rgb, weights, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """The cube of each point that counts, and its weight, weighted place and weighted colour (N, 7)."""
    with np.errstate(invalid="ignore"):
        cubes = np.floor(xyz / voxel)
        counts = (np.abs(cubes) < REACH).all(axis=1) & (weights > 0) & np.isfinite(weights)
    x, y, z = (cubes[counts].astype(np.int64) + REACH).T
    weights = np.asarray(weights, np.float64)[counts, None]
    return (x * 2 * REACH + y) * 2 * REACH + z, np.hstack(
        [weights, weights * xyz[counts], weights * rgb[counts]]
    )


def _merged(parts) -> tuple[np.ndarray, np.ndarray]:
    keys, sums = (np.concatenate(x) for x in zip(*parts))
    keys, place = np.unique(keys, return_inverse=True)
    return keys, np.stack([np.bincount(place, column, len(keys)) for column in sums.T], axis=1)
