"""`d4rt demo` with its real processes."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from camera_process import end_limit  # noqa: E402

from d4rt_ros.cli import demo  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """Five seconds, at 30 a second, of a picture that moves sideways."""
    (tmp_path / "images").mkdir()
    wide = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 80, 3), np.uint8), (480, 72))
    for index in range(150):
        assert cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), wide[:, 2 * index : 2 * index + 112])
    return tmp_path / "images"


def run(tmp_path, *arguments, limit=170):
    command = [
        sys.executable,
        "-m",
        "d4rt_ros.cli.main",
        "demo",
        "--output",
        tmp_path / "out",
        "--device",
        "cpu",
    ]
    command += [str(a) for a in arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=limit, env={**os.environ, "COLUMNS": "200"}
    )


def processes_of(output: Path) -> list[str]:
    """Command lines of running processes whose output goes into a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(output) in os.readlink(process / "fd" / "1"):
                found.append((process / "cmdline").read_text())
        except OSError:
            pass
    return found


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_video_is_shown_and_measured(tmp_path, folder, small_checkpoint):
    done = run(
        tmp_path, "--video", folder, "--checkpoint", small_checkpoint, "--camera-info", "80 80 55.5 35.5"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/d4rt/points" in done.stdout and "10,000 points" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    counts = {row["name"]: row["count"] for row in report["topics"]}
    # Of a model that has learned nothing there need be no pose, so no tracks and no TF either.
    assert all(counts[topic] for topic in ("/image", *demo.RESULT)) and not report["errors"]
    assert report["queries"][0]["count"]
    assert "150 images" in (tmp_path / "out" / "camera.log").read_text()
    assert not processes_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--checkpoint", "/nowhere.safetensors"],
            "cannot be configured: /nowhere.safetensors: no such file",
        ),
        (["--video", "/nowhere.mp4"], "'/nowhere.mp4' does not exist; give a video file"),
    ],
)
def test_what_does_not_start_is_said_and_nothing_is_left_running(
    tmp_path, small_checkpoint, arguments, message
):
    done = run(tmp_path, "--checkpoint", small_checkpoint, *arguments)
    assert done.returncode == 1
    assert "The demo failed:" in done.stdout and message in done.stdout and "Traceback" not in done.stderr
    assert not processes_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_being_ended_ends_the_children_too(tmp_path, small_checkpoint, sent, status):
    """Here the camera renders and the node loads; by SIGKILL nobody is left to end them, and they end."""
    command = [sys.executable, "-m", "d4rt_ros.cli.main", "demo", "--output", tmp_path / "out"]
    command += ["--checkpoint", small_checkpoint]
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: len(processes_of(tmp_path / "out")) == 2, 60)
            began = time.monotonic()
            process.send_signal(sent)
            assert process.wait(30) == status
            until(lambda: not processes_of(tmp_path / "out"), 10)
            assert time.monotonic() - began < end_limit()
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_the_video_and_its_calibration_reach_the_camera():
    args = argparse.Namespace(video="clip.mp4", camera_info="1 2 3 4", rate=15.0, device="cpu", checkpoint="")
    module, arguments = demo.camera(args)
    assert module == "d4rt_ros.ros.video_camera"
    assert {"source:='clip.mp4'", "rate:=15.0", "depth:=False", "camera_info:='1 2 3 4'"} <= set(arguments)
    module, arguments = demo.camera(argparse.Namespace(video=None))
    assert module == "d4rt_ros.ros.scene_camera" and not any("source" in a for a in arguments)
