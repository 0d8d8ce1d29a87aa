"""Exact answers: where is the point seen at (u, v) of t_src, at time t_tgt, in the camera frame of t_cam?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from d4rt_ros.scenes.motion import camera_poses
from d4rt_ros.scenes.raycast import SKY, first_hit, unit_normal
from d4rt_ros.scenes.rendering import frame_tables
from d4rt_ros.scenes.scene import Scenes

HIDDEN_BY = 2e-3  # a point counts as hidden when something is nearer by more than this share of its depth
EDGE = 1e-5  # rounding that the border of the image forgives


@dataclass(frozen=True)
class Truth:
    """Answers to Q queries in each of B scenes.

    xyz: (B, Q, 3) metres, the point at time t_tgt in the camera frame of t_cam.
    uv: (B, Q, 2) its place in the image of t_tgt, normalised; may lie outside 0..1, NaN behind the camera.
    visibility: (B, Q) bool, in the image of t_tgt and not hidden there.
    displacement: (B, Q, 3) metres, X(t_tgt) - X(t_src), both in the camera frame of t_cam.
    normal: (B, Q, 3) unit, at t_tgt in the frame of t_cam, of the side that faces the camera of t_src.
    moving: (B, Q) bool, the point belongs to something that moves (not necessarily between these times).
    depth: (B, Q) metres along z of the point at t_src in its own camera. primitive: (B, Q) int32, -1 = sky.
    valid: (B, Q) bool, the source ray met a surface in front of the camera. In the sky it did not: there
    xyz, uv, displacement, normal and depth are NaN, and visibility and moving False.
    """

    xyz: torch.Tensor
    uv: torch.Tensor
    visibility: torch.Tensor
    displacement: torch.Tensor
    normal: torch.Tensor
    moving: torch.Tensor
    depth: torch.Tensor
    primitive: torch.Tensor
    valid: torch.Tensor


def ground_truth(scenes: Scenes, times, uv, t_src, t_tgt, t_cam) -> Truth:
    """Exact for any uv, not only at pixel centres: the ray is cast and the point that it meets moves along.

    times: (B, T) seconds. uv: (B, Q, 2) in the image of t_src, u = x / (W - 1), v = y / (H - 1).
    t_src, t_tgt, t_cam: (B, Q) integers in 0..T-1.
    """
    times = times.to(scenes.device, torch.float32)
    poses = camera_poses(scenes, times)
    tables = frame_tables(scenes, poses, times)
    batch = torch.arange(len(scenes), device=scenes.device)[:, None]
    ray = (uv - scenes.principal[:, None]) / scenes.focal[:, None]
    depth, primitive = _cast(scenes, tables, batch, t_src, ray)
    sky = primitive == SKY
    p = primitive.clamp_min(0).long()

    def at(t):
        """Rotation and translation, world from primitive, and half size at the times t: (B, Q, …)."""
        s = tables["surface"][batch, t, p]
        return s[..., :9].unflatten(-1, (3, 3)), s[..., 9:12], s[..., 12:15]

    source, target, camera = (poses[batch, t] for t in (t_src, t_tgt, t_cam))
    seen = torch.cat([ray, torch.ones_like(ray[..., :1])], -1) * depth[..., None]
    at_source = _apply(source[..., :3, :3], seen) + source[..., :3, 3]
    rotation, translation, half = at(t_src)
    # A point keeps its place in unit coordinates, also where the primitive's size changes.
    unit = _apply(rotation.transpose(-1, -2), at_source - translation) / half
    outward = torch.stack(unit_normal(unit.unbind(-1), p, scenes.taper[batch, p], scenes.shapes), -1)
    outward = torch.where((p == 0)[..., None], -outward, outward)

    rotation, translation, half = at(t_tgt)
    at_target = _apply(rotation, unit * half) + translation
    normal = _apply(rotation, torch.nn.functional.normalize(outward / half, dim=-1))
    moving = scenes.moving[batch, p] & ~sky
    # A point that stays is the very same point: no rounding in its displacement.
    at_target = torch.where((moving & (t_src != t_tgt))[..., None], at_target, at_source)

    into_camera = camera[..., :3, :3].transpose(-1, -2)
    view = _apply(target[..., :3, :3].transpose(-1, -2), at_target - target[..., :3, 3])
    ahead = view[..., 2] > 1e-3
    ray = torch.where(ahead[..., None], view[..., :2] / view[..., 2:], torch.nan)
    uv_target = ray * scenes.focal[:, None] + scenes.principal[:, None]
    inside = ((uv_target > -EDGE) & (uv_target < 1.0 + EDGE)).all(-1)
    first, _ = _cast(scenes, tables, batch, t_tgt, torch.nan_to_num(ray))
    faces = ((target[..., :3, 3] - at_target) * normal).sum(-1) > 0
    clear = view[..., 2] <= first * (1.0 + HIDDEN_BY)

    def known(value: torch.Tensor) -> torch.Tensor:
        return torch.where(sky[..., None], torch.nan, value)

    return Truth(
        xyz=known(_apply(into_camera, at_target - camera[..., :3, 3])),
        uv=known(uv_target),
        visibility=ahead & inside & faces & clear & ~sky,
        displacement=known(_apply(into_camera, at_target - at_source)),
        normal=known(_apply(into_camera, normal)),
        moving=moving,
        depth=known(depth[..., None])[..., 0],
        primitive=primitive,
        valid=(depth > 1e-3) & (depth < 1e5) & ~sky,
    )


def _apply(matrix: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (matrix * v[..., None, :]).sum(-1)


def _cast(scenes: Scenes, tables, batch, t, ray) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth and primitive (B, Q) that the camera rays (B, Q, 2) of the times t (B, Q) meet."""
    x, y = ray[..., 0, None, None], ray[..., 1, None, None]
    at = {name: tables[name][batch, t] for name in ("camera_origin", "camera_map")}
    at |= {name: tables[name] for name in ("taper", "sky")}
    depth, primitive = first_hit(at, scenes.shapes, (x, y, torch.ones_like(x)))
    return depth[..., 0, 0], primitive[..., 0, 0]


def boundary_mask(depth: torch.Tensor, primitive: torch.Tensor, threshold: float = 0.08) -> torch.Tensor:
    """Pixels (B, T, H, W) bool beside a jump in depth or the edge of a thing, from a rendering's two images.

    threshold: how far the Sobel gradient of the logarithm of depth goes per pixel before it counts as a jump.
    """
    # The sky is as far as the farthest: its edge is a jump, and so is that of every NaN beside a thing.
    depth = torch.nan_to_num(depth, nan=1e4)
    log = torch.nn.functional.pad(depth.log().flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    side = torch.tensor([1.0, 2.0, 1.0], device=depth.device) / 8.0
    step = torch.tensor([-1.0, 0.0, 1.0], device=depth.device)
    sobel = torch.stack([torch.outer(side, step), torch.outer(step, side)])[:, None]
    jump = torch.nn.functional.conv2d(log, sobel).abs().amax(1).reshape(depth.shape) > threshold
    across = primitive[..., 1:] != primitive[..., :-1]
    down = primitive[..., 1:, :] != primitive[..., :-1, :]
    jump[..., 1:] |= across
    jump[..., :-1] |= across
    jump[..., 1:, :] |= down
    jump[..., :-1, :] |= down
    return jump
