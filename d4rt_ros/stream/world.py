"""The world frame: where the camera is in it and how long its unit, window after window, as a chain of keyframes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL, adjoint, nearest_rotation, pose_matrix
from d4rt_ros.stream.relocation import KnownView
from d4rt_ros.stream.stitching import Unit
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

# Of a pose that is not known: any filter rejects it, in metres as in the model's unit.
LOST_COVARIANCE = 1e6 * np.eye(6)
LOST_COVARIANCE.flags.writeable = False


def grown(covariance: np.ndarray, way: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) of a pose since the world began, about the world's axes: that of one before it, from which it
    is `way` (3,) off, and the step's between them, about the world's axes too."""
    lever = adjoint(pose_matrix(translation=-way))
    return lever @ covariance @ lever.T + step


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
        turned = adjoint(pose_matrix(rotation))
        way = rotation @ step.i_from_j[:3, 3]
        covariance = grown(self.covariance, way, turned @ step.covariance @ turned.T)
        pose = self.world_from_camera @ step.i_from_j
        pose[:3, :3] = nearest_rotation(pose[:3, :3])
        return WorldPose(pose, covariance)


@dataclass(frozen=True, eq=False)
class Keyframe:
    """The newest frame of a window that has been placed. pose: its camera's. unit: that window's. landmarks: what the
    window said of it, with depth in the world's unit."""

    pose: WorldPose
    unit: Unit
    landmarks: KnownView

    @property
    def stamp(self) -> int:
        return self.landmarks.frame.stamp


class World:
    """Begins at a camera; by default x is forward of it, y left, z up (REP 103).

    camera: where it was last known to be; stamp: when that was, None before the world has begun. unit: of the newest
    window; of the last one of which it was known, where it is not. keyframe: what new windows are joined to. It is kept
    for several, since every change of it adds an error to the chain; and by it the camera is found again once it has
    left the window.
    """

    def __init__(self, world_from_camera: np.ndarray = BODY_FROM_OPTICAL) -> None:
        self.camera = WorldPose(np.array(world_from_camera, np.float64), COVARIANCE_FLOOR.copy())
        self.unit = Unit()
        self.stamp: int | None = None
        self.keyframe: Keyframe | None = None

    def place(self, camera: WorldPose, stamp: int) -> None:
        """The camera is there, at this time."""
        self.camera, self.stamp = camera, stamp

    def set_keyframe(self, landmarks: KnownView) -> None:
        """New windows are joined to this frame, seen where the camera now is, by a window of the present unit."""
        self.keyframe = Keyframe(self.camera, self.unit, landmarks)
        self.stamp = self.keyframe.stamp
