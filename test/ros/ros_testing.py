"""A node under test and a user's node beside it, over real DDS in one process."""

from __future__ import annotations

import threading
import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from d4rt_ros.model.query import Answer, check_queries
from d4rt_ros.ros.node import D4rtNode
from d4rt_ros.ros.process import spin

WAIT = 15.0
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class FlatScene:
    """A wall at z = 2 m before a camera that stands still, focal length 100 pixels: exact and very fast."""

    tells_motion = True

    def __init__(self, frames):
        self.frames, self.num_frames = frames, len(frames)
        self.size = frames[0].shape[:2]
        self.nbytes, self.queries_per_second = 0, 1e5

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        q = check_queries(u, v, t_src, t_tgt, t_cam, self.num_frames, self.size)
        z = np.full(len(q), 2.0)
        x, y = (q.u - (self.size[1] - 1) / 2) * z / 100, (q.v - (self.size[0] - 1) / 2) * z / 100
        one = np.ones(len(q), np.float32)
        normals = np.tile(np.float32([0, 0, -1]), (len(q), 1))
        return Answer(
            np.stack([x, y, z], -1).astype(np.float32),
            np.stack([q.u, q.v], -1).astype(np.float32),
            one,
            one,
            normals,
            0 * normals,
        )


class FlatModel:
    """Answers FlatScene. `fail` set: encoding raises; `hold` cleared: encoding waits."""

    def __init__(self, num_frames=4):
        self.num_frames, self.between_chunks, self.fail = num_frames, None, False
        self.queries_per_second = 1e5
        self.hold, self.encoding = threading.Event(), threading.Event()
        self.hold.set()

    def prepare(self, image):
        return image

    def encode(self, frames):
        self.encoding.set()
        while not self.hold.wait(0.002):
            self.between_chunks()
        if self.fail:
            raise RuntimeError("the model broke")
        return FlatScene(frames)


