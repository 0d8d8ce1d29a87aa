"""The node's images: ours, and where we do not know an encoding cv_bridge's, if it cannot kill the process."""

import sys
from array import array
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's sensor_msgs")
from sensor_msgs.msg import Image  # noqa: E402

from d4rt_ros.io.image_messages import BitDepth, ImageError, UnknownEncoding  # noqa: E402
from d4rt_ros.ros import images  # noqa: E402


def message(encoding, pixels):
    data = array("B", np.ascontiguousarray(pixels).tobytes())
    return Image(height=4, width=6, encoding=encoding, step=len(data) // 4, data=data)


@pytest.fixture
def bridge(monkeypatch):
    """A cv_bridge that is installed, beside NumPy 1; what it was asked for."""
    asked = []

    class CvBridge:
        def imgmsg_to_cv2(self, msg, wanted):
            asked.append((msg.encoding, wanted))
            if msg.encoding == "32SC2":
                raise RuntimeError("no conversion")
            return np.full((4, 6, 3), 7, np.uint8)

    module = ModuleType("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    monkeypatch.setattr(images.np, "__version__", "1.26.4")
    return asked


def test_the_bits_of_the_stream_are_used():
    bits = BitDepth()
    rgb = images.rgb_from_any_image(message("mono16", np.full((4, 6), 1000, np.uint16)), bits)
    assert (rgb == 250).all() and "10 of 16 bits" in bits.take_note()
    assert (images.rgb_from_any_image(message("mono16", np.full((4, 6), 1000, np.uint16))) == 3).all()


def test_encodings_that_we_do_not_know_are_cv_bridges(bridge):
    assert (images.rgb_from_any_image(message("8SC3", np.zeros((4, 18), np.uint8))) == 7).all()
    assert bridge == [("8SC3", "rgb8")]
    with pytest.raises(ImageError, match="'32SC2' is not known.*cv_bridge says: no conversion"):
        images.rgb_from_any_image(message("32SC2", np.zeros((4, 12), np.int32)))


def test_depth_and_broken_images_are_not_cv_bridges(bridge):
    with pytest.raises(ImageError, match="is depth"):
        images.rgb_from_any_image(message("32FC1", np.zeros((4, 6), np.float32)))
    with pytest.raises(ImageError, match="the message is cut"):
        images.rgb_from_any_image(Image(height=4, width=6, encoding="rgb8", step=18, data=bytes(7)))
    assert not bridge


def test_beside_numpy_2_cv_bridge_is_not_asked(bridge, monkeypatch):
    monkeypatch.setattr(images.np, "__version__", "2.1.0")
    with pytest.raises(UnknownEncoding, match="known are"):
        images.rgb_from_any_image(message("8SC3", np.zeros((4, 18), np.uint8)))
    assert not bridge
