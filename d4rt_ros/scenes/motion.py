"""Where cameras and primitives are at a time: sums of waves, hinges, and sizes that change."""

from __future__ import annotations

import math

import torch

from d4rt_ros.scenes.scene import Scenes


def camera_poses(scenes: Scenes, times: torch.Tensor) -> torch.Tensor:
    """world_from_camera (B, T, 4, 4) of the optical camera at `times` (B, T) seconds."""
    angle = times[..., None] * scenes.camera_frequency[:, None] + scenes.camera_phase[:, None]  # (B, T, K)
    wave = torch.sin(angle)
    position = scenes.camera_position[:, None] + wave @ scenes.position_amplitude
    target = scenes.camera_target[:, None] + wave @ scenes.target_amplitude
    roll = (wave @ scenes.roll_amplitude[..., None])[..., 0]
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], device=times.device).expand_as(forward)
    right = torch.nn.functional.normalize(torch.cross(forward, up, dim=-1), dim=-1)
    down = torch.cross(forward, right, dim=-1)
    cos, sin = torch.cos(roll)[..., None], torch.sin(roll)[..., None]
    pose = torch.zeros(*times.shape, 4, 4, device=times.device)
    pose[..., :3, 0] = cos * right + sin * down
    pose[..., :3, 1] = cos * down - sin * right
    pose[..., :3, 2] = forward
    pose[..., :3, 3] = position
    pose[..., 3, 3] = 1.0
    return pose


def primitive_poses(scenes: Scenes, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """world_from_primitive at `times` (B, T): rotation (B, T, P, 3, 3) and translation (B, T, P, 3)."""
    angle = times[..., None, None] * scenes.frequency[:, None] + scenes.phase[:, None]  # (B, T, P, J)
    wave = torch.sin(angle)
    spin = times[..., None] * scenes.spin_rate[:, None] + (wave * scenes.spin_amplitude[:, None]).sum(-1)
    body = axis_rotation(scenes.spin_axis[:, None], spin)
    place = scenes.center[:, None] + (wave[..., None] * scenes.amplitude[:, None]).sum(-2)
    rotation = quaternion_matrix(scenes.rotation)[:, None]
    # What stretches does so from its lower end.
    rise = (primitive_half_sizes(scenes, times) - scenes.half_size[:, None])[..., 2:]
    offset = scenes.offset[:, None] + rotation[..., 2] * rise
    middle, amplitude, frequency, phase = scenes.hinge[:, None].unbind(-1)  # (B, 1, P, 2) each
    opening = middle + amplitude * torch.sin(times[..., None, None] * frequency + phase)
    for k in (1, 0):
        hinge = axis_rotation(scenes.hinge_axis[:, None, :, k], opening[..., k])
        pivot = scenes.pivot[:, None, :, k]
        offset = pivot + (hinge @ (offset - pivot)[..., None])[..., 0]
        rotation = hinge @ rotation
    return body @ rotation, place + (body @ offset[..., None])[..., 0]


def primitive_half_sizes(scenes: Scenes, times: torch.Tensor) -> torch.Tensor:
    """Half sizes (B, T, P, 3) in metres at `times` (B, T): a point of the surface keeps its share of them."""
    wave = torch.sin(times[..., None] * scenes.stretch_frequency[:, None] + scenes.stretch_phase[:, None])
    return scenes.half_size[:, None] * (1.0 + scenes.stretch[:, None] * wave[..., None])


def axis_rotation(axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) of a turn by `angle` (...) rad about the unit `axis` (..., 3)."""
    half = (0.5 * torch.remainder(angle, 4 * math.pi))[..., None]
    return quaternion_matrix(torch.cat([torch.sin(half) * axis, torch.cos(half)], -1))


def quaternion_matrix(q: torch.Tensor) -> torch.Tensor:
    """Rotation (..., 3, 3) of unit quaternions (..., 4) in x, y, z, w."""
    x, y, z, w = q.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
