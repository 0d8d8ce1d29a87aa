"""The images of a ROS 2 bag alone, whatever else it holds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d4rt_ros.io.bag_storage import STORAGE
from d4rt_ros.io.calibration import named_rectified
from d4rt_ros.io.frame import DEFAULT_RATE, Frame
from d4rt_ros.io.image_messages import BitDepth, rgb_from_compressed, rgb_from_image
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.io.ros_bag import Bag, Views, choose_image, choose_info, decode
from d4rt_ros.io.sources import Frames, check_size
from d4rt_ros.paths import expanded


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: one of its files, or a folder that holds some."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            file.name.endswith(STORAGE) for file in path.iterdir()
        )
    return path.name.endswith((*STORAGE, ".bag")) and path.is_file()


def open_bag_images(
    path: str | Path, topic: str | None = None, camera_info: str | None = None, calibrated: bool = True
) -> Frames:
    """The images of a bag, in the order of their stamps; of a raw camera that is calibrated they are rectified.

    topic: of the images, camera_info: of their CameraInfo; None: the only ones that fit. calibrated: False: leave the
    images and their camera as if there were no CameraInfo. Images that cannot be read, and those of a stamp that was
    there already, are left out with a warning. Raises RecordedError where there are no images, or they are not of the
    only topic; a CameraInfo that is not there, or of no use, is a warning.
    """
    path = expanded(path)
    bag = Bag(path)
    topic = choose_image(bag, topic)
    rows, bits = bag.stamps(topic), BitDepth()
    times = dict(reversed(rows))  # of several images with one stamp the first counts

    def images() -> Iterator[Frame]:
        lost = [f"{path}, {topic}: {len(rows) - len(times)} have the stamp of another"] * (
            len(rows) - len(times)
        )
        for stamp in sorted(times):
            try:
                image = decode(bag, topic, times[stamp], rgb_from_image, rgb_from_compressed, bits)
            except RecordedError as error:
                lost.append(str(error))
                continue
            bits.warn(f"{path}, {topic}")
            yield Frame(image, stamp)
        if lost:
            warnings.warn(f"{len(lost)} of {len(rows)} images are left out: {lost[-1]}", stacklevel=2)

    def seen() -> Iterator[Frame]:
        for frame in images():
            check_size(frame.image, size, f"the image of {path}, {topic}, stamped {frame.stamp} ns")
            yield views.frame(frame.image, frame.stamp) if views else frame

    first = next(images(), None)
    if first is None:
        raise RecordedError(f"{path}: no image of {topic} can be read; the bag is damaged there")
    size = first.image.shape[:2]
    views = _views(bag, topic, camera_info, first) if calibrated else None
    period = np.median(np.diff(sorted(times))) if len(times) > 1 else 1e9 / DEFAULT_RATE
    return Frames(str(path), size, 1e9 / period, len(times), live=False, has_depth=False, read=seen)


def _views(bag: Bag, topic: str, given: str | None, first: Frame) -> Views | None:
    """None, and a warning, where the bag has no CameraInfo that can be used for the images."""
    try:
        views = Views(bag.first(choose_info(bag, given, topic)), named_rectified(topic), where=f"{bag.path}")
        views.frame(first.image, first.stamp)
    except RecordedError as error:
        if given:
            raise
        warnings.warn(f"{error}; the camera is estimated", stacklevel=4)
        return None
    return views
