"""Recorded sequences with what was measured beside the images: depth, poses, intrinsics, tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from d4rt_ros.geometry.transforms import is_rigid, nearest_rotation, pose_matrix

POSE_TOLERANCE = 1e-2  # of a rotation's orthonormality: text files are written with few digits


class RecordedError(ValueError):
    """Recorded data that cannot be used; says which file, what was wrong and what was expected."""


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of a recorded sequence.

    rgb: (H, W, 3) uint8. depth: (H, W) float32 metres along z, NaN where unknown, or None. intrinsics: (3, 3)
    float64 pixels, centres at integers. world_from_camera: (4, 4) float64, the optical camera, or None.
    stamp: seconds, or None.
    """

    rgb: np.ndarray
    depth: np.ndarray | None
    intrinsics: np.ndarray
    world_from_camera: np.ndarray | None
    stamp: float | None = None


@dataclass(frozen=True)
class PointTracks:
    """Points that were followed through T frames: points (N, T, 3) world metres, visible (N, T) bool."""

    points: np.ndarray
    visible: np.ndarray


def _no_tracks(frames: Sequence[int]) -> None:
    return None


@dataclass(frozen=True)
class RecordedSequence:
    """A sequence of which frames are decoded when they are asked for.

    static: nothing but the camera moves. `frame(i)` raises RecordedError where its files cannot be used.
    """

    name: str
    static: bool
    count: int
    read: Callable[[int], RecordedFrame]
    read_tracks: Callable[[Sequence[int]], PointTracks | None] = _no_tracks

    def __len__(self) -> int:
        return self.count

    def frame(self, i: int) -> RecordedFrame:
        if not 0 <= i < self.count:
            raise IndexError(f"{self.name} has frames 0 to {self.count - 1}, not {i}")
        return _checked(self.read(i), f"{self.name}, frame {i}")

    def tracks(self, frames: Sequence[int]) -> PointTracks | None:
        """Tracks over these frames, T = len(frames); None where the data set has none."""
        return self.read_tracks(frames)


def part(sequence: RecordedSequence, start: int, stop: int) -> RecordedSequence:
    """Frames start … stop-1 of a sequence as a sequence."""
    return replace(
        sequence,
        name=f"{sequence.name}[{start}:{stop}]",
        count=stop - start,
        read=lambda i: sequence.frame(start + i),
        read_tracks=lambda frames: sequence.tracks([start + i for i in frames]),
    )


def _checked(frame: RecordedFrame, where: str) -> RecordedFrame:
    size = frame.rgb.shape[:2]
    if frame.depth is not None and frame.depth.shape != size:
        raise RecordedError(
            f"{where}: depth is {frame.depth.shape[1]}x{frame.depth.shape[0]}, the image {size[1]}x{size[0]}; "
            "expected depth registered to the image, pixel by pixel"
        )
    k = frame.intrinsics
    if k.shape != (3, 3) or not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
        raise RecordedError(f"{where}: intrinsics are {k.tolist()}; expected a finite (3, 3) camera matrix")
    if frame.world_from_camera is None:
        return frame
    return replace(frame, world_from_camera=checked_pose(frame.world_from_camera, where))


def checked_pose(pose: np.ndarray, where: str) -> np.ndarray:
    """(4, 4) with an exact rotation; raises RecordedError for NaN, infinities, or no rigid transform."""
    if not np.isfinite(pose).all():
        raise RecordedError(f"{where}: the pose has numbers that are not finite; expected a rigid 4x4 matrix")
    if not is_rigid(pose, POSE_TOLERANCE):
        raise RecordedError(f"{where}: the pose {np.round(pose, 3).tolist()} is no rigid 4x4 matrix")
    return pose_matrix(nearest_rotation(pose[:3, :3]), pose[:3, 3])


def read_rgb(file: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file."""
    import cv2

    image = cv2.imread(str(file), cv2.IMREAD_COLOR) if file.is_file() else None
    if image is None:
        raise RecordedError(f"{file}: {_missing(file)}; expected a colour image (jpg, png)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_depth_png(file: Path, scale: float = 0.001) -> np.ndarray:
    """(H, W) float32 metres of a 16-bit image of which one step is `scale` metres; NaN for 0 and 65535."""
    import cv2

    raw = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.is_file() else None
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        found = _missing(file) if raw is None else f"has type {raw.dtype} and shape {raw.shape}"
        raise RecordedError(f"{file}: {found}; expected depth as a 16-bit image of one channel")
    return np.where((raw == 0) | (raw == 65535), np.nan, raw * np.float32(scale)).astype(np.float32)


def read_numbers(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A text file of numbers as a float64 array; -1 in the shape stands for any number of rows."""
    try:
        text = "\n".join(line.split("#")[0] for line in file.read_text().splitlines())
        return np.array(text.replace(",", " ").split(), np.float64).reshape(shape)
    except FileNotFoundError:
        raise RecordedError(f"{file}: is missing; expected {_described(shape)}") from None
    except (ValueError, OSError):
        raise RecordedError(f"{file}: cannot be read as {_described(shape)}") from None


def read_pose(file: Path) -> np.ndarray:
    """world_from_camera (4, 4) from a text file of 16 numbers."""
    return checked_pose(read_numbers(file, (4, 4)), str(file))


def _missing(file: Path) -> str:
    return "cannot be decoded" if file.is_file() else "is missing"


def _described(shape: tuple[int, ...]) -> str:
    return f"rows of {shape[1]} numbers" if shape[0] < 0 else f"{shape[0]}x{shape[1]} numbers"
