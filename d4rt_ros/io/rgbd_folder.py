"""Folders of posed RGB-D frames as 7-Scenes and TUM RGB-D have them; one's own recordings too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from d4rt_ros.geometry import CameraError, CameraModel
from d4rt_ros.io.frames import SourceError, depth_file, image_files
from d4rt_ros.io.pose_track import PoseTrack, pose_track
from d4rt_ros.io.recorded import (
    RecordedError,
    RecordedFrame,
    RecordedSequence,
    read_depth_png,
    read_numbers,
    read_pose,
    read_rgb,
)

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
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordedError(f"{folder}: is no folder; expected one of 7-Scenes' or TUM RGB-D's format")
    return _tum(folder) if (folder / "rgb.txt").is_file() else _seven_scenes(folder)


def _seven_scenes(folder: Path) -> RecordedSequence:
    try:
        images = image_files(folder)
    except SourceError:
        raise RecordedError(
            f"{folder}: holds no images; expected NAME.color.jpg or .png with NAME.depth.png and NAME.pose.txt "
            "(7-Scenes), or rgb.txt and depth.txt (TUM RGB-D)"
        ) from None
    if not any(depth_file(image) for image in images):
        raise RecordedError(
            f"{folder}: none of its {len(images)} images has depth; expected "
            f"{_beside(images[0], 'depth', '.png').name} beside {images[0].name}"
        )
    posed = any(_beside(image, "pose", ".txt").is_file() for image in images)
    camera = _camera_file(folder) or _known_camera(*SEVEN_SCENES_CAMERA)

    def read(i: int) -> RecordedFrame:
        rgb = read_rgb(images[i])
        return RecordedFrame(
            rgb,
            read_depth_png(depth_file(images[i]) or _beside(images[i], "depth", ".png")),
            _intrinsics(camera, rgb, folder),
            read_pose(_beside(images[i], "pose", ".txt")) if posed else None,
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
    known = next((numbers for name, numbers in TUM_CAMERAS.items() if name in folder.resolve().name), None)
    camera = _camera_file(folder) or (_known_camera(*known) if known else None)
    if camera is None:
        raise RecordedError(
            f"{folder}: its camera is not known; expected camera-intrinsics.txt with a 3x3 matrix, or "
            "freiburg1, freiburg2 or freiburg3 in the folder's name"
        )

    def read(i: int) -> RecordedFrame:
        stamp, image, depth, pose = frames[i]
        rgb = read_rgb(image)
        return RecordedFrame(
            rgb, read_depth_png(depth, TUM_DEPTH_STEP), _intrinsics(camera, rgb, folder), pose, stamp
        )

    return RecordedSequence(folder.name, static=True, count=len(frames), read=read)


def _listing(file: Path) -> list[tuple[float, Path]]:
    """(stamp, file) of the lines of rgb.txt or depth.txt."""
    if not file.is_file():
        raise RecordedError(f"{file}: is missing; expected lines of a stamp and a file's name")
    lines = (line.split() for line in file.read_text().splitlines() if not line.startswith("#"))
    try:
        listing = [(float(words[0]), file.parent / words[1]) for words in lines if words]
    except (ValueError, IndexError):
        listing = []
    if not listing:
        raise RecordedError(f"{file}: has no lines of a stamp and a file's name")
    return sorted(listing)


def _trajectory(file: Path) -> PoseTrack | None:
    if not file.is_file():
        return None
    rows = read_numbers(file, (-1, 8))
    if not len(rows) or not np.isfinite(rows).all():
        raise RecordedError(f"{file}: has poses that are not finite, or none; expected t x y z qx qy qz qw")
    return pose_track(rows[:, 0], rows[:, 1:4], rows[:, 4:])


def _beside(image: Path, word: str, suffix: str) -> Path:
    """frame-7.pose.txt beside frame-7.color.jpg; or 7.pose.txt beside 7.jpg."""
    named = re.sub(r"colou?r|rgb", word, image.stem, flags=re.IGNORECASE)
    return image.with_name((named if named != image.stem else f"{image.stem}.{word}") + suffix)


def _camera_file(folder: Path) -> CameraModel | None:
    for place in (folder, folder.parent):
        if (place / "camera-intrinsics.txt").is_file():
            return CameraModel(0, 0, read_numbers(place / "camera-intrinsics.txt", (3, 3)))
    return None


def _known_camera(fx: float, fy: float, cx: float, cy: float) -> CameraModel:
    return CameraModel(640, 480, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))


def _intrinsics(camera: CameraModel, rgb: np.ndarray, folder: Path) -> np.ndarray:
    """(3, 3) of an image."""
    height, width = rgb.shape[:2]
    if not camera.calibrated:
        raise RecordedError(f"{folder}: camera-intrinsics.txt is all zero; expected the camera's 3x3 matrix")
    try:
        return camera.view(width, height).camera.matrix
    except CameraError as error:
        raise RecordedError(
            f"{folder}: its camera does not fit its images of {width}x{height}: {error}; expected the camera's "
            "3x3 matrix in camera-intrinsics.txt"
        ) from None
