"""Image files: which of a folder are its frames, in which order; and their pixels and depth."""

from __future__ import annotations

import os
import re
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np

from d4rt_ros.file_kinds import file_kind
from d4rt_ros.io.encoded_images import ImageError, decoded
from d4rt_ros.io.image_messages import NO_DEPTH, BitDepth, rgb_from_decoded
from d4rt_ros.io.sources import SourceError
from d4rt_ros.paths import expanded, undefined

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .tif .tiff .webp .ppm .pgm".split())
_COMPANION = re.compile(r"(depth|mask|disparity|confidence)(s|map|maps|image|images)?")
_COLOUR = re.compile(r"colou?r|rgb")
# A decimal number stands alone: of 2024.01.15 no part is one.
_DECIMAL = re.compile(r"(?<![\d.])(\d+\.\d+)(?![\d.])")
_SIGNED = re.compile(r"(?:^|(?<=[_=]))-(?=\d)")


# Pixels and depth


def read_rgb(file: Path, bits: BitDepth | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file, upright as its EXIF says; bits: of the sequence that it is of.

    Raises ImageError, that names the file, where it is missing, empty, cut, damaged or no image.
    """
    return _read(file, "a colour image (jpg, png)", lambda image: rgb_from_decoded(image, bits))


def read_depth(file: Path, scale: float = 0.001) -> np.ndarray:
    """(H, W) float32 metres of a depth image: uint16 times `scale`, or float metres.

    NaN for no depth: 0, 65535 and what is not finite or not positive. Raises ImageError that names the file.
    """
    return _read(
        file, "depth as an image of one channel of uint16 or float32", lambda raw: _metres(raw, scale)
    )


def read_mask(file: str | Path) -> np.ndarray:
    """(H, W) bool of an image file, in the order of its bytes, not as EXIF says: True where any colour is not 0.

    Raises ImageError that names the file, also where it masks every pixel.
    """
    mask = _read(
        expanded(file), "a mask (png), whose pixels are 0 where the image is used", _nonzero, upright=False
    )
    if mask.all():
        raise ImageError(f"{file}: masks every pixel; it must be 0 where the image is used (is it inverted?)")
    return mask


def _nonzero(image: np.ndarray) -> np.ndarray:
    return image.reshape(*image.shape[:2], -1).any(axis=-1)


def _read(file: Path, wanted: str, convert, upright: bool = True) -> np.ndarray:
    try:
        return convert(decoded(file.read_bytes(), upright=upright))
    except FileNotFoundError:
        raise ImageError(f"{file}: is missing{undefined(file)}; expected {wanted}") from None
    except OSError as error:
        raise ImageError(f"{file}: cannot be read ({error.strerror}); expected {wanted}") from None
    except ImageError as error:
        kind = file_kind(file)
        found = str(error) if not kind or kind.endswith("image") else f"it is {kind}"
        raise ImageError(f"{file}: {found}; expected {wanted}") from None


def _metres(raw: np.ndarray, scale: float) -> np.ndarray:
    if raw.ndim != 2 or raw.dtype not in (np.uint16, np.float32):
        raise ImageError(f"has type {raw.dtype} and shape {raw.shape}")
    depth = raw * np.float32(scale if raw.dtype == np.uint16 else 1)
    invalid = (raw == 0) | (raw == NO_DEPTH) if raw.dtype == np.uint16 else ~(np.isfinite(raw) & (raw > 0))
    depth[invalid] = np.nan
    return depth


def depth_file(file: Path) -> Path | None:
    """The depth image beside an image ("frame-7.depth.png" beside "frame-7.color.jpg"), or None."""
    candidates = (file.with_name(depth_name(file) + suffix) for suffix in (".png", ".tif", ".tiff"))
    return next((c for c in candidates if c.is_file() and c != file), None)


def depth_name(file: Path) -> str:
    named = re.sub(r"colou?r|rgb", "depth", file.stem, flags=re.IGNORECASE)
    return named if named != file.stem else f"{file.stem}.depth"


# Which files, in which order


def image_files(folder: str | Path, pattern: str | None = None) -> list[Path]:
    """The frames of a folder of images, in order. Raises SourceError where there are none.

    Which: every image that is neither hidden nor named depth, mask, disparity or confidence. Where more than half of
    these are named color or rgb, or each other one has the numbers of one of them (frame-7.ir beside frame-7.color),
    the others are left out with a warning. Or those that match `pattern`.

    Order: by the numbers in the names, then by letters without case, so x, x (1), x (2), x (10). 0.25 is before 0.5:
    numbers with a point are decimal, unless one that has more digits behind the point than another ends in 0 (1.9,
    1.10: counted). A minus is a sign where it begins the name or follows _ or =, and not all have it. Hexadecimal
    numbers count as such; names that look like random ones are ordered by the files' times, with a warning.
    """
    folder = expanded(folder)
    files = [f for f in folder.glob(pattern or "*") if f.is_file() and f.suffix.lower() in IMAGE_SUFFIXES]
    files = [f for f in files if not f.name.startswith(".")]
    if not pattern:
        files = _colour_alone([f for f in files if not any(map(_COMPANION.fullmatch, _words(f)))])
    if not files:
        raise SourceError(_no_images(folder, pattern))
    return _in_order(files)


def _no_images(folder: Path, pattern: str | None) -> str:
    if not folder.is_dir():
        return f"{folder} is no folder{undefined(folder)}"
    which = f"matches '{pattern}'" if pattern else f"is an image ({' '.join(sorted(IMAGE_SUFFIXES))})"
    inner = [
        d.name
        for d in sorted(folder.iterdir())
        if d.is_dir() and not d.name.startswith(".") and _has_images(d)
    ]
    instead = (
        f"; images are in its folders {', '.join(inner[:5])}{', …' if inner[5:] else ''}: give one of these"
    )
    return f"no file in the folder {folder} {which}{instead if inner else ''}"


def _has_images(folder: Path) -> bool:
    try:
        return any(
            f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".") for f in folder.iterdir()
        )
    except OSError:
        return False


def _words(file: Path) -> list[str]:
    return re.split(r"[^a-z]+", file.stem.lower())


def _colour_alone(files: list[Path]) -> list[Path]:
    """Without the infrared images, labels and so on that lie beside colour images."""
    colour = [f for f in files if any(map(_COLOUR.fullmatch, _words(f)))]
    others = sorted(set(files) - set(colour))
    numbers = {tuple(re.findall(r"\d+", f.stem)) for f in colour} - {()}
    paired = all(tuple(re.findall(r"\d+", f.stem)) in numbers for f in others)
    if not colour or not others or not (paired or len(colour) > len(others)):
        return files
    warnings.warn(
        f"{files[0].parent}: {len(others)} images such as {others[0].name} are left out beside {len(colour)} "
        "that are named color or rgb; a pattern chooses others",
        stacklevel=4,
    )
    return colour


def _in_order(files: list[Path]) -> list[Path]:
    stems = [f.stem.lower() for f in files]
    values = _hexadecimal(stems)
    if values is not None:
        return [f for _, f in sorted(zip(values, files))]
    if _random(stems):
        warnings.warn(
            f"{files[0].parent}: names such as {min(files).name} tell no order; the images are in the order of their "
            "times of modification, which a copy may have lost",
            stacklevel=4,
        )
        return sorted(files, key=lambda f: (f.stat().st_mtime_ns, f.name))
    decimal, signed = _are_decimal(stems), not all(map(_SIGNED.search, stems))
    return sorted(files, key=lambda f: natural_key(f.stem, decimal, signed))


def natural_key(stem: str, decimal: bool = True, signed: bool = True) -> tuple:
    """Sorts 'frame10' after 'frame9', as `image_files` says; decimal, signed: what numbers of the name may be."""
    sign = r"(?:(?:^|(?<=[_=]))-)?" if signed else ""
    number = rf"{sign}(?:(?<![\d.])\d+\.\d+(?![\d.])|\d+)" if decimal else rf"{sign}\d+"
    parts = re.split(f"({number})", stem.lower())
    return [Decimal(part) if i % 2 else part for i, part in enumerate(parts)], stem


def _are_decimal(stems: list[str]) -> bool:
    fractions = [number.partition(".")[2] for stem in stems for number in _DECIMAL.findall(stem)]
    shortest = min(map(len, fractions), default=0)
    return not any(len(f) > shortest and f.endswith("0") for f in fractions)


def _hexadecimal(stems: list[str]) -> list[int] | None:
    """The numbers of names that count in hexadecimal, nearly without gaps; else None."""
    parts = _differing(stems)
    letters = sum(not part.isdigit() for part in parts)
    if not all(re.fullmatch(r"[0-9a-f]+", part) for part in parts) or not 0 < letters < len(parts):
        return None
    values = [int(part, 16) for part in parts]
    return values if max(values) - min(values) < 2 * len(values) == 2 * len(set(values)) else None


def _random(stems: list[str]) -> bool:
    """Whether names are hexadecimal without being counted: hashes, UUIDs."""
    parts = [part.replace("-", "") for part in _differing(stems)]
    if len(parts) < 3 or not all(re.fullmatch(r"[0-9a-f]{8,}", part) for part in parts):
        return False
    shapes = {re.sub("[a-f]", "a", re.sub("[0-9]", "0", part)) for part in parts}
    return len(shapes) > len(parts) // 2


def _differing(stems: list[str]) -> list[str]:
    """The names without what all begin with, but for the digits of a number that it ends in."""
    prefix = re.sub(r"[0-9a-f]+$", "", os.path.commonprefix(stems))
    return [stem[len(prefix) :] for stem in stems]
