"""Frames in: a video, a folder of images, a camera or a stream as an iterator of RGB images with times."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d4rt_ros.io.frame import DEFAULT_RATE, Frame, even_stamp
from d4rt_ros.io.image_files import IMAGE_SUFFIXES, depth_file, depth_name, image_files, read_depth, read_rgb
from d4rt_ros.io.image_messages import BitDepth, ImageError
from d4rt_ros.io.sources import Frames, SourceError, check_size
from d4rt_ros.io.video import open_camera, open_stream, open_video
from d4rt_ros.paths import expanded, undefined


def open_frames(
    source: str | Path,
    rate: float | None = None,
    pattern: str | None = None,
    with_depth: bool = False,
    depth_scale: float = 0.001,
) -> Frames:
    """Open a video file, a folder of images, a camera ("webcam:0", "/dev/video0"), or a stream ("rtsp://…", "http://…").

    rate: frames per second; by default what the source says (30 for a folder).
    pattern: which files of a folder are its images, such as "*.color.jpg"; else, and their order, see `image_files`.
    with_depth: also read the depth image beside each image of a folder ("frame-7.depth.png" beside
        "frame-7.color.jpg"): uint16 times `depth_scale` metres, or float metres; 0, 65535 and what is not
        finite are no depth.
    A stream over http that has an end is read like a file, every other is live. Values of 16 bits are scaled by those
    that are used (see BitDepth). Raises SourceError where there is nothing that can be read, saying what to do.
    """
    text = str(source)
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise SourceError(f"rate is {rate}; it must be a positive number of frames per second")
    camera = re.fullmatch(r"webcam:(\d+)|(/dev/video\d+)", text)
    if camera:
        return open_camera(text, int(camera[1]) if camera[1] else camera[2], rate)
    scheme = re.match(r"([a-z][a-z0-9+]+)://", text.lower())
    if scheme and scheme[1] != "file":
        return open_stream(text, rate)
    path = expanded(text[len("file://") :] if scheme else text)
    if not text or not path.exists():
        raise SourceError(
            f"'{text}' does not exist{undefined(text)}; give a video file, a folder of images, a camera "
            "(webcam:0, /dev/video0), or a stream (rtsp://…, http://…)"
        )
    if path.is_dir():
        return _open_folder(path, rate or DEFAULT_RATE, pattern, with_depth, depth_scale)
    # OpenCV would take an image's name with a number in it for a sequence of images.
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise SourceError(f"{path} is a single image; give its folder, or a video file")
    return open_video(path, rate)


def _open_folder(path: Path, rate: float, pattern: str | None, with_depth: bool, scale: float) -> Frames:
    files = image_files(path, pattern)
    depths = [depth_file(file) for file in files] if with_depth else []
    if with_depth and not any(depths):
        raise SourceError(
            f"{path} has no depth image beside {files[0].name}; expected e.g. {depth_name(files[0])}.png"
        )
    bits = BitDepth()
    size = _read(read_rgb, files[0], bits).shape[:2]
    bits.warn(path)

    def read() -> Iterator[Frame]:
        for index, file in enumerate(files):
            image = _read(read_rgb, file, bits)
            bits.warn(path)
            check_size(image, size, str(file))
            depth = np.full(size, np.nan, np.float32) if with_depth else None
            if with_depth and depths[index]:
                depth = _read(read_depth, depths[index], scale)
                check_size(depth, size, str(depths[index]))
            yield Frame(image, even_stamp(index, rate), depth=depth)

    return Frames(str(path), size, rate, len(files), live=False, has_depth=with_depth, read=read)


def _read(reader, file: Path, option) -> np.ndarray:
    try:
        return reader(file, option)
    except ImageError as error:
        raise SourceError(str(error)) from None
