"""The launch files, with the `launch` of a ROS 2 distribution (it is not on PyPI)."""

import signal

import cv2
import numpy as np
import pytest

pytest.importorskip(
    "launch_ros", reason="launch and launch_ros come with a ROS 2 distribution; they are not here"
)
pytest.importorskip("ros2launch", reason="ros2 launch comes with a ROS 2 distribution; it is not here")

from ament_index_python.packages import PackageNotFoundError, get_package_share_path  # noqa: E402
from camera_process import RosProcess  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d4rt_ros.model.checkpoint import EMBEDDED  # noqa: E402

try:
    installed = (get_package_share_path("d4rt_ros") / "launch" / "d4rt.launch.py").is_file()
except PackageNotFoundError:
    installed = False
pytestmark = [
    pytest.mark.skipif(not installed, reason="d4rt_ros is not installed where the ament index finds it"),
    pytest.mark.skipif(not EMBEDDED.is_file(), reason="there are no embedded weights"),
]


def test_the_demo_on_a_folder_of_images(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(20):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), rng.integers(0, 256, (48, 80, 3), np.uint8))
    arguments = f"video:={tmp_path}", "calibration:=60 60 39.5 23.5", "device:=cpu"
    with RosProcess("ros2", "launch", "d4rt_ros", "demo.launch.py", *arguments) as demo:
        demo.subscribe(Image, "d4rt/depth/image")
        demo.subscribe(CameraInfo, "camera_info")
        demo.until(lambda: demo.messages["d4rt/depth/image"], 90)
        assert demo.messages["camera_info"][0].k[0] == 60
        demo.process.send_signal(signal.SIGINT)
        status, output = demo.finish(30)
    assert status == 0 and "Traceback" not in output, output


def test_arguments_reach_the_node(tmp_path):
    (tmp_path / "mine.yaml").write_text("/**:\n  ros__parameters:\n    depth: {size: [10, 20]}\n")
    arguments = (
        f"params_file:={tmp_path}/mine.yaml",
        "namespace:=robot",
        "image:=/cam/image_raw",
        "device:=cpu",
    )
    with RosProcess("ros2", "launch", "d4rt_ros", "d4rt.launch.py", *arguments) as launched:
        publisher = launched.node.create_publisher(Image, "/cam/image_raw", 10)
        launched.subscribe(Image, "/robot/d4rt/depth/image")
        launched.until(publisher.get_subscription_count, 60)
        message = Image(encoding="mono8", width=80, height=48, step=80, data=bytes(80 * 48))
        for index in range(100):
            message.header.stamp.sec = 1
            message.header.stamp.nanosec = 10_000_000 * index
            publisher.publish(message)
            launched.receive(0.1)
            if launched.messages["/robot/d4rt/depth/image"]:
                break
        depth = launched.messages["/robot/d4rt/depth/image"][0]
        assert (depth.height, depth.width) == (10, 20)
