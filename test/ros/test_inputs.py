"""What the node tells of where its images come from, and of those that are lost on the way."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_testing import RELIABLE, Running, User, image  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from d4rt_ros.ros.inputs import Arrivals  # noqa: E402

PERIOD = 33_333_333
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def arrived(kept, infos=True, count=300, period=PERIOD, jitter=0.0, seed=0):
    """A camera's stream, of which the images arrive that kept(i, rng) says."""
    arrivals, rng = Arrivals(), np.random.default_rng(seed)
    for i in range(count):
        stamp = 10**12 + i * period + int(rng.normal(0, jitter) * period)
        if infos:
            arrivals.info(stamp)
        if kept(i, rng):
            arrivals.image(stamp, "cam", i * period / 1e9)
    return arrivals.lost()


@pytest.mark.parametrize("infos", [True, False])
def test_nothing_is_lost_where_everything_arrives(infos):
    assert arrived(lambda i, rng: True, infos)[0] == 0
    lost, of = arrived(lambda i, rng: True, infos, jitter=0.1)
    assert lost < 0.03 * of  # of a clock so poor one gap or another looks long


@pytest.mark.parametrize("infos", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_what_is_lost_at_random_is_counted(infos, share):
    lost, of = arrived(lambda i, rng: rng.random() > share, infos, jitter=0.05)
    assert lost / of == pytest.approx(share, abs=0.12)


def test_nearly_all_that_is_lost_is_seen_by_the_camera_infos():
    lost, of = arrived(lambda i, rng: rng.random() > 0.93, count=1500)
    assert lost / of > 0.85


def test_a_topic_that_is_throttled_loses_nothing():
    assert arrived(lambda i, rng: i % 6 == 0, count=600)[0] == 0
    assert arrived(lambda i, rng: i % 5 in (0, 2), count=600)[0] == 0


def test_a_camera_that_exposes_longer_loses_nothing():
    """Its camera_infos say so; of stamps alone nobody could tell."""
    arrivals, stamp = Arrivals(), 10**12
    for i in range(100):
        stamp += PERIOD * (1 + i // 50)
        arrivals.info(stamp)
        arrivals.image(stamp, "cam", i / 30)
    assert arrivals.lost()[0] == 0


def test_a_stop_is_no_loss_and_stamps_may_repeat_or_begin_again():
    arrivals = Arrivals()
    for start in (10**12, 2 * 10**12, 10**11):
        for i in range(30):
            arrivals.image(start + i * PERIOD, "cam", 0.0)
            arrivals.image(start + i * PERIOD, "cam", 0.0)
    assert arrivals.lost()[0] == 0


def test_lost_images_are_told_in_the_log_once_and_in_diagnostics(capfd):
    with Running() as running:
        running.active()
        rng = np.random.default_rng(1)
        for i in range(60):
            if rng.random() > 0.4:
                running.send("image", image(100 + i / 10), computed=False)
        assert running.user.told("camera", "did not arrive")
        before = len(running.user.heard["/diagnostics"])
        assert running.user.until(lambda: len(running.user.heard["/diagnostics"]) > before + 1)
    said = capfd.readouterr().err
    assert said.count("did not arrive") == 1 and "If fewer images arrive" in said


def test_two_publishers_and_two_frame_ids_are_named():
    with Running() as running:
        running.active().stream(count=1)
        other = running.user.node.create_publisher(Image, "image", RELIABLE)
        assert running.user.until(lambda: running.node.count_publishers("/image") == 2)
        assert running.user.told("camera", "2 publishers on /image, of /user")
        running.send("image", image(101, frame_id="left"))
        running.send("image", image(101.1, frame_id="right"))
        assert running.user.told("camera", "'left' and 'right'")
        assert other


@pytest.fixture
def impatient(monkeypatch):
    from d4rt_ros.ros import terminal

    monkeypatch.setitem(terminal.PATIENCE, "silence", 0.0)


def said_until(running, capfd, words):
    said = []
    heard = running.user.until(lambda: said.append(capfd.readouterr().err) or words in "".join(said))
    assert heard, "".join(said)


def test_it_says_where_images_are_when_none_come(impatient, capfd):
    with Running(arguments=["-r", "image:=/camera/image"]) as running:
        elsewhere = running.user.node.create_publisher(Image, "/camera/image_raw", RELIABLE)
        running.active()
        said_until(running, capfd, "images are on /camera/image_raw")
        # and when they do come
        running.user.publish("/camera/image", image(100))
        said_until(running, capfd, "images arrive")
        assert elsewhere


def test_it_says_when_the_topic_has_another_type(impatient, capfd):
    context = rclpy.Context()  # one participant of DDS cannot have both
    rclpy.init(context=context)
    try:
        other = User(context)
        other.node.create_publisher(CompressedImage, "image", RELIABLE)
        with Running() as running:
            running.active()
            said_until(
                running, capfd, "/user as sensor_msgs/msg/CompressedImage, but sensor_msgs/msg/Image is"
            )
    finally:
        rclpy.shutdown(context=context)


def test_it_says_when_a_publisher_is_silent_or_cannot_be_heard(impatient, capfd):
    with Running({"image.reliability": "reliable"}) as running:
        publisher = running.user.node.create_publisher(Image, "image", BEST_EFFORT)
        running.active()
        said_until(running, capfd, "/user (best effort, volatile), subscribed to reliable, volatile")
        assert running.user.told("camera", "the two do not fit")
        assert publisher
