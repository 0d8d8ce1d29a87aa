"""Random scenes: rooms with furniture, tables with things on them, open ground; some of it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from .raycast import first_hit
from .scene import Scenes, Shapes, camera_poses
from .palette import sample_textures
from .rendering import frame_tables, pixel_rays

CAMERA_WAVES, BODY_WAVES = 4, 2


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from. Lengths marked (D) are in units of the scene's mean depth."""

    mean_depth: tuple[float, float] = (0.6, 6.0)  # metres, log-uniform
    field_of_view: tuple[float, float] = (40.0, 100.0)  # degrees, horizontal
    still_scenes: float = 0.35  # share in which nothing moves
    still_cameras: float = 0.10  # share of cameras that stand still
    outdoors: float = 0.2  # share of open grounds
    desks: float = 0.3  # share of close views down on a table
    camera_speed: tuple[float, float] = (0.06, 0.5)  # (D) per second, log-uniform
    camera_turn: tuple[float, float] = (5.0, 40.0)  # degrees per second beyond what orbiting causes, log-uniform
    body_speed: tuple[float, float] = (0.1, 1.2)  # (D) per second at the fastest, log-uniform
    period: float | None = None  # seconds after which everything repeats; None = never
    shapes: Shapes = Shapes()


class Draw:
    """Random numbers of a batch, always drawn on the CPU so that a seed means the same scenes on every device."""

    def __init__(self, batch: int, generator: torch.Generator):
        self.batch, self.generator = batch, generator

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator)

    def log_uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high), *shape))

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        return torch.rand(self.batch, *shape, generator=self.generator) < probability

    def direction(self, *shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(self.normal(*shape, 3), dim=-1)


def sample_scenes(
    batch: int, seed: int | torch.Generator, config: SceneConfig = SceneConfig(), device="cpu"
) -> Scenes:
    """`batch` scenes of a seed (or of a CPU generator, which moves on).

    Drawing many at once is far cheaper per scene: draw a few hundred and index them. More candidates are drawn
    than asked for, and those whose camera is too near to something, or sees little but a flat wall, or nothing of
    what moves, are dropped.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    candidates = _candidates(Draw(2 * batch + 8, generator), config)
    scale, fault = _probe(candidates)
    best = torch.argsort(fault, stable=True)[:batch].sort().values
    draw = Draw(batch, generator)
    wanted = draw.log_uniform(*config.mean_depth)
    scenes = _scaled(candidates[best], wanted / scale[best])
    return _stopped(scenes, draw.chance(config.still_scenes)).to(device)


def sample_times(
    batch: int, frames: int, generator: torch.Generator, stride=(0.03, 0.3), start=(0.0, 100.0)
) -> torch.Tensor:
    """(batch, frames) seconds: a random start and a log-uniform stride between frames, in seconds."""
    draw = Draw(batch, generator)
    return draw.uniform(*start, 1) + draw.log_uniform(*stride, 1) * torch.arange(frames)


def _candidates(draw: Draw, config: SceneConfig) -> Scenes:
    """Scenes whose mean depth is about 1."""
    outdoors, desk = draw.chance(config.outdoors), draw.chance(config.desks)
    table = draw.chance(0.5) | desk
    room = torch.stack([draw.uniform(0.8, 2.1), draw.uniform(0.8, 2.1), draw.uniform(0.45, 0.8)], -1)
    room = torch.where(outdoors[:, None], torch.stack([draw.uniform(2, 6), draw.uniform(2, 6), draw.uniform(1.5, 4)], -1), room)
    camera, view = _camera(draw, config, room, outdoors, desk)
    bodies = _bodies(draw, config, room, camera["camera_position"], view, desk, table)
    light_direction = torch.nn.functional.normalize(
        torch.cat([draw.uniform(-1, 1, 2), draw.uniform(0.35, 1.5, 1)], -1), dim=-1
    )
    tint = 1.0 + 0.12 * draw.normal(3)
    sun = draw.uniform(0.1, 1.1, 1)
    exposure = draw.log_uniform(0.9, 1.7, 1)
    return Scenes(
        **camera, **bodies,
        texture=sample_textures(draw, config.shapes, outdoors, table),
        light_direction=light_direction,
        light=exposure * sun * tint, ambient=exposure * (draw.uniform(0.8, 1.2, 1) - 0.6 * sun).clamp_min(0.25) * (2.0 - tint),
        shadow=draw.uniform(0.0, 1.0) * draw.chance(0.7),
        shapes=config.shapes,
    )  # fmt: skip


def _frequencies(draw: Draw, low: float, high: float, shape: tuple[int, ...], period: float | None):
    """Angular frequencies, log-uniform; with a period, whole multiples of it."""
    frequency = draw.log_uniform(low, high, *shape)
    if period is None:
        return frequency
    step = 2.0 * math.pi / period
    return step * (frequency / step).round().clamp_min(1.0)


def _camera(draw: Draw, config: SceneConfig, room, outdoors, desk):
    """Camera fields, and what it looks at: (heading (B,), half angle (B,), distance (B,))."""
    n = draw.batch
    ordinary = torch.tensor([4 / 3, 16 / 9, 4 / 3, 3 / 4])[torch.randint(4, (n,), generator=draw.generator)]
    aspect = torch.where(draw.chance(0.6), ordinary, draw.log_uniform(0.56, 1.8))
    half_angle = torch.deg2rad(draw.uniform(*config.field_of_view)) / 2
    # A tall image would see more than 100 degrees vertically: lengthen its focal length.
    focal = (0.5 / torch.tan(half_angle)).clamp_min(0.5 / math.tan(math.radians(50.0)) / aspect.clamp_max(1.0))
    half_angle = torch.atan(0.5 / focal)

    heading = draw.uniform(-math.pi, math.pi)
    ahead = torch.stack([torch.cos(heading), torch.sin(heading)], -1)
    back = draw.uniform(0.3, 0.8, 1) * torch.where(outdoors[:, None], 0.3, 1.0)
    xy = -ahead * room[:, :2] * back + 0.3 * draw.uniform(-1, 1, 2) * room[:, :2].clamp_max(1.5)
    xy = xy.clamp(-(room[:, :2] - 0.25), room[:, :2] - 0.25)
    height = torch.where(outdoors, draw.uniform(0.2, 0.9), draw.uniform(0.5, 1.6) * room[:, 2])
    pitch = torch.where(desk, draw.uniform(-55, -20), draw.uniform(-28, 8))
    height = torch.where(desk, torch.minimum(draw.uniform(0.6, 1.1), 1.8 * room[:, 2]), height)
    pitch = torch.deg2rad(pitch)
    reach = draw.uniform(0.7, 1.3)  # distance of the point looked at
    position = torch.cat([xy, height[:, None]], -1)
    gaze = torch.cat([ahead * torch.cos(pitch)[:, None], torch.sin(pitch)[:, None]], -1)

    still = draw.chance(config.still_cameras)[:, None, None]
    k = CAMERA_WAVES
    frequency = _frequencies(draw, 0.5, 2.5, (k,), config.period)
    # The last wave is the hand's tremor: fast and small.
    frequency[:, -1] = _frequencies(draw, 4.0, 9.0, (), config.period)
    share = torch.tensor([1.0, 0.6, 0.4, 0.1])[:, None]
    speed = draw.log_uniform(*config.camera_speed, 1, 1)
    axes = torch.tensor([1.0, 1.0, 0.6]) * draw.normal(k, 3)
    swing = 1.2 * speed * share * axes / frequency[..., None]
    # Orbits keep looking at their target; the others turn on top of that.
    turn = torch.deg2rad(draw.log_uniform(*config.camera_turn, 1, 1)) * (~draw.chance(0.3))[:, None, None]
    axes = torch.tensor([1.0, 1.0, 0.6]) * draw.normal(k, 3)
    swing_target = 1.2 * turn * share * axes / frequency[..., None] * reach[:, None, None]
    # Half of the rest moves the target along with the camera: translation without orbiting.
    swing_target = swing_target + swing * (draw.chance(0.5)[:, None, None])
    limit = 0.6 * reach[:, None, None]
    swing = swing * (limit / swing.norm(dim=-1).sum(-1)[:, None, None]).clamp_max(1.0)
    swing_target = swing_target * (limit / swing_target.norm(dim=-1).sum(-1)[:, None, None]).clamp_max(1.0)
    roll = 0.06 * draw.normal(k) * share[:, 0] * (~still[..., 0])
    fields = dict(
        focal=torch.stack([focal, focal * aspect], -1),
        principal=0.5 + 0.012 * draw.normal(2),
        aspect=aspect,
        camera_position=position,
        camera_target=position + gaze * reach[:, None],
        camera_frequency=frequency,
        camera_phase=draw.uniform(0, 2 * math.pi, k),
        position_swing=swing * ~still,
        target_swing=swing_target * ~still,
        roll_swing=roll,
    )
    return fields, (heading, half_angle, reach)


def _bodies(draw: Draw, config: SceneConfig, room, camera_position, view, desk, table):
    """Sizes, places and motions of the primitives."""
    n, shapes = draw.batch, config.shapes
    count = len(shapes)
    first_ball, first_rod = 1 + shapes.boxes, 1 + shapes.boxes + shapes.ellipsoids
    heading, half_angle, reach = view

    # Everything stands on the floor, somewhere in view, at first.
    half = draw.log_uniform(0.05, 0.3, count, 1) * torch.exp(0.35 * draw.normal(count, 3))
    half[:, first_rod:, 1] = half[:, first_rod:, 0]
    half[:, first_rod:, 2] *= draw.log_uniform(0.7, 3.0, count - first_rod)
    angle = heading[:, None] + draw.uniform(-0.9, 0.9, count) * half_angle[:, None]
    distance = draw.uniform(0.45, 1.5, count) * reach[:, None]
    center = torch.stack([
        camera_position[:, None, 0] + distance * torch.cos(angle),
        camera_position[:, None, 1] + distance * torch.sin(angle),
        torch.zeros_like(angle),
    ], -1)  # fmt: skip
    yaw = draw.uniform(-math.pi, math.pi, count)
    yaw = torch.where(draw.chance(0.6, count), 0.1 * yaw.sign() * draw.chance(0.3, count), yaw)
    active = draw.chance(0.75, count)

    wall = slice(6, 8)  # against the walls: furniture, or thin things that hang (doors, windows, pictures)
    _along_walls(draw, room, center, half, yaw, wall, heading)
    # Boxes 1..5 of some scenes: a top and four legs.
    top = _table(draw, room, center, half, yaw, active, table, camera_position, heading, reach, desk)

    # Some things stand on the table; the rest keeps clear of walls.
    loose = torch.tensor([8, 9, 10, *range(first_ball, count)])
    ground = torch.zeros(n, len(loose))
    onto = table[:, None] & draw.chance(0.7, len(loose))
    spot = top["center"][:, None] + draw.uniform(-0.8, 0.8, len(loose), 2) * top["reach"][:, None]
    small = 0.55 * half[:, loose]
    half[:, loose] = torch.where(onto[..., None], torch.minimum(small, torch.tensor(0.16)), half[:, loose])
    center[:, loose, :2] = torch.where(onto[..., None], spot, center[:, loose, :2])
    ground = torch.where(onto, top["height"][:, None], ground)
    center[:, loose, 2] = ground + half[:, loose, 2]
    stand = torch.tensor([1, 2, 3, 4, 5])
    center[:, stand, 2] = torch.where(table[:, None], center[:, stand, 2], half[:, stand, 2])

    quaternion = torch.zeros(n, count, 4)
    quaternion[..., 2], quaternion[..., 3] = torch.sin(yaw / 2), torch.cos(yaw / 2)
    motion = _motion(draw, config, active, center, half, loose)
    center, active = motion.pop("center"), motion.pop("active")
    edge = room[:, None, :2] - half.amax(-1, keepdim=True) * 1.1
    inside = torch.maximum(torch.minimum(center[..., :2], edge), -edge)
    fixed = torch.zeros(count, dtype=torch.bool)
    fixed[wall] = True
    fixed[1:6] = True
    center[..., :2] = torch.where(fixed[:, None], center[..., :2], inside)

    # Unused slots wait far below the floor; the room is slot 0.
    center[..., 2] = torch.where(active, center[..., 2], -1e3)
    half = torch.where(active[..., None], half, 1e-2)
    half[:, 0], center[:, 0] = room, room * torch.tensor([0.0, 0.0, 1.0])
    quaternion[:, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    return dict(half_size=half, center=center, rotation=quaternion, **motion)


def _along_walls(draw: Draw, room, center, half, yaw, slots: slice, heading):
    count = slots.stop - slots.start
    n = draw.batch
    hangs = draw.chance(0.6, count)
    along_x = draw.chance(0.5, count)
    size = draw.uniform(0.15, 0.45, count, 3)
    depth = torch.where(hangs, torch.full((n, count), 0.015), draw.uniform(0.08, 0.25, count))
    lift = torch.where(hangs, room[:, None, 2] * draw.uniform(0.7, 1.4, count), size[..., 2])
    # The wall that the camera faces, on either axis.
    sign = torch.stack([torch.cos(heading), torch.sin(heading)], -1).sign()
    place = draw.uniform(-0.7, 0.7, count)
    wall_x = torch.stack([sign[:, None, 0] * (room[:, None, 0] - depth), place * room[:, None, 1], lift], -1)
    wall_y = torch.stack([place * room[:, None, 0], sign[:, None, 1] * (room[:, None, 1] - depth), lift], -1)
    center[:, slots] = torch.where(along_x[..., None], wall_x, wall_y)
    half_x = torch.stack([depth, size[..., 1], size[..., 2]], -1)
    half_y = torch.stack([size[..., 0], depth, size[..., 2]], -1)
    half[:, slots] = torch.where(along_x[..., None], half_x, half_y)
    yaw[:, slots] = 0.0


def _table(draw: Draw, room, center, half, yaw, active, table, camera_position, heading, reach, desk):
    """Boxes 1..5 become a table where `table` says so; returns its top."""
    n = draw.batch
    size = torch.where(desk[:, None], draw.uniform(0.4, 0.9, 2), draw.uniform(0.2, 0.5, 2))
    height = torch.where(desk, camera_position[:, 2] - draw.uniform(0.35, 0.7) * reach, draw.uniform(0.15, 0.4))
    height = height.clamp(0.08, 1.2)
    thick, leg = draw.uniform(0.01, 0.03), draw.uniform(0.012, 0.035)
    angle = torch.where(draw.chance(0.5), torch.zeros(n), draw.uniform(-math.pi, math.pi))
    off = heading + 0.4 * draw.uniform(-1, 1) * (~desk)
    ahead = torch.stack([torch.cos(off), torch.sin(off)], -1)
    middle = camera_position[:, :2] + ahead * (reach * draw.uniform(0.7, 1.1))[:, None]
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    corners = torch.tensor([[0.0, 0.0], [1, 1], [1, -1], [-1, 1], [-1, -1]])
    local = corners * (size - 2.0 * leg[:, None])[:, None]
    xy = torch.stack([local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos], -1)
    low = (height - 2 * thick) / 2
    z = torch.stack([height - thick, low, low, low, low], -1)
    parts = torch.cat([middle[:, None] + xy, z[..., None]], -1)
    top_half = torch.cat([size, thick[:, None]], -1)
    leg_half = torch.stack([leg, leg, low], -1)[:, None].expand(-1, 4, -1)
    where = table[:, None, None]
    center[:, 1:6] = torch.where(where, parts, center[:, 1:6])
    half[:, 1:6] = torch.where(where, torch.cat([top_half[:, None], leg_half], 1), half[:, 1:6])
    yaw[:, 1:6] = torch.where(table[:, None], angle[:, None], yaw[:, 1:6])
    active[:, 1:6] |= table[:, None]
    return {"center": middle, "reach": size.amin(-1, keepdim=True), "height": height}


def _motion(draw: Draw, config: SceneConfig, active, center, half, loose):
    """One to three of the loose things move; sometimes one carries another."""
    n, count = active.shape
    rank = torch.argsort(torch.rand(n, len(loose), generator=draw.generator), -1)
    movers = torch.randint(1, 4, (n, 1), generator=draw.generator)
    moving = torch.zeros(n, count, dtype=torch.bool)
    moving[:, loose] = rank < movers
    active = active | moving
    j = BODY_WAVES
    speed = draw.log_uniform(*config.body_speed, count, 1, 1)
    frequency = _frequencies(draw, 0.7, 3.5, (count, j), config.period)
    phase = draw.uniform(0, 2 * math.pi, count, j)
    axes = draw.normal(count, j, 3) * torch.tensor([1.0, 0.6])[:, None]
    floats = draw.chance(0.45, count)
    axes[..., 2] = axes[..., 2].abs() * 0.6 * floats[..., None]
    axes = axes / axes.norm(dim=-1, keepdim=True).amax(-2, keepdim=True)
    swing = (speed * axes / frequency[..., None]).clamp(-0.6, 0.6)
    # What moves up and down must not sink into the floor.
    lift = swing[..., 2].sum(-1) + 0.3 * draw.uniform(0, 1, count) * floats
    spin_axis = torch.where((floats & draw.chance(0.6, count))[..., None], draw.direction(count), torch.tensor([0.0, 0.0, 1.0]))
    spins = draw.chance(0.7, count)
    spin_rate = torch.where(draw.chance(0.4, count), draw.uniform(-1.8, 1.8, count), torch.zeros(n, count))
    if config.period is not None:
        step = 2.0 * math.pi / config.period
        spin_rate = step * (spin_rate / step).round()
    spin_swing = draw.uniform(-0.8, 0.8, count, j) / frequency.clamp_min(1.0)

    # A rider sits on the first ball's body (a head on a trunk): the second ball takes its motion.
    fields = dict(frequency=frequency, phase=phase, swing=swing * moving[..., None, None], spin_axis=spin_axis,
                  spin_rate=spin_rate * spins * moving, spin_swing=spin_swing * (spins & moving)[..., None])  # fmt: skip
    center = center.clone()
    center[..., 2] += lift * moving
    offset = torch.zeros(n, count, 3)
    carrier, rider = loose[-1], loose[3]  # the last cylinder and the first ball
    rides = draw.chance(0.35) & moving[:, carrier]
    for name, value in fields.items():
        mask = rides.reshape(-1, *[1] * (value.dim() - 2))
        value[:, rider] = torch.where(mask, value[:, carrier], value[:, rider])
    sit = torch.stack([torch.zeros(n), torch.zeros(n), half[:, carrier, 2] + 0.9 * half[:, rider, 2]], -1)
    offset[:, rider] = torch.where(rides[:, None], sit, offset[:, rider])
    center[:, rider] = torch.where(rides[:, None], center[:, carrier], center[:, rider])
    moving[:, rider] |= rides
    active = active | moving
    return dict(center=center, active=active, moving=moving, offset=offset, **fields)


def _probe(scenes: Scenes) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean depth (B,), and how bad the views are (B,): 0 = fine."""
    times = torch.linspace(0.0, 40.0, 6).expand(len(scenes), -1)
    pose = camera_poses(scenes, times)
    tables = frame_tables(scenes, pose, times)
    x, y = pixel_rays(scenes, 7, 9, 1)
    room = tables["camera_origin"][:, :, 0].abs().amax((1, 2))
    depth, primitive = first_hit(
        scenes.shapes, tables["camera_origin"], tables["camera_map"], (x, y, torch.ones_like(x))
    )
    depth = depth.flatten(2)
    mean = depth.mean((1, 2))
    near = depth.amin((1, 2)) / mean
    flat = depth.log().std(-1).amin(1) < 0.12
    batch = torch.arange(len(scenes))[:, None, None, None]
    motion = scenes.moving[batch, primitive.long()].float().mean((1, 2, 3))
    fault = 4.0 * (room > 0.97) + (near < 0.15) * (2.0 - near) + 0.5 * flat + (motion < 0.02) * (0.5 - 10.0 * motion)
    return mean, fault


def _stopped(scenes: Scenes, still: torch.Tensor) -> Scenes:
    """The same scenes, but in those of `still` (B,) nothing moves except the camera."""
    changed = {}
    for name in ("swing", "spin_rate", "spin_swing", "moving"):
        value = getattr(scenes, name)
        changed[name] = value * ~still.reshape(-1, *[1] * (value.dim() - 1))
    return replace(scenes, **changed)


def _scaled(scenes: Scenes, scale: torch.Tensor) -> Scenes:
    """The same pictures of scenes that are `scale` (B,) times as large."""
    lengths = "camera_position camera_target position_swing target_swing half_size center offset swing".split()
    changed = {}
    for name in lengths:
        value = getattr(scenes, name)
        changed[name] = value * scale.reshape(-1, *[1] * (value.dim() - 1))
    texture = scenes.texture.clone()
    texture[..., [0, 1, 2, 6, 7, 8, 9, 10, 11]] /= scale[:, None, None]
    return replace(scenes, **changed, texture=texture)
