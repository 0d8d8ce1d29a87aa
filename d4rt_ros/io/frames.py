"""Frames in: a video file, a folder of images or a webcam as an iterator of RGB images with times."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .tif .tiff .webp .ppm .pgm".split())
DEFAULT_RATE = 30.0  # Hz, where neither the source nor the user says


class SourceError(ValueError):
    """A source of frames that cannot be opened or read."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a source.

    image: (H, W, 3) uint8 RGB.
    stamp: int nanoseconds; since the first frame of a file or folder, since the epoch for a webcam.
    depth: (H, W) float32 metres along z, NaN where there is none; None where the source has no depth.
    """

    image: np.ndarray
    stamp: int
    depth: np.ndarray | None = None


@dataclass(frozen=True)
class Frames:
    """An open source; iterating gives SourceFrames of one size with strictly increasing stamps.

    size: (height, width) of the images. rate: frames per second. count: number of frames, as the file claims
    it, or None (webcam). live: frames come at their own pace and cannot be read again. has_depth: frames
    carry depth. A file or folder starts again with each new iteration. Raises SourceError while iterating
    where a frame cannot be read.
    """

    name: str
    size: tuple[int, int]
    rate: float
    count: int | None
    live: bool
    has_depth: bool
    read: Callable[[], Iterator[SourceFrame]]

    def __iter__(self) -> Iterator[SourceFrame]:
        return self.read()


def open_frames(
    source: str | Path,
    rate: float | None = None,
    pattern: str | None = None,
    with_depth: bool = False,
    depth_scale: float = 0.001,
) -> Frames:
    """Open a video file, a folder of images, or a webcam ("webcam:0", "/dev/video0").

    rate: frames per second; by default what the source says (30 for a folder).
    pattern: which files of a folder are its images, such as "*.color.jpg". By default every image that is
        not named "depth" or "mask"; and where some are named "color" or "rgb", only these. Natural order.
    with_depth: also read the depth image beside each image of a folder ("frame-7.depth.png" beside
        "frame-7.color.jpg"): uint16 times `depth_scale` metres, or float metres; 0, 65535 and what is not
        finite are no depth.
    Raises SourceError where there is nothing that can be read, saying what to do.
    """
    text = str(source)
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise SourceError(f"rate is {rate}; it must be a positive number of frames per second")
    camera = re.fullmatch(r"webcam:(\d+)|(/dev/video\d+)", text)
    if camera:
        return _open_webcam(text, int(camera[1]) if camera[1] else camera[2], rate)
    path = Path(source).expanduser()
    if not text or not path.exists():
        raise SourceError(
            f"'{text}' does not exist; give a video file, a folder of images, or a webcam "
            "(webcam:0, /dev/video0)"
        )
    if path.is_dir():
        return _open_folder(path, rate or DEFAULT_RATE, pattern, with_depth, depth_scale)
    return _open_video(path, rate)


# Video files


def _open_video(path: Path, rate: float | None) -> Frames:
    import cv2

    capture = _capture(path)
    claimed_rate = capture.get(cv2.CAP_PROP_FPS)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    ok, first = capture.read()
    capture.release()
    if not ok:
        raise SourceError(f"{path} holds no frame that can be decoded; is it a complete video file?")
    usable = math.isfinite(claimed_rate) and 0 < claimed_rate <= 1000
    return Frames(
        name=str(path),
        size=first.shape[:2],
        rate=rate or (claimed_rate if usable else DEFAULT_RATE),
        count=count if count > 0 else None,
        live=False,
        has_depth=False,
        read=lambda: _read_video(path, rate, claimed_rate if usable else DEFAULT_RATE),
    )


def _read_video(path: Path, rate: float | None, claimed_rate: float) -> Iterator[SourceFrame]:
    """With a given rate, frames are evenly spaced; else the file's own times, which may vary (phones)."""
    import cv2

    capture = _capture(path)
    size, start, last = None, 0.0, -1
    try:
        for index in range(2**62):
            ok, image = capture.read()
            if not ok:
                return
            size = size or image.shape
            _check_size(image, size, f"frame {index} of {path}")
            if rate:
                stamp = round(index * 1e9 / rate)
            else:
                own = capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6
                start = own if index == 0 else start
                # A file without times, or with times that stand still, is read at its nominal rate.
                stamp = round(own - start) if round(own - start) > last else last + round(1e9 / claimed_rate)
            last = stamp
            yield SourceFrame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), stamp)
    finally:
        capture.release()


