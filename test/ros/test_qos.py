"""Quality of service: of the node's subscriptions by what publishers offer, and the user's overrides by any name."""

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_testing import RELIABLE, Running, image, info  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d4rt_ros.ros import qos  # noqa: E402

BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
REMAPPED = ("-r", "image:=/cam/color/image_raw", "-r", "camera_info:=/cam/color/camera_info")


def subscribed(running, topic):
    """What the graph says of the node's subscription to a topic; None while there are none, or two."""
    found = [
        s.qos_profile
        for s in running.user.node.get_subscriptions_info_by_topic(topic)
        if s.node_name == "d4rt"
    ]
    return found[0] if len(found) == 1 else None


def becomes(running, topic, reliability):
    return running.user.until(
        lambda: (profile := subscribed(running, topic)) and profile.reliability == reliability
    )


def offered(running, topic):
    """The reliability of the node's publisher on a topic, once the graph tells of it."""
    published = running.user.until(lambda: running.user.node.get_publishers_info_by_topic(topic))
    return published[0].qos_profile.reliability


def test_it_takes_what_the_publisher_offers_and_follows_when_that_changes():
    with Running() as running:
        running.active()
        assert becomes(running, "/image", ReliabilityPolicy.RELIABLE)  # nobody publishes yet
        publisher = running.user.node.create_publisher(Image, "image", BEST_EFFORT)
        assert becomes(running, "/image", ReliabilityPolicy.BEST_EFFORT)
        publisher.publish(image(100))
        assert running.user.until(lambda: running.images == 1)
        running.user.node.destroy_publisher(publisher)
        publisher = running.user.node.create_publisher(Image, "image", RELIABLE)
        assert becomes(running, "/image", ReliabilityPolicy.RELIABLE)
        publisher.publish(image(100.1))
        assert running.user.until(lambda: running.images == 2)


def test_of_two_publishers_both_are_heard():
    with Running() as running:
        running.active()
        publishers = [running.user.node.create_publisher(Image, "image", q) for q in (RELIABLE, BEST_EFFORT)]
        assert becomes(running, "/image", ReliabilityPolicy.BEST_EFFORT)
        for n, publisher in enumerate(publishers):
            publisher.publish(image(100 + n))
            assert running.user.until(lambda: running.images == n + 1)


@pytest.mark.parametrize("choice", ["reliable", "best_effort"])
def test_the_parameter_decides_where_it_is_given(choice):
    other = BEST_EFFORT if choice == "reliable" else RELIABLE
    with Running({"image.reliability": choice}) as running:
        publisher = running.active().user.node.create_publisher(Image, "image", other)
        running.user.until(lambda: running.node.get_publishers_info_by_topic("/image"))
        running.node._inputs.refresh()
        assert becomes(running, "/image", ReliabilityPolicy[choice.upper()])
        assert publisher


@pytest.mark.parametrize(
    "name, namespace",
    [
        ("/image", ""),
        ("/cam/color/image_raw", ""),
        ("/image", "/robot"),
        ("/robot/image", "/robot"),
        ("/cam/color/image_raw", "/robot"),
    ],
)
def test_an_override_works_by_the_name_in_the_readme_and_by_the_resolved_one(name, namespace):
    given = {
        f"qos_overrides.{name}.subscription.reliability": "best_effort",
        f"qos_overrides.{name}.subscription.depth": 3,
        "image.reliability": "reliable",
    }
    with Running(given, arguments=REMAPPED, namespace=namespace) as running:
        running.active()
        # (Fast DDS tells no depth through the graph.)
        assert running.node._inputs._image.profile.depth == 3
        assert becomes(running, "/cam/color/image_raw", ReliabilityPolicy.BEST_EFFORT)
        shown = running.node.get_parameter("qos_overrides./cam/color/image_raw.subscription.reliability")
        assert shown.value == "best_effort"


def test_an_override_of_a_publisher_works_in_a_namespace_too():
    given = {"qos_overrides./d4rt/points.publisher.reliability": "best_effort"}
    with Running(given, namespace="/robot") as running:
        running.active()
        assert (
            offered(running, "/robot/d4rt/points") == ReliabilityPolicy.RELIABLE
        )  # ~/points, not /d4rt/points
    given = {"qos_overrides./robot/d4rt/points.publisher.reliability": "best_effort"}
    with Running(given, namespace="/robot") as running:
        running.active()
        assert offered(running, "/robot/d4rt/points") == ReliabilityPolicy.BEST_EFFORT


def test_overrides_that_nothing_reads_are_told_with_the_right_name(capfd):
    name = "qos_overrides./camera/image.subscription.reliability"
    with Running({name: "best_effort"}, arguments=REMAPPED) as running:
        running.active()
        assert becomes(running, "/cam/color/image_raw", ReliabilityPolicy.RELIABLE)
    said = capfd.readouterr().err
    assert name in said and "qos_overrides./cam/color/image_raw.subscription" in said


def test_an_override_that_cannot_be_is_a_sentence_and_can_be_tried_again(capfd):
    with Running({"qos_overrides./image.subscription.reliability": "very"}) as running:
        assert running.user.told("geometry", "'very'; it must be one of")
        assert running.becomes("inactive")
    assert "Traceback" not in capfd.readouterr().err


def test_a_latched_camera_info_arrives_though_it_was_published_before(tmp_path):
    with Running({"autostart": False}) as running:
        publisher = running.user.node.create_publisher(CameraInfo, "camera_info", LATCHED)
        publisher.publish(info())
        assert running.user.until(lambda: running.node.get_publishers_info_by_topic("/camera_info"))
        running.node.trigger_configure()
        running.node.trigger_activate()
        assert running.user.until(lambda: running.node._calibration._info is not None)


def test_one_that_is_not_latched_is_heard_beside_a_latched_one():
    with Running() as running:
        running.active()
        latched = running.user.node.create_publisher(CameraInfo, "camera_info", LATCHED)
        latched.publish(info(focal=80.0))
        assert running.user.until(lambda: running.node._calibration._info is not None)
        plain = running.user.node.create_publisher(CameraInfo, "camera_info", BEST_EFFORT)
        assert becomes(running, "/camera_info", ReliabilityPolicy.BEST_EFFORT)
        plain.publish(info(focal=90.0))
        assert running.user.until(lambda: running.node._calibration._info.k[0] == 90.0)


def test_ten_images_wait_for_us():
    with Running() as running:
        assert running.active().node._inputs._image.profile.depth == 10 == qos.INPUT_DEPTH
