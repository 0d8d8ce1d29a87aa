"""TartanAir (Wang et al. 2020): photorealistic static scenes, a fast flying camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import pose_from_quaternion
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import read_rgb
from d4rt_ros.io.recorded import RecordedError, RecordedSequence, read_matrix
from d4rt_ros.paths import expanded

# Of every image (640x480, 90 degrees), from the data set's description.
INTRINSICS = np.array([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]])
SKY = 1000.0  # metres; the sky is some 10,000 away
# The poses are of a camera with x forward, y right, z down (NED).
NED_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def open_tartanair(folder: str | Path) -> RecordedSequence:
    """A trajectory (…/Easy/P001): image_left/*_left.png, depth_left/*_left_depth.npy, pose_left.txt."""
    folder = expanded(folder)
    images = sorted(folder.glob("image_left/*.png"))
    if not images:
        raise RecordedError(f"{folder}: holds no image_left/*.png; expected a trajectory of TartanAir")
    if not any(folder.glob("depth_left/*.npy")):
        raise RecordedError(f"{folder}: holds no depth_left/*.npy; download the trajectory's depth_left too")
    poses = read_matrix(folder / "pose_left.txt", -1, 7)
    if len(poses) != len(images):
        raise RecordedError(
            f"{folder / 'pose_left.txt'}: has {len(poses)} poses for {len(images)} images; expected one each"
        )

    def read(i: int) -> Frame:
        depth = _read_depth(folder / "depth_left" / f"{images[i].stem}_depth.npy")
        pose = poses[i]
        if not np.isfinite(pose).all() or not pose[3:].any():
            raise RecordedError(
                f"{folder / 'pose_left.txt'}, line {i + 1}: {pose.tolist()}; expected tx ty tz qx qy qz qw"
            )
        world_from_camera = pose_from_quaternion(pose[3:], pose[:3]) @ NED_FROM_OPTICAL
        image = read_rgb(images[i])
        camera = Pinhole.from_matrix(INTRINSICS, image.shape[1], image.shape[0])
        return Frame(image, even_stamp(i), camera, depth=depth, world_from_camera=world_from_camera)

    return RecordedSequence("/".join(folder.parts[-3:]), static=True, count=len(images), read=read)


def _read_depth(file: Path) -> np.ndarray:
    try:
        depth = np.load(file).astype(np.float32)
    except FileNotFoundError:
        raise RecordedError(f"{file}: is missing; expected depth in metres") from None
    except (ValueError, EOFError, OSError):
        raise RecordedError(f"{file}: is no array of numpy; expected depth in metres, (480, 640)") from None
    return np.where((depth > 0) & (depth < SKY), depth, np.nan)
