"""The world frame: where the camera is in it, window after window, as a rigid chain of relative poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL, adjoint, nearest_rotation, pose_matrix
from d4rt_ros.stream.relocation import Landmarks
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

# Of a pose that is not known: any filter rejects it, in metres as in the model's unit.
LOST_COVARIANCE = 1e6 * np.eye(6)
LOST_COVARIANCE.flags.writeable = False


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


class World:
    """Begins at a camera; by default x is forward of it, y left, z up (REP 103).

    camera: where it was last known to be; stamp: when that was, None before the world has begun. keyframe: the
    frame that new ones are measured from, and its stamp. It is kept for several windows, since every change of it
    adds an error to the chain. landmarks: what is known of the keyframe's image, by which the camera is found again
    once the keyframe has left the window.
    """

    def __init__(self) -> None:
        self.stamp: int | None = None
        self.keyframe_stamp: int | None = None
        self.landmarks: Landmarks | None = None
        self.start(BODY_FROM_OPTICAL)

    def start(self, world_from_camera: np.ndarray) -> None:
        """The first camera's place, (4, 4)."""
        self.camera = self.keyframe = WorldPose(np.array(world_from_camera), COVARIANCE_FLOOR.copy())

    def move(self, step: RelativePose, stamp: int) -> None:
        """The camera's pose in the keyframe's frame is this, at this time."""
        self.camera, self.stamp = self.keyframe.moved(step), stamp

    def stay(self, stamp: int) -> None:
        """The camera is still where it was, at this time."""
        self.stamp = stamp

    def set_keyframe(self, stamp: int) -> None:
        """The frame of this stamp, seen where the camera now is, is what new ones are measured from."""
        self.keyframe, self.keyframe_stamp, self.stamp = self.camera, stamp, stamp
