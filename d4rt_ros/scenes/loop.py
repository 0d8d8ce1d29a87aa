"""A scene as a film whose end is its beginning: its frames, rendered side by side, and the true tracks in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from d4rt_ros.geometry import transform
from d4rt_ros.scenes.motion import camera_poses
from d4rt_ros.scenes.rendering import render
from d4rt_ros.scenes.sampling import SceneConfig, sample_scenes
from d4rt_ros.scenes.scene import Scenes
from d4rt_ros.scenes.truth import ground_truth


@dataclass(frozen=True)
class LoopFrame:
    """rgb: (H, W, 3) uint8. depth: (H, W) float32 metres along z, NaN in the sky. world_from_camera: (4, 4) float64."""

    rgb: np.ndarray
    depth: np.ndarray
    world_from_camera: np.ndarray


def looping_scene(seed: int, moving: bool, period: float, width: int, height: int) -> Scenes:
    """Scenes of a batch of one with square pixels, which repeats after `period` seconds."""
    config = SceneConfig(still_scenes=0.0 if moving else 1.0, still_cameras=0.0, period=period)
    scenes = sample_scenes(1, seed, config)
    fx = scenes.focal[:, 0] * (width - 1)
    focal = torch.stack([scenes.focal[:, 0], fx / (height - 1)], -1)
    return replace(scenes, focal=focal, aspect=torch.full_like(scenes.aspect, width / height))


def render_frames(
    scenes: Scenes, height: int, width: int, count: int, rate: float, stop: threading.Event
) -> Iterator[LoopFrame]:
    """`count` frames, 1 / rate seconds apart, in order and each as soon as it is there; fewer where `stop` is set.

    On all CPU cores, or the GPU; meanwhile the caller may do something else with those that it has.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scenes = scenes.to(device)

    @torch.inference_mode()
    def frame(index: int) -> LoopFrame | None:
        if stop.is_set():
            return None
        picture = render(scenes, torch.tensor([[index / rate]], device=device), height, width, samples=1)
        parts = picture.rgb, picture.depth, picture.world_from_camera.double()
        return LoopFrame(*(part[0, 0].cpu().numpy() for part in parts))

    torch.set_num_threads(1)  # frames side by side; threads within a frame would wait for each other
    pool = ThreadPoolExecutor(1 if device == "cuda" else len(os.sched_getaffinity(0)))
    try:
        for made in pool.map(frame, range(count)):
            if made is None:
                return
            yield made
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class TrueTracks:
    """Of N points at T times.

    positions: (N, T, 3) in the world, metres. pixels: (N, T, 2). visible: (N, T) bool. moving: (N,) bool.
    """

    positions: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray
    moving: np.ndarray


def true_tracks(
    scenes: Scenes, seconds: np.ndarray, size: tuple[int, int], grid: tuple[int, int]
) -> TrueTracks:
    """The points that a grid (rows, columns) of the last image sees, at each of the times (T,).

    size: (width, height) of the image.
    """
    times = torch.as_tensor(seconds, dtype=torch.float32)[None]
    rows, columns = grid
    v, u = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    count, steps = rows * columns, len(seconds)
    uv = torch.as_tensor(np.stack([u, v], -1), dtype=torch.float32).reshape(1, count, 1, 2)
    uv = uv.expand(-1, -1, steps, -1).reshape(1, -1, 2)
    newest = torch.full((1, count * steps), steps - 1)
    target = torch.arange(steps).repeat(count)[None]
    truth = ground_truth(scenes, times, uv, newest, target, newest)
    pose = camera_poses(scenes, times)[0, -1].double().numpy()
    shape = count, steps
    pixels = truth.uv[0].numpy() * (np.array(size) - 1)
    return TrueTracks(
        positions=transform(pose, truth.xyz[0].double().numpy()).reshape(*shape, 3),
        pixels=pixels.reshape(*shape, 2),
        visible=truth.visibility[0].numpy().reshape(shape),
        moving=truth.moving[0].numpy().reshape(shape)[:, -1],
    )


def enlarge(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 of a smaller image, outer pixel centres on outer pixel centres."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    small_from_large = np.float64([[(columns - 1) / (width - 1), 0, 0], [0, (rows - 1) / (height - 1), 0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, small_from_large, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
