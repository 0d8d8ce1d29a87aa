"""Images of scenes with exact geometry: every pixel's ray is met with analytic primitives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from d4rt_ros.scenes.motion import camera_poses, primitive_half_sizes, primitive_poses
from d4rt_ros.scenes.photographs import photograph_table
from d4rt_ros.scenes.raycast import SKY, Vector, any_hit, dot, first_hit, unit_normal
from d4rt_ros.scenes.scene import (
    ROOM_FACES,
    TEXTURE_COLUMNS,
    Scenes,
    Shapes,
    intrinsics,
)
from d4rt_ros.scenes.sensor import develop
from d4rt_ros.scenes.texture import albedo

TILE_PIXELS = 1 << 17
# Where in a pixel its rays go, by their number: the centre, a diagonal, a rotated square.
SAMPLES = {
    1: ((0.0, 0.0),),
    2: ((-0.25, -0.25), (0.25, 0.25)),
    4: ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125)),
}


@dataclass(frozen=True)
class Rendering:
    """T frames of B scenes.

    rgb: (B, T, H, W, 3) uint8, averaged over each pixel's area and the exposure.
    depth: (B, T, H, W) float32 metres along z, at pixel centres in the middle of the exposure, as are the
    others; NaN in the sky.
    normals: (B, T, H, W, 3) float32 unit, in the camera's frame, facing it. None where not asked for.
    primitive: (B, T, H, W) int32 slot of the surface seen, 0 = the room, -1 = the sky.
    moving: (B, T, H, W) bool, the surface belongs to something that moves.
    world_from_camera: (B, T, 4, 4) float32. intrinsics: (B, 3, 3) float32, in pixels.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    normals: torch.Tensor | None
    primitive: torch.Tensor
    moving: torch.Tensor
    world_from_camera: torch.Tensor
    intrinsics: torch.Tensor


def render(
    scenes: Scenes, times: torch.Tensor, height: int, width: int,
    samples: int = 2, normals: bool = False, compile: bool = False,
) -> Rendering:  # fmt: skip
    """Frames of every scene at `times` (B, T) seconds.

    samples: rays per pixel that are averaged for the colour: 1, 2 or 4. They are spread over the pixel and
    over the exposure: motion blurs at no cost of its own.
    compile: fuse with torch.compile (needs a C++ compiler, or a GPU); about ten times faster after a first
    call of a minute or so for each shape.
    """
    times = times.to(scenes.device, torch.float32)
    pose = camera_poses(scenes, times)
    frames = frame_tables(scenes, pose, times)
    rays = pixel_rays(scenes, height, width, 1)
    fine, fine_frames = rays, frames
    if samples > 1:
        spread = (torch.arange(samples, device=scenes.device) + 0.5) / samples - 0.5
        moments = (times[..., None] + scenes.exposure[:, None, None] * spread).flatten(1)
        fine_frames = frame_tables(scenes, camera_poses(scenes, moments), moments)
        fine = tuple(r.repeat(1, times.shape[1], 1, 1) for r in pixel_rays(scenes, height, width, samples))
    photos = photograph_table(scenes.texture)
    shadow = scenes.shadow[:, None].expand(-1, 3)
    lights = torch.stack([scenes.light_direction, scenes.light, scenes.ambient, shadow], 1)
    pixel = 1.0 / (scenes.focal[:, 0] * (width - 1))  # metres that a pixel covers at one metre
    trace, shade, finish = _functions(scenes.shapes, samples, compile)
    depth, primitive, rgb = [], [], []
    for b, rows in _tiles(scenes, times.shape[1], height, width, samples):
        part = {name: table[b] for name, table in frames.items()}
        x, y = (r[b, :, rows] for r in rays)
        hits = trace(x, y, part)
        depth.append(hits[0])
        primitive.append(hits[1])
        if samples > 1:
            part = {name: table[b] for name, table in fine_frames.items()}
            x, y = (r[b, :, rows] for r in fine)
            hits = trace(x, y, part)
        rgb.append(shade(*hits, x, y, pixel[b], part, scenes.texture[b], lights[b], photos))
    depth, primitive, rgb = (_assemble(t, len(scenes)) for t in (depth, primitive, rgb))
    parts = [slice(b, b + 1) for b in range(len(scenes))] if scenes.device.type == "cpu" else [slice(None)]
    rgb = [finish(rgb[b], times[b], scenes.sensor[b]) for b in parts]
    batch = torch.arange(len(scenes), device=scenes.device)[:, None, None, None]
    return Rendering(
        torch.cat(rgb), torch.where(primitive == SKY, torch.nan, depth),
        image_normals(depth, primitive, rays, frames, scenes.shapes) if normals else None,
        primitive, scenes.moving[batch, primitive.clamp_min(0).long()], pose,
        intrinsics(scenes, height, width),
    )  # fmt: skip


