"""Recorded sequences whose truth is known: rendered scenes, and points before a wall."""

from __future__ import annotations

import numpy as np
import torch

from d4rt_ros.geometry import Pinhole, pose_from_quaternion
from d4rt_ros.io import Frame
from d4rt_ros.io.recorded import PointTracks, RecordedSequence
from d4rt_ros.scenes import SceneConfig, render, sample_scenes, sample_times

HEIGHT, WIDTH, FRAMES = 48, 80, 6


def rendered_sequence(seed: int = 3, still: float = 1.0, count: int = FRAMES):
    """(sequence, scenes, times): one scene with a moving camera, in which nothing else moves if still is 1."""
    scenes = sample_scenes(1, seed, SceneConfig(still_scenes=still, still_cameras=0.0))
    times = sample_times(1, count, torch.Generator().manual_seed(seed), (0.1, 0.2))
    made = render(scenes, times, HEIGHT, WIDTH)
    camera = Pinhole.from_matrix(made.intrinsics[0].double().numpy(), WIDTH, HEIGHT)

    def read(i: int) -> Frame:
        pose = made.world_from_camera[0, i].double().numpy()
        image, depth = made.rgb[0, i].numpy(), made.depth[0, i].numpy()
        return Frame(image, i * 10**8, camera, depth=depth, world_from_camera=pose)

    return RecordedSequence(f"rendered {seed}", bool(still), count, read), scenes, times


def wall_sequence(count: int = 8) -> RecordedSequence:
    """A wall at z = 4; the camera at (0.1 i, 0, 0) looks along z. Of three points the last one moves, and the
    second one is hidden in odd frames."""
    camera = Pinhole(60.0, 60.0, 40.0, 24.0, WIDTH, HEIGHT)
    points = np.array([[-0.5, 0.2, 4], [0.6, -0.3, 4], [0.0, 0.0, 2.0]])

    def read(i: int) -> Frame:
        rgb = np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        depth = np.full((HEIGHT, WIDTH), 4, np.float32)
        pose = pose_from_quaternion([0, 0, 0, 1], [0.1 * i, 0, 0])
        return Frame(rgb, i * 10**9, camera, depth=depth, world_from_camera=pose)

    def tracks(frames):
        way = np.array([0.0, 0.0, 1.0])[:, None] * 0.05 * np.array(frames)
        moved = points[:, None] + way[..., None] * [0, 1, 0]
        visible = np.ones(moved.shape[:2], bool)
        visible[1, np.array(frames) % 2 == 1] = False
        return PointTracks(moved, visible)

    return RecordedSequence("wall", False, count, read, tracks)
