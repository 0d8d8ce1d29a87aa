"""PointOdyssey (Zheng et al. 2023), versions 1.1 and 1.2: animated people and things, tracked."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import read_depth, read_rgb
from d4rt_ros.io.recorded import (
    PointTracks,
    RecordedError,
    RecordedSequence,
    checked_pose,
)
from d4rt_ros.paths import expanded

DEPTH_STEP = 1000 / 65535  # metres
RATE = 30.0  # Hz


def open_pointodyssey(folder: str | Path) -> RecordedSequence:
    """A scene: rgbs/rgb_00000.jpg, depths/depth_00000.png, anno.npz (trajs_3d in world metres, visibs, valids,
    intrinsics, extrinsics as camera_from_world). Frame i is the i-th image and the i-th row of anno.npz."""
    folder = expanded(folder)
    images = sorted(folder.glob("rgbs/*.jpg"))
    if not images:
        raise RecordedError(f"{folder}: holds no rgbs/*.jpg; expected a scene of PointOdyssey")
    if not any(folder.glob("depths/*.png")):
        raise RecordedError(f"{folder}: holds no depths/*.png; expected a scene of PointOdyssey with depth")
    annotations = folder / "anno.npz"
    intrinsics, extrinsics = (read_rows(annotations, name) for name in ("intrinsics", "extrinsics"))
    if not len(images) == len(intrinsics) == len(extrinsics):
        raise RecordedError(
            f"{annotations}: has cameras of {len(extrinsics)} frames, but there are {len(images)} images"
        )

    def read(i: int) -> Frame:
        image = read_rgb(images[i])
        depth = read_depth(folder / "depths" / f"{images[i].stem.replace('rgb', 'depth')}.png", DEPTH_STEP)
        pose = checked_pose(extrinsics[i].astype(np.float64), f"{annotations}, extrinsics of frame {i}")
        return Frame(
            image,
            even_stamp(i, RATE),
            Pinhole.from_matrix(intrinsics[i].astype(np.float64), image.shape[1], image.shape[0]),
            depth=depth,
            world_from_camera=invert(pose),
        )

    def tracks(frames: Sequence[int]) -> PointTracks | None:
        points = read_rows(annotations, "trajs_3d", frames).astype(np.float64)
        if points.ndim != 3:  # scenes of which nothing was tracked have an empty array
            return None
        seen = read_rows(annotations, "visibs", frames) == 1
        seen &= read_rows(annotations, "valids", frames) == 1
        seen &= np.isfinite(points).all(-1)
        return PointTracks(points.transpose(1, 0, 2), seen.T)

    return RecordedSequence(folder.name, static=False, count=len(images), read=read, read_tracks=tracks)


def read_rows(file: Path, name: str, rows: Sequence[int] | None = None) -> np.ndarray:
    """Rows of an array of an .npz; only these are held in memory, however large it is. None: all."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, column_major, dtype = read_header(stream)
            if column_major or dtype.hasobject:
                raise ValueError("not an array of numbers in C order")
            if not shape or 0 in shape:
                return np.empty(shape, dtype)  # nothing is in it
            start, size = stream.tell(), int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            rows = range(shape[0]) if rows is None else rows
            values = np.empty((len(rows), *shape[1:]), dtype)
            # In the file's order, since to go back in a compressed file is to begin again.
            for place in np.argsort(rows, kind="stable"):
                stream.seek(start + int(rows[place]) * size)
                values[place] = np.frombuffer(stream.read(size), dtype).reshape(shape[1:])
            return values
    except FileNotFoundError:
        raise RecordedError(f"{file}: is missing; expected an .npz with {name}") from None
    except KeyError:
        raise RecordedError(f"{file}: has no array {name}") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise RecordedError(f"{file}: {name} cannot be read ({error}); is the file complete?") from None
