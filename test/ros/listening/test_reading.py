"""Arrays from messages, as a user reads them."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from geometry_msgs.msg import Pose  # noqa: E402

from d4rt_ros.geometry import pose_matrix  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.ros.listening.reading import (  # noqa: E402
    depth_pixels,
    organised_cloud,
    pose_is_known,
    world_from_child,
)

NOW = 1_700_000_000_000_000_000


def test_a_cloud_comes_back_with_its_grid_its_colours_and_its_holes():
    xyz = np.random.default_rng(0).uniform(1, 2, (3, 5, 3)).astype(np.float32)
    xyz[1, 2] = np.nan
    rgb = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
    confidence = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)
    cloud = organised_cloud(messages.point_cloud(messages.header_message(NOW, "eye"), xyz, rgb, confidence))
    np.testing.assert_array_equal(cloud.xyz, xyz)
    np.testing.assert_array_equal(cloud.rgb, rgb)
    np.testing.assert_array_equal(cloud.confidence, confidence)


def test_depth_comes_back_with_its_holes():
    depth = np.arange(15, dtype=np.float32).reshape(3, 5)
    read = depth_pixels(messages.depth_image(messages.header_message(NOW, "eye"), depth))
    np.testing.assert_array_equal(read[1:], depth[1:])
    assert np.isnan(read[0, 0]), "a depth of 0 is none"


def test_a_pose_comes_back():
    pose = pose_matrix([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [1, 2, 3])
    np.testing.assert_allclose(world_from_child(messages.pose_message(pose)), pose, atol=1e-12)
    with pytest.raises(ValueError, match="has no direction"):
        message = Pose()
        message.orientation.w = 0.0
        world_from_child(message)


@pytest.mark.parametrize(
    ("variance", "known"),
    [(1e-4, True), (2.0, True), (1e6, False), (float("nan"), False), (float("inf"), False)],
)
def test_a_pose_that_a_filter_rejects_is_not_known(variance, known):
    covariance = np.eye(6) * 1e-4
    covariance[4, 4] = variance
    header = messages.header_message(NOW, "world")
    assert (
        pose_is_known(messages.odometry(header, "eye", np.eye(4), covariance, np.zeros(6), np.eye(6)))
        is known
    )