def _tiles(scenes: Scenes, frames: int, height: int, width: int, samples: int):
    """(scenes, rows) slices in order. On a CPU one scene at a time and few rows: all stays in the cache."""
    if scenes.device.type != "cpu":
        return [(slice(0, len(scenes)), slice(0, height))]
    bands = -(-frames * height * width * samples // TILE_PIXELS)
    rows = -(-height // bands)
    starts = range(0, height, rows)
    return [(slice(b, b + 1), slice(r, min(r + rows, height))) for b in range(len(scenes)) for r in starts]


def _assemble(tiles: list[torch.Tensor], batch: int) -> torch.Tensor:
    bands = len(tiles) // batch if len(tiles) > 1 else 1
    scenes = [torch.cat(tiles[i : i + bands], 2) for i in range(0, len(tiles), bands)]
    return torch.cat(scenes) if len(scenes) > 1 else scenes[0]


def pixel_rays(scenes: Scenes, height: int, width: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x, y (B, s, H, W) of the camera rays (x, y, 1) of each pixel's s samples."""
    dx, dy = torch.tensor(SAMPLES[samples], device=scenes.device).T[..., None, None]
    x = (torch.arange(width, device=scenes.device) + dx).expand(-1, height, -1)
    y = (torch.arange(height, device=scenes.device)[:, None] + dy).expand(-1, -1, width)
    points = zip((x, y), (width, height), scenes.principal.unbind(1), scenes.focal.unbind(1))
    return tuple((p / (n - 1) - c[:, None, None, None]) / f[:, None, None, None] for p, n, c, f in points)


def frame_tables(scenes: Scenes, pose: torch.Tensor, times: torch.Tensor) -> dict[str, torch.Tensor]:
    """Where the primitives are in each frame.

    unit_map (B, T, P, 3, 3), unit_origin (B, T, P, 3): unit = unit_map @ world + unit_origin.
    camera_map, camera_origin: the same from camera coordinates. surface (B, T, P, 19): rotation row by row,
    translation, half size, half size at rest, taper. pose (B, T, 3, 4): world_from_camera. taper (B, P) and
    sky (B,) as in Scenes.
    """
    rotation, translation = primitive_poses(scenes, times)
    half, rest = primitive_half_sizes(scenes, times), scenes.half_size[:, None].expand_as(translation)
    taper = scenes.taper[:, None, :, None].expand_as(translation[..., :1])
    unit_map = rotation.transpose(-1, -2) / half[..., None]
    unit_origin = -(unit_map @ translation[..., None])[..., 0]
    return {
        "unit_map": unit_map,
        "unit_origin": unit_origin,
        "camera_map": unit_map @ pose[:, :, None, :3, :3],
        "camera_origin": (unit_map @ pose[:, :, None, :3, 3:])[..., 0] + unit_origin,
        "surface": torch.cat([rotation.flatten(-2), translation, half, rest, taper], -1),
        "pose": pose[:, :, :3],
        "taper": scenes.taper,
        "sky": scenes.sky,
    }


def _trace(shapes, x, y, frames):
    """Depth (B, T, H, W) and primitive of the camera rays (x, y, 1)."""
    return first_hit(frames, shapes, (x, y, torch.ones_like(x)))


def _shade(shapes, samples, depth, primitive, x, y, pixel, frames, texture, lights, photos):
    """Colours (B, T, H, W, 3) uint8 of what the camera rays meet, averaged over each pixel's samples.

    lights (B, 4, 3): direction, light, ambient, shadow.
    """
    world, to_camera, local, normal, unit, face = surface_at(depth, primitive, x, y, frames, shapes)
    slot = _texture_slot(primitive, unit)
    row = slot.long() + torch.arange(len(texture), device=x.device)[:, None, None, None] * texture.shape[1]
    flat = texture.flatten(0, 1)

    def column(name: str) -> torch.Tensor:
        return flat[:, TEXTURE_COLUMNS.index(name)][row]

    facing = dot(normal, to_camera).clamp_min(0.08)
    footprint = depth * pixel[:, None, None, None] / facing
    # The sky's texture lies on a sphere around the camera.
    is_sky = primitive == SKY
    radius = frames["surface"][:, :, :1, 17, None]
    local = tuple(torch.where(is_sky, -radius * a, p) for a, p in zip(to_camera, local))
    footprint = torch.where(is_sky, radius * pixel[:, None, None, None], footprint)
    base = albedo(local, face, column, footprint, photos)
    sun, light, ambient, shadow = (
        tuple(lights[:, k, i, None, None, None] for i in range(3)) for k in range(4)
    )
    lit = dot(normal, sun).clamp_min(0.0)
    lit = lit * (1.0 - shadow[0] * _in_shadow(shapes, world, normal, lights[:, 0], frames))
    half = tuple(a + b for a, b in zip(sun, to_camera))
    shine = (dot(normal, half) * torch.rsqrt(dot(half, half).clamp_min(1e-6))).clamp_min(0.0)
    for _ in range(4):
        shine = shine * shine
    shine = shine * lit * column("specular")
    sky = (0.7 + 0.3 * normal[2]) * _corner_shade(primitive, unit)
    emission = column("emission")
    colours = []
    for reflect, bright, around in zip(base, light, ambient):
        received = around * sky + bright * lit
        colour = reflect * (received + (1.0 - received) * emission) + bright * shine
        colours.append(torch.sqrt(colour.clamp(0.0, 1.0)))
    return torch.stack([_to_bytes(c, samples) for c in colours], -1)


def _to_bytes(c: torch.Tensor, samples: int) -> torch.Tensor:
    b, t, h, w = c.shape
    c = c.reshape(b, t // samples, samples, h, w).mean(2)
    return (c * 255.0 + 0.5).to(torch.uint8)


def surface_at(depth, primitive, x, y, frames, shapes):
    """What the rays (x, y, 1) meet at `depth`, each a Vector of (B, T, H, W).

    World point, unit vector to the camera, point in the primitive's metres at rest, unit world normal facing
    the camera, point in unit coordinates, normal direction in the primitive's frame (not unit).
    """
    pose = frames["pose"][..., None, None]
    beam = (x * depth, y * depth, depth)
    arm = tuple(
        pose[:, :, i, 0] * beam[0] + pose[:, :, i, 1] * beam[1] + pose[:, :, i, 2] * beam[2] for i in range(3)
    )
    world = tuple(arm[i] + pose[:, :, i, 3] for i in range(3))
    surface = frames["surface"]
    b, t, count, _ = surface.shape
    frame = torch.arange(b * t, device=depth.device).reshape(b, t, 1, 1)
    row = primitive.clamp_min(0).long() + frame * count
    flat = surface.flatten(0, 2)
    s = [flat[:, i][row] for i in range(19)]
    v = tuple(world[i] - s[9 + i] for i in range(3))
    local = tuple(s[i] * v[0] + s[3 + i] * v[1] + s[6 + i] * v[2] for i in range(3))
    unit = tuple(local[i] / s[12 + i] for i in range(3))
    n = unit_normal(unit, primitive, s[18], shapes)
    n = tuple(n[i] / s[12 + i] for i in range(3))
    sign = torch.where(primitive <= 0, -1.0, 1.0) * torch.rsqrt(dot(n, n).clamp_min(1e-20))
    normal = tuple((s[3 * i] * n[0] + s[3 * i + 1] * n[1] + s[3 * i + 2] * n[2]) * sign for i in range(3))
    distance = torch.rsqrt(dot(arm, arm).clamp_min(1e-12))
    rest = tuple(unit[i] * s[15 + i] for i in range(3))
    return world, tuple(-a * distance for a in arm), rest, normal, unit, n


def _texture_slot(primitive: torch.Tensor, unit: Vector) -> torch.Tensor:
    """The room's faces have textures of their own: floor, ceiling, walls across x, walls across y."""
    a = tuple(c.abs() for c in unit)
    level = (a[2] >= a[0]) & (a[2] >= a[1])
    face = torch.where(level, torch.where(unit[2] > 0, 1, 0), torch.where(a[0] > a[1], 2, 3))
    face = torch.where(primitive == 0, face, 1)  # the sky is the ceiling's texture
    return torch.where(primitive <= 0, face, primitive + (ROOM_FACES - 1))


def _corner_shade(primitive: torch.Tensor, unit: Vector) -> torch.Tensor:
    """Less light reaches the room's corners."""
    shade = 1.0
    for c in unit:
        gap = (1.0 - c.abs()).clamp_min(0.0)
        shade = shade * (1.0 - 0.35 * torch.exp(-8.0 * gap))
    return torch.where(primitive == 0, shade / 0.65, 1.0)


def _in_shadow(shapes, world: Vector, normal: Vector, light_direction, frames) -> torch.Tensor:
    unit_map = frames["unit_map"]
    towards = (unit_map @ light_direction[:, None, None, :, None])[..., 0]
    start = tuple(w + 2e-3 * n for w, n in zip(world, normal))
    return any_hit(frames, shapes, start, towards).float()


def image_normals(depth, primitive, rays, frames, shapes) -> torch.Tensor:
    """(B, T, H, W, 3) unit normals in the camera's frame."""
    normal = surface_at(depth, primitive, *rays, frames, shapes)[3]
    return torch.einsum("btji,bthwj->bthwi", frames["pose"][..., :3], torch.stack(normal, -1))


@lru_cache
def _functions(shapes: Shapes, samples: int, compile: bool):
    trace, shade = partial(_trace, shapes), partial(_shade, shapes, samples)
    if not compile:
        return trace, shade, develop
    return tuple(torch.compile(f, dynamic=False) for f in (trace, shade, develop))
