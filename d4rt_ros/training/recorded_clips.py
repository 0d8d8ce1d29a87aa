"""Clips cut out of recorded sequences: some frames, a part of each, at the size that a model sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.camera import Pinhole, resized_matrix
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.recorded import PointTracks, RecordedError, RecordedSequence
from d4rt_ros.runtime.scene import resize

# How much larger than what the model sees frames are kept: truth is looked up in their depth, more finely than in
# the model's pixels, and crops are cut out of them.
OVERSIZE = 4


@dataclass(frozen=True)
class RecordedClip:
    """T frames of a sequence, all cut alike.

    rgb: (T, h, w, 3) uint8, as the model sees it. depth: (T, H, W) float32 metres of the same view, finer, NaN where
    unknown. intrinsics: (T, 3, 3) of the depth. world_from_camera: (T, 4, 4), or None. static: nothing but the
    camera moves. tracks: points followed through these frames, or None. name: where it comes from, for people.
    """

    name: str
    rgb: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray | None
    static: bool
    tracks: PointTracks | None

    @property
    def aspect(self) -> float:
        """Width / height of what was photographed."""
        return self.depth.shape[2] / self.depth.shape[1]

    @property
    def unit(self) -> float:
        """The clip's mean depth in metres."""
        return float(np.nanmean(self.depth, dtype=np.float64))

    def pixels(self, uv: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of the depth at the model's u, v (..., 2), which speak of its own small image."""
        ours, theirs = self._sizes()
        return (uv * (theirs - 1) + 0.5) * ours / theirs - 0.5

    def uv(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of `pixels`."""
        ours, theirs = self._sizes()
        return ((pixels + 0.5) * theirs / ours - 0.5) / (theirs - 1)

    def small_depth(self) -> np.ndarray:
        """(T, h, w): the depth at the centres of the model's pixels."""
        return nearest(self.depth, *self.rgb.shape[1:3])

    def _sizes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.depth.shape[:0:-1]), np.array(self.rgb.shape[2:0:-1])


def reduced(frame: Frame, height: int, width: int) -> Frame:
    """A frame at most OVERSIZE times as large as the model's images; without depth it has one full of NaN."""
    size = frame.image.shape[:2]
    scale = min(1.0, OVERSIZE * height / size[0], OVERSIZE * width / size[1])
    after = max(2, round(scale * size[0])), max(2, round(scale * size[1]))
    depth = np.full(after, np.nan, np.float32) if frame.depth is None else nearest(frame.depth, *after)
    camera = Pinhole.from_matrix(resized_matrix(frame.camera.matrix, size, after), after[1], after[0])
    return replace(frame, image=resize(frame.image, *after), camera=camera, lens=None, depth=depth)


def cut_clip(
    sequence: RecordedSequence, frames: list[int], window: np.ndarray, size: tuple[int, int],
    read: Callable[[int], Frame],
) -> RecordedClip:  # fmt: skip
    """The clip of these frames, of which `read` gives the reduced form.

    window: (4,) u0 v0 u1 v1 of the image to see, normalised like uv. size: the model's height and width.
    Raises RecordedError where a frame cannot be used, or nothing of what is seen has depth.
    """
    name = f"{sequence.name}, frames {frames[0]} to {frames[-1]}"
    read_frames = [read(i) for i in frames]
    sizes = {frame.image.shape for frame in read_frames}
    if len(sizes) > 1:
        raise RecordedError(f"{sequence.name}: has images of several sizes, {sorted(sizes)}; expected one")
    height, width = read_frames[0].image.shape[:2]
    x0, x1 = _span(window[0], window[2], width)
    y0, y1 = _span(window[1], window[3], height)
    depth = np.stack([frame.depth[y0:y1, x0:x1] for frame in read_frames])
    if not np.isfinite(depth).any():
        raise RecordedError(f"{name}: no depth is known in what is seen")
    intrinsics = np.stack([frame.camera.matrix for frame in read_frames])
    intrinsics[:, :2, 2] -= x0, y0
    poses = [frame.world_from_camera for frame in read_frames]
    return RecordedClip(
        name,
        np.stack([resize(frame.image[y0:y1, x0:x1], *size) for frame in read_frames]),
        depth,
        intrinsics,
        None if any(pose is None for pose in poses) else np.stack(poses),
        sequence.static,
        sequence.tracks(frames),
    )


def nearest(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images (..., H, W) at another size (..., height, width), without mixing values: those nearest the new centres."""
    rows, columns = (
        ((np.arange(count) + 0.5) * before / count).astype(int)
        for count, before in zip((height, width), images.shape[-2:])
    )
    return images[..., rows[:, None], columns]


def _span(first: float, last: float, count: int) -> tuple[int, int]:
    """The pixels from one place in [0, 1] to another, as a slice's ends; two pixels at least."""
    start = min(round(first * (count - 1)), count - 2)
    return start, max(round(last * (count - 1)), start + 1) + 1
