"""The whole way over DDS with a model that knows the truth: what comes out is the truth."""

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_testing import Running, image, stamp  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole, invert, pose_from_quaternion, transform  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.scenes import OracleModel, render, sample_scenes  # noqa: E402

HEIGHT, WIDTH, FRAMES, WINDOW = 60, 80, 9, 6
TIMES = np.arange(FRAMES) * 0.1
POSE_TOLERANCE = 2e-3  # metres, and of the rotation matrix's entries


class Truth:
    """A stream of FRAMES images, and its poses in a world that begins as the node's does."""

    def __init__(self):
        import torch

        scenes = sample_scenes(16, seed=5)[3]
        shown = render(scenes, torch.from_numpy(TIMES).float()[None], HEIGHT, WIDTH, samples=1)
        self.images = shown.rgb[0].numpy()
        self.depth = shown.depth[0].numpy()
        poses = shown.world_from_camera[0].double().numpy()
        # The node's world begins at the newest camera of its first window, turned to x forward, z up.
        self.poses = BODY_FROM_OPTICAL @ invert(poses[WINDOW - 1]) @ poses
        self.camera = Pinhole.from_matrix(shown.intrinsics[0].numpy(), WIDTH, HEIGHT)
        self.model = OracleModel(scenes, self.images, TIMES, WINDOW)


@pytest.fixture(scope="module")
def truth():
    return Truth()


@pytest.fixture(scope="module")
def running(truth):
    """The node after the whole stream, with everything listened to."""
    parameters = {"depth.size": [HEIGHT, WIDTH], "tracks.rows": 5, "tracks.cols": 7}
    with Running(parameters, truth.model) as running:
        running.active()
        for kind, topic in (
            (PointCloud2, "points"),
            (Image, "depth/image"),
            (CameraInfo, "depth/camera_info"),
            (Odometry, "odometry"),
            (Tracks, "tracks"),
        ):
            running.listen(kind, "/d4rt/" + topic)
        running.listen(TFMessage, "/tf")
        running.send_info(messages.camera_info(image(0).header, truth.camera))
        for time, rgb in zip(TIMES, truth.images):
            running.send("image", image(100 + time, rgb))
        results = FRAMES - WINDOW + 1
        assert running.user.until(
            lambda: all(len(running.user.heard[t]) == results for t in _outputs(running))
        )
        yield running


def _outputs(running):
    return [topic for topic in running.user.heard if topic != "/diagnostics"]


def _by_frame(running, topic):
    """(index of the stream's frame, message) of everything on a topic."""
    for msg in running.user.heard[topic]:
        header = msg.transforms[0].header if isinstance(msg, TFMessage) else msg.header
        yield round((messages.nanoseconds(header.stamp) - 100e9) / 1e8), msg


def test_depth_is_the_true_depth(running, truth):
    for i, msg in _by_frame(running, "/d4rt/depth/image"):
        np.testing.assert_allclose(
            np.frombuffer(msg.data, np.float32).reshape(HEIGHT, WIDTH), truth.depth[i], rtol=1e-3
        )


def test_the_cloud_is_the_depth_along_the_cameras_rays_in_the_images_colours(running, truth):
    for i, msg in _by_frame(running, "/d4rt/points"):
        rows = np.frombuffer(msg.data, np.uint8).reshape(HEIGHT, WIDTH, -1)
        xyz = rows[..., :12].copy().view(np.float32)
        np.testing.assert_allclose(xyz, truth.camera.backproject_map(truth.depth[i]), rtol=2e-3, atol=1e-4)
        np.testing.assert_array_equal(rows[..., 12:15][..., ::-1], truth.images[i])


def test_the_camera_info_is_the_cameras(running, truth):
    for _, msg in _by_frame(running, "/d4rt/depth/camera_info"):
        assert Pinhole.from_matrix(msg.k, msg.width, msg.height) == truth.camera


def test_tf_and_odometry_are_the_true_poses(running, truth):
    moved = np.linalg.norm(truth.poses[-1, :3, 3])
    assert moved > 10 * POSE_TOLERANCE  # else there is nothing to see
    for i, msg in _by_frame(running, "/tf"):
        pose = messages.pose_from_transform(msg.transforms[0].transform)
        np.testing.assert_allclose(pose, truth.poses[i], atol=POSE_TOLERANCE)
    for i, msg in _by_frame(running, "/d4rt/odometry"):
        p, q = msg.pose.pose.position, msg.pose.pose.orientation
        pose = pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])
        np.testing.assert_allclose(pose, truth.poses[i], atol=POSE_TOLERANCE)
        assert np.linalg.eigvalsh(np.reshape(msg.pose.covariance, (6, 6))).min() > 0


def test_the_velocity_is_the_poses_change(running, truth):
    i, msg = list(_by_frame(running, "/d4rt/odometry"))[-1]
    moved = invert(truth.poses[i - 1]) @ truth.poses[i]
    linear = msg.twist.twist.linear
    np.testing.assert_allclose(
        [linear.x, linear.y, linear.z], moved[:3, :3].T @ moved[:3, 3] / 0.1, atol=POSE_TOLERANCE / 0.05
    )


def test_tracks_project_to_their_pixels_in_every_frame(running, truth):
    for i, msg in _by_frame(running, "/d4rt/tracks"):
        shape = (len(msg.ids), WINDOW)
        positions = np.reshape(msg.positions, (*shape, 3)).astype(float)
        pixels, visible = np.reshape(msg.pixels, (*shape, 2)), np.reshape(msg.visible, shape)
        assert shape[0] == 35 and visible[:, -1].all() and 0.3 < visible.mean()
        for t in range(WINDOW):
            in_camera = transform(invert(truth.poses[i - WINDOW + 1 + t]), positions[visible[:, t], t])
            projected = truth.camera.project(in_camera)
            np.testing.assert_allclose(projected, pixels[visible[:, t], t], atol=0.3)


def test_answers_are_the_truth(running, truth):
    """Pixels of two frames, asked by stamp, in the camera, in the world, and as tracks."""
    rng = np.random.default_rng(0)
    u, v = rng.integers(0, WIDTH, 50), rng.integers(0, HEIGHT, 50)
    request = Query.Request(u=array("f", u), v=array("f", v), t_src=[1], t_tgt=[1], t_cam=[1])
    request.stamps = [stamp(100.4), stamp(100.6)]
    response = running.user.call(Query, "/d4rt/query", request)
    assert response.status == Query.Response.OK and response.header.stamp == stamp(100.6)
    points = truth.camera.backproject(np.stack([u, v], -1).astype(float), truth.depth[6][v, u])
    np.testing.assert_allclose(np.reshape(response.points, (-1, 3)), points, rtol=1e-3, atol=1e-4)

    request.frame_id = "world"
    response = running.user.call(Query, "/d4rt/query", request)
    expected = transform(truth.poses[6], points)
    np.testing.assert_allclose(np.reshape(response.points, (-1, 3)), expected, atol=5 * POSE_TOLERANCE)

    tracks = TrackPoints.Request(u=array("f", u), v=array("f", v), t_src=[6 - (FRAMES - WINDOW)])
    response = running.user.call(TrackPoints, "/d4rt/track_points", tracks)
    at_source = np.reshape(response.positions, (50, WINDOW, 3))[:, 6 - (FRAMES - WINDOW)]
    np.testing.assert_allclose(at_source, expected, atol=5 * POSE_TOLERANCE)
