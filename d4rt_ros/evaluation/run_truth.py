"""Long runs whose truth is known: procedural sequences, and folders of posed RGB-D frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from d4rt_ros.evaluation.run_tracks import Whereabout, Whereabouts
from d4rt_ros.geometry import Pinhole
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.scenes import (
    SceneConfig,
    Scenes,
    ground_truth,
    has_clear_view,
    intrinsics,
    render,
    sample_scenes,
)

RATE = 15.0  # Hz
WIDTH, HEIGHT = 320, 240
CANDIDATES = 24  # scenes drawn for each sequence; the first whose camera sees clearly all the time is taken
LOOKS = 3.0  # a second: how often that is looked at
STANDS = 4.0  # seconds that a camera stands still, in the middle of its sequence
BRAKING = 0.5  # seconds until it does, and until it moves again as before
NOISE = 2.0  # of 255, of images of which many show the same: no two of a real camera are the same
CHUNK = 16384  # points that are looked for together, so that memory stays bounded
# What a procedural sequence shows: the ranges it is drawn from, where they are not those of training.
KINDS = {
    "moving": SceneConfig(still_scenes=0.0, still_cameras=0.0, panning_cameras=0.0),
    "static": SceneConfig(still_scenes=1.0, still_cameras=0.0, panning_cameras=0.0),
    "panning": SceneConfig(still_scenes=1.0, still_cameras=0.0, panning_cameras=1.0),
    "standing": SceneConfig(still_scenes=0.0, still_cameras=0.0, panning_cameras=0.0),
}


@dataclass(frozen=True)
class Run:
    """A sequence with its truth.

    frames: gives its frames, one after another, anew each time, with true depth and pose as far as they are known, and
    with their camera. whereabouts: see `run_tracks.Whereabout`; None
    where nobody knows.
    """

    name: str
    count: int
    frames: Callable[[], Iterator[Frame]]
    whereabouts: Whereabout | None = None


@dataclass(frozen=True)
class RunTruth:
    """What is known of the N frames of a run.

    stamps: (N,) ns. depth: (N, h, w) metres at a grid's pixels, NaN where unknown. world_from_camera: (N, 4, 4), NaN
    where unknown. size: (height, width) of the images. whereabouts: see Run.
    """

    stamps: np.ndarray
    depth: np.ndarray
    world_from_camera: np.ndarray
    size: tuple[int, int]
    whereabouts: Whereabout | None = None


def procedural_run(
    kind: str, seed: int, count: int, stride: int = 1, width: int = WIDTH, height: int = HEIGHT
) -> Run:
    """`count` frames, every `stride`-th of a sequence at 15 Hz of a scene that is drawn from `seed`; square pixels.

    kind: one of KINDS: with things that move ("moving"), without ("static"), without and with a camera that only turns
    ("panning"), or with all standing still for 4 s in the middle ("standing").
    Raises ValueError where none of the scenes that are drawn has a clear view all the time.
    """
    times = sequence_times(kind, count * stride)[::stride]
    scenes = square_pixels(sample_scenes(CANDIDATES, seed, KINDS[kind]), width, height)
    looks = torch.as_tensor(times[:: max(1, round(RATE / stride / LOOKS))], dtype=torch.float32)
    clear = torch.nonzero(has_clear_view(scenes, looks.expand(len(scenes), -1)))
    if not len(clear):
        raise ValueError(
            f"seed {seed}: none of {CANDIDATES} scenes has a clear view for {count} frames; take fewer, or another seed"
        )
    noise = NOISE if kind == "standing" else 0.0
    truth = SceneTruth(scenes[int(clear[0, 0])], times, (height, width), RATE / stride, noise)
    return Run(f"{kind} {seed}", count, truth.frames, truth.whereabouts)


def sequence_times(kind: str, count: int) -> np.ndarray:
    """(count,) seconds of the scene at the frames of a sequence."""
    seconds = np.arange(count) / RATE
    if kind != "standing":
        return seconds
    middle = seconds[-1] / 2
    ends = middle - STANDS / 2, middle + STANDS / 2
    pace = np.interp(seconds, [ends[0] - BRAKING, *ends, ends[1] + BRAKING], [1.0, 0.0, 0.0, 1.0])
    return np.concatenate([[0.0], np.cumsum(pace[1:] + pace[:-1]) / (2 * RATE)])


def square_pixels(scenes: Scenes, width: int, height: int) -> Scenes:
    """The same scenes seen by cameras of the same width of view, whose pixels are square in images of this size."""
    fx = scenes.focal[:, 0] * (width - 1)
    focal = torch.stack([scenes.focal[:, 0], fx / (height - 1)], -1)
    return replace(scenes, focal=focal, aspect=torch.full_like(scenes.aspect, width / height))


@dataclass(frozen=True)
class SceneTruth:
    """A scene, a batch of one, at times (N,) seconds, in images of `size` (height, width) that come at `rate` Hz and to
    which noise is added."""

    scenes: Scenes
    times: np.ndarray
    size: tuple[int, int]
    rate: float = RATE
    noise: float = 0.0

    def frames(self) -> Iterator[Frame]:
        height, width = self.size
        matrix = intrinsics(self.scenes, height, width)[0].double().numpy()
        camera = Pinhole.from_matrix(matrix, width, height)
        for number, time in enumerate(self.times):
            moment = torch.tensor([[time]], dtype=torch.float32)
            with torch.inference_mode():
                picture = render(self.scenes, moment, height, width)
            yield Frame(
                self._noisy(picture.rgb[0, 0].numpy(), number),
                even_stamp(number, self.rate),
                camera,
                depth=picture.depth[0, 0].numpy(),
                world_from_camera=picture.world_from_camera[0, 0].double().numpy(),
            )

    def _noisy(self, image: np.ndarray, number: int) -> np.ndarray:
        if not self.noise:
            return image
        noise = np.random.default_rng(number).normal(0.5, self.noise, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    def whereabouts(self, pixels: np.ndarray, t_src: np.ndarray, t_tgt: np.ndarray) -> Whereabouts:
        parts = [
            self._whereabouts(pixels[k : k + CHUNK], t_src[k : k + CHUNK], t_tgt[k : k + CHUNK])
            for k in range(0, max(len(pixels), 1), CHUNK)
        ]
        return Whereabouts(*(np.concatenate(x) for x in zip(*(vars(part).values() for part in parts))))

    @torch.inference_mode()
    def _whereabouts(self, pixels: np.ndarray, t_src: np.ndarray, t_tgt: np.ndarray) -> Whereabouts:
        # Tables are made for the times that are asked for, not for all of a long run.
        moments, index = np.unique(np.concatenate([t_src, t_tgt, [0]]), return_inverse=True)
        source, target = (torch.from_numpy(x)[None] for x in (index[: len(t_src)], index[len(t_src) : -1]))
        scale = np.array(self.size[::-1]) - 1.0
        uv = torch.as_tensor(pixels / scale, dtype=torch.float32)[None]
        times = torch.as_tensor(self.times[moments], dtype=torch.float32)[None]
        truth = ground_truth(self.scenes, times, uv, source, target, target)
        return Whereabouts(
            truth.uv[0].double().numpy() * scale, truth.visibility[0].numpy(), truth.moving[0].numpy()
        )


def recorded_run(
    sequence: RecordedSequence, count: int | None = None, stride: int = 1, rate: float | None = None
) -> Run:
    """Every `stride`-th frame of a recorded sequence, the first `count` of these.

    rate: Hz of the frames that are taken; None: their stamps are right. Raises RecordedError where there is none.
    """
    numbers = range(0, len(sequence), stride)[:count]
    if not numbers:
        raise RecordedError(f"{sequence.name}: has no frames")

    def frames() -> Iterator[Frame]:
        for k, number in enumerate(numbers):
            frame = sequence.frame(number)
            yield frame if rate is None else replace(frame, stamp=even_stamp(k, rate))

    return Run(sequence.name, len(numbers), frames)
