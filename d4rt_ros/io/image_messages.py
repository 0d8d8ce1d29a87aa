"""sensor_msgs/Image and CompressedImage as arrays: (height, width, 3) uint8 RGB, or depth in metres.

The messages may be rclpy's or those of a library that reads bags: nothing of ROS is imported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class ImageError(ValueError):
    """An image message that cannot be understood; says what was wrong and what was expected."""


class UnknownEncoding(ImageError):
    """An encoding that is none of ENCODINGS."""


@dataclass(frozen=True)
class Encoding:
    """channels: numbers a pixel; depth: bytes a number; convert: OpenCV's code to RGB, "" for RGB itself."""

    channels: int
    depth: int = 1
    convert: str = ""


_COLOURS = {
    "rgb": (3, ""),
    "bgr": (3, "COLOR_BGR2RGB"),
    "rgba": (4, "COLOR_RGBA2RGB"),
    "bgra": (4, "COLOR_BGRA2RGB"),
    "mono": (1, "COLOR_GRAY2RGB"),
}
# Encodings without a colour are what OpenCV's users put in them: grey, BGR, BGRA.
_BARE = {"UC1": _COLOURS["mono"], "UC3": _COLOURS["bgr"], "UC4": _COLOURS["bgra"]}
# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's beginning.
_BAYER = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}
# Encodings of depth: numpy's type, and metres a step (REP 118).
DEPTH_ENCODINGS = {"16UC1": ("u2", 0.001), "32FC1": ("f4", 1.0)}
NO_DEPTH = 65535  # in 16UC1, beside 0
_YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUYV", "yuyv": "YUYV"}

ENCODINGS = (
    {f"{n}{8 * d}": Encoding(c, d, convert) for n, (c, convert) in _COLOURS.items() for d in (1, 2)}
    | {f"{8 * d}{n}": Encoding(c, d, convert) for n, (c, convert) in _BARE.items() for d in (1, 2)}
    | {
        f"bayer_{n}{8 * d}": Encoding(1, d, f"COLOR_Bayer{code}2RGB")
        for n, code in _BAYER.items()
        for d in (1, 2)
    }
    | {n: Encoding(2, 1, f"COLOR_YUV2RGB_{code}") for n, code in _YUV.items()}
)


