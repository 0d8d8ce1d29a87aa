"""sensor_msgs/Image and CompressedImage as arrays: (height, width, 3) uint8 RGB, or depth in metres.

The messages may be rclpy's or those of a library that reads bags: nothing of ROS is imported.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np

from d4rt_ros.io.encoded_images import ImageError, decoded

SENSOR_DEPTHS = (8, 10, 12, 14, 16)  # bits of a value, as cameras have them
PAGE = 4096  # bytes to which drivers round their buffers up


class UnknownEncoding(ImageError):
    """An encoding that is none of ENCODINGS or SEMI_PLANAR."""


@dataclass(frozen=True)
class Encoding:
    """channels: numbers a pixel; depth: bytes a number; convert: OpenCV's code to RGB, "" for RGB itself."""

    channels: int
    depth: int = 1
    convert: str = ""


@dataclass
class BitDepth:
    """How many of their 16 bits the values of one stream of images use: cameras of 10 and 12 bits send them in 16.

    bits: so many have been seen, one of SENSOR_DEPTHS; they only grow, so that the brightness does not flicker. 0:
    no image of 16 bits yet. note: a sentence for the user, "" where all 16 are used or nothing has changed since it
    was taken.
    """

    bits: int = 0
    note: str = ""

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """uint16 values as uint8: of the bits that are used the upper eight."""
        bits = self.bits  # readers' threads may share it: what is computed here is used here
        if bits < 16:
            used = int(values.max()).bit_length()
            bits = max(bits, next(depth for depth in SENSOR_DEPTHS if depth >= used))
            if bits > self.bits:
                self.bits = bits
                told = f"the images' values use {bits} of 16 bits; they are scaled by that"
                self.note = told if bits < 16 else ""
        return (values >> (bits - 8)).astype(np.uint8)

    def take_note(self) -> str:
        """The note, once."""
        note, self.note = self.note, ""
        return note

    def warn(self, where) -> None:
        """The note as a warning, once."""
        if note := self.take_note():
            warnings.warn(f"{where}: {note}", stacklevel=3)


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
MASK_ENCODINGS = "mono8", "8UC1"
NO_DEPTH = 65535  # in 16UC1, beside 0
_YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUYV", "yuyv": "YUYV"}
# A plane of brightness, then one of both colours: as often a row and column as the brightness, or half as often.
SEMI_PLANAR = {"nv12": "COLOR_YUV2RGB_NV12", "nv21": "COLOR_YUV2RGB_NV21", "nv24": "COLOR_YUV2RGB_YUYV"}

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


def rgb_from_image(msg, bits: BitDepth | None = None) -> np.ndarray:
    """The pixels of a sensor_msgs/Image, (height, width, 3) uint8 RGB.

    rgb8 without row padding shares the message's memory; everything else is one copy. bits: of the stream that the
    message is of; without it all 16 bits of 16-bit images are taken to be used, so the upper byte of each value.
    Bytes behind the last row are ignored where they are padding: of one value, or less than a page.
    Raises ImageError, for an encoding that is none of ENCODINGS or SEMI_PLANAR UnknownEncoding.
    """
    if msg.encoding in SEMI_PLANAR:
        return _rgb_from_planes(msg)
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        if msg.encoding in DEPTH_ENCODINGS:
            raise ImageError(
                f"encoding '{msg.encoding}' is depth, no picture; the topic of the colour image is wanted"
            )
        known = ", ".join(sorted(ENCODINGS | SEMI_PLANAR))
        raise UnknownEncoding(f"encoding '{msg.encoding}' is not known; known are {known}")
    pixels = np.ascontiguousarray(_pixels(msg, encoding, bits))
    if not encoding.convert:
        return pixels
    if "Bayer" in encoding.convert or "YUV" in encoding.convert:
        _check_pairs(msg.height, msg.width, msg.encoding, rows=encoding.channels == 1)
    return _cv2().cvtColor(pixels, getattr(_cv2(), encoding.convert))


def rgb_from_compressed(msg, bits: BitDepth | None = None) -> np.ndarray:
    """The pixels of a sensor_msgs/CompressedImage (jpeg, png, …), (height, width, 3) uint8 RGB; bits: as above.

    The format is compressed_image_transport's: "ENCODING; jpeg compressed TARGET", or a codec's name alone. What was
    encoded is TARGET: of "rgb8" an image in that order as if it were BGR, as OpenCV's users do who forget to turn it,
    and as that transport's subscriber takes it; of "bayer_…", or of nothing where ENCODING is Bayer, the mosaic.
    Raises ImageError.
    """
    if "compressedDepth" in msg.format:
        raise ImageError(
            f"format '{msg.format}' is a depth image; the compressed topic of a colour camera is wanted"
        )
    try:
        image = decoded(msg.data)
    except ImageError as error:
        raise ImageError(f"{error} (its format is '{msg.format}')") from None
    encoding, _, rest = msg.format.partition(";")
    target = rest.partition("compressed")[2].strip()
    _check_size(*image.shape[:2])
    image = _eight_bits(image, bits)
    if image.ndim == 3:
        return image if target.startswith("rgb") else _cv2().cvtColor(image, _cv2().COLOR_BGR2RGB)
    pattern = re.match("bayer_(rggb|bggr|gbrg|grbg)", target or encoding)
    if pattern is None:
        return _cv2().cvtColor(image, _cv2().COLOR_GRAY2RGB)
    _check_pairs(*image.shape, pattern[0], rows=True)
    return _cv2().cvtColor(image, getattr(_cv2(), f"COLOR_Bayer{_BAYER[pattern[1]]}2RGB"))


