"""The demo's listener on messages that are known."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

import rclpy  # noqa: E402
from d4rt_ros.msg import Tracks  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from domains import claim_domain  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.context import Context  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from d4rt_ros.geometry import Pinhole, pose_matrix  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.ros.listening.listener import Listener, at_grid  # noqa: E402
from d4rt_ros.ros.playback import rgb_image  # noqa: E402

HEIGHT, WIDTH = 48, 80
NOW = 1_700_000_000_000_000_000


def test_a_grid_keeps_the_corners():
    values = np.arange(35).reshape(5, 7)
    np.testing.assert_array_equal(at_grid(values, (2, 3)), [[0, 3, 6], [28, 31, 34]])
    np.testing.assert_array_equal(at_grid(values, (5, 7)), values)


@pytest.fixture
def domain():
    domain, lock = claim_domain()
    yield domain
    lock.close()


@pytest.fixture
def node(domain):
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("fake", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def publish(node, kinds, stamps, content):
    publishers = {topic: node.create_publisher(kind, topic, 10) for topic, kind in kinds.items()}
    wait_for(lambda: all(p.get_subscription_count() for p in publishers.values()))
    time.sleep(0.3)
    for stamp in stamps:
        for topic, publisher in publishers.items():
            publisher.publish(content(topic, stamp))
        time.sleep(0.02)


def test_what_belongs_together_is_put_together(node, domain):
    kinds = {
        "/image": Image,
        "/camera/truth/depth": Image,
        "/camera/truth/pose": PoseStamped,
        "/d4rt/depth/image": Image,
        "/d4rt/depth/camera_info": CameraInfo,
        "/d4rt/points": PointCloud2,
        "/d4rt/odometry": Odometry,
        "/d4rt/tracks": Tracks,
    }
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    true = np.linspace(1, 5, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    pose = pose_matrix(np.eye(3), [1, 2, 3])
    small = Pinhole(10, 11, 4.5, 2.5, 10, 6)

    def content(topic, stamp):
        header = messages.header_message(stamp, "eye")
        if topic == "/image":
            return rgb_image(header, picture)
        if topic.endswith("truth/depth"):
            return messages.depth_image(header, true)
        if topic.endswith("truth/pose"):
            return PoseStamped(header=header, pose=messages.pose_message(pose))
        if topic.endswith("depth/image"):
            return messages.depth_image(header, at_grid(true, (6, 10)) * 2)
        if topic.endswith("camera_info"):
            return messages.camera_info(header, small)
        if topic.endswith("points"):
            return messages.point_cloud(header, np.ones((6, 10, 3)), np.zeros((6, 10, 3)), np.ones((6, 10)))
        if topic.endswith("odometry"):
            return messages.odometry(header, "eye", pose, np.eye(6), np.zeros(6), np.eye(6))
        tracks = Tracks(header=header, stamps=[header.stamp] * 4)
        tracks.ids, tracks.pixels = messages.flat([1, 2], "Q"), messages.flat(np.arange(16))
        tracks.visible = [True] * 7 + [False]
        return tracks

    stamps = [NOW + i * 500_000_000 for i in range(6)]
    listener = Listener(domain, truth="/camera", record_every=1.0)
    try:
        listener.listen_to_images()
        publish(node, kinds, stamps, content)
        arrivals = listener.recording.arrivals
        wait_for(lambda: all(len(arrivals[topic]) == 6 for topic in kinds))
    finally:
        listener.close()
    recording = listener.recording
    assert [m.stamp for m in recording.records] == stamps[::2]
    record = recording.records[0]
    np.testing.assert_array_equal(record.image, picture)
    np.testing.assert_array_equal(record.true_depth, true)
    assert list(recording.clouds) == stamps and recording.clouds[stamps[1]].xyz.shape == (6, 10, 3)
    assert record.tracks[0][1, 0].tolist() == [8, 9] and not record.tracks[1][1, 3]
    assert len(recording.depths) == 6
    np.testing.assert_allclose(recording.depths[0][0], recording.depths[0][1] * 2)
    assert set(recording.poses) == set(recording.true_poses) == set(stamps)
    np.testing.assert_allclose(recording.poses[stamps[0]], pose)
    listener.begin()
    assert not recording.poses and not recording.true_poses and not recording.depths and not recording.clouds
    assert not any(recording.arrivals.values()) and recording.records, "records are kept for the picture"


def test_what_diagnostics_complain_of_is_kept(node, domain):
    def content(_, stamp):
        fine = DiagnosticStatus(level=DiagnosticStatus.OK, name="queries", message="ok")
        fine.values = [KeyValue(key="requests", value=str(stamp - NOW))]
        bad = DiagnosticStatus(level=DiagnosticStatus.WARN, name="camera", message="stopped")
        return DiagnosticArray(header=messages.header_message(stamp, ""), status=[fine, bad])

    listener = Listener(domain)
    try:
        publish(node, {"/diagnostics": DiagnosticArray}, [NOW, NOW + 1], content)
        wait_for(lambda: len(listener.recording.problems) == 2)
        assert listener.ask(1) is None, "no service, no image: no answer, and no waiting"
    finally:
        listener.close()
    assert listener.recording.problems == ["camera: stopped"] * 2
    assert listener.recording.told == {"requests": "1"}


def test_memory_is_bounded_where_results_never_come(node, domain):
    listener = Listener(domain)
    try:
        listener.listen_to_images()
        image = np.zeros((4, 4, 3), np.uint8)
        stamps = [NOW + i * 1_000_000_000 for i in range(12)]
        publish(
            node, {"/image": Image}, stamps, lambda _, s: rgb_image(messages.header_message(s, "eye"), image)
        )
        wait_for(lambda: len(listener.recording.arrivals["/image"]) == 12)
        assert len(listener._waiting) <= 6
    finally:
        listener.close()


def test_of_a_long_run_some_clouds_are_kept_over_the_whole_time(node, domain, monkeypatch):
    monkeypatch.setattr("d4rt_ros.ros.listening.listener.MOST_CLOUDS", 8)

    def content(_, stamp):
        header = messages.header_message(stamp, "eye")
        return messages.point_cloud(header, np.ones((2, 3, 3)), np.zeros((2, 3, 3)), np.ones((2, 3)))

    listener = Listener(domain)
    try:
        publish(node, {"/d4rt/points": PointCloud2}, [NOW + i for i in range(40)], content)
        wait_for(lambda: len(listener.recording.arrivals["/d4rt/points"]) == 40)
    finally:
        listener.close()
    assert [stamp - NOW for stamp in listener.recording.clouds] == [0, 8, 16, 24, 32]


def test_after_the_end_nothing_more_is_kept(node, domain):
    listener = Listener(domain)
    try:
        diagnostics = [DiagnosticStatus(level=DiagnosticStatus.WARN, name="camera", message="stopped")]
        array = lambda _, stamp: DiagnosticArray(  # noqa: E731
            header=messages.header_message(stamp, ""), status=diagnostics
        )
        publish(node, {"/diagnostics": DiagnosticArray}, [NOW], array)
        wait_for(lambda: listener.recording.problems)
        listener.end()
        publish(node, {"/diagnostics": DiagnosticArray}, [NOW + 1], array)
        time.sleep(0.5)
    finally:
        listener.close()
    assert len(listener.recording.problems) == 1 and len(listener.recording.arrivals["/diagnostics"]) == 1