def _capture(path: Path):
    import cv2

    # An image's name with a number in it would be taken for a sequence of images.
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise SourceError(f"{path} is a single image; give its folder, or a video file")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(
            f"{path} cannot be opened as a video: not a video, damaged, or of an unknown format"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


# Folders of images


def _open_folder(path: Path, rate: float, pattern: str | None, with_depth: bool, scale: float) -> Frames:
    files = image_files(path, pattern)
    depths = [depth_file(file) for file in files] if with_depth else []
    if with_depth and not any(depths):
        raise SourceError(
            f"{path} has no depth image beside {files[0].name}; expected e.g. {_depth_name(files[0])}.png"
        )
    first = _read_image(files[0])

    def read() -> Iterator[SourceFrame]:
        for index, file in enumerate(files):
            image = _read_image(file)
            _check_size(image, first.shape, str(file))
            depth = None
            if with_depth:
                depth = (
                    read_depth(depths[index], scale)
                    if depths[index]
                    else np.full(first.shape[:2], np.nan, np.float32)
                )
                _check_size(depth, first.shape, str(depths[index]))
            yield SourceFrame(image, round(index * 1e9 / rate), depth)

    return Frames(str(path), first.shape[:2], rate, len(files), live=False, has_depth=with_depth, read=read)


def image_files(folder: str | Path, pattern: str | None = None) -> list[Path]:
    """The images of a folder in natural order (see open_frames). Raises SourceError where there are none."""
    folder = Path(folder)
    files = [f for f in folder.glob(pattern or "*") if f.is_file() and f.suffix.lower() in IMAGE_SUFFIXES]
    if not pattern:
        files = [f for f in files if not _words(f) & {"depth", "mask", "disparity"}]
        files = [f for f in files if _words(f) & {"color", "colour", "rgb"}] or files
    if not files:
        which = f"matches '{pattern}'" if pattern else f"is an image ({' '.join(sorted(IMAGE_SUFFIXES))})"
        raise SourceError(f"no file in the folder {folder} {which}")
    return sorted(files, key=lambda f: natural_key(f.name))


def natural_key(name: str) -> list:
    """Sorts 'frame10' after 'frame9'."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def read_depth(file: str | Path, scale: float = 0.001) -> np.ndarray:
    """(H, W) float32 metres of a depth image: uint16 times `scale`, or float metres; NaN for no depth."""
    import cv2

    raw = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 2 or raw.dtype not in (np.uint16, np.float32):
        found = "cannot be read" if raw is None else f"has type {raw.dtype} and shape {raw.shape}"
        raise SourceError(f"depth image {file} {found}; expected one channel of uint16 or float32")
    depth = raw * np.float32(scale) if raw.dtype == np.uint16 else raw.copy()
    invalid = (raw == 0) | (raw == 65535) if raw.dtype == np.uint16 else ~(np.isfinite(raw) & (raw > 0))
    depth[invalid] = np.nan
    return depth


def _read_image(file: Path) -> np.ndarray:
    import cv2

    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"image {file} cannot be decoded; is it complete?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _words(file: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", file.stem.lower()))


def _depth_name(file: Path) -> str:
    named = re.sub(r"colou?r|rgb", "depth", file.stem, flags=re.IGNORECASE)
    return named if named != file.stem else f"{file.stem}.depth"


def depth_file(file: Path) -> Path | None:
    """The depth image beside an image (see open_frames), or None."""
    candidates = (file.with_name(_depth_name(file) + suffix) for suffix in (".png", ".tif", ".tiff"))
    return next((c for c in candidates if c.is_file() and c != file), None)


def _check_size(image: np.ndarray, size: tuple[int, ...], what: str) -> None:
    if image.shape[:2] != size[:2]:
        raise SourceError(
            f"{what} is {image.shape[1]}x{image.shape[0]}, the frames before it are {size[1]}x{size[0]}; "
            "frames must be of one size (choose the files of a folder with a pattern)"
        )


# Webcams


def _open_webcam(name: str, device: int | str, rate: float | None) -> Frames:
    import cv2

    capture = cv2.VideoCapture(device)
    if not capture.isOpened():
        raise SourceError(
            f"camera {name} cannot be opened; is it plugged in, free, and may this user read it?"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the driver's oldest
    if rate:
        capture.set(cv2.CAP_PROP_FPS, rate)
    ok, first = capture.read()
    if not ok:
        capture.release()
        raise SourceError(f"camera {name} opens but delivers no image")
    claimed = capture.get(cv2.CAP_PROP_FPS)
    rate = rate or (claimed if math.isfinite(claimed) and claimed > 0 else DEFAULT_RATE)
    return Frames(
        name,
        first.shape[:2],
        rate,
        None,
        live=True,
        has_depth=False,
        read=lambda: _read_webcam(capture, name),
    )


def _read_webcam(capture, name: str) -> Iterator[SourceFrame]:
    import cv2

    last = 0
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                raise SourceError(f"camera {name} stopped delivering images")
            last = max(last + 1, time.time_ns())
            yield SourceFrame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), last)
    finally:
        capture.release()
