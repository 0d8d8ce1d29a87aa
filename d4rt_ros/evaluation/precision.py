"""What a precision costs in accuracy: answers about real frames against those in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.io.frames import SourceError, open_frames
from d4rt_ros.model.query import Answer

GRID = 32  # queries along each side of the newest frame, for depth
TRACKS = 8  # … and of the oldest frame, for pixels and visibility at every time


@dataclass(frozen=True)
class PrecisionError:
    """Against float32, over all clips.

    depth: relative depth difference, median and 95 %; pixels: 2D difference in pixels of the frames, median and
    95 %; visibility: share of queries with the same side of one half.
    """

    depth: tuple[float, float]
    pixels: tuple[float, float]
    visibility: float


def read_clips(source: str, frames: int, stride: int = 2, most: int = 4) -> list[np.ndarray]:
    """Up to `most` clips (frames, H, W, 3) uint8, one behind the other; every `stride`-th frame is kept.

    Raises SourceError where the source is shorter than one clip.
    """
    kept = []
    for index, frame in enumerate(open_frames(source)):
        if index % stride == 0:
            kept.append(frame.image)
        if len(kept) == frames * most:
            break
    clips = [np.stack(kept[i : i + frames]) for i in range(0, len(kept) - frames + 1, frames)]
    if not clips:
        raise SourceError(
            f"{source} has {len(kept)} frames (every {stride}nd is kept); the model's window is {frames}"
        )
    return clips


def answers(model, clips: list[np.ndarray]) -> list[tuple[Answer, Answer]]:
    """For each clip, the depth of its newest frame and tracks from its oldest to every other."""
    return [(_depth(scene), _tracks(scene)) for scene in map(model.encode, clips)]


def precision_error(found: list[tuple[Answer, Answer]], exact: list[tuple[Answer, Answer]]) -> PrecisionError:
    """Compare what `answers` gave at two precisions."""
    depth, pixels, agrees = [], [], []
    for (dense, tracks), (dense32, tracks32) in zip(found, exact):
        depth.append(np.abs(dense.xyz[:, 2] - dense32.xyz[:, 2]) / np.abs(dense32.xyz[:, 2]))
        pixels.append(np.linalg.norm(tracks.uv - tracks32.uv, axis=1))
        agrees.append((tracks.visibility > 0.5) == (tracks32.visibility > 0.5))
    spread = [tuple(np.percentile(np.concatenate(x), (50, 95))) for x in (depth, pixels)]
    return PrecisionError(*spread, float(np.concatenate(agrees).mean()))


def _grid(scene, count: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = scene.size
    u, v = np.meshgrid(np.linspace(0, width - 1, count), np.linspace(0, height - 1, count))
    return u.ravel(), v.ravel()


def _depth(scene) -> Answer:
    return scene.query(*_grid(scene, GRID), -1, -1, -1)


def _tracks(scene) -> Answer:
    u, v = _grid(scene, TRACKS)
    times = np.tile(np.arange(scene.num_frames), len(u))
    return scene.query(*(x.repeat(scene.num_frames) for x in (u, v)), 0, times, times)
