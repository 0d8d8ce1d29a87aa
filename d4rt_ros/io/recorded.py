"""Recorded sequences with what was measured beside the images: depth, poses, intrinsics, tracks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from d4rt_ros.geometry.camera import CameraError
from d4rt_ros.geometry.transforms import is_rigid, nearest_rotation, pose_matrix
from d4rt_ros.io.encoded_images import ImageError
from d4rt_ros.io.frame import Frame

T = TypeVar("T")
POSE_TOLERANCE = 1e-2  # of a rotation's orthonormality: text files are written with few digits


class RecordedError(ValueError):
    """Recorded data that cannot be used; says which file, what was wrong and what was expected."""


@dataclass(frozen=True)
class PointTracks:
    """Points that were followed through T frames: points (N, T, 3) world metres, visible (N, T) bool."""

    points: np.ndarray
    visible: np.ndarray


def _no_tracks(frames: Sequence[int]) -> None:
    return None


@dataclass(frozen=True)
class RecordedSequence:
    """A sequence of which frames are decoded when they are asked for; each has a camera.

    static: nothing but the camera moves. `frame(i)` raises RecordedError where its files cannot be used. Stamps are as
    recorded, or, where no time was, evenly spaced from 0 (`io.frame.even_stamp`).
    """

    name: str
    static: bool
    count: int
    read: Callable[[int], Frame]
    read_tracks: Callable[[Sequence[int]], PointTracks | None] = _no_tracks

    def __len__(self) -> int:
        return self.count

    def frame(self, i: int) -> Frame:
        if not 0 <= i < self.count:
            raise IndexError(f"{self.name} has frames 0 to {self.count - 1}, not {i}")
        where = f"{self.name}, frame {i}"
        try:
            return _checked(self.read(i), where)
        except ImageError as error:  # it names the file
            raise RecordedError(str(error)) from None
        except CameraError as error:
            raise RecordedError(f"{where}: its intrinsics are no camera's: {error}") from None

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


def _checked(frame: Frame, where: str) -> Frame:
    size = frame.image.shape[:2]
    if frame.depth is not None and frame.depth.shape != size:
        raise RecordedError(
            f"{where}: depth is {frame.depth.shape[1]}x{frame.depth.shape[0]}, the image {size[1]}x{size[0]}; "
            "expected depth registered to the image, pixel by pixel"
        )
    camera = frame.camera
    if camera is None or (camera.height, camera.width) != size:
        what = "none" if camera is None else f"those of {camera.width}x{camera.height}"
        raise RecordedError(
            f"{where}: its intrinsics are {what}; expected those of the image, {size[1]}x{size[0]}"
        )
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


def read_lines(file: Path, wanted: str) -> list[str]:
    """The lines of a text file that are neither empty nor comments, whatever a system made of their ends and beginning.

    Raises RecordedError, that says `wanted`, where it cannot be read.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise RecordedError(f"{file}: is missing; expected {wanted}") from None
    except OSError as error:
        raise RecordedError(f"{file}: cannot be read ({error.strerror}); expected {wanted}") from None
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # Windows writes both
    lines = (line.split("#")[0].strip() for line in data.decode(encoding, errors="replace").splitlines())
    return [line for line in lines if line]


def read_matrix(file: Path, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) float64 from a text file of as many numbers; rows -1: any. Other lines do not count."""
    wanted = f"rows of {columns} numbers" if rows < 0 else f"{rows}x{columns} numbers"
    numbers = [row for line in read_lines(file, wanted) if (row := _numbers(line))]
    try:
        return np.concatenate([[], *numbers]).reshape(rows, columns)
    except ValueError:
        raise RecordedError(f"{file}: cannot be read as {wanted}") from None


def read_rows(file: Path, wanted: str, row: Callable[[str], T | None]) -> list[T]:
    """`row` of every line, but for those of which it is None: they are lost, with a warning that counts them.

    Raises RecordedError where the file cannot be read or no line is left.
    """
    lines = read_lines(file, wanted)
    found = [(line, row(line)) for line in lines]
    rows = [value for _, value in found if value is not None]
    if not rows:
        raise RecordedError(f"{file}: has no lines of {wanted}")
    if len(rows) < len(lines):
        first = next(line for line, value in found if value is None)
        warnings.warn(
            f"{file}: {len(lines) - len(rows)} of {len(lines)} lines are left out, the first is {first[:60]!r}; "
            f"expected {wanted}",
            stacklevel=4,
        )
    return rows


def numbers_row(count: int) -> Callable[[str], np.ndarray | None]:
    """For `read_rows`: a line of `count` finite numbers, with blanks, commas or semicolons between them."""

    def row(line: str) -> np.ndarray | None:
        numbers = _numbers(line)
        return np.array(numbers) if numbers and len(numbers) == count and np.isfinite(numbers).all() else None

    return row


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in re.split(r"[\s,;]+", line.strip(" ,;")) if word]
    except ValueError:
        return None


def read_pose(file: Path) -> np.ndarray:
    """world_from_camera (4, 4) from a text file of 16 numbers."""
    return checked_pose(read_matrix(file, 4, 4), str(file))
