"""Random cameras: lenses, places in a room, and the paths of hands, orbits and rides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from d4rt_ros.scenes.draw import Draw

WAVES = 4  # of a camera's path; the last is the hand's tremor, fast and small
SHARES = torch.tensor([1.0, 0.6, 0.4, 0.1])[:, None]  # of the waves' amplitudes
LEVEL = torch.tensor([1.0, 1.0, 0.6])  # motion goes sideways more than up and down


@dataclass(frozen=True)
class View:
    """What a camera looks at. heading (B,): radians about z; half_angle (B,): of the image's width, radians;
    reach (B,): distance of the point looked at; position (B, 3)."""

    heading: torch.Tensor
    half_angle: torch.Tensor
    reach: torch.Tensor
    position: torch.Tensor


def sample_cameras(draw: Draw, config, room: torch.Tensor, outdoors: torch.Tensor, desks: torch.Tensor):
    """(fields of Scenes, View) of cameras in rooms of half extents `room` (B, 3), at a mean depth of 1."""
    lens = _lenses(draw, config)
    view, gaze = _places(draw, room, outdoors, desks, lens["focal"])
    path = _paths(draw, config, view.reach, gaze)
    fields = dict(
        focal=lens["focal"],
        principal=0.5 + 0.012 * draw.normal(2),
        aspect=lens["aspect"],
        camera_position=view.position,
        camera_target=view.position + gaze * view.reach[:, None],
        camera_phase=draw.uniform(0, 2 * math.pi, WAVES),
        **path,
    )
    return fields, view


def _lenses(draw: Draw, config) -> dict[str, torch.Tensor]:
    ordinary = torch.tensor([4 / 3, 16 / 9, 4 / 3, 3 / 4])[draw.integers(0, 4)]
    aspect = torch.where(draw.chance(0.6), ordinary, draw.log_uniform(0.56, 1.8))
    low, high = config.field_of_view
    ordinary = draw.uniform(max(low, min(50.0, high)), min(high, max(70.0, low)))
    angle = torch.where(draw.chance(config.ordinary_lenses), ordinary, draw.uniform(low, high))
    half_angle = torch.deg2rad(angle) / 2
    # A tall image would see more than 110 degrees vertically: lengthen its focal length.
    shortest = 0.5 / math.tan(math.radians(55.0)) / aspect.clamp_max(1.0)
    focal = (0.5 / torch.tan(half_angle)).clamp_min(shortest)
    return {"focal": torch.stack([focal, focal * aspect], -1), "aspect": aspect}


def _places(draw: Draw, room, outdoors, desks, focal) -> tuple[View, torch.Tensor]:
    """The views, and the unit directions (B, 3) in which they look."""
    heading = draw.uniform(-math.pi, math.pi)
    ahead = torch.stack([torch.cos(heading), torch.sin(heading)], -1)
    # Most of the room lies ahead.
    back = draw.uniform(0.3, 0.8, 1) * torch.where(outdoors[:, None], 0.3, 1.0)
    xy = -ahead * room[:, :2] * back + 0.3 * draw.uniform(-1, 1, 2) * room[:, :2].clamp_max(1.5)
    xy = xy.clamp(-(room[:, :2] - 0.25), room[:, :2] - 0.25)
    height = torch.where(outdoors, draw.uniform(0.2, 0.9), draw.uniform(0.5, 1.6) * room[:, 2])
    pitch = torch.deg2rad(torch.where(desks, draw.uniform(-55, -20), draw.uniform(-28, 8)))
    height = torch.where(desks, torch.minimum(draw.uniform(0.6, 1.1), 1.8 * room[:, 2]), height)
    view = View(
        heading=heading,
        half_angle=torch.atan(0.5 / focal[:, 0]),
        reach=draw.uniform(0.7, 1.3),
        position=torch.cat([xy, height[:, None]], -1),
    )
    return view, torch.cat([ahead * torch.cos(pitch)[:, None], torch.sin(pitch)[:, None]], -1)


def _paths(draw: Draw, config, reach: torch.Tensor, gaze: torch.Tensor) -> dict[str, torch.Tensor]:
    """Waves of position, target and roll; zero for the cameras that stand still."""
    moves = ~draw.chance(config.still_cameras)[:, None, None]
    frequency = draw.frequencies(0.5, 2.5, config.period, WAVES)
    frequency[:, -1] = draw.frequencies(4.0, 9.0, config.period)
    speed = draw.log_uniform(*config.camera_speed, 1, 1)
    amplitude = 1.2 * speed * SHARES * (LEVEL * draw.normal(WAVES, 3)) / frequency[..., None]
    # Orbits keep looking at their target; the others turn on top of that.
    turn = torch.deg2rad(draw.log_uniform(*config.camera_turn, 1, 1)) * (~draw.chance(0.3))[:, None, None]
    turn = 1.2 * turn * SHARES * (LEVEL * draw.normal(WAVES, 3)) / frequency[..., None] * reach[:, None, None]
    # Half of them move the target along with the camera: translation without orbiting.
    turn = turn + amplitude * draw.chance(0.5)[:, None, None]
    style = draw.uniform(0, 1)[:, None, None]
    ends = (config.panning_cameras, config.driving_cameras, config.shaking_cameras)
    pans = style < ends[0]
    drives = ~pans & (style < ends[0] + ends[1])
    shakes = (style >= ends[0] + ends[1]) & (style < sum(ends))
    ahead = torch.zeros_like(amplitude)
    ahead[:, 0] = 1.6 * gaze * (speed / frequency[:, :1, None])[:, 0]
    amplitude = torch.where(drives, ahead + 0.15 * amplitude, amplitude)
    turn = torch.where(drives, 0.3 * turn + ahead, turn)
    tremor = torch.ones(WAVES, 1)
    tremor[-1] = 4.0
    amplitude = torch.where(shakes, tremor * amplitude, amplitude) * ~pans
    turn = torch.where(shakes, tremor * turn, turn)
    limit = 0.6 * reach[:, None, None]
    roll = 0.06 * draw.normal(WAVES) * SHARES[:, 0] * moves[..., 0]
    return dict(
        camera_frequency=frequency, position_amplitude=_limited(amplitude, limit) * moves,
        target_amplitude=_limited(turn, limit) * moves, roll_amplitude=roll,
    )  # fmt: skip


def _limited(amplitude: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Waves (B, K, 3) that together go no farther than `limit` (B, 1, 1)."""
    return amplitude * (limit / amplitude.norm(dim=-1).sum(-1)[:, None, None]).clamp_max(1.0)
