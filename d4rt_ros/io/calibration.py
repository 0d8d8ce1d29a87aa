"""The calibration of a camera, from numbers or a file, as ROS's CameraInfo has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# How many distortion coefficients each of ROS's models has.
DISTORTION_COUNTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}


class CalibrationError(ValueError):
    """A calibration that cannot be read or does not fit the images."""


@dataclass(frozen=True)
class Calibration:
    """What CameraInfo says of a camera of width x height pixels.

    matrix: (3, 3) intrinsics K in pixels, all zero where the camera is uncalibrated. distortion: coefficients
    of distortion_model. rectification: (3, 3) R. projection: (3, 4) P.
    """

    width: int
    height: int
    matrix: np.ndarray
    distortion: tuple[float, ...]
    distortion_model: str
    rectification: np.ndarray
    projection: np.ndarray


def uncalibrated(width: int, height: int) -> Calibration:
    """K all zero, which is how CameraInfo says that nothing is known."""
    return Calibration(width, height, np.zeros((3, 3)), (), "", np.zeros((3, 3)), np.zeros((3, 4)))


def pinhole(matrix: np.ndarray, width: int, height: int) -> Calibration:
    """A camera without distortion."""
    matrix = _checked_matrix(np.asarray(matrix, np.float64), "intrinsics")
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return Calibration(width, height, matrix, (0.0,) * 5, "plumb_bob", np.eye(3), projection)


def pinhole_of_view(horizontal_degrees: float, width: int, height: int) -> Calibration:
    """A camera without distortion with a horizontal field of view, square pixels, centred."""
    if not 0 < horizontal_degrees < 180:
        raise CalibrationError(f"fov is {horizontal_degrees}; it must be between 0 and 180 degrees")
    # Pixel centres are at integers, so the image reaches half a pixel beyond them: it is `width` wide.
    f = width / 2 / math.tan(math.radians(horizontal_degrees) / 2)
    return pinhole([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]], width, height)


def read_calibration(text: str, width: int, height: int) -> Calibration:
    """The calibration for images of width x height pixels.

    text: "fx fy cx cy" (spaces or commas); or the path of a YAML file as ROS's camera_calibration writes it,
    or of a text file with the nine numbers of K. Raises CalibrationError where it cannot be read, or where it
    is for images of another size.
    """
    numbers = _numbers(text)
    if numbers is not None:
        if len(numbers) != 4:
            raise CalibrationError(
                f"camera_info '{text}' has {len(numbers)} numbers; expected four: fx fy cx cy"
            )
        fx, fy, cx, cy = numbers
        return pinhole([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], width, height)
    path = Path(text.removeprefix("file://")).expanduser()
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise CalibrationError(
            f"camera_info '{text}' cannot be read ({reason}); give fx fy cx cy, a camera_calibration YAML "
            "file, or a text file with a 3x3 matrix"
        ) from None
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(content, path, width, height)
    numbers = _numbers(content)
    if numbers is None or len(numbers) != 9:
        raise CalibrationError(
            f"{path} does not hold the nine numbers of a 3x3 matrix (a YAML file ends in .yaml)"
        )
    matrix = np.reshape(numbers, (3, 3))
    if not (0 <= matrix[0, 2] < width and 0 <= matrix[1, 2] < height):
        raise CalibrationError(
            f"{path} puts the centre at {matrix[0, 2]:g}, {matrix[1, 2]:g}, outside the {width}x{height} "
            "images; it is for images of another size"
        )
    return pinhole(matrix, width, height)


def _from_yaml(content: str, path: Path, width: int, height: int) -> Calibration:
    import yaml

    try:
        data = yaml.safe_load(content)
        size = int(data["image_width"]), int(data["image_height"])
        matrix = _matrix(data["camera_matrix"], 3)
        distortion = tuple(float(x) for x in data.get("distortion_coefficients", {}).get("data", ()))
        model = str(data.get("distortion_model", "plumb_bob"))
        rectification = (
            _matrix(data["rectification_matrix"], 3) if "rectification_matrix" in data else np.eye(3)
        )
        projection = _matrix(data["projection_matrix"], 4) if "projection_matrix" in data else None
    except yaml.YAMLError:
        raise CalibrationError(f"{path} is not YAML") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(
            f"{path} is not a calibration of ROS's camera_calibration: {type(error).__name__} {error}"
        ) from None
    if size != (width, height):
        raise CalibrationError(
            f"{path} is for images of {size[0]}x{size[1]}, the source has {width}x{height}; calibrate "
            "at that size"
        )
    expected = DISTORTION_COUNTS.get(model)
    if expected is not None and len(distortion) not in (0, expected):
        raise CalibrationError(
            f"{path}: {model} has {expected} distortion coefficients, found {len(distortion)}"
        )
    if projection is None:
        projection = np.hstack([matrix, np.zeros((3, 1))])
    return Calibration(
        width, height, _checked_matrix(matrix, str(path)), distortion, model, rectification, projection
    )


def _matrix(node: dict, columns: int) -> np.ndarray:
    return np.array(node["data"], np.float64).reshape(3, columns)


def _checked_matrix(matrix: np.ndarray, what: str) -> np.ndarray:
    good = (
        np.isfinite(matrix).all()
        and matrix[0, 0] > 0
        and matrix[1, 1] > 0
        and np.allclose(matrix[2], (0, 0, 1))
    )
    if not good:
        raise CalibrationError(
            f"{what}: the camera matrix is {matrix.tolist()}; expected finite "
            "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths in pixels"
        )
    return matrix


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(x) for x in text.replace(",", " ").split()]
    except ValueError:
        return None
    return numbers or None