def rgb_from_image(msg) -> np.ndarray:
    """The pixels of a sensor_msgs/Image, (height, width, 3) uint8 RGB.

    rgb8 without row padding shares the message's memory; everything else is one copy. Of 16-bit images the
    upper byte is taken. Raises ImageError, for an encoding that is none of ENCODINGS UnknownEncoding.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        known = ", ".join(sorted(ENCODINGS))
        raise UnknownEncoding(f"encoding '{msg.encoding}' is not known; known are {known}")
    pixels = np.ascontiguousarray(_pixels(msg, encoding))
    if not encoding.convert:
        return pixels
    if "Bayer" in encoding.convert or "YUV" in encoding.convert:
        _check_pairs(msg, encoding)
    return _cv2().cvtColor(pixels, getattr(_cv2(), encoding.convert))


def rgb_from_compressed(msg) -> np.ndarray:
    """The pixels of a sensor_msgs/CompressedImage (jpeg or png), (height, width, 3) uint8 RGB.

    Raises ImageError.
    """
    if "compressedDepth" in msg.format:
        raise ImageError(
            f"format '{msg.format}' is a depth image; the compressed topic of a colour camera is wanted"
        )
    data = np.frombuffer(msg.data, np.uint8)
    _check_whole(data, msg.format)
    cv2 = _cv2()
    try:
        # A camera's calibration knows nothing of EXIF, so its rotation is not applied.
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"the image of format '{msg.format}' cannot be decoded: {error}") from None
    if bgr is None:
        raise ImageError(
            f"the {len(data)} bytes of format '{msg.format}' cannot be decoded; jpeg or png is wanted"
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def depth_from_image(msg) -> np.ndarray:
    """Depth (height, width) float32 in metres of a sensor_msgs/Image, NaN where there is none. Raises ImageError."""
    kind, step = DEPTH_ENCODINGS.get(msg.encoding, ("", 0.0))
    if not kind:
        raise ImageError(f"encoding '{msg.encoding}' is not depth; 16UC1 (mm) or 32FC1 (m) is wanted")
    values = _rows(msg, msg.width * np.dtype(kind).itemsize)
    raw = np.ascontiguousarray(values).view((">" if msg.is_bigendian else "<") + kind)
    return _metres(np.where(raw == NO_DEPTH, 0, raw) if kind == "u2" else raw, step)


def depth_from_compressed(msg) -> np.ndarray:
    """`depth_from_image` of a CompressedImage of compressed_depth_image_transport in its png format.

    A header of an integer and two floats a, b comes before the png; of 32FC1 that holds a / depth + b.
    """
    data = np.frombuffer(msg.data, np.uint8)
    if "compressedDepth" not in msg.format or "rvl" in msg.format or len(data) <= 12:
        raise ImageError(
            f"format '{msg.format}' with {len(data)} bytes; depth as 'compressedDepth png' is wanted"
        )
    _check_whole(data[12:], msg.format)
    raw = _cv2().imdecode(data[12:], _cv2().IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 2 or raw.dtype != np.uint16:
        raise ImageError(f"the {len(data)} bytes of format '{msg.format}' cannot be decoded as 16-bit depth")
    if "32FC1" not in msg.format:
        return _metres(np.where(raw == NO_DEPTH, 0, raw), 0.001)
    a, b = data[4:12].view("<f4")
    with np.errstate(divide="ignore"):
        return _metres(np.where(raw > 0, a / (raw - b), 0), 1.0)


def is_depth(msg) -> bool:
    """Whether an Image or a CompressedImage is of depth, by what it says of itself."""
    return getattr(msg, "encoding", "") in DEPTH_ENCODINGS or "compressedDepth" in getattr(msg, "format", "")


def _metres(raw: np.ndarray, step: float) -> np.ndarray:
    metres = raw.astype(np.float32) * np.float32(step)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))


def _pixels(msg, encoding: Encoding) -> np.ndarray:
    """The message's numbers as (height, width, channels) uint8; no copy where they are bytes already."""
    if msg.width < 2 or msg.height < 2:
        raise ImageError(
            f"the image has {msg.width} x {msg.height} pixels; 2 x 2 is the least that has geometry"
        )
    values = _rows(msg, msg.width * encoding.channels * encoding.depth)
    if encoding.depth == 2:
        values = values[:, 0 if msg.is_bigendian else 1 :: 2]  # the upper bytes
    return values.reshape(msg.height, msg.width, encoding.channels)


def _rows(msg, row: int) -> np.ndarray:
    """The message's bytes as (height, row) uint8, without what pads each row."""
    if msg.step < row:
        raise ImageError(
            f"step is {msg.step} bytes, but a row of {msg.width} {msg.encoding} pixels has {row}"
        )
    if len(msg.data) != msg.step * msg.height:
        raise ImageError(
            f"data has {len(msg.data)} bytes, but height {msg.height} times step {msg.step} "
            f"is {msg.height * msg.step}; the message is cut or its size is wrong"
        )
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)[:, :row]


def _check_pairs(msg, encoding: Encoding) -> None:
    if msg.width % 2 or (encoding.channels == 1 and msg.height % 2):
        raise ImageError(
            f"a {msg.encoding} image of {msg.width} x {msg.height} is wrong: its pixels come in pairs"
        )


def _check_whole(data: np.ndarray, form: str) -> None:
    """OpenCV fills the missing part of a cut jpeg or png with grey; we would take that for the world."""
    if len(data) == 0:
        raise ImageError(f"the compressed image of format '{form}' is empty")
    start, end = data[:8].tobytes(), data[-4096:].tobytes()
    if (start[:2] == b"\xff\xd8" and b"\xff\xd9" not in end) or (start[1:4] == b"PNG" and b"IEND" not in end):
        raise ImageError(f"the compressed image is cut off after {len(data)} bytes; its end is missing")


def _cv2():
    import cv2  # here, because importing it takes 0.1 s that our messages' users should not pay

    return cv2
