"""DAVIS's folders: JPEGImages/480p/NAME/*.jpg and, named alike, Annotations/480p/NAME/*.png; also without 480p.

Compared as VGGT4D does it: at the size that VGGT takes, 518 pixels wide, with the truth resized to the nearest pixel;
any annotated object is what moves; and as DAVIS-2016 says, without the first and the last frame of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from d4rt_ros.evaluation.mask_runs import MaskedSequence
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.image_files import read_rgb
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.paths import expanded

RATE = 24.0  # Hz
LEVEL = "480p"
WIDE, PATCH = 518, 14  # pixels, of the size that VGGT takes


def open_davis(folder: Path) -> list[MaskedSequence]:
    """Its sequences, by name. Raises RecordedError, and iterating one does, where a folder or file cannot be used."""
    folder = expanded(folder)
    images, annotations = (_level(folder, name) for name in ("JPEGImages", "Annotations"))
    names = sorted(path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise RecordedError(
            f"{images}: holds no sequences; expected folders of .jpg files, such as bear/00000.jpg"
        )
    return [_sequence(images / name, annotations / name) for name in names]


def _level(folder: Path, name: str) -> Path:
    place = folder / name
    if not place.is_dir():
        raise RecordedError(
            f"{place}: is no folder; expected DAVIS's layout, JPEGImages/{LEVEL}/NAME/*.jpg and "
            f"Annotations/{LEVEL}/NAME/*.png, with or without {LEVEL}"
        )
    return place / LEVEL if (place / LEVEL).is_dir() else place


def _sequence(images: Path, annotations: Path) -> MaskedSequence:
    files = sorted(images.glob("*.jpg"))
    if len(files) < 3:
        raise RecordedError(
            f"{images}: holds {len(files)} .jpg files; expected three or more, as the first and the last do not count"
        )
    pairs = [(file, annotations / f"{file.stem}.png") for file in files]
    missing = [mask for _, mask in pairs if not mask.is_file()]
    if missing:
        raise RecordedError(
            f"{missing[0]}: is missing, and {len(missing) - 1} more; expected an annotation for each image of {images}"
        )
    return MaskedSequence(images.name, partial(_frames, pairs), range(1, len(files) - 1))


def _frames(pairs: list[tuple[Path, Path]]) -> Iterator[tuple[Frame, np.ndarray]]:
    for k, (file, mask_file) in enumerate(pairs):
        image, mask = read_rgb(file), read_mask(mask_file)
        if mask.shape != image.shape[:2]:
            raise RecordedError(
                f"{mask_file}: is {mask.shape[1]}x{mask.shape[0]}, its image {image.shape[1]}x{image.shape[0]}; "
                "expected the same size"
            )
        yield (
            Frame(_fitted(image, Image.Resampling.BICUBIC), even_stamp(k, RATE)),
            _fitted(mask, Image.Resampling.NEAREST),
        )


def read_mask(file: Path) -> np.ndarray:
    """(H, W) bool: which pixels of an annotation are of an object, of a palette, a grey level or a colour but 0.

    Raises RecordedError that names the file."""
    try:
        with Image.open(file) as image:
            values = np.asarray(image)
    except FileNotFoundError:
        raise RecordedError(f"{file}: is missing; expected an annotation") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RecordedError(
            f"{file}: cannot be read ({error}); expected an annotation, a .png file"
        ) from None
    return values[..., :3].any(2) if values.ndim == 3 else values != 0


def _fitted(image: np.ndarray, resampling) -> np.ndarray:
    """518 pixels wide, as high as shape and patches say, the middle of what is higher than wide."""
    height, width = image.shape[:2]
    high = max(PATCH, round(height * WIDE / width / PATCH) * PATCH)
    image = np.asarray(Image.fromarray(image).resize((WIDE, high), resampling))
    start = max(0, (high - WIDE) // 2)
    return np.ascontiguousarray(image[start : start + WIDE])
