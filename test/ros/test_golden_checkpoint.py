"""OpenD4RT's small golden checkpoint, whose weights are random, through everything that a user starts.

What it answers is nonsense: nothing may fail, be infinite, or be published as right that is wrong.
"""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
pytest.importorskip("rich", reason="rich is not installed")
from d4rt_ros.msg import Status, Tracks  # noqa: E402
from d4rt_ros.srv import Query  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_testing import Running, image, info  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402

from d4rt_ros.cli.main import main  # noqa: E402
from d4rt_ros.ros.listening.reading import (  # noqa: E402
    depth_pixels,
    organised_cloud,
    pose_is_known,
    world_from_child,
)
from d4rt_ros.ros.node import load_model  # noqa: E402

COUNT, RATE = 20, 15
SIZE = 120, 160  # rows, columns
FOCAL = 585 * 160 / 640
ODOMETRY, STATUS, DEPTH = "/d4rt/odometry", "/d4rt/status", "/d4rt/depth/image"


@pytest.fixture(scope="module")
def checkpoint(shared):
    file = shared / "golden/opend4rt/opend4rt.ckpt"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return str(file)


@pytest.fixture(scope="module")
def kitchen(shared):
    """The first images."""
    files = sorted((shared / "data/kitchen").glob("*.color.jpg"))[:COUNT]
    if not files:
        pytest.skip("no kitchen recording in the reference data")
    return [
        cv2.resize(cv2.imread(str(f)), SIZE[::-1], interpolation=cv2.INTER_AREA)[..., ::-1] for f in files
    ]


@pytest.mark.parametrize("refine", ["pixels", "none"])
def test_the_node_runs_and_says_nothing_wrong(checkpoint, kitchen, refine):
    parameters = {"model.checkpoint": checkpoint, "model.device": "cpu", "refine": refine}
    with Running(parameters, load_model=load_model) as running:
        running.active().send_info(info(focal=FOCAL, height=SIZE[0], width=SIZE[1]))
        assert running.user.until(lambda: running.node._transforms.seconds > 1.0)
        for kind, topic in ((Odometry, ODOMETRY), (Image, DEPTH), (Status, STATUS)):
            running.listen(kind, topic)
        running.listen(PointCloud2, "/d4rt/points")
        running.listen(Tracks, "/d4rt/tracks")
        for k, rgb in enumerate(kitchen):
            running.send("image", image(100 + k / RATE, rgb=rgb))
        heard = running.user.heard
        assert running.user.until(lambda: len(heard[DEPTH]) == len(heard["/d4rt/points"]) == COUNT - 7)
        answer = running.user.call(
            Query, "/d4rt/query", Query.Request(u=[80.0], v=[60.0], t_src=[-1], t_tgt=[-1], t_cam=[-1])
        )
        running.user.until(lambda: False, 0.3)
        assert not running.node._figures.counts["failures"]
    assert answer.status == Query.Response.OK and np.isfinite(answer.points).all()
    depths = np.array([depth_pixels(m) for m in heard[DEPTH]])
    assert (depths[np.isfinite(depths)] > 0).all()
    cloud = organised_cloud(heard["/d4rt/points"][-1])
    assert not np.isinf(cloud.xyz).any() and (cloud.confidence[np.isnan(cloud.xyz[..., 2])] == 0).all()
    assert all(np.isfinite(world_from_child(m.pose.pose)).all() for m in heard[ODOMETRY])
    assert all(m.state == Status.TRACKING or m.reason for m in heard[STATUS])
    known = [m for m in heard[ODOMETRY] if pose_is_known(m)]
    # It says that everything moves, and how the camera moves it does not know either.
    assert len(known) < len(kitchen) / 2, "a model that has learned nothing is found out"


@pytest.mark.parametrize("refine", ["pixels", "none"])
def test_a_video_is_reconstructed(checkpoint, kitchen, tmp_path, refine):
    for k, rgb in enumerate(kitchen):
        assert cv2.imwrite(str(tmp_path / f"{k:03}.png"), rgb[..., ::-1])
    out, summary = tmp_path / "out", tmp_path / "summary.json"
    status = main(
        ["reconstruct", str(tmp_path), "--checkpoint", checkpoint, "--device", "cpu", "--refine", refine]
        + ["--camera-info", f"{FOCAL} {FOCAL} 79.5 59.5", "--out", str(out), "--json", str(summary)]
    )
    told, depth = json.loads(summary.read_text()), np.load(out / "depth.npz")
    assert status == (0 if told["trusted"] else 1)
    assert all(told["reasons"]) and sum(told["reasons"].values()) == COUNT - told["trusted"]
    assert np.isfinite(depth["world_from_camera"][depth["trusted"]]).all()
    assert np.isnan(depth["world_from_camera"][~depth["trusted"]]).all()
    assert (depth["depth"][np.isfinite(depth["depth"])] > 0).all()
    assert np.isfinite(np.load(out / "tracks.npz")["position"]).all()


def test_it_is_evaluated_on_whole_runs(checkpoint, tmp_path):
    arguments = [
        "evaluate",
        "--checkpoint",
        checkpoint,
        "--device",
        "cpu",
        "--json",
        str(tmp_path / "figures.json"),
    ]
    arguments += ["stream", "--sequences", "1", "--frames", "12", "--size", "64", "48"]
    assert main(arguments) == 0
    assert "Infinity" not in (tmp_path / "figures.json").read_text()
