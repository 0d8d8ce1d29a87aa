"""The node as a user starts it: a process of its own, torch, a checkpoint in a file, Ctrl-C."""

import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from ros_testing import User, image, info, set_parameter, transition  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

SLOW = 150.0  # torch may take its time to import on a busy machine
FRAMES = 4


@pytest.fixture
def user():
    context = rclpy.Context()
    rclpy.init(context=context)
    user = User(context)
    yield user
    user.executor.shutdown()
    user.node.destroy_node()
    rclpy.shutdown(context=context)


class Process:
    """`d4rt_node` with ROS arguments; `end` sends signals, checks that it ends quietly."""

    def __init__(self, folder, *arguments):
        self._log = open(folder / "log", "w+")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "d4rt_ros.ros.node", "--ros-args", *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def said(self):
        self._log.seek(0)
        return self._log.read()

    def end(self, signals=(signal.SIGINT,)):
        for number in signals:
            self.popen.send_signal(number)
        assert self.popen.wait(SLOW) == 0, self.said()
        assert "Traceback" not in self.said(), self.said()
        return self.said()


@pytest.fixture
def start(tmp_path):
    processes = []
    yield lambda *arguments: processes.append(Process(tmp_path, *arguments)) or processes[-1]
    for process in processes:
        process.popen.kill()
        process.popen.wait()
        process._log.close()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A small untrained model's checkpoint, and what may happen to one: name to path."""
    import torch

    from d4rt_ros.model.checkpoint import save_checkpoint
    from d4rt_ros.model.config import ModelConfig
    from d4rt_ros.model.network import D4RT

    torch.manual_seed(0)
    config = ModelConfig(
        frames=FRAMES, height=32, width=32, encoder_width=32, encoder_layers=2, encoder_heads=2,
        decoder_width=32, decoder_layers=1, decoder_heads=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {
        name: folder / f"{name}.safetensors" for name in ("good", "missing", "truncated", "foreign", "nan")
    }
    network = D4RT(config)
    save_checkpoint(paths["good"], network)
    paths["truncated"].write_bytes(paths["good"].read_bytes()[:-1000])
    paths["foreign"].write_bytes(b"PK\x03\x04 this is something else")
    next(network.parameters()).data[0] = torch.nan
    save_checkpoint(paths["nan"], network)
    return paths


def test_a_bad_checkpoint_is_told_in_a_sentence_and_the_process_stays_for_a_good_one(
    user, start, checkpoints
):
    process = start("-p", f"model.checkpoint:={checkpoints['missing']}", "-p", "window.stride:=1")
    user.listen(DiagnosticArray, "/diagnostics")
    for name, says in (
        ("missing", "no such file"),
        ("truncated", "truncated"),
        ("foreign", "not a whole safetensors file"),
        ("nan", "NaN"),
    ):
        if name != "missing":
            assert set_parameter(user, "model.checkpoint", str(checkpoints[name])).successful
            assert not transition(user, Transition.TRANSITION_CONFIGURE)
        user.told("geometry", str(checkpoints[name]), SLOW)
        assert says in user.status("geometry").message
    assert set_parameter(user, "model.checkpoint", str(checkpoints["good"])).successful
    assert transition(user, Transition.TRANSITION_CONFIGURE) and transition(
        user, Transition.TRANSITION_ACTIVATE
    )

    _shows_depth(user)
    _refuses_ten_million_points(user)
    assert "no such file" in process.end()


def test_a_model_exported_to_onnx_runs_in_the_node(user, start, checkpoints, tmp_path):
    pytest.importorskip("onnx", reason="exporting needs onnx")
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    from d4rt_ros.model.checkpoint import load_checkpoint
    from d4rt_ros.runtime.onnx_export import export_onnx

    exported = tmp_path / "exported"
    export_onnx(load_checkpoint(checkpoints["good"]), exported)
    process = start(
        *("-p", "model.backend:=onnx", "-p", f"model.checkpoint:={exported}", "-p", "window.stride:=1")
    )
    assert user.until(lambda: "active" in process.said(), SLOW), process.said()
    _shows_depth(user)
    process.end()


def _shows_depth(user):
    user.listen(Image, "/d4rt/depth/image")
    user.publish("camera_info", info())
    for i in range(200):
        user.publish("image", image(100 + i / 10))
        if user.until(lambda: user.heard["/d4rt/depth/image"], 0.1):
            break
    assert user.newest("/d4rt/depth/image").height == 36


def _refuses_ten_million_points(user):
    """A request of 40 MB: refused, and the next one is answered."""
    request = Query.Request(t_src=[0], t_tgt=[0], t_cam=[0], v=[1.0])
    request.u = array("f", bytes(4 * 10_000_000))
    response = user.call(Query, "/d4rt/query", request, SLOW)
    assert response.status == Query.Response.INVALID and "10000000 points" in response.message
    response = user.call(
        Query, "/d4rt/query", Query.Request(u=[1.0], v=[1.0], t_src=[0], t_tgt=[0], t_cam=[0])
    )
    assert response.status == Query.Response.OK and np.isfinite(response.points).all()


def test_ctrl_c_in_a_terminal_ends_it_at_any_time(user, start, checkpoints):
    """A launch file's children get the signal twice: from the terminal and from launch."""
    process = start("-p", f"model.checkpoint:={checkpoints['good']}")
    user.listen(DiagnosticArray, "/diagnostics")
    assert user.until(lambda: user.status("geometry"), SLOW)
    process.end((signal.SIGINT, signal.SIGINT))


def test_wrong_parameters_end_it_with_a_sentence(start):
    process = start("-p", "depth.size:=[48]")
    assert process.popen.wait(SLOW) == 1
    assert "depth.size is [48]; it must be 2 numbers" in process.said() and "Traceback" not in process.said()
