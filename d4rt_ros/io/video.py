"""Videos, cameras and streams through OpenCV."""

from __future__ import annotations

import math
import os
import re
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from d4rt_ros.file_kinds import file_kind
from d4rt_ros.io.c_messages import quieten_opencv
from d4rt_ros.io.frame import DEFAULT_RATE, Frame, even_stamp
from d4rt_ros.io.sources import Frames, SourceError, check_size

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 10.0  # seconds that a stream may be silent
RETRIES = 3  # images in a row that a live source may fail to deliver: a damaged one is no end
SHORT = 0.95  # of its length; a video that ends before was cut


def open_video(path: Path, rate: float | None) -> Frames:
    """A video file, with its own times (phones' vary), or evenly spaced at the given rate."""
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} cannot be read: permission denied")

    def capture():
        opened = _capture(str(path))
        if not opened.isOpened():
            raise SourceError(f"{path} cannot be opened as a video: {_why_not(path)}")
        return opened

    return _open_finite(str(path), capture, rate)


def _open_finite(name: str, capture: Callable, rate: float | None) -> Frames:
    import cv2

    opened = capture()
    claimed = _claimed_rate(opened)
    count = int(opened.get(cv2.CAP_PROP_FRAME_COUNT))
    codec = _codec(opened)
    ok, first = opened.read()
    opened.release()
    if not ok:
        raise SourceError(
            f"{name} opens, but no frame of it can be decoded{codec}: it is cut, or this OpenCV lacks the codec; "
            "`ffmpeg -i IN -c:v libx264 OUT.mp4` converts it"
        )
    return Frames(
        name=name,
        size=first.shape[:2],
        rate=rate or claimed,
        count=count if count > 0 else None,
        live=False,
        has_depth=False,
        read=lambda: _read_finite(name, capture(), rate, claimed, max(count, 0)),
    )


def _read_finite(name: str, capture, rate: float | None, claimed: float, count: int) -> Iterator[Frame]:
    import cv2

    size, start, last, index, own = None, 0.0, -1, 0, 0.0
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                break
            size = size or image.shape
            check_size(image, size, f"frame {index} of {name}")
            own = capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6
            start = own if index == 0 else start
            if rate:
                stamp = even_stamp(index, rate)
            else:
                # A file without times, or with times that stand still, is read at its nominal rate.
                stamp = round(own - start) if round(own - start) > last else last + round(1e9 / claimed)
            last = stamp
            index += 1
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), stamp)
    finally:
        capture.release()
    # By both, since the number of frames is an estimate where they come at varying times.
    if index < SHORT * count and (own - start) * 1e-9 < SHORT * count / claimed - 1 / claimed:
        warnings.warn(
            f"{name}: ends after {index} of {count} frames; the file is cut (an interrupted download?) or damaged",
            stacklevel=2,
        )


def open_camera(name: str, device: int | str, rate: float | None) -> Frames:
    """A camera of this machine: a number, or /dev/videoN."""
    file = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    capture = _capture(device)
    if not capture.isOpened():
        raise SourceError(f"camera {name} cannot be opened: {_why_no_camera(file)}")
    return _live(name, capture, rate)


def open_stream(url: str, rate: float | None) -> Frames:
    """A stream at an address: rtsp, http, udp, …; never waits longer than OPEN_TIMEOUT and READ_TIMEOUT."""
    name = re.sub(r"//[^/@]*@", "//", url)  # without user and password, since it is logged
    capture = _open_url(url, name)
    import cv2

    if url.lower().startswith("http") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        capture.release()
        return _open_finite(name, lambda: _open_url(url, name), rate)
    return _live(name, capture, rate)


def _open_url(url: str, name: str):
    import cv2

    timeouts = []
    if hasattr(cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC"):  # without: FFmpeg's own 30 s
        timeouts += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_TIMEOUT * 1000)]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_TIMEOUT * 1000)]
    capture = _capture(url, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        raise SourceError(
            f"{name} cannot be opened in {OPEN_TIMEOUT:g} s: is the address right, the camera on, is it a video, and "
            "are user and password given (rtsp://user:password@host/…)?"
        )
    return capture


def _live(name: str, capture, rate: float | None) -> Frames:
    import cv2

    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the driver's oldest
    if rate:
        capture.set(cv2.CAP_PROP_FPS, rate)
    codec = _codec(capture)
    ok, first = capture.read()
    if not ok:
        capture.release()
        raise SourceError(f"{name} opens but delivers no image{codec}")
    return Frames(
        name,
        first.shape[:2],
        rate or _claimed_rate(capture),
        None,
        live=True,
        has_depth=False,
        read=lambda: _read_live(capture, name, first.shape),
    )


def _read_live(capture, name: str, size: tuple[int, ...]) -> Iterator[Frame]:
    import cv2

    last, failed = 0, 0
    try:
        while True:
            ok, image = capture.read()
            failed = 0 if ok else failed + 1
            if failed == RETRIES:
                raise SourceError(f"{name} stopped delivering images")
            if not ok:
                continue
            check_size(image, size, f"an image of {name}")
            last = max(last + 1, time.time_ns())
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), last)
    finally:
        capture.release()


def _capture(*arguments):
    quieten_opencv()
    import cv2

    capture = cv2.VideoCapture(*arguments)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _claimed_rate(capture) -> float:
    """Hz, as the source says; DEFAULT_RATE where it says none that can be."""
    import cv2

    claimed = capture.get(cv2.CAP_PROP_FPS)
    return claimed if math.isfinite(claimed) and 0 < claimed <= 1000 else DEFAULT_RATE


def _codec(capture) -> str:
    """ " (codec 'av01')", or "" where it is not known."""
    import cv2

    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = struct.pack("<I", code & 0xFFFFFFFF).decode("latin-1").strip("\0 ")
    return f" (codec '{letters}')" if letters.isprintable() and letters else ""


def _why_not(path: Path) -> str:
    kind = file_kind(path)
    if kind and not kind.startswith("a GIF"):
        return f"it is {kind}"
    atoms = _atoms(path)
    if "ftyp" in atoms and "moov" not in atoms:
        return "it is cut, the index of an MP4 that stands at its end is missing (an interrupted download or recording)"
    return "not a video, damaged, or of an unknown format"


def _atoms(path: Path) -> list[str]:
    """The names of an MP4's outer parts that are there, as far as the file goes."""
    names, at, size = [], 0, path.stat().st_size
    with open(path, "rb") as file:
        while at + 16 <= size and len(names) < 100:
            file.seek(at)
            length, name, long = struct.unpack(">I4sQ", file.read(16))
            length = long if length == 1 else length or size
            if at + length <= size:
                names.append(name.decode("latin-1"))
            at += max(length, 8)
    return names


def _why_no_camera(file: Path) -> str:
    there = ", ".join(str(f) for f in sorted(Path("/dev").glob("video*"))) or "none"
    if not file.exists():
        return f"there is no {file}; there are: {there}"
    if not os.access(file, os.R_OK | os.W_OK):
        return f"{file} may not be read by this user (is it in the group video?)"
    return f"{file} is used by another program, or delivers no images itself (there are: {there})"
