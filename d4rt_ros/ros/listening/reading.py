"""Numpy arrays from the node's messages, as a user reads them."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2

from d4rt_ros.geometry import pose_from_quaternion

REJECTED_VARIANCE = (
    1e3  # of a pose's coordinate: no filter takes it in, so it says that the pose is not known
)


def depth_pixels(msg: Image) -> np.ndarray:
    """(H, W) float32 of a 32FC1 image."""
    return np.frombuffer(msg.data, np.float32).reshape(msg.height, msg.width)


def cloud_points(msg: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """xyz (N, 3) float32 and rgb (N, 3) uint8 of the finite points of a cloud with float fields x y z rgb."""
    rows = np.frombuffer(msg.data, np.uint8).reshape(-1, msg.point_step)
    offset = {f.name: f.offset for f in msg.fields}
    xyz = np.stack([rows[:, offset[n] : offset[n] + 4].copy().view("<f4")[:, 0] for n in "xyz"], -1)
    rgb = rows[:, offset["rgb"] : offset["rgb"] + 3][:, ::-1]
    finite = np.isfinite(xyz).all(-1)
    return xyz[finite], rgb[finite]


def world_from_child(pose: Pose) -> np.ndarray:
    """(4, 4) of a geometry_msgs/Pose: of Odometry, PoseStamped, Path."""
    p, q = pose.position, pose.orientation
    return pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])


def pose_is_known(msg: Odometry) -> bool:
    """Whether a filter would take the pose in: while the node is lost its variances are huge."""
    variances = np.reshape(msg.pose.covariance, (6, 6)).diagonal()
    return bool((variances < REJECTED_VARIANCE).all())  # NaN is not known either
