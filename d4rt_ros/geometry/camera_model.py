"""What is known of a camera, as ROS's CameraInfo has it, and what that means for an image. In doubt it is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from d4rt_ros.geometry.camera import CameraError, Pinhole, resized_matrix
from d4rt_ros.geometry.lens import Lens
from d4rt_ros.geometry.transforms import nearest_rotation

FOCAL = 0.2, 20.0  # image widths; a view of 136 degrees and of 3
ASPECT = 2.5  # of fx and fy; pixels binned along one side are twice as long as wide
MIDDLE = 0.35  # of the image at each side, where the centre of one that was not cut is not
MOVED = 0.2  # of the image, by which rectifying may move what lies on the optical axis
ZOOMED = 3.0  # by which rectifying may change the focal length
FOLDED = 0.15  # of the image's pixels, in its corners, which the coefficients may not reach
# Up to which angle a fisheye's coefficients must hold: its image may be a circle, with black corners beyond it.
LEAST_ANGLE = np.deg2rad(60)
LEAST_SEEN = 0.2  # of the view, which the raw image must fill
ROTATION_ERROR = 1e-3
LARGEST = 1e6  # of a coefficient; what is larger is no measurement

# How many coefficients OpenCV's models have; "" is what drivers write that leave the name out.
FISHEYES = ("equidistant", "fisheye")
COUNTS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (4, 5, 8, 12, 14),
    "thin_prism": (4, 5, 8, 12, 14),
    "": (5, 8, 12, 14),
    **{name: (4,) for name in FISHEYES},
}


@dataclass(frozen=True)
class View:
    """How to see an image as a pinhole camera's.

    camera: None where nothing is known of it. lens: None where the image is that camera's as it is. note: a sentence
    on what was left out, or "".
    """

    camera: Pinhole | None
    lens: Lens | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibration of images of width x height pixels (0: not said), before binning and cutting.

    matrix: (3, 3) K of the raw image; all zero where it is not calibrated. distortion: coefficients of
    distortion_model. rectification: (3, 3) R, view_from_raw. projection: (3, 4) P of the rectified image; its first
    three columns count. Both may be all zero, for not said. binning: pixels in one, along x and y. region: x, y,
    width, height of what was cut out of the full image; no width or height: all that is there.
    """

    width: int
    height: int
    matrix: np.ndarray
    distortion: tuple[float, ...] = ()
    distortion_model: str = ""
    rectification: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    projection: np.ndarray = field(default_factory=lambda: np.zeros((3, 4)))
    binning: tuple[int, int] = (1, 1)
    region: tuple[int, int, int, int] = (0, 0, 0, 0)

    def view(self, width: int, height: int, rectified: bool | None = None) -> View:
        """The view of an image of width x height pixels, also one that was cut, binned or resized as a whole.

        rectified: whether the image is; None: it is where there is neither distortion nor rotation. A rectified image's
        camera is P, or K where there is no P. A raw one is rectified as image_proc does it, from K, D and R to P,
        which a region's offset moves as it moves K (do_rectify changes no pixel); without P, to K. Coefficients
        that are all zero bend nothing, whatever the model's name, as image_proc has it too. Raises CameraError for
        what no camera has, and for an image of another shape.
        """
        if not self.calibrated:
            return View(None)
        fit, (k, p, note) = self._fitting(width, height), self._plausible(width, height)
        rotation = self._rotation()
        clash = self._contradiction(k, rotation, p, width, height)
        bends = bool(np.any(np.asarray(self.distortion) != 0))
        turns = not np.allclose(rotation, np.eye(3), atol=1e-5)
        if rectified or (rectified is None and not (bends or turns)):
            if clash:
                raise CameraError(clash)
            return View(Pinhole.from_matrix(fit(k if p is None else p), width, height), note=note)
        if k is None:
            raise CameraError("it has distortion or a rotation but no camera matrix K; calibrate the camera")
        # An ideal fisheye, where somebody says that the image is raw.
        ideal = _name(self.distortion_model) in FISHEYES and len(self.distortion) >= 4
        if not (bends or turns or ideal):
            return View(Pinhole.from_matrix(fit(k), width, height), note=note)
        if clash:  # K and D are the raw image's, whatever P is
            p, note = None, f"{clash}; P is not used"
        camera = Pinhole.from_matrix(fit(k if p is None else p), width, height)
        lens = Lens(fit(k), *_coefficients(self.distortion_model, self.distortion), rotation, camera)
        _check_lens(lens)
        return View(camera, lens, note)

    @property
    def calibrated(self) -> bool:
        """Whether anything is said of the camera."""
        return bool(self.matrix.any()) or not _is_placeholder(self.projection[:, :3])

    def resized(self, width: int, height: int) -> CameraModel:
        """The model of the image once it is cut, binned and resized to width x height pixels.

        Raises CameraError for another shape.
        """
        fit = self._fitting(width, height)
        return replace(
            self, width=width, height=height, matrix=fit(self.matrix), projection=fit(self.projection),
            binning=(1, 1), region=(0, 0, 0, 0),
        )  # fmt: skip

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Of the calibrated images; of unknown size, those that an image of width x height was binned from."""
        if self.width > 0 and self.height > 0:
            return self.width, self.height
        return width * max(self.binning[0], 1), height * max(self.binning[1], 1)

    def _fitting(self, width: int, height: int):
        """fit(matrix) -> the matrix (3, 3) or (3, 4), in the image."""
        full = self._size(width, height)
        bx, by = (max(int(n), 1) for n in self.binning)
        x, y = self.region[:2]
        cut = self.region[2] or full[0] - x, self.region[3] or full[1] - y
        if x < 0 or y < 0 or min(cut) < 1 or x + cut[0] > full[0] or y + cut[1] > full[1]:
            raise CameraError(
                f"the region of {cut[0]}x{cut[1]} pixels at {x}, {y} is not inside the {full[0]}x{full[1]} image"
            )
        if (cut[0] // bx, cut[1] // by) == (width, height):
            before, after = (by, bx), (1, 1)
        elif _same_shape(cut, (width, height)) or _same_shape((cut[0] / bx, cut[1] / by), (width, height)):
            before, after = cut[::-1], (height, width)
        else:
            raise CameraError(
                f"it is for {cut[0] // bx}x{cut[1] // by} pixels, the image has {width}x{height}, another shape; "
                "give the calibration of these images (in ROS, the camera_info beside the image topic)"
            )

        def fit(matrix: np.ndarray) -> np.ndarray:
            if not matrix.any():
                return matrix
            moved = matrix.copy()
            moved[:2] -= np.outer((x, y), matrix[2])
            return resized_matrix(moved, before, after)

        return fit

    def _plausible(self, width: int, height: int) -> tuple[np.ndarray | None, np.ndarray | None, str]:
        """K and P[:, :3] (3, 3) as far as they are a camera's, one at least; and a note on P where it is none."""
        size, k, p = self._size(width, height), self.matrix, self.projection[:, :3]
        unsaid = not (self.width > 0 and self.height > 0)
        wrong_p = _fault(p, size, unsaid)
        if _is_placeholder(k) and not wrong_p:
            return None, p, ""
        wrong_k = _fault(k, size, unsaid)
        if wrong_k:
            raise CameraError(f"of its matrix K {wrong_k}")
        if not wrong_p:
            return k, p, ""
        return k, None, "" if _is_placeholder(p) else f"P is not used, K is: of P {wrong_p}"

    def _rotation(self) -> np.ndarray:
        r = self.rectification
        if not r.any():
            return np.eye(3)
        good = (
            np.isfinite(r).all()
            and np.allclose(r @ r.T, np.eye(3), atol=ROTATION_ERROR)
            and np.linalg.det(r) > 0
        )
        if not good:
            raise CameraError(f"R is {np.round(r, 4).tolist()}; expected a rotation matrix, or the identity")
        return nearest_rotation(r)

    def _contradiction(self, k, rotation, p, width: int, height: int) -> str:
        """Why K, R and P cannot be of one camera, or ''."""
        if k is None or p is None:
            return ""
        ratio = np.diag(p)[:2] / np.diag(k)[:2]
        axis = p @ rotation[:, 2]
        size = self._size(width, height)
        moved = np.abs(axis[:2] / axis[2] - k[:2, 2]) / size if axis[2] > 0 else np.full(2, np.inf)
        if (ratio < ZOOMED).all() and (ratio > 1 / ZOOMED).all() and (moved < MOVED).all():
            return ""
        return (
            f"K (fx {k[0, 0]:g}, cx {k[0, 2]:g}, cy {k[1, 2]:g}) and P (fx {p[0, 0]:g}, cx {p[0, 2]:g}, cy "
            f"{p[1, 2]:g}) contradict each other: they are of two image sizes or two cameras"
        )


