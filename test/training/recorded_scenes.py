"""Recorded sequences whose truth is known: rendered scenes, and points before a wall."""

from __future__ import annotations

import numpy as np
import torch

from d4rt_ros.geometry.transforms import pose_from_quaternion
from d4rt_ros.io.recorded import PointTracks, RecordedFrame, RecordedSequence
from d4rt_ros.scenes import SceneConfig, render, sample_scenes, sample_times

HEIGHT, WIDTH, FRAMES = 48, 80, 6


def rendered_sequence(seed: int = 3, still: float = 1.0, count: int = FRAMES):
    """(sequence, scenes, times): one scene with a moving camera, in which nothing else moves if still is 1."""
    scenes = sample_scenes(1, seed, SceneConfig(still_scenes=still, still_cameras=0.0))
    times = sample_times(1, count, torch.Generator().manual_seed(seed), (0.1, 0.2))
    made = render(scenes, times, HEIGHT, WIDTH)
    intrinsics = made.intrinsics[0].double().numpy()

    def read(i: int) -> RecordedFrame:
        pose = made.world_from_camera[0, i].double().numpy()
        return RecordedFrame(made.rgb[0, i].numpy(), made.depth[0, i].numpy(), intrinsics, pose, i / 10)

    return RecordedSequence(f"rendered {seed}", bool(still), count, read), scenes, times


def wall_sequence(count: int = 8) -> RecordedSequence:
    """A wall at z = 4; the camera at (0.1 i, 0, 0) looks along z. Of three points the last one moves, and the
    second one is hidden in odd frames."""
    intrinsics = np.array([[60.0, 0, 40], [0, 60, 24], [0, 0, 1]])
    points = np.array([[-0.5, 0.2, 4], [0.6, -0.3, 4], [0.0, 0.0, 2.0]])

    def read(i: int) -> RecordedFrame:
        rgb = np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        depth = np.full((HEIGHT, WIDTH), 4, np.float32)
        return RecordedFrame(
            rgb, depth, intrinsics, pose_from_quaternion([0, 0, 0, 1], [0.1 * i, 0, 0]), float(i)
        )

    def tracks(frames):
        way = np.array([0.0, 0.0, 1.0])[:, None] * 0.05 * np.array(frames)
        moved = points[:, None] + way[..., None] * [0, 1, 0]
        visible = np.ones(moved.shape[:2], bool)
        visible[1, np.array(frames) % 2 == 1] = False
        return PointTracks(moved, visible)

    return RecordedSequence("wall", False, count, read, tracks)
