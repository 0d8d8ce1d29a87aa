"""The calibration of a camera, from numbers, a file or a CameraInfo. All go through CameraModel's check."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from d4rt_ros.geometry import CameraError, CameraModel
from d4rt_ros.paths import expanded, undefined

# What image_transport puts behind the name of an image's topic.
TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd", "draco", "raw")


class CalibrationError(ValueError):
    """A calibration that cannot be read or does not fit the images."""


def uncalibrated(width: int, height: int) -> CameraModel:
    """K all zero, which is how CameraInfo says that nothing is known."""
    return CameraModel(width, height, np.zeros((3, 3)))


def pinhole(matrix: np.ndarray, width: int, height: int) -> CameraModel:
    """A camera without distortion."""
    matrix = np.asarray(matrix, np.float64)
    model = CameraModel(
        width, height, matrix, (0.0,) * 5, "plumb_bob", np.eye(3), np.hstack([matrix, np.zeros((3, 1))])
    )
    return _checked(model, width, height, "intrinsics")


def pinhole_of_view(horizontal_degrees: float, width: int, height: int) -> CameraModel:
    """A camera without distortion with a horizontal field of view, square pixels, centred."""
    if not 0 < horizontal_degrees < 180:
        raise CalibrationError(f"fov is {horizontal_degrees}; it must be between 0 and 180 degrees")
    # Pixel centres are at integers, so the image reaches half a pixel beyond them: it is `width` wide.
    f = width / 2 / math.tan(math.radians(horizontal_degrees) / 2)
    return pinhole([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]], width, height)


def camera_model(info) -> CameraModel:
    """What a sensor_msgs/CameraInfo says, of rclpy or of rosbags."""
    region = info.roi
    return CameraModel(
        int(info.width),
        int(info.height),
        np.array(info.k, np.float64).reshape(3, 3),
        tuple(np.asarray(info.d, np.float64).tolist()),
        info.distortion_model,
        np.array(info.r, np.float64).reshape(3, 3),
        np.array(info.p, np.float64).reshape(3, 4),
        (int(info.binning_x), int(info.binning_y)),
        (int(region.x_offset), int(region.y_offset), int(region.width), int(region.height)),
    )


def named_rectified(topic: str) -> bool:
    """Whether an image topic's name says so: `rect` as a word of its last part, the transport's left out."""
    parts = topic.rstrip("/").split("/")
    if len(parts) > 1 and parts[-1] in TRANSPORTS:
        parts.pop()
    return bool({"rect", "rectified"} & set(re.split(r"[^a-z0-9]+", parts[-1].lower())))


def read_calibration(text: str, width: int, height: int) -> CameraModel:
    """The calibration for images of width x height pixels.

    text: "fx fy cx cy" (spaces or commas); or the path of a YAML file as ROS's camera_calibration writes it,
    or of a text file with the nine numbers of K. A YAML file for another size of the same shape is taken for
    images that were resized. Raises CalibrationError where it cannot be read, is of no camera, or is for other
    images.
    """
    numbers = _numbers(text)
    if numbers is not None:
        if len(numbers) != 4:
            raise CalibrationError(
                f"camera_info '{text}' has {len(numbers)} numbers; expected four: fx fy cx cy"
            )
        fx, fy, cx, cy = numbers
        return _of_matrix([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], width, height, f"camera_info '{text}'")
    path = expanded(text.removeprefix("file://"))
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise CalibrationError(
            f"camera_info '{text}' cannot be read ({reason}){undefined(path)}; give fx fy cx cy, a "
            "camera_calibration YAML file, or a text file with a 3x3 matrix"
        ) from None
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(content, path, width, height)
    numbers = _numbers(content)
    if numbers is None or len(numbers) != 9:
        raise CalibrationError(
            f"{path} does not hold the nine numbers of a 3x3 matrix (a YAML file ends in .yaml)"
        )
    return _of_matrix(np.reshape(numbers, (3, 3)), width, height, str(path))


def _of_matrix(matrix, width: int, height: int, where: str) -> CameraModel:
    """A camera without distortion, of a matrix that does not say for which size of images it is."""
    said = CameraModel(0, 0, np.array(matrix, np.float64))
    if not said.calibrated:
        raise CalibrationError(f"{where} is all zero; expected focal lengths and a centre in pixels")
    _checked(said, width, height, where)
    return pinhole(matrix, width, height)


def _from_yaml(content: str, path: Path, width: int, height: int) -> CameraModel:
    import yaml

    try:
        data = yaml.safe_load(content)
        distortion = tuple(_row(data.get("distortion_coefficients")).tolist())
        matrix, rectification, projection = (
            _row(data.get(name), 3 * columns).reshape(3, columns)
            for name, columns in (("camera_matrix", 3), ("rectification_matrix", 3), ("projection_matrix", 4))
        )
        model = CameraModel(
            _size(data.get("image_width")),
            _size(data.get("image_height")),
            matrix,
            distortion,
            str(
                data.get("distortion_model")
                or ("plumb_bob" if len(distortion) <= 5 else "rational_polynomial")
            ),
            rectification if rectification.any() else np.eye(3),
            projection if projection.any() else np.hstack([matrix, np.zeros((3, 1))]),
        )
    except yaml.YAMLError:
        raise CalibrationError(f"{path} is not YAML") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CalibrationError(
            f"{path} is not a calibration of ROS's camera_calibration: {type(error).__name__} {error}"
        ) from None
    if not model.calibrated:
        raise CalibrationError(
            f"{path} is not a calibration of ROS's camera_calibration: it has no camera_matrix, or one of zeros"
        )
    return _checked(model, width, height, str(path))


def _row(node, count: int = 0) -> np.ndarray:
    """The numbers of a matrix, also where it is written without rows and cols; `count` zeros where there is none."""
    data = node.get("data") if isinstance(node, dict) else node
    values = np.array([] if data is None else data, np.float64).ravel()
    if count and len(values) not in (0, count):
        raise ValueError(f"a matrix has {len(values)} numbers, not {count}")
    return values if len(values) or not count else np.zeros(count)


def _size(value) -> int:
    """A number of pixels; 0 where it is not said."""
    return int(float(value)) if value not in (None, "") else 0


def _checked(model: CameraModel, width: int, height: int, where: str) -> CameraModel:
    """The model for images of this size, if it is of a camera and of them, whether they are rectified or not."""
    try:
        model.view(width, height)
        return model if (model.width, model.height) == (width, height) else model.resized(width, height)
    except CameraError as error:
        raise CalibrationError(f"{where}: {error}") from None


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(x) for x in text.replace(",", " ").split()]
    except ValueError:
        return None
    return numbers or None
