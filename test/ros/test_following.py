"""`refine: pixels` through the node: once a window has said where the world is, every image has a pose."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from ros_testing import Running, image, info  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from d4rt_ros.geometry import Region  # noqa: E402
from d4rt_ros.ros.streaming import MOST_WAITING  # noqa: E402

ODOMETRY, PATH, TRACKS, MARKERS = "/d4rt/odometry", "/d4rt/path", "/d4rt/tracks", "/d4rt/markers"
RATE = 30
SIZE = 240, 320
GREYS = np.random.default_rng(0).integers(20, 236, (48, 64), dtype=np.uint8)
WALL = np.repeat(cv2.resize(GREYS, SIZE[::-1], interpolation=cv2.INTER_CUBIC)[..., None], 3, axis=2)


def frame(k):
    """A wall full of corners; one pixel changes, as no camera's image stays the same."""
    rgb = WALL.copy()
    rgb[0, 0] = k
    return rgb


def stamps(messages):
    return [m.header.stamp for m in messages]


def send(running, numbers):
    for k in numbers:
        running.send("image", image(100 + k / RATE, rgb=frame(k)))


@pytest.fixture
def running():
    """Windows of 4 frames, every second image: the first ends with image 6."""
    with Running({"refine": "pixels", "window.stride": 2}) as it:
        it.active().send_info(info(height=SIZE[0], width=SIZE[1]))
        assert it.user.until(lambda: it.node._transforms.seconds > 1.0)
        yield it


def test_every_image_has_a_pose_also_those_that_no_window_keeps(running):
    heard = running.user.heard
    for kind, topic in ((TFMessage, "/tf"), (Odometry, ODOMETRY), (Path, PATH)):
        running.listen(kind, topic)
    send(running, range(16))
    expected = [image(100 + k / RATE).header.stamp for k in range(6, 16)]
    assert running.user.until(lambda: len(heard[PATH]) == len(heard[ODOMETRY]) == len(heard["/tf"]) == 10)
    assert stamps(heard[ODOMETRY]) == stamps(heard[PATH]) == expected
    for message, stamp in zip(heard["/tf"], expected):
        links = [(t.header.frame_id, t.child_frame_id) for t in message.transforms]
        assert links == [("world", "cam"), ("map", "world")]
        assert {str(t.header.stamp) for t in message.transforms} == {str(stamp)}
    for odometry in heard[ODOMETRY]:
        position = odometry.pose.pose.position
        assert np.linalg.norm([position.x, position.y, position.z]) < 1e-3
        assert 0 < odometry.pose.covariance[0] < 0.01


def test_where_pixels_say_nothing_the_windows_poses_are_published():
    """A view without corners: only the model says where the camera is, once a window."""
    with Running({"refine": "pixels", "window.stride": 2}) as running:
        heard = running.active().user.heard
        running.listen(TFMessage, "/tf")
        running.listen(Odometry, ODOMETRY)
        running.send_info(info(height=SIZE[0], width=SIZE[1]))
        for k in range(17):
            running.send("image", image(100 + k / RATE, height=SIZE[0], width=SIZE[1]))
        windows = [image(100 + k / RATE).header.stamp for k in range(6, 17, 2)]
        assert running.user.until(lambda: len(heard["/tf"]) == len(windows))
        assert [m.transforms[0].header.stamp for m in heard["/tf"]] == windows

        def known():
            return [m.header.stamp for m in heard[ODOMETRY] if m.pose.covariance[0] < 1]

        # Of several sent at once a small queue may lose one.
        assert running.user.until(lambda: len(known()) >= 4 and len(heard[ODOMETRY]) > len(windows))
        assert [stamp for stamp in windows if stamp in known()] == known()


def test_tracks_keep_their_ids_and_are_those_of_the_region(running):
    heard = running.user.heard
    running.listen(Tracks, TRACKS)
    running.listen(Image, "/d4rt/depth/image")
    send(running, range(13))
    assert running.user.until(lambda: len(heard[TRACKS]) >= 4)
    ids = [set(m.ids) for m in heard[TRACKS]]
    assert len(ids[0]) > 100 and len(ids[0] & ids[-1]) > 0.8 * len(ids[0])
    running.node._streaming.interest.choose(Region(100, 80, 120, 60))
    send(running, range(13, 19))
    assert running.user.until(lambda: len(heard[TRACKS]) >= 6)
    inside = heard[TRACKS][-1]
    u, v = np.reshape(inside.pixels, (len(inside.ids), -1, 2))[:, -1].T
    assert set(inside.ids) < ids[-1] | ids[0] and len(u) > 5
    assert (u >= 99.5).all() and (u <= 219.5).all() and (v >= 79.5).all() and (v <= 139.5).all()
    np.testing.assert_allclose(np.frombuffer(heard["/d4rt/depth/image"][-1].data, np.float32), 2.0, rtol=0.02)
    # The pose is of all points all the same.
    assert running.node._streaming.result.pose.step.inliers * len(ids[-1]) > 2 * len(u)


def test_markers_have_the_path_of_every_image(running):
    running.listen(MarkerArray, MARKERS)
    send(running, range(17))
    assert running.user.until(lambda: len(running.user.heard[MARKERS]) >= 6)
    drawn = {m.ns: m for m in running.user.heard[MARKERS][-1].markers}
    assert {"trajectory", "keyframes", "tracks", "uncertainty"} <= set(drawn)
    assert len(drawn["trajectory"].points) >= 9 and len(drawn["tracks"].points) > 100


def test_a_camera_that_is_faster_than_it_can_be_followed_is_not_waited_for(running):
    """Images come while one is being followed: a few wait, in order; the others are left out, and counted."""
    running.listen(Odometry, ODOMETRY)
    send(running, range(9))
    with running.node._streaming._state:  # as if it took long
        for k in range(9, 19):
            running.send("image", image(100 + k / RATE, rgb=frame(k)), computed=False)
        assert running.node._streaming._waiting == MOST_WAITING
    assert running.user.until(lambda: running.node._streaming.idle)
    assert running.node._figures.counts["not followed"] + running.node._figures.counts["skipped"] >= 6
    send(running, range(19, 23))
    heard, newest = running.user.heard[ODOMETRY], image(100 + 22 / RATE).header.stamp
    assert running.user.until(lambda: heard[-1].header.stamp == newest)
    order = [(s.sec, s.nanosec) for s in stamps(heard)]
    assert order == sorted(order)