def _same_shape(cut: tuple[float, float], image: tuple[int, int]) -> bool:
    """Whether one is the other resized, but for rounding to whole pixels."""
    return abs(cut[0] * image[1] - cut[1] * image[0]) <= max(*cut, *image)


def _is_placeholder(matrix: np.ndarray) -> bool:
    """Whether a driver wrote it that knows nothing."""
    return not matrix.any() or np.array_equal(matrix, np.eye(3))


def _fault(matrix: np.ndarray, size: tuple[int, int], of_this_size: bool) -> str:
    """Why a matrix (3, 3) is no camera's that takes images of this size, or ''.

    of_this_size: this is only taken to be so, and is believed where the centre is near the middle.
    """
    fx, skew, cx = (float(n) for n in matrix[0])
    fy, cy = float(matrix[1, 1]), float(matrix[1, 2])
    if not np.isfinite(matrix).all():
        return "not all numbers are finite; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
    if not (fx > 0 and fy > 0):
        return f"the focal lengths are {fx:g}, {fy:g}; expected positive focal lengths in pixels"
    if not (np.allclose(matrix[2], (0, 0, 1)) and abs(matrix[1, 0]) < 1e-6 * fy):
        return f"the rows are {matrix.tolist()}; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
    if not FOCAL[0] <= fx / size[0] <= FOCAL[1]:
        return (
            f"the focal length is {fx:g} pixels where images are {size[0]} wide; expected "
            f"{FOCAL[0] * size[0]:g} to {FOCAL[1] * size[0]:g}"
        )
    if not 1 / ASPECT <= fx / fy <= ASPECT:
        return f"the focal lengths are {fx:g} and {fy:g}; expected fx and fy to be nearly equal"
    centre, sizes = np.array([cx, cy]), np.array(size)
    if not ((centre >= -0.5) & (centre <= sizes - 0.5)).all():
        return (
            f"the centre is at {cx:g}, {cy:g}, outside the {size[0]}x{size[1]} images; it is for images of "
            "another size"
        )
    if of_this_size and not ((centre >= MIDDLE * sizes) & (centre <= (1 - MIDDLE) * sizes)).all():
        return (
            f"the centre is at {cx:g}, {cy:g}, far from the middle of the {size[0]}x{size[1]} images; it is for "
            "images of another size (of images that were cut, give a calibration that says its size)"
        )
    if abs(skew) * size[1] / fy > 1:  # the columns at the lower edge are off by a pixel
        return f"the skew is {skew:g}; expected 0, as cameras have it"
    return ""


