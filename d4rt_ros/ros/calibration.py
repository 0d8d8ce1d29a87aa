"""What is known of the camera from camera_info, and its images as a pinhole camera would see them."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry import CameraError, Lens, Pinhole, View
from d4rt_ros.io.calibration import camera_model, named_rectified

SIZES = 4  # of images that may take turns without maps being made anew; more than any camera has


class Calibration:
    """The newest camera_info and what it means for an image.

    problem: what is wrong with it, in a sentence, or "".
    """

    def __init__(self) -> None:
        self.problem = ""
        self._info = None
        self._content: tuple | None = None
        self._views: dict[tuple, tuple[View, str]] = {}  # and the problem, by what they were made for

    @property
    def info(self):
        """The newest camera_info; None where none has come."""
        return self._info

    def update(self, info) -> None:
        """Take a camera_info; what was made of the last one is kept where it says the same."""
        content = _content(info)
        if content != self._content:
            self._views = {}
        self._info, self._content = info, content

    def view(
        self, image: np.ndarray, topic: str, rectified
    ) -> tuple[np.ndarray, Pinhole | None, Lens | None]:
        """An image (H, W, 3) as a pinhole camera sees it, that camera, and the lens that the raw image came through.

        topic: the image's, whose name may say that it is rectified. rectified: "auto", "true" or "false", or a
        bool. The camera is None where it is not known, the lens where the image is given back as it is.
        """
        if self._info is None:
            return image, None, None
        key = image.shape[:2], topic, str(rectified).lower()
        if key not in self._views:
            if len(self._views) >= SIZES:
                self._views.pop(next(iter(self._views)))
            self._views[key] = self._made(*key)
        view, self.problem = self._views[key]
        return image if view.lens is None else view.lens.rectify(image), view.camera, view.lens

    def _made(self, size: tuple[int, int], topic: str, rectified: str) -> tuple[View, str]:
        said = {"true": True, "false": False}.get(rectified, named_rectified(topic) or None)
        try:
            view = camera_model(self._info).view(size[1], size[0], said)
        except CameraError as error:
            return View(None), f"camera_info is not used: {error}"
        return view, f"camera_info: {view.note}" if view.note else ""


def _content(info) -> tuple:
    """All that a camera_info says but its header."""
    numbers = (np.asarray(values, np.float64).tobytes() for values in (info.k, info.d, info.r, info.p))
    region = info.roi
    return (
        info.width, info.height, info.distortion_model, info.binning_x, info.binning_y,
        region.x_offset, region.y_offset, region.width, region.height, *numbers,
    )  # fmt: skip
