"""Held-out procedural sequences for masks of what moves: a camera that moves among things, some of which do too.

**What counts as moving.** A pixel is dynamic where the point of the surface that it shows has been, at any moment of
the last 0.5 s, farther than 1 % of its depth from where it is now, in the world (`dynamic_masks`). It is a statement
about the point and not about the thing: a thing that pauses is static while it does, and so is the hub of what turns.
Half a second is how soon what starts has to be noticed; what is slower than 2 % of its depth a second is hardly told
from the depth's noise by any method. It is "at any moment" and not "half a second ago", since what swings comes back to
where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from d4rt_ros.evaluation.run_truth import square_pixels
from d4rt_ros.geometry import Pinhole
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.scenes import (
    SceneConfig,
    Scenes,
    camera_poses,
    has_clear_view,
    intrinsics,
    primitive_half_sizes,
    primitive_poses,
    render,
    sample_scenes,
)
from d4rt_ros.scenes.raycast import first_hit
from d4rt_ros.scenes.rendering import frame_tables, pixel_rays

MOVED = 0.01  # of its depth, by which a point must have moved
WITHIN = 0.5  # seconds, in which it must have
MOMENTS = 5  # of these, evenly apart, are compared with now
RATE, SECONDS = 15.0, 2.0  # Hz and length of a sequence
WIDTH, HEIGHT = 320, 240
LEAST = 0.01  # share of the image that must move for a frame to be scored
LARGE = 0.2  # share of the image from which on its moving part is large
# Seeds that scenes are drawn with, and the next ones: of the figures, and of whatever has to be tuned. Runs and clips
# of other evaluations are drawn with small numbers and with HELD_OUT_SEEDS, training's are hashes of 63 bits.
HELD_OUT_SEED, TUNING_SEED = 4_711_000_000, 8_150_000_000
POOL = 32  # scenes are drawn so many at a time
MOST_POOLS = 1000
LOOKS = 6  # moments of a sequence, at which it is looked at in a small image before it is taken
LOOK_SIZE = 24, 32

_MOVES = SceneConfig(still_scenes=0.0, still_cameras=0.0, panning_cameras=0.0)
KINDS = {
    "moving": _MOVES,  # things move and things rest, and the camera moves
    "static": SceneConfig(still_scenes=1.0, still_cameras=0.0, panning_cameras=0.0),  # only the camera moves
    "large": _MOVES,  # over a fifth of the image moves, in the median of a sequence
}


@dataclass(frozen=True)
class MaskScene:
    """A sequence with true masks. scenes: a batch of one. times: (N,) seconds of the frames, `rate` a second.
    size: (height, width). compile: see `scenes.render`."""

    name: str
    scenes: Scenes
    times: np.ndarray
    size: tuple[int, int] = (HEIGHT, WIDTH)
    rate: float = RATE
    compile: bool = False

    def frames(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Frames with camera, true depth and pose, each with its true mask (H, W) bool, one after another."""
        return map(self.frame, range(len(self.times)))

    @torch.inference_mode()
    def frame(self, number: int) -> tuple[Frame, np.ndarray]:
        """Frame `number`, and its true mask."""
        height, width = self.size
        time = torch.tensor([[self.times[number]]], dtype=torch.float32)
        picture = render(self.scenes, time, height, width, compile=self.compile)
        mask = dynamic_masks(self.scenes, time, picture.depth, picture.primitive)[0, 0].numpy()
        matrix = intrinsics(self.scenes, height, width)[0].double().numpy()
        frame = Frame(
            picture.rgb[0, 0].numpy(),
            even_stamp(number, self.rate),
            Pinhole.from_matrix(matrix, width, height),
            depth=picture.depth[0, 0].numpy(),
            world_from_camera=picture.world_from_camera[0, 0].double().numpy(),
        )
        return frame, mask


