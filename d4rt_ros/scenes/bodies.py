"""Random furniture and things: where they stand, how large they are, and how some of them move."""

from __future__ import annotations

import math

import torch

from d4rt_ros.scenes.cameras import View
from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.joints import (
    SHAPES,
    WALKER,
    Things,
    add_arms,
    add_doors,
    add_stretch,
    add_walkers,
    no_joints,
)

TABLE = slice(1, 6)  # boxes that are a table's top and legs, or stand about
WALLS = slice(6, 8)  # boxes along the walls
LOOSE = torch.arange(
    8, len(SHAPES)
)  # boxes, ellipsoids and cylinders that may stand on the table, and may move
CARRIER, RIDER = SHAPES.first_cylinder, SHAPES.first_ellipsoid  # sometimes a trunk and a head
WAVES = 2  # of a thing's path


def sample_bodies(draw: Draw, config, room, view: View, desks, tables, outdoors) -> dict[str, torch.Tensor]:
    """Fields of Scenes for rooms of half extents `room` (B, 3), in scenes of mean depth 1.

    desks, tables, outdoors: (B,) bool, the camera looks down on a large table; there is a table; open ground.
    """
    things = _standing_about(draw, view)
    _along_walls(draw, things, room, view.heading)
    _far_away(draw, things, view, outdoors)
    top = _table(draw, things, tables, desks, view)
    _on_table(draw, things, tables, top)
    motion = _motion(draw, config, things)
    _keep_in(things, room)
    _joints(draw, config, things, motion, room, outdoors)
    taper = draw.uniform(0.0, 1.0, len(SHAPES)) * draw.chance(0.4, len(SHAPES))
    taper[:, WALKER] = 0.0
    return _fields(things, room) | motion | {"taper": taper}


def _standing_about(draw: Draw, view: View) -> Things:
    """Everything on the floor, somewhere in view."""
    count, rods = len(SHAPES), SHAPES.first_cylinder
    half = draw.log_uniform(0.05, 0.3, count, 1) * torch.exp(0.35 * draw.normal(count, 3))
    half[:, rods:, 1] = half[:, rods:, 0]
    half[:, rods:, 2] *= draw.log_uniform(0.7, 3.0, count - rods)
    angle = view.heading[:, None] + draw.uniform(-0.9, 0.9, count) * view.half_angle[:, None]
    distance = draw.uniform(0.45, 1.5, count) * view.reach[:, None]
    x = view.position[:, None, 0] + distance * torch.cos(angle)
    y = view.position[:, None, 1] + distance * torch.sin(angle)
    yaw = draw.uniform(-math.pi, math.pi, count)
    yaw = torch.where(draw.chance(0.6, count), 0.1 * yaw.sign() * draw.chance(0.3, count), yaw)
    return Things(half, torch.stack([x, y, half[..., 2]], -1), yaw, draw.chance(0.75, count))


def _along_walls(draw: Draw, things: Things, room, heading) -> None:
    """Furniture against the walls that the camera faces, and thin things that hang there: doors, pictures."""
    count = WALLS.stop - WALLS.start
    hangs, along_x = draw.chance(0.6, count), draw.chance(0.5, count)
    size = draw.uniform(0.15, 0.45, count, 3)
    depth = torch.where(hangs, 0.015, draw.uniform(0.08, 0.25, count))
    height = torch.where(hangs, room[:, None, 2] * draw.uniform(0.7, 1.4, count), size[..., 2])
    sign = torch.stack([torch.cos(heading), torch.sin(heading)], -1).sign()
    place = draw.uniform(-0.7, 0.7, count)
    on_x = torch.stack([sign[:, None, 0] * (room[:, None, 0] - depth), place * room[:, None, 1], height], -1)
    on_y = torch.stack([place * room[:, None, 0], sign[:, None, 1] * (room[:, None, 1] - depth), height], -1)
    half_x = torch.stack([depth, size[..., 1], size[..., 2]], -1)
    half_y = torch.stack([size[..., 0], depth, size[..., 2]], -1)
    things.center[:, WALLS] = torch.where(along_x[..., None], on_x, on_y)
    things.half[:, WALLS] = torch.where(along_x[..., None], half_x, half_y)
    things.yaw[:, WALLS] = 0.0


