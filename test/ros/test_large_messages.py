"""Shared memory: what killed processes left there goes, what living ones hold stays."""

import os
import signal
import struct
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from d4rt_ros.ros.large_messages import SHARED_MEMORY, remove_leftovers  # noqa: E402

NODE = """
import os, sys, rclpy
before = set(os.listdir("/dev/shm"))
rclpy.init()
node = rclpy.create_node("short_lived")
print(*(f for f in set(os.listdir("/dev/shm")) - before), flush=True)
sys.stdin.read()
"""


def aged(file):
    os.utime(file, (0, 0))


def segments(names):
    return [name for name in names if not name.endswith(("_el", "_sl")) and "port" not in name]


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no shared memory here")
def test_the_dead_s_segments_go_and_the_living_s_stay():
    child = subprocess.Popen(
        [sys.executable, "-c", NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        made = segments(child.stdout.readline().split())
        if not made:
            pytest.skip("this RMW keeps nothing in shared memory")
        for name in made:
            aged(SHARED_MEMORY / name)
        assert not set(made) & set(remove_leftovers()), "the process lives"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert set(made) <= set(remove_leftovers())
        assert not any((SHARED_MEMORY / f"{name}{end}").exists() for name in made for end in ("", "_el"))
    finally:
        child.kill()
        child.wait(10)


def test_an_unfinished_port_goes(tmp_path):
    for name, word in (("fastdds_port7400", 0), ("fastrtps_port7411", 1), ("fastdds_port7402", 2)):
        (tmp_path / name).write_bytes(struct.pack("=I", word) + bytes(1000))
        aged(tmp_path / name)
    (tmp_path / "fastdds_port7403").write_bytes(b"")  # just begun, and never finished
    (tmp_path / "fastdds_port7404").write_bytes(b"")
    aged(tmp_path / "fastdds_port7404")
    (tmp_path / "other_port7400").write_bytes(b"")
    aged(tmp_path / "other_port7400")
    assert remove_leftovers(tmp_path) == [
        "fastdds_port7400", "fastdds_port7403", "fastdds_port7404", "fastrtps_port7411",
    ]  # fmt: skip
    assert remove_leftovers(tmp_path / "nothing") == []
