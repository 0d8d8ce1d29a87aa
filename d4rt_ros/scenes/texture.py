"""Colours of surfaces from their own coordinates: solid textures need no unwrapping and move along."""

from __future__ import annotations

import torch

from d4rt_ros.scenes.raycast import Vector, dot
from d4rt_ros.scenes.scene import TEXTURE_COLUMNS

OCTAVES = ((1.0, 0.5), (2.17, 0.3), (4.71, 0.2))  # frequency, amplitude


def _hash(h: torch.Tensor) -> torch.Tensor:
    """Lattice values in -1..1 from int32 keys; multiplication wraps."""
    h = (h ^ (h >> 15)) * 739982445
    h = (h ^ (h >> 12)) * 695872825
    return (h >> 8).float() * (1.0 / 8388608.0)


def value_noise(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Smooth noise in -1..1 on the integer lattice."""
    cells = [torch.floor(c) for c in (x, y, z)]
    f = [c - cell for c, cell in zip((x, y, z), cells)]
    f = [c * c * (3.0 - 2.0 * c) for c in f]
    keys = [cell.to(torch.int32) * k for cell, k in zip(cells, (1597334677, 381201580, 1103515245))]
    keys = [(k, k + step) for k, step in zip(keys, (1597334677, 381201580, 1103515245))]
    planes = []
    for kz in keys[2]:
        rows = []
        for ky in keys[1]:
            a, b = (_hash(kx ^ ky ^ kz) for kx in keys[0])
            rows.append(a + (b - a) * f[0])
        planes.append(rows[0] + (rows[1] - rows[0]) * f[1])
    return planes[0] + (planes[1] - planes[0]) * f[2]


def _wave(phase: torch.Tensor, sharpness: torch.Tensor, footprint: torch.Tensor) -> torch.Tensor:
    """A wave of period 1 in -1..1, from triangular to square; it fades where a pixel covers half of it."""
    triangle = 4.0 * (phase - torch.floor(phase) - 0.5).abs() - 1.0
    return (triangle * sharpness).clamp(-1.0, 1.0) * (1.5 - 2.0 * footprint).clamp(0.0, 1.0)


def albedo(point: Vector, column, footprint: torch.Tensor) -> Vector:
    """Linear reflectance at a point in the primitive's own metres.

    column(name) gives the texture's parameter at every point; footprint: metres that a pixel covers there.
    Noise of three octaves, stripes that the noise bends, and checks (stripes times cross stripes) are added
    up and blend the first colour into the second. Detail finer than a pixel fades out, as a camera would
    average it.
    """
    c = dict(zip(TEXTURE_COLUMNS, map(column, TEXTURE_COLUMNS)))
    frequency = (c["frequency_x"], c["frequency_y"], c["frequency_z"])
    q = tuple(p * f + c[f"offset_{a}"] for p, f, a in zip(point, frequency, "xyz"))
    cells = footprint * torch.maximum(torch.maximum(frequency[0], frequency[1]), frequency[2])
    noise, fine = 0.0, None
    for scale, amplitude in OCTAVES:
        fine = value_noise(*(v * scale for v in q)) * (1.5 - cells * scale).clamp(0.0, 1.0)
        noise = noise + amplitude * fine
    stripe = (c["stripe_x"], c["stripe_y"], c["stripe_z"])
    cross = (c["cross_x"], c["cross_y"], c["cross_z"])
    bend = c["warp"] * noise
    first = _wave(dot(point, stripe) + c["offset_x"] + bend, c["sharpness"], footprint * _size(stripe))
    second = _wave(dot(point, cross) + c["offset_y"] + bend, c["sharpness"], footprint * _size(cross))
    value = 1.6 * c["noise"] * noise + c["stripes"] * first + c["checks"] * first * second
    mix = (0.5 + 0.5 * value).clamp(0.0, 1.0)
    grain = 1.0 + c["grain"] * fine
    return tuple((c[f"{n}0"] + (c[f"{n}1"] - c[f"{n}0"]) * mix) * grain for n in ("red", "green", "blue"))


def _size(v: Vector) -> torch.Tensor:
    return v[0].abs() + v[1].abs() + v[2].abs()