def _far_away(draw: Draw, things: Things, view: View, outdoors) -> None:
    """Outdoors the furniture along the walls is houses and hills instead."""
    count = WALLS.stop - WALLS.start
    angle = view.heading[:, None] + draw.uniform(-0.8, 0.8, count) * view.half_angle[:, None]
    distance = draw.log_uniform(1.3, 4.0, count)
    half = distance[..., None] * draw.log_uniform(0.12, 0.5, count, 3)
    x = view.position[:, None, 0] + (distance + half[..., 0]) * torch.cos(angle)
    y = view.position[:, None, 1] + (distance + half[..., 0]) * torch.sin(angle)
    where = outdoors[:, None, None]
    center = torch.stack([x, y, half[..., 2]], -1)
    things.center[:, WALLS] = torch.where(where, center, things.center[:, WALLS])
    things.half[:, WALLS] = torch.where(where, half, things.half[:, WALLS])


def _joints(draw: Draw, config, things: Things, motion, room, outdoors) -> None:
    """Some scenes have a walker, or an arm, or a door that swings, or things that stretch."""
    motion |= no_joints(*things.active.shape)
    kind = draw.uniform(0, 1)
    add_walkers(draw, config, things, motion, kind < config.walkers)
    arms = (kind >= config.walkers) & (kind < config.walkers + config.arms)
    add_arms(draw, config, things, motion, arms, 2.0 * room[:, 2].clamp_max(0.8))
    add_doors(draw, config, things, motion, draw.chance(config.doors) & ~outdoors)
    stretches = draw.chance(0.3, len(SHAPES)) & draw.chance(config.stretching, 1)
    stretches[:, : LOOSE[0]] = False
    stretches[:, WALKER] = False
    add_stretch(draw, config, motion, stretches & things.active)


def _table(draw: Draw, things: Things, tables, desks, view: View) -> dict[str, torch.Tensor]:
    """Boxes of TABLE become a top and four legs where `tables` says so; returns the top's place."""
    size = torch.where(desks[:, None], draw.uniform(0.4, 0.9, 2), draw.uniform(0.2, 0.5, 2))
    height = view.position[:, 2] - draw.uniform(0.35, 0.7) * view.reach
    height = torch.where(desks, height, draw.uniform(0.15, 0.4)).clamp(0.08, 1.2)
    thick, leg = draw.uniform(0.01, 0.03), draw.uniform(0.012, 0.035)
    angle = torch.where(draw.chance(0.5), 0.0, draw.uniform(-math.pi, math.pi))
    off = view.heading + 0.4 * draw.uniform(-1, 1) * ~desks
    ahead = torch.stack([torch.cos(off), torch.sin(off)], -1)
    middle = view.position[:, :2] + ahead * (view.reach * draw.uniform(0.7, 1.1))[:, None]
    corners = torch.tensor([[0.0, 0.0], [1, 1], [1, -1], [-1, 1], [-1, -1]])
    x, y = (corners * (size - 2.0 * leg[:, None])[:, None]).unbind(-1)
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    xy = middle[:, None] + torch.stack([x * cos - y * sin, x * sin + y * cos], -1)
    low = (height - 2 * thick) / 2
    z = torch.stack([height - thick, low, low, low, low], -1)
    half = torch.stack([leg, leg, low], -1)[:, None].repeat(1, 5, 1)
    half[:, 0] = torch.cat([size, thick[:, None]], -1)
    where = tables[:, None, None]
    things.center[:, TABLE] = torch.where(where, torch.cat([xy, z[..., None]], -1), things.center[:, TABLE])
    things.half[:, TABLE] = torch.where(where, half, things.half[:, TABLE])
    things.yaw[:, TABLE] = torch.where(tables[:, None], angle[:, None], things.yaw[:, TABLE])
    things.active[:, TABLE] |= tables[:, None]
    return {"center": middle, "reach": size.amin(-1, keepdim=True), "height": height}


def _on_table(draw: Draw, things: Things, tables, top) -> None:
    """Most of the loose things become smaller and stand on the table, where there is one."""
    count = len(LOOSE)
    onto = tables[:, None] & draw.chance(0.7, count)
    spot = top["center"][:, None] + draw.uniform(-0.8, 0.8, count, 2) * top["reach"][:, None]
    small = (0.55 * things.half[:, LOOSE]).clamp_max(0.16)
    half = torch.where(onto[..., None], small, things.half[:, LOOSE])
    ground = torch.where(onto, top["height"][:, None], 0.0)
    xy = torch.where(onto[..., None], spot, things.center[:, LOOSE, :2])
    things.half[:, LOOSE] = half
    things.center[:, LOOSE] = torch.cat([xy, (ground + half[..., 2])[..., None]], -1)


