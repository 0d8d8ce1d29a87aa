"""Masks from outside: which images they mask, and what is said where they do not."""

import threading
import time

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from lifecycle_msgs.msg import Transition  # noqa: E402
from ros_testing import Running, info, set_parameter, stamp, transition  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from d4rt_ros.io.image_messages import ImageError  # noqa: E402
from d4rt_ros.io.masks import mask_in_view  # noqa: E402
from d4rt_ros.ros import mask_inputs  # noqa: E402
from d4rt_ros.ros.mask_inputs import Masks, MaskTopic  # noqa: E402

HEIGHT, WIDTH = 48, 64
PERIOD = 100_000_000
START = 100_000_000_000
ARM = np.zeros((HEIGHT, WIDTH), bool)
ARM[30:, 20:40] = True


def mask_message(k, mask=ARM, encoding="mono8", frame_id="cam", value=255):
    """Of image k; of one that is stamped between two where k is no whole number."""
    height, width = mask.shape
    msg = Image(height=height, width=width, encoding=encoding, step=width)
    msg.header.stamp, msg.header.frame_id = stamp(100 + k / 10), frame_id
    msg.data.frombytes(np.where(mask, value, 0).astype(np.uint8).tobytes())
    return msg


@pytest.fixture(scope="module")
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("d4rt", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def topic(node):
    """The topic's masks; what comes is handed over without a network."""
    topic = MaskTopic(node)
    yield topic
    topic.close()


def asked(topic, k, size=(HEIGHT, WIDTH), frame_id="cam"):
    return topic.mask(START + round(k * PERIOD), size, frame_id)


def told(topic):
    problems = topic.problems
    assert len(problems) <= 1 and all(p.kind == "mask" for p in problems)
    return problems[0].sentence if problems else ""


def stream(topic, images, masked=lambda k: True, **message):
    """Images, each after its mask, if it has one; which of them are masked."""
    out = []
    for k in images:
        if masked(k):
            topic._take(mask_message(k, **message))
        out.append(asked(topic, k) is not None)
    return out


# Stamps and rates


def test_each_image_has_its_mask_and_nothing_is_said(topic):
    for k in range(8):
        mask = np.roll(ARM, k, axis=1)
        topic._take(mask_message(k, mask, value=1 + k))
        np.testing.assert_array_equal(asked(topic, k), mask)
    assert told(topic) == ""


def test_without_masks_images_go_on_and_nothing_is_said(topic):
    begin = time.monotonic()
    assert not any(stream(topic, range(20), masked=lambda k: False))
    assert told(topic) == "" and time.monotonic() - begin < mask_inputs.WAIT


def test_a_stamp_within_half_a_period_is_the_images(topic):
    for k in range(8):
        topic._take(mask_message(k + 0.3))
        assert asked(topic, k) is not None
    assert told(topic) == "" or "masked by the nearest" in told(topic)  # of the first two nothing is known
    for k in range(8, 30):
        topic._take(mask_message(k + 0.3))
        assert asked(topic, k) is not None
    assert told(topic) == ""


def test_a_mask_that_comes_a_little_later_is_waited_for_and_no_longer(topic, monkeypatch):
    stream(topic, range(4))
    monkeypatch.setattr(mask_inputs, "WAIT", 60.0)
    begin = time.monotonic()
    later = threading.Timer(0.02, lambda: topic._take(mask_message(4, ~ARM)))
    later.start()
    np.testing.assert_array_equal(asked(topic, 4), ~ARM)
    assert time.monotonic() - begin < 10
    later.join()


def test_a_mask_that_comes_too_late_is_not_waited_for_again_and_again(topic):
    stream(topic, range(4))
    begin = time.monotonic()
    assert all(stream(topic, range(4, 8), masked=lambda k: False))  # by the last one
    assert mask_inputs.WAIT <= time.monotonic() - begin < 2 * mask_inputs.WAIT


def test_closing_ends_the_waiting(topic, monkeypatch):
    stream(topic, range(4))
    monkeypatch.setattr(mask_inputs, "WAIT", 60.0)
    threading.Timer(0.02, topic.close).start()
    begin = time.monotonic()
    asked(topic, 4)
    assert time.monotonic() - begin < 10


def test_masks_at_a_lower_rate_stand_in_for_those_that_are_missing_and_that_is_said(topic):
    begin = time.monotonic()
    assert all(stream(topic, range(0, 30), masked=lambda k: k % 3 == 0))
    assert "masked by the nearest, up to 200 ms away" in told(topic)
    assert time.monotonic() - begin < 30 * mask_inputs.WAIT / 3
    stream(topic, range(30, 60))
    assert told(topic) == ""


def test_masks_that_stop_are_said(topic):
    stream(topic, range(6))
    assert stream(topic, range(6, 16), masked=lambda k: False) == [True] * 5 + [False] * 5
    assert "images are not masked: of the masks on /mask none has come for 1.0 s" in told(topic)
    stream(topic, range(16, 40))
    assert told(topic) == ""


@pytest.mark.parametrize("shift, says", [(-100, "none has come for 10.0 s"), (100, "9.3 s after the image")])
def test_masks_of_another_clock_mask_nothing_and_are_said(topic, shift, says):
    for k in range(8):
        topic._take(mask_message(k + shift))
        assert asked(topic, k) is None
    assert "images are not masked" in told(topic) and says in told(topic)


def test_a_recording_that_begins_again_has_its_masks_again(topic):
    for _ in range(2):
        for k in range(40, 80):
            topic._take(mask_message(k, np.roll(ARM, k, axis=1)))
            np.testing.assert_array_equal(asked(topic, k), np.roll(ARM, k, axis=1))
    assert told(topic) == ""


# What a mask is


@pytest.mark.parametrize(
    "message, says",
    [
        ({"mask": ARM[::2, ::2]}, "the mask has 32x24 pixels, the images have 64x48"),
        ({"mask": ARM.T}, "the mask has 48x64 pixels, the images have 64x48"),
        ({"encoding": "rgb8"}, "encoding 'rgb8' is no mask; mono8 is wanted"),
        ({"encoding": "16UC1"}, "encoding '16UC1' is no mask"),
        ({"encoding": ""}, "encoding '' is no mask"),
        ({"frame_id": "right"}, "it comes in the frame 'right', the images in 'cam'"),
    ],
)
def test_a_mask_that_is_none_masks_nothing_and_is_said(topic, message, says):
    assert not any(stream(topic, range(4), **message))
    assert "what comes on /mask is no mask of these images: " in told(topic) and says in told(topic)
    assert all(stream(topic, range(4, 8))) and told(topic) == ""


def test_for_one_that_is_of_no_use_the_one_before_stands_in(topic):
    stream(topic, range(6))
    topic._take(mask_message(6, ARM[::2]))
    np.testing.assert_array_equal(asked(topic, 6), ARM)
    assert "the mask has 64x24 pixels" in told(topic)


def test_a_mask_that_is_cut_is_said(topic):
    msg = mask_message(0)
    msg.data = msg.data[:100]
    topic._take(msg)
    assert asked(topic, 0) is None and "data has 100 bytes" in told(topic)


def test_rows_may_be_padded_and_8uc1_is_a_mask_too(topic):
    msg = mask_message(0, np.pad(ARM, ((0, 0), (0, 6)), constant_values=True), encoding="8UC1")
    msg.width = WIDTH
    topic._take(msg)
    np.testing.assert_array_equal(asked(topic, 0), ARM)


@pytest.mark.parametrize(
    "kind, says",
    [
        (CompressedImage, "/mask is published as sensor_msgs/msg/CompressedImage, but sensor_msgs/msg/Image"),
        (Image, "images are not masked: somebody publishes on /mask, but nothing has come"),
    ],
)
def test_a_topic_of_another_type_or_one_that_is_silent_is_said(topic, node, kind, says):
    context = rclpy.Context()  # another process's, as far as DDS knows
    rclpy.init(context=context)
    other = rclpy.create_node("segmentation", context=context)
    try:
        other.create_publisher(kind, "mask", 1)
        end = time.monotonic() + 10
        while not node.get_publishers_info_by_topic("/mask"):
            assert time.monotonic() < end
            time.sleep(0.01)
        topic.refresh()
        assert not any(stream(topic, range(8), masked=lambda k: False))
        assert says in told(topic)
    finally:
        other.destroy_node()
        rclpy.shutdown(context=context)


# With a file


def test_the_files_mask_and_the_topics_are_both_masked(node):
    masks = Masks(node, ARM)
    try:
        assert masks.masked(START, (HEIGHT, WIDTH), "cam", None) is ARM
        masks.topic._take(mask_message(1, np.roll(ARM, 5, axis=1)))
        np.testing.assert_array_equal(
            masks.masked(START + PERIOD, (HEIGHT, WIDTH), "cam", None), ARM | np.roll(ARM, 5, axis=1)
        )
        with pytest.raises(ImageError, match="mask.file has 64x48 pixels, the images have 64x36"):
            masks.masked(START, (36, WIDTH), "cam", None)
    finally:
        masks.close()


# Through the node


def newest(running):
    return running.node._streaming.window.clip()[-1].frame


def test_the_node_masks_raw_images_by_their_topic():
    """In the rectified view; what goes wrong is in the diagnostics, and the node goes on."""
    own = info(focal=60.0)
    own.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    with Running() as running:
        user = running.active().user
        running.send_info(own)
        running.stream(count=2)
        assert newest(running).masked is None
        topic = running.node._masks.topic
        for k in range(2, 6):
            user.publish("mask", mask_message(k))
            assert user.until(lambda: topic._kept and topic._kept[-1].stamp == START + k * PERIOD)
            running.stream(begin=k, count=1)
        frame = newest(running)
        assert running.node._masks.share == frame.masked.mean()
        np.testing.assert_array_equal(frame.masked, mask_in_view(ARM, frame.lens))
        assert frame.lens is not None and frame.masked.any() and not np.array_equal(frame.masked, ARM)
        for k in range(20, 22):
            user.publish("mask", mask_message(k, ARM[:30]))
            assert user.until(lambda: topic._kept[-1].stamp == START + k * PERIOD)
            running.stream(begin=k, count=1)
        assert user.told("camera", "the mask has 64x30 pixels, the images have 64x48")
        assert newest(running).masked is None and running.images == 8
        assert user.until(lambda: user.figure("camera", "masked (%)") == "0")


def test_a_mask_file_through_the_node(tmp_path):
    """Missing; then of another size than the images, which are dropped; then right."""
    file = tmp_path / "arm.png"
    with Running({"mask.file": str(file)}) as running:
        user = running.user
        assert user.told("geometry", f"cannot be configured: {file}: is missing; expected a mask")
        assert running.becomes("unconfigured")
        cv2.imwrite(str(file), ARM[::2].astype(np.uint8))
        assert transition(user, Transition.TRANSITION_CONFIGURE) and transition(
            user, Transition.TRANSITION_ACTIVATE
        )
        running.stream(count=2)
        assert user.told("camera", "images are dropped: mask.file has 64x24 pixels, the images have 64x48")
        assert len(running.node._streaming.window) == 0
        refused = set_parameter(user, "mask.file", "")
        assert not refused.successful and "is read when the node is configured" in refused.reason
        assert transition(user, Transition.TRANSITION_DEACTIVATE) and transition(
            user, Transition.TRANSITION_CLEANUP
        )
        cv2.imwrite(str(file), ARM.astype(np.uint8))
        assert transition(user, Transition.TRANSITION_CONFIGURE) and transition(
            user, Transition.TRANSITION_ACTIVATE
        )
        running.stream(begin=2, count=1)
        np.testing.assert_array_equal(newest(running).masked, ARM)
