"""Messages hold what the arrays held; images are never square, so that rows and columns cannot be swapped."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages")
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField  # noqa: E402
from small_results import small_result  # noqa: E402

from d4rt_ros.dynamics.objects import Objects  # noqa: E402
from d4rt_ros.geometry import Pinhole, pose_from_quaternion, pose_matrix  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.stream import Scale  # noqa: E402

STAMP = 1_700_000_000_123_456_789
HEADER = messages.header_message(STAMP, "camera_optical")
CAMERA = Pinhole(500.0, 510.0, 330.0, 230.0, 640, 480)


def _cloud(height=4, width=7):
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(height, width, 3)).astype(np.float32)
    xyz[..., 2] = np.abs(xyz[..., 2]) + 0.5
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return xyz, rgb, rng.random((height, width)).astype(np.float32)


def _read(msg: PointCloud2):
    formats = {PointField.FLOAT32: "<f4", PointField.UINT8: "u1"}
    dtype = np.dtype(
        {
            "names": [f.name for f in msg.fields],
            "formats": [formats[f.datatype] for f in msg.fields],
            "offsets": [f.offset for f in msg.fields],
            "itemsize": msg.point_step,
        }
    )
    return np.frombuffer(msg.data, dtype).reshape(msg.height, msg.width)


def test_stamps_go_both_ways():
    assert messages.nanoseconds(HEADER.stamp) == STAMP
    assert (HEADER.stamp.sec, HEADER.stamp.nanosec) == (1_700_000_000, 123_456_789)


def test_cloud_is_organised():
    xyz, rgb, confidence = _cloud()
    msg = messages.point_cloud(HEADER, xyz, rgb, confidence)
    points = _read(msg)
    assert (msg.height, msg.width, msg.row_step) == (4, 7, 7 * msg.point_step)
    assert len(msg.data) == msg.height * msg.row_step and not msg.is_dense and not msg.is_bigendian
    np.testing.assert_array_equal(np.stack([points[n] for n in "xyz"], -1), xyz)
    np.testing.assert_array_equal(points["confidence"], confidence)
    assert msg.fields[-1].name == "dynamic" and (points["dynamic"] == messages.NOT_DETERMINED).all()
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    np.testing.assert_array_equal(np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], -1), rgb)
    assert (packed >> 24 == 0).all()


def test_points_say_whether_they_move():
    xyz, rgb, confidence = _cloud()
    moves = confidence > 0.5
    points = _read(messages.point_cloud(HEADER, xyz, rgb, confidence, moves))
    np.testing.assert_array_equal(points["dynamic"], np.where(moves, messages.MOVES, messages.AT_REST))
    np.testing.assert_array_equal(points["confidence"], confidence)
    assert (messages.AT_REST, messages.MOVES, messages.NOT_DETERMINED) == (0, 1, 255)


def test_points_that_are_nowhere_are_nan():
    xyz, rgb, confidence = _cloud()
    xyz[0, 1, 2], xyz[1, 2, 0], xyz[2, 3, 2], xyz[3, 4, 1] = -1.0, np.inf, 0.0, np.nan
    points = _read(messages.point_cloud(HEADER, xyz, rgb, confidence))
    gone = np.isnan(np.stack([points[n] for n in "xyz"], -1))
    assert gone.any(-1).sum() == 4 and gone.all(-1).sum() == 4
    assert gone[[0, 1, 2, 3], [1, 2, 3, 4]].all()


def test_cloud_as_sensor_msgs_py_reads_it():
    point_cloud2 = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="needs a distribution's sensor_msgs_py"
    )
    xyz, rgb, confidence = _cloud()
    msg = messages.point_cloud(HEADER, xyz, rgb, confidence)
    read = point_cloud2.read_points(msg, field_names=["x", "y", "z", "confidence"])
    np.testing.assert_array_equal(np.stack([read[n] for n in "xyz"], -1).reshape(-1, 3), xyz.reshape(-1, 3))
    np.testing.assert_array_equal(read["confidence"].ravel(), confidence.ravel())


def test_a_cloud_of_65536_points_takes_few_milliseconds():
    xyz, rgb, confidence = _cloud(256, 256)
    times = []
    for _ in range(20):
        start = time.thread_time()  # what others on the machine take is not ours
        messages.point_cloud(HEADER, xyz, rgb, confidence, confidence > 0.5)
        times.append(time.thread_time() - start)
    assert min(times) < 0.005  # 1.5 ms on an idle machine; a slow path takes 50


def test_depth_image():
    depth = np.arange(12, dtype=np.float32).reshape(3, 4)
    depth[1, 1], depth[2, 2] = np.inf, -3
    msg = messages.depth_image(HEADER, depth)
    assert (msg.height, msg.width, msg.step, msg.encoding) == (3, 4, 16, "32FC1")
    read = np.frombuffer(msg.data, np.float32).reshape(3, 4)
    unknown = np.isnan(read)
    assert unknown.sum() == 3 and unknown[0, 0] and unknown[1, 1] and unknown[2, 2]
    np.testing.assert_array_equal(read[~unknown], depth[~unknown])


def test_mask_image():
    mask = np.arange(12).reshape(3, 4) % 5 == 0
    msg = messages.mask_image(HEADER, mask)
    assert (msg.height, msg.width, msg.step, msg.encoding, msg.header) == (3, 4, 4, "mono8", HEADER)
    np.testing.assert_array_equal(np.frombuffer(msg.data, np.uint8).reshape(3, 4), np.where(mask, 255, 0))


def test_a_camera_info_of_another_image():
    info = CameraInfo(
        width=64, height=48, distortion_model="equidistant", d=[0.1, 0.2, 0.3, 0.4], binning_x=2
    )
    info.k[0], info.p[3], info.roi.width = 50.0, -6.0, 64
    info.header.frame_id = "left"
    now = messages.restamped(info, HEADER)
    assert now.header == HEADER and info.header.frame_id == "left"
    now.header = info.header
    assert now == info


def test_camera_info_round_trip():
    msg = messages.camera_info(HEADER, CAMERA)
    assert Pinhole.from_matrix(msg.k, msg.width, msg.height) == CAMERA and not any(msg.d)
    assert msg.p[3] == 0 and msg.p[0] == CAMERA.fx and msg.header == HEADER


def test_poses_go_both_ways():
    pose = pose_from_quaternion([0.1, -0.2, 0.3, 0.9], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        messages.pose_from_transform(messages.transform_message(pose)), pose, atol=1e-12
    )
    msg = messages.pose_message(pose)
    assert (msg.position.x, msg.position.y, msg.position.z) == (1.0, 2.0, 3.0)


def test_a_transform_without_rotation_is_refused():
    msg = messages.transform_message(pose_matrix())
    msg.rotation.w = 0.0
    with pytest.raises(ValueError, match="no direction"):
        messages.pose_from_transform(msg)


def test_odometry():
    covariance = np.arange(36.0).reshape(6, 6)
    msg = messages.odometry(
        HEADER, "camera", pose_matrix(None, [1, 2, 3]), covariance, np.arange(6.0), 2 * covariance
    )
    assert msg.child_frame_id == "camera" and msg.header.frame_id == "camera_optical"
    assert msg.twist.twist.linear.z == 2.0 and msg.twist.twist.angular.x == 3.0
    np.testing.assert_array_equal(msg.pose.covariance, np.arange(36.0))
    np.testing.assert_array_equal(msg.twist.covariance, 2 * np.arange(36.0))


def _tracks(n=3, t=4):
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        ids=np.array([7, 2**63 + 1, 9], np.uint64),
        stamps=np.arange(t) * 10**8 + STAMP,
        positions=rng.normal(size=(n, t, 3)),
        visible=rng.random((n, t)) > 0.3,
        confidence=rng.random((n, t)),
        pixels=rng.uniform(0, 40, size=(n, t, 2)),
        velocities=rng.normal(size=(n, 3)),
        dynamic=None,
    )


def _message(tracks, lenses=(), **parts):
    return messages.tracks(HEADER, small_result(tracks.stamps, np.eye(4), tracks=tracks, **parts), lenses)


def test_tracks():
    pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
    tracks, (n, t) = _tracks(), (3, 4)
    msg = _message(tracks)
    assert [messages.nanoseconds(s) for s in msg.stamps] == tracks.stamps.tolist()
    assert list(msg.ids) == tracks.ids.tolist() and not msg.metric and len(msg.dynamic) == 0
    np.testing.assert_array_equal(np.reshape(msg.positions, (n, t, 3)), tracks.positions.astype(np.float32))
    np.testing.assert_array_equal(np.reshape(msg.pixels, (n, t, 2)), tracks.pixels.astype(np.float32))
    np.testing.assert_array_equal(np.reshape(msg.visible, (n, t)), tracks.visible)
    np.testing.assert_array_equal(np.reshape(msg.velocities, (n, 3)), tracks.velocities.astype(np.float32))
    assert msg.trusted and msg.reason == ""
    tracks.dynamic = np.array([True, False, True])
    assert list(_message(tracks).dynamic) == [True, False, True]
    metric = _message(tracks, scale=Scale(2.0, 0.0, "fixed"))
    assert metric.metric


def test_tracks_outside_the_image_are_not_visible():
    """The image is 64x48: a half pixel beyond the outermost centres is still inside."""
    pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
    tracks = _tracks()
    tracks.visible[:] = True
    tracks.pixels[0] = [[-0.4, -0.4], [63.4, 47.4], [-0.6, 5], [5, 47.6]]
    tracks.pixels[1] = [[np.nan, 5], [5, np.nan], [47, 60], [60, 47]]
    msg = _message(tracks)
    np.testing.assert_array_equal(
        np.reshape(msg.visible, (3, 4))[:2], [[True, True, False, False], [False, False, False, True]]
    )


class _Lens:
    def __init__(self, shift):
        self.shift = shift

    def to_image(self, pixels):
        assert np.isfinite(pixels).all()
        return pixels + self.shift


def test_tracks_pixels_are_those_of_the_topic():
    """Each frame has its own lens; what a lens moves out of the raw image is not visible there."""
    pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
    tracks = _tracks()
    tracks.visible[:] = True
    tracks.pixels[0, 1] = np.nan
    lenses = (None, _Lens(1.0), _Lens(2.0), _Lens(50.0))
    msg = _message(tracks, lenses)
    moved = tracks.pixels + np.array([0.0, 1.0, 2.0, 50.0])[:, None]
    np.testing.assert_allclose(np.reshape(msg.pixels, (3, 4, 2)), moved, rtol=1e-6)
    visible = np.reshape(msg.visible, (3, 4))
    assert visible[:, [0, 2]].all() and not visible[:, 3].any() and list(visible[:, 1]) == [False, True, True]


def _objects(count=2):
    rng = np.random.default_rng(0)
    return Objects(
        ids=np.array([5, 2**63 + 1], np.uint64)[:count],
        centroids=rng.normal(size=(count, 3)),
        extents=rng.random((count, 3)),
        velocities=np.array([[1.0, 2, 3], [np.nan] * 3])[:count],
        covariances=rng.normal(size=(count, 6, 6)),
        tracks=(np.array([7, 2**63 + 3], np.uint64), np.empty(0, np.uint64))[:count],
    )


def test_objects():
    pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
    bodies = _objects()
    result = small_result([STAMP], np.eye(4), objects=bodies, scale=Scale(2.0, 0.0, "fixed"))
    msg = messages.objects(HEADER, result)
    assert msg.header == HEADER and msg.metric and msg.trusted and msg.reason == ""
    assert list(msg.ids) == [5, 2**63 + 1] and list(msg.track_counts) == [2, 0]
    assert list(msg.track_ids) == [7, 2**63 + 3]
    for name, shape in {
        "centroids": (2, 3),
        "extents": (2, 3),
        "velocities": (2, 3),
        "covariances": (2, 6, 6),
    }.items():
        sent = np.reshape(getattr(msg, name), shape)
        np.testing.assert_array_equal(sent, getattr(bodies, name).astype(np.float32))


def test_no_objects_are_an_empty_message():
    pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
    msg = messages.objects(HEADER, small_result([STAMP], np.eye(4), objects=_objects(0)))
    assert msg.trusted and not (
        msg.ids or msg.centroids or msg.covariances or msg.track_counts or msg.track_ids
    )


def test_flat_empty():
    assert len(messages.flat(np.empty((0, 3)))) == 0