class User:
    """What a user's own node would do: publish images, listen, call services."""

    def __init__(self, context, namespace=""):
        self.node = rclpy.create_node("user", context=context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.heard: dict[str, list] = {}
        self._publishers = {}

    def listen(self, kind, topic, qos=RELIABLE):
        self.heard[topic] = []
        return self.node.create_subscription(kind, topic, self.heard[topic].append, qos)

    def publish(self, topic, msg, qos=RELIABLE):
        if topic not in self._publishers:
            publisher = self._publishers[topic] = self.node.create_publisher(type(msg), topic, qos)
            assert self.until(lambda: publisher.get_subscription_count() > 0), f"nobody listens to {topic}"
        self._publishers[topic].publish(msg)

    def forget_publisher(self, topic):
        self.node.destroy_publisher(self._publishers.pop(topic))

    def until(self, condition, seconds=WAIT):
        """Spin until `condition()` is true; what it returned."""
        end = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def call(self, kind, name, request, seconds=WAIT):
        client, end = self.node.create_client(kind, name), time.monotonic() + seconds
        # Seldom, Fast DDS never matches a client with a server that it knows; a new client is matched.
        while not self.until(client.service_is_ready, 10.0):
            assert time.monotonic() < end, f"no service {name}"
            self.node.destroy_client(client)
            client = self.node.create_client(kind, name)
        future = client.call_async(request)
        assert self.until(future.done, seconds), f"{name} did not answer"
        self.node.destroy_client(client)
        return future.result()

    def newest(self, topic, after=0):
        """The next message on a topic after the first `after` of them."""
        assert self.until(lambda: len(self.heard[topic]) > after), f"nothing on {topic}"
        return self.heard[topic][-1]

    def status(self, part):
        """The newest diagnostics of one part of the node."""
        for array in reversed(self.heard.get("/diagnostics", [])):
            for status in array.status:
                if status.name.endswith(": " + part):
                    return status
        return None

    def told(self, part, words, seconds=WAIT):
        """Wait until the diagnostics of a part say these words."""
        says = self.until(lambda: self.status(part) and words in self.status(part).message, seconds)
        assert says, self.status(part)
        return True

    def figure(self, part, key):
        status = self.status(part)
        return next((v.value for v in status.values if v.key == key), None) if status else None


def transition(user, number):
    """Ask the node for a lifecycle transition; whether it was made."""
    request = ChangeState.Request()
    request.transition.id = number
    return user.call(ChangeState, "/d4rt/change_state", request, 60).success


def set_parameter(user, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return user.call(SetParameters, "/d4rt/set_parameters", request, 60).results[0]


class Running:
    """The node, spun in a thread by the executor that `main` uses, with a user beside it. A context manager.

    model: what it loads, or load_model: how. parameters: over the defaults, with stride 1, every point asked, a
    tf.publish that does not wait until TF was heard, and what the model says left as it is.
    """

    def __init__(self, parameters=(), model=None, load_model=None, arguments=(), namespace=""):
        self.model = FlatModel() if model is None else model
        self._load = load_model or (lambda values: self.model)
        self._parameters = {
            "window.stride": 1,
            "depth.rate": 0.0,
            "tf.publish": "world_to_camera",
            "refine": "none",  # the models of these tests are exact, their images say nothing of depth
        } | dict(parameters)
        self._arguments, self._namespace = list(arguments), namespace

    def __enter__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = D4rtNode(
            self._load,
            context=self.context,
            namespace=self._namespace,
            cli_args=["--ros-args", *self._arguments] if self._arguments else None,
            parameter_overrides=[Parameter(n, value=v) for n, v in self._parameters.items()],
        )
        self.user = User(self.context, self._namespace)
        self._executor = MultiThreadedExecutor(8, context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self.node), daemon=True)
        self._thread.start()
        self.listen(DiagnosticArray, "/diagnostics")
        return self

    def __exit__(self, *_):
        self.node.close()
        self._executor.shutdown()
        self.user.executor.shutdown()
        rclpy.shutdown(context=self.context)
        self._thread.join(WAIT)
        self.node.destroy_node()
        self.user.node.destroy_node()

    @property
    def images(self):
        """Images that the node has had."""
        return self.node._figures.counts["images"]

    def active(self):
        """Wait until the node is active, for whoever asks it too: its own phase is so a moment before its state."""
        state = self.node._state_machine
        assert self.user.until(lambda: state.current_state[1] == "active"), self.node._failure
        return self

    def stream(self, begin=0, count=6, computed=True, **kwargs):
        """Send `count` images of the stream that begins at 100 s and has ten a second."""
        for i in range(begin, begin + count):
            self.send("image", image(100 + i / 10, **kwargs), computed)

    def state(self):
        return self.user.call(GetState, "/d4rt/get_state", GetState.Request()).current_state.label

    def becomes(self, label):
        """Wait for a state; diagnostics tell of a failure before its transition has ended."""
        return self.user.until(lambda: self.state() == label)

    def listen(self, kind, topic):
        """Keep what the node publishes on a topic from now on; what listens."""
        subscription = self.user.listen(kind, topic)
        publishers = [p for p in self.node.publishers if p.topic_name == topic]
        assert publishers and self.user.until(lambda: publishers[0].get_subscription_count() > 0), topic
        return subscription

    def send(self, topic, msg, computed=True):
        """Publish an image; return when the node has had it, and computed what was due if `computed`."""
        before = self.images
        self.user.publish(topic, msg)
        assert self.user.until(lambda: self.images > before), "the node did not get the image"
        if computed:
            assert self.user.until(lambda: self.node._streaming.idle), "the node is still computing"

    def send_info(self, msg):
        """Publish a camera_info; return when the node has it."""
        calibration = self.node._calibration
        self.user.publish("camera_info", msg)
        assert self.user.until(lambda: calibration._info is not None)


def alter(running, change):
    """Have the results of the node's windows be what `change` makes of them, from now on."""
    pipeline = running.node._streaming.pipeline
    pipeline.scaled = lambda *args: change(type(pipeline).scaled(pipeline, *args))


def view(seconds, height=48, width=64):
    """(H, W, 3) uint8: blots of many greys that stand still; one pixel changes, as no camera's image stays the same."""
    import cv2

    blots = np.random.default_rng(0).integers(40, 216, (8, 11), dtype=np.uint8)
    rgb = np.repeat(cv2.resize(blots, (width, height), interpolation=cv2.INTER_CUBIC)[..., None], 3, axis=2)
    rgb[0, 0] = round(seconds * 1000) % 256
    return rgb


def stamp(seconds):
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def image(seconds, rgb=None, frame_id="cam", height=48, width=64):
    """An rgb8 message of `rgb` (H, W, 3), or of a still view."""
    rgb = view(seconds, height, width) if rgb is None else rgb
    msg = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8", step=3 * rgb.shape[1])
    msg.header.stamp, msg.header.frame_id = stamp(seconds), frame_id
    msg.data.frombytes(np.ascontiguousarray(rgb).tobytes())
    return msg


def info(seconds=0.0, focal=100.0, height=48, width=64):
    """A CameraInfo with its principal point in the middle; focal 0: not calibrated."""
    msg = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    msg.header.stamp, msg.header.frame_id = stamp(seconds), "cam"
    if focal:
        k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        msg.k, msg.p = k.ravel(), np.hstack([k, np.zeros((3, 1))]).ravel()
    return msg
