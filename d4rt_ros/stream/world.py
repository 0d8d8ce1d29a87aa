"""The world frame: where the camera is in it, window after window, as a rigid chain of relative poses."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL, nearest_rotation
from d4rt_ros.tasks.pose_fit import cross_matrix
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

# What a step that could not be measured may have been: 1 m and 30 degrees.
LOST_COVARIANCE = np.diag([1.0] * 3 + [np.radians(30.0) ** 2] * 3)


class World:
    """Begins at the first camera, turned to x forward, y left, z up (REP 103).

    world_from_camera: (4, 4), the last good pose.
    covariance: (6, 6), of x y z and the turns about x y z, about the world's axes, since the beginning.
    stamp: of the frame that it is the pose of; None at the beginning.
    """

    def __init__(self) -> None:
        self.world_from_camera = BODY_FROM_OPTICAL.copy()
        self.covariance = COVARIANCE_FLOOR.copy()
        self.stamp: int | None = None

    def begin(self, stamp: int) -> None:
        """The camera is where it was last known to be: at the origin, or after its way was lost."""
        if self.stamp is not None:
            self.covariance = self.covariance + LOST_COVARIANCE
        self.stamp = stamp

    def move(self, step: RelativePose, stamp: int) -> None:
        """Go from the last pose to the next frame's, by the pose of that frame in the last one's."""
        rotation = self.world_from_camera[:3, :3]
        turn = np.kron(np.eye(2), rotation)
        # Turning the last pose swings the new one about it.
        swing = np.eye(6)
        swing[:3, 3:] = -cross_matrix(rotation @ step.i_from_j[:3, 3])
        self.covariance = swing @ self.covariance @ swing.T + turn @ step.covariance @ turn.T
        self.world_from_camera = self.world_from_camera @ step.i_from_j
        self.world_from_camera[:3, :3] = nearest_rotation(self.world_from_camera[:3, :3])
        self.stamp = stamp
