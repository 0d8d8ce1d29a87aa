"""The world frame: where the camera is in it, window after window, as a rigid chain of relative poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL, adjoint, nearest_rotation, pose_matrix
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

# What a step that could not be measured may have been: 1 m and 30 degrees.
LOST_COVARIANCE = np.diag([1.0] * 3 + [np.radians(30.0) ** 2] * 3)


@dataclass(frozen=True)
class WorldPose:
    """A camera in the world. world_from_camera: (4, 4).

    covariance: (6, 6), of x y z and the turns about x y z, about the world's axes, since the world began.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray

    def moved(self, step: RelativePose) -> WorldPose:
        """Where the camera is whose pose in this one's frame is known."""
        rotation = self.world_from_camera[:3, :3]
        lever = adjoint(pose_matrix(translation=-rotation @ step.i_from_j[:3, 3]))
        turned = adjoint(pose_matrix(rotation))
        covariance = lever @ self.covariance @ lever.T + turned @ step.covariance @ turned.T
        pose = self.world_from_camera @ step.i_from_j
        pose[:3, :3] = nearest_rotation(pose[:3, :3])
        return WorldPose(pose, covariance)

    def lost(self) -> WorldPose:
        """The same place, and no longer sure of it."""
        return WorldPose(self.world_from_camera, self.covariance + LOST_COVARIANCE)


class World:
    """Begins with the first camera at `start` (4, 4), by default turned to x forward, y left, z up (REP 103).

    camera: where it was last known to be.
    keyframe: the frame that new ones are measured from, and its stamp; None at the beginning. It is kept for
    several windows, since every change of it adds an error to the chain.
    """

    def __init__(self, start: np.ndarray = BODY_FROM_OPTICAL) -> None:
        self.camera = self.keyframe = WorldPose(np.array(start), COVARIANCE_FLOOR.copy())
        self.keyframe_stamp: int | None = None

    def move(self, step: RelativePose) -> None:
        """The camera's pose in the keyframe's frame is this."""
        self.camera = self.keyframe.moved(step)

    def set_keyframe(self, stamp: int) -> None:
        """The frame of this stamp, seen where the camera now is, is what new ones are measured from."""
        self.keyframe, self.keyframe_stamp = self.camera, stamp

    def lose(self) -> None:
        """The keyframe is gone and nobody knows how the camera has moved since."""
        self.camera = self.camera.lost()
