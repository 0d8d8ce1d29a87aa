"""Virtual KITTI 2 (Cabon et al. 2020): rendered drives among other cars."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import read_depth, read_rgb
from d4rt_ros.io.recorded import (
    RecordedError,
    RecordedSequence,
    checked_pose,
)
from d4rt_ros.paths import expanded

CAMERA = 0  # the left one of a stereo pair
DEPTH_STEP = 0.01  # metres; the largest value, 65535, is the sky
RATE = 10.0  # Hz


def open_virtual_kitti(folder: str | Path) -> RecordedSequence:
    """A drive (Scene01/clone) with rgb, depth and textgt unpacked into one place: frames/rgb/Camera_0/*.jpg,
    frames/depth/Camera_0/*.png, intrinsic.txt, extrinsic.txt (camera_from_world).

    Cars move and are not followed, so it is a dynamic sequence without tracks.
    """
    folder = expanded(folder)
    images = sorted(folder.glob(f"frames/rgb/Camera_{CAMERA}/*.jpg"))
    depths = folder / "frames" / "depth" / f"Camera_{CAMERA}"
    if not images:
        raise RecordedError(f"{folder}: holds no frames/rgb/Camera_0/*.jpg; expected a drive (Scene01/clone)")
    if not any(depths.glob("*.png")):
        raise RecordedError(f"{depths}: holds no *.png; unpack the data set's depth into the same folder")
    intrinsics, extrinsics = _table(folder / "intrinsic.txt", 4), _table(folder / "extrinsic.txt", 16)

    def read(i: int) -> Frame:
        name = images[i].stem.removeprefix("rgb_")
        try:
            (fx, fy, cx, cy), extrinsic = intrinsics[int(name)], extrinsics[int(name)].reshape(4, 4)
        except KeyError:
            raise RecordedError(
                f"{folder}: intrinsic.txt or extrinsic.txt has no frame {int(name)} of camera {CAMERA}"
            ) from None
        pose = invert(checked_pose(extrinsic, f"{folder / 'extrinsic.txt'}, frame {int(name)}"))
        image, depth = read_rgb(images[i]), read_depth(depths / f"depth_{name}.png", DEPTH_STEP)
        camera = Pinhole(fx, fy, cx, cy, image.shape[1], image.shape[0])
        return Frame(image, even_stamp(i, RATE), camera, depth=depth, world_from_camera=pose)

    return RecordedSequence("/".join(folder.parts[-2:]), static=False, count=len(images), read=read)


def _table(file: Path, columns: int) -> dict[int, np.ndarray]:
    """Rows "frame camera numbers…" of a file with a header, of the one camera, by frame."""
    try:
        rows = [line.split() for line in file.read_text().splitlines()[1:] if line.strip()]
        table = {int(r[0]): np.array(r[2:], np.float64) for r in rows if int(r[1]) == CAMERA}
    except FileNotFoundError:
        raise RecordedError(
            f"{file}: is missing; unpack the data set's textgt into the same folder"
        ) from None
    except (ValueError, IndexError):
        table = {}
    if not table or any(len(row) != columns for row in table.values()):
        raise RecordedError(f"{file}: expected rows of a frame, a camera and {columns} numbers")
    return table
