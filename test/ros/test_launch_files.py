"""The launch files, with the `launch` of a ROS 2 distribution (it is not on PyPI)."""

import os
import re
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip(
    "launch_ros", reason="launch and launch_ros come with a ROS 2 distribution; they are not here"
)
pytest.importorskip("ros2launch", reason="ros2 launch comes with a ROS 2 distribution; it is not here")

from ament_index_python.packages import PackageNotFoundError, get_package_share_path  # noqa: E402
from camera_process import RosProcess  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.parameter import parameter_value_to_python  # noqa: E402
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


def launched(file, *arguments):
    return RosProcess("ros2", "launch", "d4rt_ros", file, *arguments)


def interrupted(launch):
    """The exit status and output after Ctrl-C."""
    launch.process.send_signal(signal.SIGINT)
    return launch.finish(30)


def parameters(launch, *names, node="/d4rt"):
    """The values of a node's parameters, asked of the node."""
    client = launch.node.create_client(GetParameters, f"{node}/get_parameters")
    launch.until(client.service_is_ready, 90)
    future = client.call_async(GetParameters.Request(names=list(names)))
    launch.until(future.done, 30)
    return [parameter_value_to_python(value) for value in future.result().values]


def in_domain(process, domain):
    """Whether a process (its folder in /proc) is a node of ours in a domain."""
    try:
        ours = b"d4rt_ros/d4rt_" in (process / "cmdline").read_bytes()
        return ours and f"ROS_DOMAIN_ID={domain}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def node_pids(launch):
    """Of all node processes that were started so far."""
    return [
        int(pid)
        for pid in re.findall(r"d4rt_node-\d+\]: process started with pid \[(\d+)\]", launch.output())
    ]


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for index in range(20):
        assert cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (48, 80, 3), np.uint8))
    return folder


def test_the_demo_on_a_folder_of_images(folder_of_images):
    arguments = f"video:={folder_of_images}", "calibration:=60 60 39.5 23.5", "device:=cpu"
    with launched("demo.launch.py", *arguments) as demo:
        for kind, topic in ((Image, "d4rt/depth/image"), (CameraInfo, "camera_info")):
            demo.subscribe(kind, topic)
        demo.until(lambda: demo.messages["d4rt/depth/image"] and demo.messages["camera_info"], 90)
        assert demo.messages["camera_info"][0].k[0] == 60
        status, output = interrupted(demo)
    assert status == 0 and "Traceback" not in output, output


def test_the_demo_in_a_namespace(folder_of_images):
    """The camera is in it too, its topics, its frame; arguments of d4rt.launch.py pass through."""
    arguments = f"video:={folder_of_images}", "namespace:=robot", "tf:=none", "params_file:=d4rt.yaml"
    with launched("demo.launch.py", *arguments, "device:=cpu", "image:=eye/image") as demo:
        demo.subscribe(Image, "/robot/eye/image")
        demo.subscribe(Image, "/robot/d4rt/depth/image")
        demo.until(lambda: all(demo.messages.values()), 90)
        assert demo.messages["/robot/d4rt/depth/image"][0].header.frame_id == "robot/camera_optical_frame"
        assert parameters(demo, "tf.publish", "model.device", node="/robot/d4rt") == ["none", "cpu"]
        assert demo.node.count_publishers("/image") == 0
        assert interrupted(demo)[0] == 0


def test_arguments_reach_the_node(tmp_path):
    (tmp_path / "mine.yaml").write_text("/**:\n  ros__parameters:\n    depth: {size: [10, 20]}\n")
    arguments = "namespace:=robot", "image:=/cam/image_raw", "device:=cpu"
    with launched("d4rt.launch.py", f"params_file:={tmp_path}/mine.yaml", *arguments) as launch:
        publisher = launch.node.create_publisher(Image, "/cam/image_raw", 10)
        launch.subscribe(Image, "/robot/d4rt/depth/image")
        launch.until(publisher.get_subscription_count, 60)
        rng = np.random.default_rng(0)
        message = Image(encoding="mono8", width=80, height=48, step=80)
        message.data = rng.integers(0, 256, 80 * 48, np.uint8).tobytes()
        for index in range(100):
            message.header.stamp.sec = 1
            message.header.stamp.nanosec = 10_000_000 * index
            publisher.publish(message)
            launch.receive(0.1)
            if launch.messages["/robot/d4rt/depth/image"]:
                break
        depth = launch.messages["/robot/d4rt/depth/image"][0]
        assert (depth.height, depth.width) == (10, 20)


