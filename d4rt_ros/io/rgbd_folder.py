"""Folders of posed RGB-D frames as 7-Scenes and TUM RGB-D have them; one's own recordings too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d4rt_ros.geometry import CameraError, CameraModel, Pinhole
from d4rt_ros.io.encoded_images import ImageError
from d4rt_ros.io.frame import DEFAULT_RATE, Frame, even_stamp
from d4rt_ros.io.image_files import depth_file, image_files, read_depth, read_rgb
from d4rt_ros.io.image_messages import BitDepth
from d4rt_ros.io.pose_track import PoseTrack, pose_track
from d4rt_ros.io.recorded import (
    RecordedError,
    RecordedSequence,
    numbers_row,
    read_matrix,
    read_pose,
    read_rows,
)
from d4rt_ros.io.sources import Frames, SourceError, check_size
from d4rt_ros.paths import expanded, undefined

CAMERA_FILE = "camera-intrinsics.txt"
# fx fy cx cy of images of 640x480, from the data sets' own pages, where a folder has no camera-intrinsics.txt.
SEVEN_SCENES_CAMERA = (585.0, 585.0, 320.0, 240.0)
TUM_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
TUM_DEPTH_STEP = 1 / 5000  # metres
TUM_TOLERANCE = 0.02  # seconds between an image and its depth, as the data set's own tool has it
TUM_POSE_GAP = 0.1  # seconds between two poses that may be interpolated; they are measured at 100 Hz


def open_rgbd_folder(folder: str | Path) -> RecordedSequence:
    """A folder of 7-Scenes (NAME.color.*, NAME.depth.png, NAME.pose.txt) or TUM RGB-D (rgb.txt, depth.txt,
    groundtruth.txt); camera-intrinsics.txt, 3x3, in it or above it.

    Raises RecordedError where the folder is neither, is empty, or has no depth; `frame(i)` where a file of
    that frame is missing, cannot be decoded, or has a pose that is none.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise RecordedError(
            f"{folder}: is no folder{undefined(folder)}; expected one of 7-Scenes' or TUM RGB-D's format"
        )
    return _tum(folder) if (folder / "rgb.txt").is_file() else _seven_scenes(folder)


def _seven_scenes(folder: Path) -> RecordedSequence:
    try:
        images = image_files(folder)
    except SourceError as error:
        raise RecordedError(
            f"{folder}: holds no images; expected NAME.color.jpg or .png with NAME.depth.png and NAME.pose.txt "
            f"(7-Scenes), or rgb.txt and depth.txt (TUM RGB-D); {error}"
        ) from None
    if not any(depth_file(image) for image in images):
        raise RecordedError(
            f"{folder}: none of its {len(images)} images has depth; expected "
            f"{_beside(images[0], 'depth', '.png').name} beside {images[0].name}"
        )
    posed = any(_beside(image, "pose", ".txt").is_file() for image in images)
    camera, bits = _camera_file(folder) or _known_camera(*SEVEN_SCENES_CAMERA), BitDepth()

    def read(i: int) -> Frame:
        rgb = read_rgb(images[i], bits)
        bits.warn(folder)
        return Frame(
            rgb,
            even_stamp(i),
            _pinhole(camera, rgb, folder),
            depth=read_depth(depth_file(images[i]) or _beside(images[i], "depth", ".png")),
            world_from_camera=read_pose(_beside(images[i], "pose", ".txt")) if posed else None,
        )

    return RecordedSequence(folder.name, static=True, count=len(images), read=read)


def _tum(folder: Path) -> RecordedSequence:
    images, depths = (_listing(folder / name) for name in ("rgb.txt", "depth.txt"))
    poses = _trajectory(folder / "groundtruth.txt")
    stamps = np.array([stamp for stamp, _ in depths])
    frames = []
    for stamp, image in images:
        nearest = int(np.abs(stamps - stamp).argmin())
        pose = poses.at(stamp, TUM_POSE_GAP) if poses else None
        if abs(stamps[nearest] - stamp) <= TUM_TOLERANCE and (pose is not None or not poses):
            frames.append((stamp, image, depths[nearest][1], pose))
    if not frames:
        raise RecordedError(
            f"{folder}: none of {len(images)} images has depth within {TUM_TOLERANCE} s and a pose; "
            "expected rgb.txt, depth.txt and groundtruth.txt of one recording"
        )
    camera, bits = _tum_camera(folder), BitDepth()
    if camera is None:
        raise RecordedError(
            f"{folder}: its camera is not known; expected camera-intrinsics.txt with a 3x3 matrix, or "
            "freiburg1, freiburg2 or freiburg3 in the folder's name"
        )

    def read(i: int) -> Frame:
        stamp, image, depth, pose = frames[i]
        rgb = read_rgb(image, bits)
        bits.warn(folder)
        return Frame(
            rgb,
            round(stamp * 1e9),
            _pinhole(camera, rgb, folder),
            depth=read_depth(depth, TUM_DEPTH_STEP),
            world_from_camera=pose,
        )

    return RecordedSequence(folder.name, static=True, count=len(frames), read=read)


