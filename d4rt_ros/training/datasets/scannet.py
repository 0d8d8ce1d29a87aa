"""ScanNet (Dai et al. 2017), as its SensReader exports a scan: folders color, depth, pose, intrinsic."""

from __future__ import annotations

from pathlib import Path

import cv2

from d4rt_ros.geometry.camera import Pinhole, resized_matrix
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import natural_key, read_depth, read_rgb
from d4rt_ros.io.recorded import (
    RecordedError,
    RecordedSequence,
    read_matrix,
    read_pose,
)
from d4rt_ros.paths import expanded


def open_scannet(folder: str | Path) -> RecordedSequence:
    """A scan: color/N.jpg, depth/N.png in millimetres, pose/N.txt, intrinsic/intrinsic_color.txt (4x4).

    Images (1296x968) are given at the size of their depth (640x480), to which they are registered. Frames that
    the data set's tracking lost have infinite poses: reading these raises RecordedError.
    """
    folder = expanded(folder)
    images = sorted(folder.glob("color/*.jpg"), key=lambda f: natural_key(f.stem))
    if not images:
        raise RecordedError(
            f"{folder}: holds no color/*.jpg; expected a scan exported by ScanNet's SensReader"
        )
    if not any(folder.glob("depth/*.png")):
        raise RecordedError(f"{folder}: holds no depth/*.png; export the scan's depth images too")
    intrinsics = read_matrix(folder / "intrinsic" / "intrinsic_color.txt", 4, 4)[:3, :3]

    def read(i: int) -> Frame:
        name = images[i].stem
        depth = read_depth(folder / "depth" / f"{name}.png")
        rgb = read_rgb(images[i])
        matrix = resized_matrix(intrinsics, rgb.shape[:2], depth.shape)
        return Frame(
            cv2.resize(rgb, depth.shape[::-1], interpolation=cv2.INTER_AREA),
            even_stamp(i),
            Pinhole.from_matrix(matrix, depth.shape[1], depth.shape[0]),
            depth=depth,
            world_from_camera=read_pose(folder / "pose" / f"{name}.txt"),
        )

    return RecordedSequence(folder.name, static=True, count=len(images), read=read)