def _name(model: str) -> str:
    return model.strip().lower()


def _coefficients(model: str, distortion: tuple[float, ...]) -> tuple[tuple[float, ...], bool]:
    """(coefficients as OpenCV wants them, whether they are its fisheye's). Raises CameraError."""
    model, given = _name(model), np.asarray(distortion, np.float64)
    if not (np.abs(given) < LARGEST).all():
        raise CameraError(
            f"not all distortion coefficients are finite numbers below {LARGEST:g}: {given.tolist()}"
        )
    if not given.any():
        return (0.0,) * 4, model in FISHEYES
    if model not in COUNTS:
        raise CameraError(
            f"the distortion model '{model}' is not known; expected {', '.join(filter(None, COUNTS))}, or rectified "
            "images"
        )
    known = [n for n in COUNTS[model] if n <= len(given) and not given[n:].any()]
    if not known:
        counts = " or ".join(map(str, COUNTS[model]))
        raise CameraError(
            f"{model or 'a model without a name'} has {counts} distortion coefficients, found {len(given)}: "
            f"{given.tolist()}"
        )
    return tuple(given[: known[0]].tolist()), model in FISHEYES


def _check_lens(lens: Lens) -> None:
    """Raise CameraError where the raw image is folded over, or fills next to nothing of the view."""
    width, height = lens.camera.width, lens.camera.height
    u, v = np.meshgrid((np.arange(24) + 0.5) / 24 * width - 0.5, (np.arange(18) + 0.5) / 18 * height - 0.5)
    pixels = np.column_stack([u.ravel(), v.ravel()])
    if not lens.fisheye or lens.limit < LEAST_ANGLE:
        folded = 1 - np.isfinite(lens.rays(pixels)).all(axis=1).mean()
        if folded > FOLDED:
            raise CameraError(
                f"the distortion coefficients {list(lens.distortion)} fold {folded:.0%} of the image over, which no "
                "lens does; calibrate the camera with the pattern near the image's edges and corners too"
            )
    seen = lens.to_image(pixels)
    inside = ((seen >= -0.5) & (seen <= np.array([width, height]) - 0.5)).all(axis=1).mean()
    if inside < LEAST_SEEN:
        raise CameraError(
            f"the image fills only {inside:.0%} of the rectified view that K, D, R and P make; calibrate the camera"
        )
