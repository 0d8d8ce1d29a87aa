"""Random scenes: rooms with furniture, tables with things on them, open ground; some of it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from d4rt_ros.scenes.bodies import sample_bodies
from d4rt_ros.scenes.cameras import sample_cameras
from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.joints import SHAPES
from d4rt_ros.scenes.motion import camera_poses
from d4rt_ros.scenes.palette import sample_textures
from d4rt_ros.scenes.raycast import SKY, first_hit
from d4rt_ros.scenes.rendering import frame_tables, pixel_rays
from d4rt_ros.scenes.scene import TEXTURE_COLUMNS, Scenes
from d4rt_ros.scenes.sensor import sample_sensors

NEAREST = 0.03  # mean depths: what is nearer than this fills the view
PER_METRE = (
    "frequency_x frequency_y frequency_z stripe_x stripe_y stripe_z cross_x cross_y cross_z print_scale"
)


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from. Lengths marked (D) are in units of the scene's mean depth."""

    mean_depth: tuple[float, float] = (0.5, 6.0)  # metres, log-uniform
    mean_depth_outdoors: tuple[float, float] = (1.5, 12.0)  # the same for open grounds, without the sky
    near: float = 0.2  # metres, about: the nearest of what a few looks meet
    far: float = 50.0  # metres, nothing but the sky is farther
    field_of_view: tuple[float, float] = (40.0, 110.0)  # degrees, horizontal
    ordinary_lenses: float = 0.5  # share of fields of view between 50 and 70 degrees, if in the range
    still_scenes: float = 0.35  # share in which nothing moves
    still_cameras: float = 0.06  # share of cameras that stand still
    panning_cameras: float = 0.06  # share that only turns
    driving_cameras: float = 0.12  # share that goes along its view
    shaking_cameras: float = 0.15  # share that trembles strongly
    outdoors: float = 0.2  # share of open grounds under a sky
    desks: float = 0.3  # share of close views down on a table
    camera_speed: tuple[float, float] = (0.06, 0.5)  # (D) per second, log-uniform
    camera_turn: tuple[float, float] = (5.0, 40.0)  # degrees per second, on top of orbiting, log-uniform
    body_speed: tuple[float, float] = (0.1, 1.2)  # (D) per second at the fastest, log-uniform
    walkers: float = 0.2  # share of scenes with a figure whose limbs swing
    arms: float = 0.2  # share of scenes with an arm or a lamp on two hinges
    doors: float = 0.1  # share of rooms with a door that swings
    stretching: float = 0.15  # share of scenes with things that become taller and thinner and back
    lettered: float = 0.12  # share of surfaces with lines of letters
    photographs: float = 0.0  # share of surfaces with photographs; more than 0 needs scikit-image
    exposure: tuple[float, float] = (0.002, 0.03)  # seconds, log-uniform, of the blurred ones
    real_sensors: float = 0.7  # share of cameras that expose by themselves, and are noisy and soft
    blurred: float = 0.5  # share of cameras whose exposure takes time
    period: float | None = None  # seconds after which everything repeats; None = never


