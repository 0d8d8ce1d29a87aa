"""Numpy arrays from the node's messages, as a user reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2

from d4rt_ros.geometry import pose_from_quaternion

REJECTED_VARIANCE = (
    1e3  # of a pose's coordinate: no filter takes it in, so it says that the pose is not known
)


@dataclass(frozen=True, eq=False)
class Cloud:
    """xyz: (h, w, 3) float32 in the camera frame, NaN where there is none. rgb: (h, w, 3) uint8. confidence: (h, w)."""

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray


def depth_pixels(msg: Image) -> np.ndarray:
    """(H, W) float32 of a 32FC1 image."""
    return np.frombuffer(msg.data, np.float32).reshape(msg.height, msg.width)


def organised_cloud(msg: PointCloud2) -> Cloud:
    """The points of a cloud with float fields x y z rgb confidence, as its grid has them."""
    rows = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, msg.point_step)
    offset = {f.name: f.offset for f in msg.fields}

    def value(name: str) -> np.ndarray:
        return rows[..., offset[name] : offset[name] + 4].copy().view("<f4")[..., 0]

    rgb = rows[..., offset["rgb"] : offset["rgb"] + 3][..., ::-1]
    return Cloud(np.stack([value(n) for n in "xyz"], -1), rgb, value("confidence"))


def world_from_child(pose: Pose) -> np.ndarray:
    """(4, 4) of a geometry_msgs/Pose: of Odometry, PoseStamped, Path."""
    p, q = pose.position, pose.orientation
    return pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])


def pose_is_known(msg: Odometry) -> bool:
    """Whether a filter would take the pose in: while the node is lost its variances are huge."""
    variances = np.reshape(msg.pose.covariance, (6, 6)).diagonal()
    return bool((variances < REJECTED_VARIANCE).all())  # NaN is not known either