def mask_scenes(
    kind: str, count: int, seed: int = HELD_OUT_SEED, seconds: float = SECONDS, rate: float = RATE
) -> Iterator[MaskScene]:
    """The first `count` sequences of a kind (one of KINDS) that fit it, one after another: the n-th is the same
    whatever `count` is. A sequence fits where its view is clear all the time, and of "moving" and "large", where
    moving things cover over LEAST, or LARGE, of the image in the median of its frames, and where things rest in view
    besides the room."""
    times = np.arange(round(seconds * rate)) / rate
    looks = torch.as_tensor(np.linspace(min(WITHIN, times[-1]), times[-1], LOOKS), dtype=torch.float32)
    taken = 0
    for pool in range(MOST_POOLS):
        scenes = square_pixels(sample_scenes(POOL, seed + pool, KINDS[kind]), WIDTH, HEIGHT)
        for n in torch.nonzero(_fits(kind, scenes, looks.expand(POOL, -1)))[:, 0].tolist():
            if taken == count:
                return
            taken += 1
            yield MaskScene(f"{kind} {seed + pool}/{n}", scenes[n], times, rate=rate)


@torch.inference_mode()
def dynamic_masks(
    scenes: Scenes, times: torch.Tensor, depth: torch.Tensor, primitive: torch.Tensor
) -> torch.Tensor:
    """(B, T, H, W) bool: which pixels show a point that has moved, as the head of this module defines it.

    times: (B, T) seconds. depth, primitive: (B, T, H, W) of a rendering at these times.
    """
    b, t, y, x = torch.nonzero(
        scenes.moving[torch.arange(len(scenes))[:, None, None, None], primitive.clamp_min(0).long()]
        & (primitive >= 0),
        as_tuple=True,
    )
    rays = pixel_rays(scenes, *depth.shape[2:], 1)
    p, z = primitive[b, t, y, x].long(), depth[b, t, y, x]
    seen = torch.stack([rays[0][b, 0, y, x] * z, rays[1][b, 0, y, x] * z, z], -1)
    pose = camera_poses(scenes, times)[b, t]
    now = _turned(pose[:, :3, :3], seen) + pose[:, :3, 3]
    rotation, place, half = _at(scenes, times, b, t, p)
    # A point keeps its place in unit coordinates, also where the primitive's size changes.
    unit = _turned(rotation.transpose(-1, -2), now - place) / half
    farthest = torch.zeros_like(z)
    for k in range(1, MOMENTS + 1):
        rotation, place, half = _at(scenes, times - WITHIN * k / MOMENTS, b, t, p)
        farthest = torch.maximum(farthest, (_turned(rotation, unit * half) + place - now).norm(dim=-1))
    mask = torch.zeros_like(primitive, dtype=torch.bool)
    mask[b, t, y, x] = farthest > MOVED * z
    return mask


def _at(scenes: Scenes, times: torch.Tensor, b, t, p) -> tuple[torch.Tensor, ...]:
    """Rotation, translation and half size of primitives p of the scenes b at their times t, (n, ...) each."""
    return tuple(
        table[b, t, p] for table in (*primitive_poses(scenes, times), primitive_half_sizes(scenes, times))
    )


def _turned(rotation: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (rotation @ v[..., None])[..., 0]


@torch.inference_mode()
def _fits(kind: str, scenes: Scenes, looks: torch.Tensor) -> torch.Tensor:
    """(B,) bool; see `mask_scenes`."""
    clear = has_clear_view(scenes, looks)
    if kind == "static":
        return clear
    x, y = pixel_rays(scenes, *LOOK_SIZE, 1)
    tables = frame_tables(scenes, camera_poses(scenes, looks), looks)
    depth, primitive = first_hit(tables, scenes.shapes, (x, y, torch.ones_like(x)))
    moved = dynamic_masks(scenes, looks, depth, primitive).float().mean((2, 3)).median(1).values
    batch = torch.arange(len(scenes))[:, None, None, None]
    resting = (primitive > 0) & ~scenes.moving[batch, primitive.clamp_min(0).long()]
    rests = resting.float().mean((2, 3)).median(1).values > LEAST
    return clear & rests & (moved > (LARGE if kind == "large" else LEAST))