def rgb_from_decoded(image: np.ndarray, bits: BitDepth | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of what `decoded` gives. Raises ImageError for floats, which are depth and no picture."""
    image = _eight_bits(image, bits)
    return _cv2().cvtColor(image, _cv2().COLOR_GRAY2RGB if image.ndim == 2 else _cv2().COLOR_BGR2RGB)


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
    raw = decoded(data[12:])
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise ImageError(
            f"the image of format '{msg.format}' has {raw.dtype} of shape {raw.shape}; 16-bit depth is wanted"
        )
    if "32FC1" not in msg.format:
        return _metres(np.where(raw == NO_DEPTH, 0, raw), 0.001)
    a, b = data[4:12].view("<f4")
    with np.errstate(divide="ignore"):
        return _metres(np.where(raw > 0, a / (raw - b), 0), 1.0)


def mask_from_image(msg) -> np.ndarray:
    """The mask (height, width) bool of a sensor_msgs/Image, True where it is not 0. Raises ImageError."""
    if msg.encoding not in MASK_ENCODINGS:
        raise ImageError(f"encoding '{msg.encoding}' is no mask; mono8 is wanted, not 0 where it masks")
    _check_size(msg.height, msg.width)
    return _rows(msg, msg.width) != 0


def is_depth(msg) -> bool:
    """Whether an Image or a CompressedImage is of depth, by what it says of itself."""
    return getattr(msg, "encoding", "") in DEPTH_ENCODINGS or "compressedDepth" in getattr(msg, "format", "")


def _metres(raw: np.ndarray, step: float) -> np.ndarray:
    metres = raw.astype(np.float32) * np.float32(step)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))


def _eight_bits(image: np.ndarray, bits: BitDepth | None) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise ImageError(
            f"the image's values are {image.dtype}; 8 or 16 bits a channel are wanted (depth is no picture)"
        )
    return (bits or BitDepth(16)).scaled(image)


def _pixels(msg, encoding: Encoding, bits: BitDepth | None) -> np.ndarray:
    """The message's numbers as (height, width, channels) uint8; no copy where they are bytes already."""
    _check_size(msg.height, msg.width)
    values = _rows(msg, msg.width * encoding.channels * encoding.depth)
    if encoding.depth == 2 and (bits is None or bits.bits == 16):
        values = values[:, 0 if msg.is_bigendian else 1 :: 2]  # the upper bytes
    elif encoding.depth == 2:
        values = bits.scaled(np.ascontiguousarray(values).view(">u2" if msg.is_bigendian else "<u2"))
    return values.reshape(msg.height, msg.width, encoding.channels)


def _rows(msg, row: int) -> np.ndarray:
    """The message's bytes as (height, row) uint8, without what pads each row."""
    if msg.step < row:
        raise ImageError(
            f"step is {msg.step} bytes, but a row of {msg.width} {msg.encoding} pixels has {row}"
        )
    return _bytes(msg, msg.step * msg.height).reshape(msg.height, msg.step)[:, :row]


def _bytes(msg, size: int) -> np.ndarray:
    """The first `size` of the message's bytes, where what follows them is padding and no part of an image."""
    data = np.frombuffer(msg.data, np.uint8)
    rest = data[size:]
    if len(data) < size or (len(rest) >= PAGE and (rest != rest[0]).any()):
        raise ImageError(
            f"data has {len(data)} bytes, but {msg.height} rows of {msg.encoding} with step {msg.step} have {size}; "
            "the message is cut or its size is wrong"
        )
    return data[:size]


def _rgb_from_planes(msg) -> np.ndarray:
    """RGB of an encoding of SEMI_PLANAR; `step` is the bytes of a row of brightness, or twice that.

    (sensor_msgs says that they have two channels, and some publishers go by that.)
    """
    height, width, full = msg.height, msg.width, msg.encoding == "nv24"
    _check_size(height, width)
    if not full:
        _check_pairs(height, width, msg.encoding, rows=True)
    whole = height * 3 if full else height + height // 2  # rows of brightness that take as many bytes
    pitch = msg.step
    if pitch == 2 * width and len(msg.data) < pitch * whole:
        pitch = width
    if pitch < width:
        raise ImageError(f"step is {msg.step} bytes, but a row of {width} {msg.encoding} pixels has {width}")
    planes = _bytes(msg, pitch * whole).reshape(whole, pitch)
    cv2 = _cv2()
    if not full:
        return cv2.cvtColor(np.ascontiguousarray(planes[:, :width]), getattr(cv2, SEMI_PLANAR[msg.encoding]))
    # As YUYV, in which each pixel is there twice since two share their colours.
    colours = planes[height:].reshape(height, pitch, 2)[:, :width]
    doubled = np.empty((height, 2 * width, 2), np.uint8)
    doubled[..., 0] = np.repeat(planes[:height, :width], 2, axis=1)
    doubled[..., 1] = colours.reshape(height, 2 * width)
    return np.ascontiguousarray(cv2.cvtColor(doubled, getattr(cv2, SEMI_PLANAR["nv24"]))[:, ::2])


def _check_size(height: int, width: int) -> None:
    if width < 2 or height < 2:
        raise ImageError(f"the image has {width} x {height} pixels; 2 x 2 is the least that has geometry")


def _check_pairs(height: int, width: int, encoding: str, rows: bool) -> None:
    if width % 2 or (rows and height % 2):
        raise ImageError(f"a {encoding} image of {width} x {height} is wrong: its pixels come in pairs")


def _cv2():
    import cv2  # here, because importing it takes 0.1 s that our messages' users should not pay

    return cv2
