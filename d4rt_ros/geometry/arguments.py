"""What the library's functions ask of their arguments, and say where they get something else: ValueErrors."""

from __future__ import annotations

from operator import index

import numpy as np


def real_array(
    values, what: str, shape: tuple | None = None, dtype=np.float64, error: type[ValueError] = ValueError
) -> np.ndarray:
    """`values` as an array of finite, infinite or missing (NaN) real numbers.

    shape: what it must be; None in it is any length, an ellipsis at its beginning any axes; None allows every
    shape. dtype: of the result; None leaves the numbers in their own type. what: the argument's name.
    Raises `error` for what is no array of numbers (text, None, complex numbers, rows of several lengths), and for
    another shape.
    """
    try:
        array = np.asarray(values)
    # Whatever an object's own conversion raises: rows of several lengths, a GPU's tensor.
    except Exception as cause:
        raise error(f"{what} is no array of numbers: {cause}") from None
    if array.dtype.kind not in "fiub":
        raise error(f"{what} = {_shown(values)} has type {array.dtype}; real numbers are expected")
    if shape is not None and not _has_shape(array.shape, shape):
        wanted = ", ".join("..." if n is ... else "N" if n is None else str(n) for n in shape)
        raise error(f"{what} has shape {array.shape}; ({wanted}{',' * (len(shape) == 1)}) is expected")
    return array if dtype is None else array.astype(dtype, copy=False)


def whole_number(value, what: str, least: int | None = None, error: type[ValueError] = ValueError) -> int:
    """`value` as an int. Raises `error` for what is no whole number (2.0 and True are none) or below `least`."""
    wanted = "a whole number" + (f" from {least}" if least is not None else "")
    try:
        number = None if isinstance(value, (bool, np.bool_)) else index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise error(f"{what} = {_shown(value)}; {wanted} is expected")
    return number


def rgb_image(image, what: str, error: type[ValueError] = ValueError) -> np.ndarray:
    """`image` as (H, W, 3) uint8 of 2x2 pixels or more. Raises `error` for what is none."""
    image = real_array(image, what, dtype=None, error=error)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
        raise error(f"{what} has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB")
    return image


def _has_shape(shape: tuple, wanted: tuple) -> bool:
    if wanted and wanted[0] is ...:
        wanted = wanted[1:]
        shape = shape[max(len(shape) - len(wanted), 0) :]
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted))


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