def _motion(draw: Draw, config, things: Things) -> dict[str, torch.Tensor]:
    """One to three of the loose things move; sometimes one carries another."""
    n, count = things.active.shape
    moving = torch.zeros(n, count, dtype=torch.bool)
    rank = draw.ranks(len(LOOSE))
    moving[:, LOOSE] = rank < draw.integers(1, 4, 1)
    speed = draw.log_uniform(*config.body_speed, count, 1, 1)
    frequency = draw.frequencies(0.7, 3.5, config.period, count, WAVES)
    phase = draw.uniform(0, 2 * math.pi, count, WAVES)
    axes = draw.normal(count, WAVES, 3) * torch.tensor([1.0, 0.6])[:, None]
    floats = draw.chance(0.45, count)
    axes[..., 2] = axes[..., 2].abs() * 0.6 * floats[..., None]
    axes = axes / axes.norm(dim=-1, keepdim=True).amax(-2, keepdim=True)
    amplitude = (speed * axes / frequency[..., None]).clamp(-0.6, 0.6)
    # What moves up and down must not sink into the floor.
    lift = amplitude[..., 2].sum(-1) + 0.3 * draw.uniform(0, 1, count) * floats
    things.center[..., 2] += lift * moving
    motion = dict(frequency=frequency, phase=phase, amplitude=amplitude * moving[..., None, None])
    motion |= _spin(draw, config.period, floats, frequency, moving)
    _let_ride(draw, things, motion, moving)
    things.active |= moving
    return motion | {"moving": moving}


def _spin(draw: Draw, period: float | None, floats, frequency, moving) -> dict[str, torch.Tensor]:
    count = moving.shape[1]
    tumbles = (floats & draw.chance(0.6, count))[..., None]
    axis = torch.where(tumbles, draw.direction(count), torch.tensor([0.0, 0.0, 1.0]))
    spins = moving & draw.chance(0.7, count)
    rate = torch.where(draw.chance(0.4, count), draw.uniform(-1.8, 1.8, count), 0.0)
    if period is not None:
        step = 2.0 * math.pi / period
        rate = step * (rate / step).round()
    amplitude = draw.uniform(-0.8, 0.8, count, WAVES) / frequency.clamp_min(1.0)
    return dict(spin_axis=axis, spin_rate=rate * spins, spin_amplitude=amplitude * spins[..., None])


def _let_ride(draw: Draw, things: Things, motion: dict[str, torch.Tensor], moving) -> None:
    """Where the carrier moves, the rider sits on it sometimes: it takes over its motion."""
    rides = draw.chance(0.35) & moving[:, CARRIER]
    for value in motion.values():
        mask = rides.reshape(-1, *[1] * (value.dim() - 2))
        value[:, RIDER] = torch.where(mask, value[:, CARRIER], value[:, RIDER])
    height = things.half[:, CARRIER, 2] + 0.9 * things.half[:, RIDER, 2]
    motion["offset"] = torch.zeros_like(things.center)
    motion["offset"][:, RIDER, 2] = height * rides
    center = things.center
    center[:, RIDER] = torch.where(rides[:, None], center[:, CARRIER], center[:, RIDER])
    moving[:, RIDER] |= rides


def _keep_in(things: Things, room) -> None:
    """Loose things stay within the walls."""
    edge = room[:, None, :2] - things.half[:, LOOSE].amax(-1, keepdim=True) * 1.1
    xy = things.center[:, LOOSE, :2]
    things.center[:, LOOSE, :2] = torch.maximum(torch.minimum(xy, edge), -edge)


def _fields(things: Things, room) -> dict[str, torch.Tensor]:
    """Unused slots wait far below the floor; the room is slot 0."""
    center = things.center.clone()
    center[..., 2] = torch.where(things.active, center[..., 2], -1e3)
    half = torch.where(things.active[..., None], things.half, 1e-2)
    rotation = torch.zeros(*center.shape[:2], 4)
    rotation[..., 2], rotation[..., 3] = torch.sin(things.yaw / 2), torch.cos(things.yaw / 2)
    half[:, 0], center[:, 0] = room, room * torch.tensor([0.0, 0.0, 1.0])
    rotation[:, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    return dict(half_size=half, center=center, rotation=rotation)
