"""Colours of surfaces from their own coordinates: solid textures need no unwrapping and move along."""

from __future__ import annotations

import torch

from d4rt_ros.scenes.photographs import LEVELS, SIDE, TEXELS
from d4rt_ros.scenes.raycast import Vector, dot
from d4rt_ros.scenes.scene import TEXTURE_COLUMNS

OCTAVES = ((1.0, 0.5), (2.17, 0.3), (4.71, 0.2))  # frequency, amplitude


def hash_noise(h: torch.Tensor) -> torch.Tensor:
    """Values in -1..1, as if random, of int32 keys; multiplication wraps."""
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
            a, b = (hash_noise(kx ^ ky ^ kz) for kx in keys[0])
            rows.append(a + (b - a) * f[0])
        planes.append(rows[0] + (rows[1] - rows[0]) * f[1])
    return planes[0] + (planes[1] - planes[0]) * f[2]


def _wave(phase: torch.Tensor, sharpness: torch.Tensor, footprint: torch.Tensor) -> torch.Tensor:
    """A wave of period 1 in -1..1, from triangular to square; it fades where a pixel covers half of it."""
    triangle = 4.0 * (phase - torch.floor(phase) - 0.5).abs() - 1.0
    return (triangle * sharpness).clamp(-1.0, 1.0) * (1.5 - 2.0 * footprint).clamp(0.0, 1.0)


def albedo(point: Vector, face: Vector, column, footprint: torch.Tensor, photographs: torch.Tensor) -> Vector:
    """Linear reflectance at a point in the primitive's own metres, at rest.

    face: normal in the primitive's frame, which chooses the two coordinates that prints lie in.
    column(name) gives the texture's parameter at every point; footprint: metres that a pixel covers there.
    photographs: see photographs.atlas.
    Noise of three octaves, stripes that the noise bends, checks (stripes times cross stripes) and lines of
    letters are added up and blend the first colour into the second; a photograph replaces them. Detail finer
    than a pixel fades out, as a camera would average it.
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
    u, v = _print_coordinates(point, face)
    u, v = u * c["print_scale"] + c["print_u"], v * c["print_scale"] + c["print_v"]
    cover = footprint * c["print_scale"]
    mix = mix + c["glyphs"] * (_letters(u, v, cover) - mix)
    grain = 1.0 + c["grain"] * fine
    photo = _photograph(u, v, cover, c["photo"], photographs)
    has_photo = c["photo"] >= 0
    colours = []
    for name, pictured in zip(("red", "green", "blue"), photo):
        painted = c[f"{name}0"] + (c[f"{name}1"] - c[f"{name}0"]) * mix
        colours.append(torch.where(has_photo, pictured, painted) * grain)
    return tuple(colours)


def _print_coordinates(point: Vector, face: Vector) -> tuple[torch.Tensor, torch.Tensor]:
    """The two coordinates across the normal's largest component; the second one goes down."""
    a = tuple(n.abs() for n in face)
    level = (a[2] >= a[0]) & (a[2] >= a[1])
    on_x = (a[0] > a[1]) & ~level
    return torch.where(on_x, point[1], point[0]), torch.where(level, -point[1], -point[2])


def _letters(u: torch.Tensor, v: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Ink in 0..1 of lines of random letters, a line each unit of v, four by five blocks a letter."""
    u = u * 1.7
    letter, line = torch.floor(u), torch.floor(v)
    x, y = (u - letter) * 5.0, (v - line) * 8.0
    block = torch.floor(x).to(torch.int32) * 131 + torch.floor(y).to(torch.int32) * 61
    key = letter.to(torch.int32) * 1597334677 ^ line.to(torch.int32) * 381201580
    printed = (hash_noise(key) > -0.6) & (x < 4.0) & (y >= 1.0) & (y < 6.0)
    ink = ((hash_noise(key ^ (block * 1103515245)) > -0.1) & printed).float()
    sharp = (1.5 - 5.0 * cover).clamp(0.0, 1.0)
    return 0.25 + (ink - 0.25) * sharp


def _photograph(u, v, cover, photo, photographs: torch.Tensor) -> Vector:
    """Linear colours of a photograph at (u, v), which repeats mirrored in every unit."""
    level = torch.log2((cover * SIDE).clamp(1.0, 2.0 ** (LEVELS - 1))).round()
    side = SIDE * torch.exp2(-level)
    start = photo.clamp_min(0.0) * TEXELS + (SIDE * SIDE - side * side) * (4.0 / 3.0)
    x, y = (((w - 2.0 * torch.round(0.5 * w)).abs() * side - 0.5) for w in (u, v))
    x0, y0 = torch.floor(x), torch.floor(y)
    fx, fy = x - x0, y - y0
    colours = [0.0, 0.0, 0.0]
    for dx, dy, weight in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        column = torch.minimum((x0 + dx).clamp_min(0.0), side - 1.0)
        row = torch.minimum((y0 + dy).clamp_min(0.0), side - 1.0)
        texel = photographs[(start + row * side + column + 0.5).to(torch.int64)]
        for i in range(3):
            colours[i] = colours[i] + weight * ((texel >> (8 * i)) & 255).float()
    return tuple((k * (1.0 / 255.0)) ** 2 for k in colours)


def _size(v: Vector) -> torch.Tensor:
    return v[0].abs() + v[1].abs() + v[2].abs()
