"""What is known of the camera from camera_info."""

from __future__ import annotations

from d4rt_ros.geometry import CameraError, Pinhole
from d4rt_ros.ros import messages


class Calibration:
    """The newest camera_info and the camera that it means for images of a size.

    problem: what is wrong with it, in a sentence, or "".
    """

    def __init__(self) -> None:
        self.problem = ""
        self._info = None
        self._camera: tuple[tuple[int, int], Pinhole | None] | None = (
            None  # for the size that it was made for
        )

    def update(self, info) -> None:
        self._info, self._camera = info, None

    def camera(self, width: int, height: int) -> Pinhole | None:
        """The camera of images of this size; None where it is not calibrated."""
        if self._info is None:
            return None
        if self._camera is None or self._camera[0] != (width, height):
            self._camera = (width, height), self._made(width, height)
        return self._camera[1]

    def _made(self, width: int, height: int) -> Pinhole | None:
        self.problem = ""
        try:
            camera = messages.pinhole(self._info, width, height)
        except CameraError as error:
            self.problem = f"camera_info is not used: {error}"
            return None
        if camera is not None and messages.distorted(self._info):
            self.problem = (
                "camera_info has distortion coefficients; the image must be the rectified one "
                "(image_rect of image_proc), straight lines straight, or geometry is off at the edges"
            )
        return camera