def sample_scenes(
    batch: int, seed: int | torch.Generator, config: SceneConfig = SceneConfig(), device="cpu"
) -> Scenes:
    """`batch` scenes of a seed (or of a CPU generator, which moves on).

    Drawing many at once is far cheaper per scene: draw a few hundred and index them. More candidates are
    drawn than asked for, and those whose camera is too near to something, or sees little but a flat wall, or
    nothing of what moves, are dropped.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    candidates = _candidates(Draw(2 * batch + 8, generator), config)
    scale, fault = _probe(candidates)
    best = torch.argsort(fault, stable=True)[:batch].sort().values
    draw = Draw(batch, generator)
    candidates, (mean, near, far) = candidates[best], (s[best] for s in scale)
    outdoors = draw.log_uniform(*config.mean_depth_outdoors)
    wanted = torch.where(candidates.sky, outdoors, draw.log_uniform(*config.mean_depth))
    wanted = torch.maximum(wanted / mean, config.near / near)
    scenes = _scaled(candidates, torch.minimum(wanted, config.far / far))
    return _stopped(scenes, draw.chance(config.still_scenes)).to(device)


def sample_times(
    batch: int, frames: int, generator: torch.Generator, stride=(0.03, 0.3), start=(0.0, 100.0)
) -> torch.Tensor:
    """(batch, frames) seconds: a random start and a log-uniform stride between frames, in seconds."""
    draw = Draw(batch, generator)
    return draw.uniform(*start, 1) + draw.log_uniform(*stride, 1) * torch.arange(frames)


def has_clear_view(scenes: Scenes, times: torch.Tensor) -> torch.Tensor:
    """(B,) bool: at `times` (B, T) the camera is inside its room, and nothing is at its lens.

    Scenes move for ever, and `sample_scenes` looks at a few moments of them.
    """
    room, depth, _ = _look(scenes, times)
    return (room < 1.0) & (depth.nan_to_num(1e6).amin((1, 2)) > NEAREST * depth.nanmean((1, 2)))


def _candidates(draw: Draw, config: SceneConfig) -> Scenes:
    """Scenes whose mean depth is about 1."""
    outdoors, desks = draw.chance(config.outdoors), draw.chance(config.desks)
    tables = draw.chance(0.5) | desks
    room = torch.stack([draw.uniform(0.8, 2.1), draw.uniform(0.8, 2.1), draw.uniform(0.45, 0.8)], -1)
    ground = torch.stack([draw.uniform(2, 6), draw.uniform(2, 6), draw.uniform(1.5, 4)], -1)
    room = torch.where(outdoors[:, None], ground, room)
    camera, view = sample_cameras(draw, config, room, outdoors, desks)
    bodies = sample_bodies(draw, config, room, view, desks, tables, outdoors)
    lights = _lights(draw)
    return Scenes(
        **camera, **bodies, **lights, shapes=SHAPES, sky=outdoors,
        texture=sample_textures(draw, config, SHAPES, outdoors, tables),
        sensor=sample_sensors(draw, config),
        exposure=draw.log_uniform(*config.exposure) * draw.chance(config.blurred),
    )  # fmt: skip


def _lights(draw: Draw) -> dict[str, torch.Tensor]:
    direction = torch.cat([draw.uniform(-1, 1, 2), draw.uniform(0.35, 1.5, 1)], -1)
    warm = torch.tensor([0.1, 0.0, -0.15]) * draw.uniform(0, 1, 1) * draw.chance(0.5)[:, None]
    tint = 1.0 + 0.08 * draw.normal(3) + warm
    sun, exposure = draw.uniform(0.1, 1.1, 1), draw.log_uniform(0.9, 1.7, 1)
    around = (draw.uniform(0.8, 1.2, 1) - 0.6 * sun).clamp_min(0.25)
    return dict(
        light_direction=torch.nn.functional.normalize(direction, dim=-1),
        light=exposure * sun * tint,
        ambient=exposure * around * (2.0 - tint),
        shadow=draw.uniform(0.0, 1.0) * draw.chance(0.7),
    )


def _probe(scenes: Scenes) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Mean and least depth (B,) but for the sky and an upper bound of all, and how bad the views are (B,): 0 = fine."""
    times = torch.linspace(0.0, 40.0, 6).expand(len(scenes), -1)
    room, depth, primitive = _look(scenes, times)
    mean = depth.nanmean((1, 2))
    near = depth.nan_to_num(1e6).amin((1, 2))
    reach = scenes.camera_position.abs() + scenes.position_amplitude.abs().sum(1)
    far = (scenes.half_size[:, 0] + reach)[:, :2].norm(dim=-1)
    flat = torch.where(depth.isnan(), mean[:, None, None], depth).log().std(-1).amin(1) < 0.12
    seen = primitive.flatten(2).clamp_min(0).long()
    cover = torch.nn.functional.one_hot(seen, len(scenes.shapes))[..., 1:].float().mean(2).amax((1, 2))
    empty = depth.isnan().float().mean((1, 2))
    batch = torch.arange(len(scenes))[:, None, None, None]
    motion = scenes.moving[batch, primitive.clamp_min(0).long()].float().mean((1, 2, 3))
    fault = (
        4.0 * (room > 0.97)
        + (near / mean < 0.15) * (2.0 - near / mean)
        + 0.5 * flat
        + (cover > 0.55) * (0.5 + cover)
        + (empty > 0.45) * (1.0 + empty)
        + (motion < 0.02) * (0.5 - 10.0 * motion)
    )
    return (mean, near, far), fault


def _look(scenes: Scenes, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How near the camera comes to the room's walls (B,), 1 = on one; and of 7x9 pixels of each frame the depth
    (B, T, 63), NaN in the sky, and the primitive (B, T, 7, 9)."""
    tables = frame_tables(scenes, camera_poses(scenes, times), times)
    x, y = pixel_rays(scenes, 7, 9, 1)
    depth, primitive = first_hit(tables, scenes.shapes, (x, y, torch.ones_like(x)))
    room = tables["camera_origin"][:, :, 0].abs().amax((1, 2))
    return room, torch.where(primitive == SKY, torch.nan, depth).flatten(2), primitive


def _stopped(scenes: Scenes, still: torch.Tensor) -> Scenes:
    """The same scenes, but in those of `still` (B,) nothing moves except the camera."""
    changed = {}
    for name in ("amplitude", "spin_rate", "spin_amplitude", "hinge", "stretch", "moving"):
        value = getattr(scenes, name)
        mask = ~still.reshape(-1, *[1] * (value.dim() - 1))
        # Hinges keep their mean angle.
        changed[name] = value * (mask | torch.tensor([True, False, True, True]) if name == "hinge" else mask)
    return replace(scenes, **changed)


def _scaled(scenes: Scenes, scale: torch.Tensor) -> Scenes:
    """The same pictures of scenes that are `scale` (B,) times as large."""
    lengths = "camera_position camera_target position_amplitude target_amplitude".split()
    lengths += "half_size center offset amplitude pivot".split()
    changed = {}
    for name in lengths:
        value = getattr(scenes, name)
        changed[name] = value * scale.reshape(-1, *[1] * (value.dim() - 1))
    texture = scenes.texture.clone()
    per_metre = [i for i, name in enumerate(TEXTURE_COLUMNS) if name in PER_METRE.split()]
    texture[..., per_metre] /= scale[:, None, None]
    return replace(scenes, **changed, texture=texture)