def open_tum_images(folder: Path, calibrated: bool = True) -> Frames:
    """The images of a folder of TUM RGB-D, whether they have depth and poses or not, with their camera where that is
    known; calibrated: False: without. Raises RecordedError where there are none, SourceError for one that cannot be
    read."""
    files = dict(_listing(folder / "rgb.txt"))
    camera, bits = _tum_camera(folder) if calibrated else None, BitDepth()
    stamps = np.array(sorted(files))
    rate = 1 / np.median(np.diff(stamps)) if len(files) > 1 else DEFAULT_RATE

    def decoded(file: Path) -> np.ndarray:
        try:
            return read_rgb(file, bits)
        except ImageError as error:
            raise SourceError(str(error)) from None

    def images() -> Iterator[Frame]:
        for stamp, file in files.items():
            rgb = decoded(file)
            check_size(rgb, size, str(file))
            bits.warn(folder)
            yield Frame(rgb, round(stamp * 1e9), _pinhole(camera, rgb, folder) if camera else None)

    size = decoded(next(iter(files.values()))).shape[:2]
    return Frames(str(folder), size, float(rate), len(files), live=False, has_depth=False, read=images)


def _tum_camera(folder: Path) -> CameraModel | None:
    known = next((numbers for name, numbers in TUM_CAMERAS.items() if name in folder.resolve().name), None)
    return _camera_file(folder) or (_known_camera(*known) if known else None)


def _listing(file: Path) -> list[tuple[float, Path]]:
    """(stamp, file) of the lines of rgb.txt or depth.txt of which the file is there."""

    def row(line: str) -> tuple[float, Path] | None:
        stamp, _, name = re.sub(r"[\s,;]+", " ", line, count=1).partition(" ")
        try:
            seconds = float(stamp)
        except ValueError:
            return None
        places = [file.parent / words for words in dict.fromkeys((name.strip(), *name.split()[:1])) if words]
        place = next((place for place in places if place.is_file()), None)
        return (seconds, place) if place and np.isfinite(seconds) else None

    return sorted(read_rows(file, "a stamp and the name of a file that is there", row))


def _trajectory(file: Path) -> PoseTrack | None:
    if not file.is_file():
        return None
    rows = np.array(read_rows(file, "t x y z qx qy qz qw", _pose_row))
    return pose_track(rows[:, 0], rows[:, 1:4], rows[:, 4:])


def _pose_row(line: str) -> np.ndarray | None:
    row = numbers_row(8)(line)
    return row if row is not None and np.linalg.norm(row[4:]) > 0.1 else None


def _beside(image: Path, word: str, suffix: str) -> Path:
    """frame-7.pose.txt beside frame-7.color.jpg; or 7.pose.txt beside 7.jpg."""
    named = re.sub(r"colou?r|rgb", word, image.stem, flags=re.IGNORECASE)
    return image.with_name((named if named != image.stem else f"{image.stem}.{word}") + suffix)


def _camera_file(folder: Path) -> CameraModel | None:
    for place in (folder, folder.parent):
        if (place / CAMERA_FILE).is_file():
            return CameraModel(0, 0, read_matrix(place / CAMERA_FILE, 3, 3))
    return None


def _known_camera(fx: float, fy: float, cx: float, cy: float) -> CameraModel:
    return CameraModel(640, 480, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))


def _pinhole(camera: CameraModel, rgb: np.ndarray, folder: Path) -> Pinhole:
    """The camera of an image."""
    height, width = rgb.shape[:2]
    if not camera.calibrated:
        raise RecordedError(f"{folder}: camera-intrinsics.txt is all zero; expected the camera's 3x3 matrix")
    try:
        return camera.view(width, height).camera
    except CameraError as error:
        raise RecordedError(
            f"{folder}: its camera does not fit its images of {width}x{height}: {error}; expected the camera's "
            "3x3 matrix in camera-intrinsics.txt"
        ) from None
