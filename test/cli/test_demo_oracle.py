"""Camera, node, listener and report with a model that knows the truth: their errors must be next to none."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

import rclpy  # noqa: E402
from camera_process import CameraProcess  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from d4rt_ros.cli import demo_report  # noqa: E402
from d4rt_ros.ros.listening.listener import Listener  # noqa: E402
from d4rt_ros.ros.node import D4rtNode  # noqa: E402
from d4rt_ros.scenes import OracleModel  # noqa: E402
from d4rt_ros.scenes.loop import enlarge, looping_scene, render_frames  # noqa: E402

# So few images a second that a busy machine also computes every window, and the way is not lost.
WIDTH, HEIGHT, RATE, SECONDS, SEED = 96, 64, 3.0, 4.0, 67


@pytest.fixture(scope="module")
def oracle():
    scenes = looping_scene(SEED, True, SECONDS, WIDTH, HEIGHT)
    count = round(SECONDS * RATE)
    frames = render_frames(scenes, HEIGHT // 2, WIDTH // 2, count, RATE, threading.Event())
    images = [enlarge(frame.rgb, WIDTH, HEIGHT) for frame in frames]
    return OracleModel(scenes, images, np.arange(count) / RATE, num_frames=4)


class NodeThread:
    """The node in this process, on a domain."""

    def __init__(self, model, domain, **parameters):
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self._node = D4rtNode(lambda _: model, context=self._context, parameter_overrides=overrides)
        self._executor = MultiThreadedExecutor(8, context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self):
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def close(self):
        self._node.close()
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def complete(recording) -> bool:
    """Whether everything is there that is looked at afterwards."""
    poses = recording.poses.keys() & recording.true_poses.keys()
    return (
        len(recording.depths) >= 15
        and len(poses) >= 15
        and bool(recording.records and recording.queries[100])
    )


def test_a_model_that_knows_the_truth_is_measured_as_exact(oracle):
    parameters = dict(width=WIDTH, height=HEIGHT, rate=RATE, loop=SECONDS, seed=SEED, wait_for_subscribers=2)
    with CameraProcess("d4rt_ros.ros.scene_camera", **parameters) as camera:
        # Its images are few and small; its answers are exact and left as they are.
        exact = {"depth.size": [24, 36], "window.stride": 1, "refine": "none"}
        node = NodeThread(oracle, camera.domain, **exact)
        listener = Listener(camera.domain, truth="/scene_camera", record_every=0.5)
        listener.listen_to_images()
        try:
            end = time.monotonic() + 150
            while not complete(listener.recording):
                assert time.monotonic() < end, (listener.recording.problems, camera.output())
                listener.ask(100)
                time.sleep(0.1)
        finally:
            listener.close()
            node.close()
    report = demo_report.report(listener.recording)
    errors = {e.name.split()[0]: e for e in report.errors}
    # Not less: at an object's edge, the truth of half the resolution and the grid may see different things.
    assert errors["depth"].count >= 15 and errors["depth"].ours < 0.04 < errors["depth"].baseline
    assert errors["rotation"].ours < 0.3 < errors["rotation"].baseline
    assert errors["trajectory"].ours < 0.05 * errors["trajectory"].baseline
    assert listener.recording.records and report.queries[0].count
