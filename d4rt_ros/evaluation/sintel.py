"""MPI Sintel's training sequences with depth and cameras (Butler et al. 2012), as its own tools document them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d4rt_ros.geometry import Pinhole, invert, pose_matrix
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import read_rgb
from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.paths import expanded

# The 14 of 23 sequences that papers on video depth and camera pose evaluate on.
SEQUENCES = (
    "alley_2 ambush_4 ambush_5 ambush_6 cave_2 cave_4 market_2 market_5 market_6 shaman_3 sleeping_1 sleeping_2 "
    "temple_2 temple_3"
).split()
TAG = np.float32(202021.25)  # "PIEH" as a little-endian float: the first four bytes of every file
RATE = 24.0  # Hz
FAR = 70.0  # metres; what is further away does not count, as in these papers


def open_sintel(folder: Path) -> list[RecordedSequence]:
    """The papers' sequences of a folder `training` with final/, depth/ and camdata_left/ (or one above it).

    Depth beyond 70 m is unknown. Raises RecordedError where there is none of them, or one lacks files; `frame(i)`
    where a file cannot be read.
    """
    folder = expanded(folder)
    folder = folder / "training" if (folder / "training").is_dir() else folder
    names = [name for name in SEQUENCES if (folder / "final" / name).is_dir()]
    if not names:
        raise RecordedError(
            f"{folder}: holds none of Sintel's sequences; expected final/{SEQUENCES[0]}, depth/{SEQUENCES[0]}, "
            f"camdata_left/{SEQUENCES[0]} and so on"
        )
    return [_sequence(folder, name) for name in names]


def _sequence(folder: Path, name: str) -> RecordedSequence:
    images = sorted((folder / "final" / name).glob("frame_*.png"))
    if not images:
        raise RecordedError(f"{folder / 'final' / name}: holds no images; expected frame_0001.png and so on")

    def read(i: int) -> Frame:
        stem = images[i].stem
        depth = read_dpt(folder / "depth" / name / f"{stem}.dpt")
        matrix, camera_from_world = read_cam(folder / "camdata_left" / name / f"{stem}.cam")
        known = np.where((depth > 0) & (depth < FAR), depth, np.float32(np.nan))
        return Frame(
            read_rgb(images[i]),
            even_stamp(i, RATE),
            Pinhole.from_matrix(matrix, known.shape[1], known.shape[0]),
            depth=known,
            world_from_camera=invert(camera_from_world),
        )

    return RecordedSequence(name, static=False, count=len(images), read=read)


def read_dpt(file: Path) -> np.ndarray:
    """(H, W) float32 metres along z: the tag, width and height as int32, then the rows."""
    data = _tagged(file)
    width, height = np.frombuffer(data, "<i4", 2, 4) if len(data) >= 12 else (0, 0)
    if width <= 0 or height <= 0 or len(data) != 12 + 4 * int(width) * int(height):
        raise RecordedError(
            f"{file}: says {width}x{height} and has {len(data)} bytes; expected a whole .dpt file of Sintel"
        )
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width)


def read_cam(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) in pixels and camera_from_world (4, 4): the tag, then 9 and 12 float64, row by row."""
    data = _tagged(file)
    if len(data) != 4 + 8 * 21:
        raise RecordedError(f"{file}: has {len(data)} bytes; expected a .cam file of Sintel, of {4 + 8 * 21}")
    numbers = np.frombuffer(data, "<f8", offset=4)
    pose = numbers[9:].reshape(3, 4)
    return numbers[:9].reshape(3, 3).copy(), pose_matrix(pose[:, :3], pose[:, 3])


def _tagged(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RecordedError(
            f"{file}: cannot be read ({error.strerror}); expected it beside the images"
        ) from None
    if len(data) < 4 or np.frombuffer(data, "<f4", 1)[0] != TAG:
        raise RecordedError(
            f"{file}: does not begin with Sintel's tag {TAG}; expected its .dpt or .cam format"
        )
    return data
