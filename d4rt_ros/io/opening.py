"""Whatever holds frames as an iterator of them, with the camera's calibration where that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from d4rt_ros.geometry import CameraModel
from d4rt_ros.io.bag_images import is_bag, open_bag_images
from d4rt_ros.io.calibration import read_calibration
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.frames import open_frames
from d4rt_ros.io.rgbd_folder import CAMERA_FILE, open_tum_images
from d4rt_ros.io.sources import Frames
from d4rt_ros.paths import expanded


def open_any(
    source: str | Path, camera_info: str = "", rate: float | None = None, topic: str | None = None
) -> Frames:
    """Open what `open_frames` opens, a folder of TUM RGB-D, or a bag; frames have a camera where one is known.

    camera_info: 'fx fy cx cy', or a file (see `read_calibration`); without it, camera-intrinsics.txt in a folder or
    above it, a bag's CameraInfo, or nothing. Raw images are rectified where that says how. rate: frames per second, of
    what has no times of its own; by default what the source says. topic: of a bag's images, by default the only one.
    Raises SourceError, RecordedError or CalibrationError, all ValueErrors, where there is nothing that can be read or
    the calibration is not the images'.
    """
    path = expanded(source)
    if is_bag(path):
        frames = open_bag_images(path, topic, calibrated=not camera_info)
    elif (path / "rgb.txt").is_file():
        frames = open_tum_images(path, calibrated=not camera_info)
    else:
        frames = open_frames(source, rate)
        beside = (place / CAMERA_FILE for place in (path, path.parent) if path.is_dir())
        camera_info = camera_info or next((str(file) for file in beside if file.is_file()), "")
    height, width = frames.size
    return calibrated(frames, read_calibration(camera_info, width, height)) if camera_info else frames


def calibrated(frames: Frames, model: CameraModel) -> Frames:
    """The frames of a camera, rectified where its model says how."""
    height, width = frames.size
    view = model.view(width, height)

    def read() -> Iterator[Frame]:
        for frame in frames:
            image = frame.image if view.lens is None else view.lens.rectify(frame.image)
            yield replace(frame, image=image, camera=view.camera, lens=view.lens)

    return replace(frames, read=read)
