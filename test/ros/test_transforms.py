"""The listener: what it takes from TF, what it leaves out, and lookups with and without tf2_ros."""

import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of the distribution or built by us")
from d4rt_ros.geometry import pose_from_quaternion, pose_matrix  # noqa: E402
from d4rt_ros.io.transform_tree import NotHeardYet, TransformError  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.ros.transforms import TransformListener, broadcast  # noqa: E402

SECOND = 1_000_000_000
POSE = pose_from_quaternion([0.1, -0.2, 0.3, 0.9], [1.0, 2.0, 3.0])


class Node:
    """As much of a node as a listener needs."""

    def __init__(self):
        self.subscribed, self.said = [], []

    def create_subscription(self, kind, topic, callback, profile, callback_group):
        self.subscribed.append(topic)

    def get_logger(self):
        return SimpleNamespace(warning=self.said.append)


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # not installed
    listener = TransformListener(Node(), None)
    listener.listen()
    return listener


def test_it_listens_from_the_first_lookup_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    node = Node()
    listener = TransformListener(node, None)
    assert listener.seconds == 0.0 and not node.subscribed
    with pytest.raises(NotHeardYet, match="ask again"):
        listener.lookup("a", "b")
    listener.listen()
    assert node.subscribed == ["/tf", "/tf_static"] and listener.seconds > 0


def test_our_own_broadcasts_are_not_what_the_robot_says(listener):
    ours = broadcast(SECOND, "world", "cam", POSE)
    listener.expect(ours)
    listener.insert(ours)
    assert listener.tree.parent("cam") is None
    # Of the same frames, and not ours: another node's, or static.
    listener.insert(broadcast(SECOND + 1, "world", "cam", POSE))
    assert listener.tree.parent("cam") == "world"


def test_what_is_no_transform_is_said_once(listener):
    for stamp in range(5):
        wrong = broadcast(stamp, "a", "b", POSE)
        wrong.transforms[0].transform.rotation.w = float("nan")
        wrong.transforms += (
            broadcast(stamp, "c", "c", POSE).transforms + broadcast(stamp, "c", "d", POSE).transforms
        )
        listener.insert(wrong)
    said = listener._node.said
    assert len(said) == 2 and "'a' -> 'b'" in said[0] and "not finite" in said[0] and "to itself" in said[1]
    np.testing.assert_allclose(listener.lookup("c", "d"), POSE)
    for i in range(1000):
        listener.insert(broadcast(0, f"f{i}", f"f{i}", POSE))
    assert len(said) <= 100


def test_a_joint_that_is_heard_of_a_little_later_is_waited_for(listener):
    listener.insert(broadcast(SECOND, "base", "cam", POSE))
    later = broadcast(2 * SECOND, "base", "cam", POSE)
    timer = threading.Timer(0.05, lambda: listener.insert(later))
    timer.start()
    np.testing.assert_allclose(listener.lookup("base", "cam", 2 * SECOND, patience=10.0), POSE, atol=1e-12)
    timer.join()
    for missing in (("base", "cam", 3 * SECOND), ("base", "nowhere", SECOND)):
        with pytest.raises(TransformError):
            listener.lookup(*missing, patience=0.01)


class FakeBuffer:
    """tf2_ros.Buffer's names; answers what it is told to."""

    answer: object = None

    def __init__(self):
        self.put, self.cleared = [], 0

    def set_transform(self, transform, authority):
        self.put.append((transform.child_frame_id, False))

    def set_transform_static(self, transform, authority):
        self.put.append((transform.child_frame_id, True))

    def clear(self):
        self.cleared += 1

    def lookup_transform(self, target, source, time):
        self.asked = target, source, time.nanoseconds
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def tf2(monkeypatch):
    """A listener with a tf2_ros of ours."""
    module = ModuleType("tf2_ros")
    module.Buffer = FakeBuffer
    module.TransformException = type("TransformException", (Exception,), {})
    module.ExtrapolationException = type("ExtrapolationException", (module.TransformException,), {})
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    listener = TransformListener(Node(), None)
    listener.listen()
    return listener, listener._buffer, module


def test_tf2_is_given_what_is_a_transform_and_not_ours(tf2):
    listener, buffer, _ = tf2
    ours = broadcast(SECOND, "world", "cam", POSE)
    listener.expect(ours)
    listener.insert(ours)
    listener.insert(broadcast(SECOND, "a", "a", POSE))
    listener.insert(broadcast(9 * SECOND, "a", "b", POSE))
    listener.insert(broadcast(0, "b", "c", POSE), static=True)
    assert buffer.put == [("b", False), ("c", True)] and buffer.cleared == 0
    listener.insert(broadcast(SECOND, "a", "b", POSE))  # a bag that loops: tf2 would drop it as old
    assert buffer.cleared == 1 and len(buffer.put) == 3


def test_tf2_answers(tf2):
    listener, buffer, _ = tf2
    buffer.answer = broadcast(SECOND, "a", "b", POSE).transforms[0]
    np.testing.assert_allclose(listener.lookup("/a", "b", 5 * SECOND), POSE, atol=1e-12)
    assert buffer.asked == ("a", "b", 5 * SECOND)


def test_what_tf2_answers_is_checked_and_its_failures_are_sentences(tf2):
    listener, buffer, module = tf2
    wrong = broadcast(SECOND, "a", "b", POSE).transforms[0]
    wrong.transform.translation.x = float("inf")
    no_rotation = broadcast(SECOND, "a", "b", POSE).transforms[0]
    no_rotation.transform.rotation = type(no_rotation.transform.rotation)(x=0.0, y=0.0, z=0.0, w=0.0)
    for answer, error, says in (
        (wrong, TransformError, "not finite"),
        (no_rotation, TransformError, "TF: "),
        (
            module.TransformException("'a' passed to lookupTransform does not exist"),
            TransformError,
            "not exist",
        ),
        (module.ExtrapolationException("extrapolation into the future"), NotHeardYet, "future"),
        (module.ExtrapolationException("extrapolation into the past"), TransformError, "past"),
        (TypeError("the bindings broke"), TransformError, "bindings"),
    ):
        buffer.answer = answer
        with pytest.raises(TransformError, match=says) as raised:
            listener.lookup("a", "b", SECOND)
        assert type(raised.value) is error


def test_with_the_real_tf2(monkeypatch):
    pytest.importorskip("tf2_ros", reason="needs a distribution's tf2_ros")
    listener = TransformListener(Node(), None)
    listener.listen()
    listener.insert(broadcast(0, "base", "cam", POSE), static=True)
    for second in range(3):
        listener.insert(broadcast(second * SECOND, "odom", "base", pose_matrix(None, [second, 0, 0])))
    found = listener.lookup("odom", "cam", int(1.5 * SECOND))
    np.testing.assert_allclose(found, pose_matrix(None, [1.5, 0, 0]) @ POSE, atol=1e-6)
    with pytest.raises(NotHeardYet):
        listener.lookup("odom", "cam", 9 * SECOND)
    with pytest.raises(TransformError):
        listener.lookup("odom", "nowhere")


def test_a_transform_message_goes_both_ways():
    message = broadcast(1_500_000_000, "a", "b", POSE)
    [transform] = message.transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("a", "b")
    assert messages.nanoseconds(transform.header.stamp) == 1_500_000_000
    np.testing.assert_allclose(messages.pose_from_transform(transform.transform), POSE, atol=1e-12)
