"""Programs from their first moment to their end: signals at any time, arguments, shared memory."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")

from d4rt_ros.ros import large_messages  # noqa: E402

SLOW = 60.0
LIMIT = 2.0
SOURCE = Path(__file__).parents[2]
NODE, SCENE, VIDEO = (f"d4rt_ros.ros.{name}" for name in ("node", "scene_camera", "video_camera"))


def start(module, *arguments, **environment):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path]), **environment}
    return subprocess.Popen(
        [sys.executable, "-m", module, "--ros-args", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )


def end(process, *signals):
    """What it said until its end, which the signals bring: in time, with status 0, without a word of error."""
    begin = time.monotonic()
    for number in signals:
        process.send_signal(number)
    said, _ = process.communicate(timeout=SLOW)
    took = time.monotonic() - begin
    assert process.returncode == 0, said
    assert not any(word in said for word in ("ERROR", "Traceback", "rror:", "Fatal")), said
    assert took < LIMIT * (1 + os.getloadavg()[0] / os.cpu_count()), f"{took:.1f} s\n{said}"
    return said


def until_it_hears_signals(process):
    """Python itself is up by then; nothing of ours can hear what comes sooner."""
    if not Path("/proc/self/status").exists():
        return time.sleep(1.0)
    give_up = time.monotonic() + SLOW
    while not _catches_sigterm(process):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.002)


def _catches_sigterm(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("module", [NODE, SCENE, VIDEO])
def test_a_signal_ends_it_at_any_moment(module, turn, tmp_path, ros_domain):
    rng = random.Random(f"{module} {turn}")
    arguments = ("-p", f"source:={_folder_of_images(tmp_path)}") if module == VIDEO else ()
    process = start(module, *arguments)
    until_it_hears_signals(process)
    time.sleep(rng.uniform(0, 5 if module == NODE else 3) if turn else 0.0)
    end(process, *rng.choices((signal.SIGINT, signal.SIGTERM), k=rng.randint(1, 2)))


def _folder_of_images(tmp_path):
    import cv2
    import numpy as np

    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((48, 64, 3), 50 * i, np.uint8))
    return tmp_path


def test_a_model_that_computes_for_long_holds_nobody_up(ros_domain):
    """The worker is in the middle of something that nothing interrupts."""
    program = (
        "import time, rclpy\n"
        "from d4rt_ros.ros import node, process\n"
        "def load(values):\n    print('loading', flush=True)\n    end = time.monotonic() + 30\n"
        "    while time.monotonic() < end: pass\n"
        "node.load_model = load\n"
        "node.D4rtNode.__init__.__defaults__ = (load,)\n"
        "process.run('d4rt_ros.ros.node')\n"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )
    assert "loading" in process.stdout.readline()
    end(process, signal.SIGINT)


def test_nothing_is_left_in_shared_memory(ros_domain):
    segments = Path("/dev/shm")
    if not segments.is_dir():
        pytest.skip("no /dev/shm here")
    process = start(NODE)
    while "active" not in (line := process.stdout.readline()):
        assert line, "it ended"
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    mine = {line.split()[5] for line in maps.splitlines() if "/dev/shm/fast" in line}
    mine = {name for name in mine if "port" not in name}  # those of ports are shared with other processes
    assert max(os.path.getsize(name) for name in mine) >= large_messages.segment_size()[0]
    end(process, signal.SIGINT)
    assert not [name for name in mine if os.path.exists(name)]


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "no such file"),
        ("a: [", "is not YAML"),
        ("d4rt: {depth.rate: 1.0}", "ros__parameters"),
        (
            "other: {ros__parameters: {depth.rate: 1.0}}",
            "has parameters for /other, but this node is /robot/d4rt",
        ),
        (
            "d4rt: {ros__parameters: {depth.rate: 1.0}}",
            "has parameters for /d4rt, but this node is /robot/d4rt",
        ),
        ("/**: {ros__parameters: {depth.size: [1, 2.5]}}", "Sequence should be of same type"),
        ("/**: {ros__parameters: {depth.size: [9]}}", "depth.size is [9]; it must be 2 numbers"),
    ],
)
def test_a_file_of_parameters_that_cannot_be_followed_is_one_sentence(tmp_path, content, says, ros_domain):
    file = tmp_path / "p.yaml"
    if content is not None:
        file.write_text(content)
    process = start(NODE, "--params-file", file, "-r", "__ns:=/robot")
    said, _ = process.communicate(timeout=SLOW)
    ours = [line for line in said.splitlines() if line.startswith("d4rt_node: ")]
    assert process.returncode == 1 and len(ours) == 1 and says in ours[0], said
    assert "Traceback" not in said


def test_a_file_for_this_node_by_name_is_taken(tmp_path, ros_domain):
    """What we take for our name rcl takes too: a value out of range must be seen."""
    for name in ("/*/d4rt", "/robot/d4rt"):
        file = tmp_path / "p.yaml"
        file.write_text(f"{name}: {{ros__parameters: {{depth.size: [9]}}}}")
        process = start(NODE, "--params-file", file, "-r", "__ns:=/robot")
        said, _ = process.communicate(timeout=SLOW)
        assert "depth.size is [9]" in said, (name, said)


@pytest.mark.parametrize("arguments", [("-p", "depth.size:=[36"), ("--nothing",), ("-r", "__node:=a b")])
def test_arguments_that_ros_cannot_take_are_one_sentence(arguments, ros_domain):
    process = start(NODE, *arguments)
    said, _ = process.communicate(timeout=SLOW)
    assert process.returncode == 1 and "d4rt_node: " in said and "Traceback" not in said and ".c:" not in said


# Shared memory


@pytest.fixture
def plain(monkeypatch, tmp_path):
    for name in (*large_messages.SETTINGS_OF_THE_USER, "RMW_IMPLEMENTATION", "ROS_LOCALHOST_ONLY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(large_messages, "SHARED_MEMORY", tmp_path)
    return monkeypatch


def _with_free(monkeypatch, mebibytes):
    room = type("room", (), {"f_bavail": mebibytes, "f_frsize": 1 << 20})
    monkeypatch.setattr(large_messages.os, "statvfs", lambda path: room)


def test_the_segment_holds_large_messages_where_there_is_room(plain):
    _with_free(plain, 1000)
    assert large_messages.segment_size() == (32 << 20, "")
    with large_messages.large_segment() as told:
        file = os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]
        assert "<segment_size>33554432<" in Path(file).read_text() and told == ""
    assert not os.path.exists(file) and "FASTDDS_DEFAULT_PROFILES_FILE" not in os.environ


@pytest.mark.parametrize("distribution", ["humble", "jazzy"])
def test_the_variable_has_an_older_name_in_older_distributions(plain, distribution):
    _with_free(plain, 1000)
    plain.setenv("ROS_DISTRO", distribution)
    with large_messages.large_segment():
        assert "FASTRTPS_DEFAULT_PROFILES_FILE" in os.environ
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ


@pytest.mark.parametrize("free, size", [(64, 16 << 20), (20, 5 << 20), (12, 0), (0, 0)])
def test_where_there_is_little_room_it_takes_less_and_says_so(plain, free, size):
    _with_free(plain, free)
    found, told = large_messages.segment_size()
    assert found == size and f"{free} MiB free" in told and "--ipc=host" in told


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, "something") for name in large_messages.SETTINGS_OF_THE_USER),
        ("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp"),
    ],
)
def test_what_the_user_has_set_stands(plain, name, value):
    _with_free(plain, 1000)
    plain.setenv(name, value)
    before = dict(os.environ)
    with large_messages.large_segment() as told:
        assert dict(os.environ) == before and told == ""


def test_a_profile_in_the_folder_where_it_is_started_stands(plain, tmp_path):
    _with_free(plain, 1000)
    (tmp_path / "DEFAULT_FASTDDS_PROFILES.xml").write_text("<dds/>")
    assert large_messages.segment_size() == (0, "")


def test_humbles_own_transports_for_one_host_stand(plain):
    _with_free(plain, 1000)
    plain.setenv("ROS_DISTRO", "humble")
    plain.setenv("ROS_LOCALHOST_ONLY", "1")
    assert large_messages.segment_size() == (0, "")


def test_images_reach_a_best_effort_listener(ros_domain):
    """Through the default segment of 512 KiB about one in ten does."""
    if large_messages.segment_size()[0] < large_messages.SEGMENT:
        pytest.skip("no room in /dev/shm, or another RMW or profile")
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    program = (
        "import time, rclpy\nfrom sensor_msgs.msg import Image\nfrom d4rt_ros.ros.large_messages import large_segment\n"
        "rclpy.init()\nwith large_segment(): node = rclpy.create_node('camera')\n"
        "image = Image(height=480, width=640, encoding='rgb8', step=1920)\nimage.data.frombytes(bytes(640 * 480 * 3))\n"
        "publisher = node.create_publisher(Image, 'large', 5)\n"
        "while not publisher.get_subscription_count(): time.sleep(0.05)\ntime.sleep(0.5)\n"
        "for _ in range(60): publisher.publish(image); time.sleep(1 / 30)\ntime.sleep(1)\n"
    )
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node("listener", context=context)
        executor, heard = SingleThreadedExecutor(context=context), []
        executor.add_node(node)
        profile = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Image, "large", heard.append, profile)
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
        process = subprocess.Popen([sys.executable, "-c", program], env=variables)
        while process.poll() is None:
            executor.spin_once(timeout_sec=0.05)
        assert len(heard) > 45
    finally:
        rclpy.shutdown(context=context)
