"""Encoded images (jpeg, png, …) as arrays: whole or refused, whether they come as messages, in files or in bags."""

from __future__ import annotations

import re
import struct
import zlib
from functools import lru_cache

import numpy as np

from d4rt_ros.io.c_messages import caught, quieten_opencv

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_EOI, _STANDALONE = 0xD9, (0x01, 0xD8)
_FRAMES = (0xC0, 0xC1, 0xC2)  # headers of baseline, extended and progressive jpegs
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of png's colour types
_DEFLATE_MOST = 1032  # bytes that one byte of a png can stand for
_PADDING = 64  # bytes before the end marker that cameras leave there without harm


class ImageError(ValueError):
    """An image that cannot be understood; says what was wrong and what was expected."""


def decoded(data, upright: bool = False) -> np.ndarray:
    """The pixels of an encoded image: (H, W) grey or (H, W, 3) BGR; uint8, uint16 or float32. Alpha is left out.

    data: anything with the bytes; what follows the end of a jpeg, png or webp is ignored. upright: turn it as its
    EXIF says (a photograph), else not (a camera, whose calibration knows nothing of EXIF).
    Raises ImageError for data that are empty, cut, damaged, or no image. Nothing is printed.
    """
    array = np.frombuffer(data, np.uint8)
    start = array[:16].tobytes()
    if not array.size:
        raise ImageError("the image is empty, it has 0 bytes")
    if start.startswith(JPEG):
        return _decoded_jpeg(array[: _jpeg_end(array)], upright)
    if start.startswith(PNG):
        return _imdecode(_png_of_need(array.data, upright), upright, "png")
    return _decoded_other(array, start, upright)


def _decoded_jpeg(array: np.ndarray, upright: bool) -> np.ndarray:
    with caught() as said:
        image = _imdecode(array, upright, "jpeg")
    for line in said:
        reason = line.partition("Corrupt JPEG data: ")[2]
        if reason and not _is_padding(reason, array):
            raise ImageError(f"the jpeg of {len(array)} bytes is damaged: {reason}")
    return image


def _decoded_other(array: np.ndarray, start: bytes, upright: bool) -> np.ndarray:
    kind, size = _other(array, start)
    if size > array.size:
        raise _cut(kind, array.size)
    with caught():
        return _imdecode(array[: size or None], upright, kind)


def _other(array: np.ndarray, start: bytes) -> tuple[str, int]:
    """(name of the format, the bytes that it needs, 0 where its header does not say)."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp", struct.unpack_from("<I", start, 4)[0] + 8
    if start[:2] == b"BM" and len(array) >= 54:
        offset, _, width, height, _, bits, packing = struct.unpack_from("<IIiiHHI", array, 10)
        return "bmp", offset + (abs(width) * bits + 31) // 32 * 4 * abs(height) if packing in (0, 3) else 0
    header = re.match(
        rb"P([56])(?:\s+(?:#[^\n]*\n\s*)*)(\d+)(?:\s+(?:#[^\n]*\n\s*)*)(\d+)\s+(\d+)\s", array[:512]
    )
    if header:
        colours, width, height, most = (int(group) for group in header.groups())
        return "pnm", header.end() + width * height * (3 if colours == 6 else 1) * (2 if most > 255 else 1)
    return "image", 0


def _imdecode(array: np.ndarray, upright: bool, kind: str) -> np.ndarray:
    cv2 = _opencv()
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(array, flags)
    except cv2.error as error:
        reason = error.err or error
        raise ImageError(f"cannot be decoded: a {kind} of {len(array)} bytes, {reason}") from None
    if image is None and kind == "image":
        raise ImageError(f"cannot be decoded: {len(array)} bytes of no known format; jpeg or png is wanted")
    if image is None:
        raise ImageError(f"cannot be decoded: a {kind} of {len(array)} bytes, which is damaged")
    return image


def _jpeg_end(array: np.ndarray) -> int:
    """Where a jpeg ends, by its segments: thumbnails in them have end markers of their own. Raises ImageError."""
    starts = np.flatnonzero(array[:-1] == 0xFF)
    codes = array[starts + 1]
    # Neither stuffed zeros, nor fill bytes, nor the restart markers within a scan.
    meant = (codes != 0) & (codes != 0xFF) & (codes & 0xF8 != 0xD0)
    at = 2
    for start, code in zip(starts[meant].tolist(), codes[meant].tolist()):
        if start < at:
            continue  # within a segment
        at = start + 2
        if code == _EOI:
            return at
        if code in _FRAMES and at + 7 <= array.size:
            height, width = struct.unpack_from(">HH", array, at + 3)
            # Of each 8x8 pixels there is a bit at least; else a few bytes could ask for gigabytes of grey.
            if height * width > 64 * 8 * array.size:
                raise ImageError(
                    f"the jpeg is damaged: it says {width} x {height} pixels, and has {array.size} bytes"
                )
        if code not in _STANDALONE:
            at += struct.unpack_from(">H", array, at)[0] if at + 2 <= array.size else array.size
    raise _cut("jpeg", array.size)


def _png_of_need(data: memoryview, upright: bool) -> np.ndarray:
    """A png's chunks without those that only describe it, of which libpng complains; checked to its end."""
    at, parts, packed, header = len(PNG), [data[: len(PNG)]], 0, None
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        needed = name[0] < 97  # a capital: without it the image cannot be shown
        if needed or (upright and name == b"eXIf"):
            if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise ImageError(
                    f"the png of {len(data)} bytes is damaged: its {name.decode('latin-1')} is not what was written"
                )
            parts.append(data[at:end])
        if name == b"IHDR" and length >= 13:
            header = struct.unpack_from(">IIBB", data, at + 8)
        packed += length if name == b"IDAT" else 0
        if name == b"IEND":
            _check_png_size(header, packed)
            return np.frombuffer(b"".join(parts), np.uint8)
        at = end
    raise _cut("png", len(data))


def _check_png_size(header: tuple[int, int, int, int] | None, packed: int) -> None:
    width, height, depth, kind = header or (0, 0, 0, 0)
    row = (width * depth * _CHANNELS.get(kind, 1) + 7) // 8
    if not 0 < height * row <= _DEFLATE_MOST * packed:
        raise ImageError(
            f"the png is damaged: it says {width} x {height} pixels, and has {packed} bytes of them"
        )


def _is_padding(reason: str, jpeg: np.ndarray) -> bool:
    """Whether what libjpeg found is only that a camera wrote some bytes too many behind the pixels."""
    extra = re.match(r"(\d+) extraneous bytes before marker 0xd[0-79]", reason)
    count = int(extra[1]) if extra else jpeg.size
    before_end = jpeg[-2 - count : -2]
    return bool(extra) and (count <= _PADDING or bool((before_end == before_end[0]).all()))


def _cut(kind: str, size: int) -> ImageError:
    return ImageError(f"the {kind} is cut off after {size} bytes; its end is missing")


@lru_cache
def _opencv():
    import cv2  # here, because importing it takes 0.1 s that our messages' users should not pay

    quieten_opencv()
    return cv2
