"""Things with joints and things without bones: walkers, arms and lamps on hinges, doors, jelly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.scene import Shapes

SHAPES = Shapes(boxes=14, ellipsoids=5, cylinders=6)
BODY, LEFT, RIGHT = 12, 13, 14  # boxes: a walker's trunk and legs; the first two are an arm's parts, too
HEAD = SHAPES.first_cylinder - 1  # an ellipsoid: head of a walker, hand of an arm
ARMS = len(SHAPES) - 2, len(SHAPES) - 1  # cylinders: a walker's arms; the first is the base of an arm
WALKER = (BODY, LEFT, RIGHT, HEAD, *ARMS)
DOOR = 7  # a box along the walls


@dataclass
class Things:
    """P primitives of B scenes while they are being placed; `half` and `center` (B, P, 3), `yaw` and `active`
    (B, P)."""

    half: torch.Tensor
    center: torch.Tensor
    yaw: torch.Tensor
    active: torch.Tensor


def no_joints(batch: int, count: int) -> dict[str, torch.Tensor]:
    """Fields of Scenes for primitives without hinges that keep their size."""
    axis = torch.zeros(batch, count, 2, 3)
    axis[..., 2] = 1.0
    return dict(
        pivot=torch.zeros(batch, count, 2, 3), hinge_axis=axis, hinge=torch.zeros(batch, count, 2, 4),
        stretch=torch.zeros(batch, count, 3), stretch_frequency=torch.ones(batch, count),
        stretch_phase=torch.zeros(batch, count),
    )  # fmt: skip


def add_walkers(draw: Draw, config, things: Things, motion: dict[str, torch.Tensor], where) -> None:
    """Where `where` (B,) says so, WALKER becomes a figure that walks about and swings its limbs."""
    tall = draw.log_uniform(0.3, 0.9, 1)
    broad = draw.uniform(0.8, 1.3, 1)
    side = torch.tensor([0.0, 1, -1, 0, 1, -1])
    half = torch.tensor([
        [0.11, 0.15, 0.2], [0.05, 0.05, 0.22], [0.05, 0.05, 0.22], [0.085, 0.085, 0.1],
        [0.035, 0.035, 0.2], [0.035, 0.035, 0.2],
    ])  # fmt: skip
    width = torch.tensor([0.0, 0.085, 0.085, 0.0, 0.19, 0.19]) * side * broad
    height = torch.tensor([0.62, 0.22, 0.22, 0.91, 0.6, 0.6])
    joint = torch.tensor([0.62, 0.44, 0.44, 0.82, 0.79, 0.79])
    part = torch.stack([torch.zeros_like(width), width, height.expand_as(width)], -1) * tall[..., None]
    pivot = torch.stack([torch.zeros_like(width), width, joint.expand_as(width)], -1) * tall[..., None]
    scale = torch.stack([broad, broad, torch.ones_like(broad)], -1) * tall[..., None]
    step, phase = draw.frequencies(2.5, 8.0, config.period), draw.uniform(0, 2 * math.pi)
    opening = draw.uniform(0.2, 0.8, 1) * torch.tensor([0.0, 1, -1, 0.15, -0.8, 0.8])
    slots, mask = list(WALKER), where[:, None]
    _place(things, slots, mask, half * scale, things.center[:, [BODY]] * torch.tensor([1.0, 1, 0]))
    _hinge(motion, slots, mask, 0, pivot, torch.tensor([0.0, 1, 0]), 0.0, opening, step, phase)
    motion["offset"][:, slots] = torch.where(mask[..., None], part, motion["offset"][:, slots])
    direction = draw.normal(1, 2, 3) * torch.tensor([1.0, 1, 0]) / motion["frequency"][:, [BODY], :, None]
    amplitude = (0.4 * draw.log_uniform(*config.body_speed, 1, 1, 1) * direction).clamp(-0.6, 0.6)
    motion["amplitude"][:, slots] = torch.where(
        mask[..., None, None], amplitude, motion["amplitude"][:, slots]
    )
    motion["moving"][:, slots] |= mask
    _move_as_one(motion, slots, mask)


def add_arms(draw: Draw, config, things: Things, motion: dict[str, torch.Tensor], where, ceiling) -> None:
    """Where `where` (B,) says so, an arm of two parts with a hand stands on its base, or hangs from above.

    ceiling: (B,) height from which lamps hang.
    """
    hangs = draw.chance(0.4)
    sign = torch.where(hangs, -1.0, 1.0)[:, None]
    first, second = draw.uniform(0.12, 0.4, 1), draw.uniform(0.1, 0.35, 1)
    thick, hand, base = draw.uniform(0.012, 0.05, 1), draw.uniform(0.03, 0.1, 1), draw.uniform(0.04, 0.12, 1)
    slots = [ARMS[0], BODY, LEFT, HEAD]
    zero = torch.zeros_like(first)
    height = torch.cat([zero, 0.5 * first, first + 0.5 * second, first + second], 1) * sign
    half = torch.stack([
        torch.cat([base, base, 0.02 + zero], 1), torch.cat([thick, thick, 0.5 * first], 1),
        torch.cat([0.8 * thick, 0.8 * thick, 0.5 * second], 1), torch.cat([hand, 0.7 * hand, hand], 1),
    ], 1)  # fmt: skip
    pivot = torch.zeros(len(where), 4, 3)
    elbow = pivot.clone()
    elbow[..., 2] = first * sign
    mask = where[:, None]
    foot = things.center[:, [BODY]].clone()
    stands = foot[:, 0, 2] - things.half[:, BODY, 2]
    foot[:, 0, 2] = torch.where(hangs, ceiling, stands)
    turn = draw.uniform(-math.pi, math.pi, 1)
    axis = torch.stack([torch.cos(turn), torch.sin(turn), zero], -1)
    rest, wide = draw.uniform(-0.7, 0.7, 1), draw.uniform(0.2, 0.9, 1)
    has = torch.tensor([0.0, 1, 1, 1]), torch.tensor([0.0, 0, 1, 1])
    _place(things, slots, mask, half, foot)
    for k, (pivots, share) in enumerate(((pivot, has[0]), (elbow, has[1]))):
        frequency, phase = draw.frequencies(0.8, 4.5, config.period), draw.uniform(0, 2 * math.pi)
        # A hinge of its own axis now and then, else both bend in one plane.
        own = torch.where(draw.chance(0.3)[:, None, None], draw.direction(1), axis)
        _hinge(motion, slots, mask, k, pivots, own, (1 + k) * rest * share, wide * share, frequency, phase)
    offset = torch.stack([torch.zeros_like(height)] * 2 + [height], -1)
    motion["offset"][:, slots] = torch.where(mask[..., None], offset, motion["offset"][:, slots])
    for name in ("amplitude", "spin_amplitude"):
        value = motion[name]
        value[:, slots] *= ~mask.reshape(-1, *[1] * (value.dim() - 1))
    _move_as_one(motion, slots, mask)
    motion["moving"][:, slots[1:]] |= mask
    motion["moving"][:, slots[:1]] &= ~mask


def add_doors(draw: Draw, config, things: Things, motion: dict[str, torch.Tensor], where) -> None:
    """Where `where` (B,) says so, DOOR swings about its upright edge."""
    edge = things.half[:, [DOOR]] * torch.tensor([1.0, 1, 0])
    amplitude = draw.uniform(0.3, 1.0, 1)
    frequency, phase = draw.frequencies(0.6, 2.5, config.period), draw.uniform(0, 2 * math.pi)
    up, mask = torch.tensor([0.0, 0, 1]), where[:, None]
    _hinge(motion, [DOOR], mask, 0, edge, up, 0.0, amplitude, frequency, phase)
    things.active[:, DOOR] |= where
    motion["moving"][:, DOOR] |= where


def add_stretch(draw: Draw, config, motion: dict[str, torch.Tensor], where) -> None:
    """Where `where` (B, P) says so, things become taller and thinner and back; their volume hardly changes."""
    count = where.shape[1]
    amount = draw.uniform(0.12, 0.5, count) * draw.integers(0, 2, count).mul(2).sub(1)
    shape = torch.stack([-0.5 * amount, -0.5 * amount, amount], -1)
    shape = torch.where(draw.chance(0.2, count)[..., None], 0.5 * amount[..., None], shape)
    motion["stretch"] = shape * where[..., None]
    motion["stretch_frequency"] = draw.frequencies(1.0, 6.0, config.period, count)
    motion["stretch_phase"] = draw.uniform(0, 2 * math.pi, count)
    motion["moving"] |= where


def _place(things: Things, slots: list[int], mask, half, center) -> None:
    things.half[:, slots] = torch.where(mask[..., None], half, things.half[:, slots])
    things.center[:, slots] = torch.where(mask[..., None], center, things.center[:, slots])
    things.yaw[:, slots] = torch.where(mask, 0.0, things.yaw[:, slots])
    things.active[:, slots] |= mask


def _hinge(motion, slots: list[int], mask, k: int, pivot, axis, rest, amplitude, frequency, phase) -> None:
    """Hinge k of the slots: everything broadcasts to (B, len(slots)) or (B, len(slots), 3)."""
    parts = rest * torch.ones_like(amplitude), amplitude, frequency[:, None], phase[:, None]
    shape = len(mask), len(slots)
    wave = torch.stack([part.expand(shape) for part in parts], -1)
    for name, value in (("pivot", pivot), ("hinge_axis", axis), ("hinge", wave)):
        motion[name][:, slots, k] = torch.where(mask[..., None], value, motion[name][:, slots, k])


def _move_as_one(motion, slots: list[int], mask) -> None:
    """All of the slots take over the body's motion of the first one, turning about the vertical at most."""
    for name in ("frequency", "phase", "amplitude", "spin_amplitude", "spin_rate"):
        value = motion[name]
        wide = mask.reshape(-1, *[1] * (value.dim() - 1))
        value[:, slots] = torch.where(wide, value[:, slots[:1]], value[:, slots])
    up = torch.tensor([0.0, 0, 1])
    motion["spin_axis"][:, slots] = torch.where(mask[..., None], up, motion["spin_axis"][:, slots])
    motion["spin_rate"][:, slots] *= ~mask