def test_arguments_win_over_the_file_and_empty_ones_do_not(tmp_path, monkeypatch):
    """Also over a section of the node's own name; a path with a variable; a boolean written as YAML does not."""
    sections = (
        "/**:\n  ros__parameters: {autostart: false, image_transport: compressed}\n"
        "/robot/d4rt:\n  ros__parameters: {model: {device: cuda}, tf: {publish: world_to_base}}\n"
    )
    (tmp_path / "mine.yaml").write_text(sections)
    monkeypatch.setenv("MY_ROBOT", str(tmp_path))
    arguments = "params_file:=$MY_ROBOT/mine.yaml", "namespace:=/robot", "device:=cpu", "use_sim_time:=True"
    names = "model.device", "tf.publish", "image_transport", "use_sim_time"
    with launched("d4rt.launch.py", *arguments, "log_level:=debug") as launch:
        values = parameters(launch, *names, node="/robot/d4rt")
        assert values == ["cpu", "world_to_base", "compressed", True]
        launch.until(lambda: "[DEBUG]" in launch.output())
        assert interrupted(launch)[0] == 0


def test_a_parameter_file_of_the_package_by_its_name():
    """Its model has no weights here: the node says so, stays unconfigured, and has the file's values."""
    with launched("d4rt.launch.py", "params_file:=base.yaml", "device:=cpu", "tf:=none") as launch:
        checkpoint, size = parameters(launch, "model.checkpoint", "depth.size")
        assert checkpoint == "base.safetensors" and list(size) == [96, 128]
        assert interrupted(launch)[0] == 0


@pytest.mark.parametrize(
    "file, argument, words",
    [
        (
            "d4rt.launch.py",
            "params_file:=bse.yaml",
            r"/config/bse.yaml; the package has base.yaml, d4rt.yaml",
        ),
        ("demo.launch.py", "params_file:=$NO_SUCH/x.yaml", r"\$NO_SUCH is not defined here"),
        ("d4rt.launch.py", "params_file:=/tmp", "/tmp is a folder"),
        ("d4rt.launch.py", "tf:=up", "Valid options are"),
        ("d4rt.launch.py", "respawn:=perhaps", "Valid options are"),
        ("demo.launch.py", "log_level:=loud", "Valid options are"),
        ("demo.launch.py", "image_transport:=compressed", "publish raw images alone"),
        ("d4rt.launch.py", "checkpont:=mine.safetensors", "did you mean checkpoint:="),
        ("demo.launch.py", "vidio:=clip.mp4", "did you mean video:="),
    ],
)
def test_what_is_wrong_starts_nothing(file, argument, words):
    with launched(file, argument) as launch:
        status, output = launch.finish(60)
        # Also not after launch has ended: it can leave behind what it was about to start.
        launch.receive(3)
        left = [p for p in Path("/proc").glob("[0-9]*") if in_domain(p, launch.domain)]
        assert left == []
    assert status == 1 and re.search(words, output), output
    assert "process started" not in output and "Traceback" not in output, output


def test_a_node_that_dies_ends_the_launch_with_an_error(folder_of_images):
    with launched("demo.launch.py", f"video:={folder_of_images}", "device:=cpu") as launch:
        launch.until(lambda: "active: " in launch.output(), 90)
        os.kill(node_pids(launch)[0], signal.SIGKILL)
        status, output = launch.finish(30)
    assert status == 1 and "ended with exit code -9" in output and output.count("process started") == 2, (
        output
    )


def test_respawn_starts_it_again():
    with launched("d4rt.launch.py", "respawn:=true", "device:=cpu") as launch:
        launch.until(lambda: "active: " in launch.output(), 90)
        os.kill(node_pids(launch)[0], signal.SIGKILL)
        launch.until(lambda: launch.output().count("active: ") == 2, 90)
        assert interrupted(launch)[0] == 0
        assert len(node_pids(launch)) == 2


def test_without_rviz_it_says_so_and_goes_on():
    try:
        get_package_share_path("rviz2")
        pytest.skip("rviz2 is installed here")
    except PackageNotFoundError:
        pass
    with launched("d4rt.launch.py", "rviz:=true", "device:=cpu") as launch:
        launch.until(lambda: "active: " in launch.output(), 90)
        status, output = interrupted(launch)
    assert status == 0 and "rviz2 is not installed" in output, output


def test_two_robots_in_a_launch_file_of_the_users(tmp_path):
    """Each with a file of parameters; the file's own arguments are no unknown ones."""
    for name, rows in (("left", 10), ("right", 12)):
        text = f"/{name}/d4rt:\n  ros__parameters:\n    autostart: false\n    depth: {{size: [{rows}, 20]}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    file = tmp_path / "both.launch.py"
    file.write_text(f"""
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
SOURCE = get_package_share_directory("d4rt_ros") + "/launch/d4rt.launch.py"
def robot(name):
    arguments = dict(namespace=name, params_file="{tmp_path}/" + name + ".yaml").items()
    include = IncludeLaunchDescription(PythonLaunchDescriptionSource(SOURCE), launch_arguments=arguments)
    return GroupAction([include])
def generate_launch_description():
    return LaunchDescription([DeclareLaunchArgument("mine", default_value=""), robot("left"), robot("right")])
""")
    with RosProcess("ros2", "launch", file, "mine:=1") as launch:
        for name, rows in (("left", 10), ("right", 12)):
            assert list(parameters(launch, "depth.size", node=f"/{name}/d4rt")[0]) == [rows, 20]
        assert interrupted(launch)[0] == 0
