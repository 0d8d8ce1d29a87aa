"""The robot around a node for `d4rt benchmark soak`: listens to everything, asks, sets parameters, and notes it all."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from d4rt_ros.msg import Tracks
from d4rt_ros.ros.listening.reading import pose_is_known
from d4rt_ros.ros.listening.user_node import UserNode
from d4rt_ros.ros.messages import flat, nanoseconds
from d4rt_ros.srv import Query, TrackPoints

ANSWER_LIMIT = 10.0  # seconds after which a service has not answered
TRANSITION_LIMIT = (
    90.0  # of a transition, which may load the weights, in a process that has just been started
)
NONSENSE = "nonsense"  # how the frames begin that the robot makes up
OK, NOT_READY, OUT_OF_WINDOW, INVALID = (
    getattr(Query.Response, name) for name in ("OK", "NOT_READY", "OUT_OF_WINDOW", "INVALID")
)


@dataclass(frozen=True)
class Answer:
    """What a service did. at: ns. good: whether it answered, and as it should. told: how it answered."""

    at: int
    service: str
    seconds: float
    good: bool
    told: str


@dataclass
class Notes:
    """What was seen, in the order of receipt; times and stamps in nanoseconds.

    results: (stamp, receipt) of clouds. poses: (stamp, known) of odometry. transforms: stamps of the node's TF.
    states: by diagnostics, (receipt, values of the part `geometry`, its message). restarts: the newest count.
    """

    results: list[tuple[int, int]] = field(default_factory=list)
    poses: list[tuple[int, bool]] = field(default_factory=list)
    transforms: list[int] = field(default_factory=list)
    states: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    restarts: int = 0
    answers: list[Answer] = field(default_factory=list)


class Robot:
    """domain: of ROS. node: d4rt's name. size: (width, height) of its images."""

    def __init__(self, domain: int, size: tuple[int, int], node: str = "/d4rt") -> None:
        self.notes = Notes()
        self.counts: dict[str, int] = defaultdict(int)
        self._domain, self._size, self._name = domain, size, node
        self._user = UserNode("robot", domain)
        self._random = np.random.default_rng(0)
        self._window: list = []  # stamps of a window that answered
        topics = {
            f"{node}/points": (PointCloud2, self._on_points),
            f"{node}/depth/image": (Image, None),
            f"{node}/depth/camera_info": (CameraInfo, None),
            f"{node}/tracks": (Tracks, None),
            f"{node}/path": (Path, None),
            f"{node}/odometry": (Odometry, self._on_odometry),
            "/tf": (TFMessage, self._on_tf),
            "/diagnostics": (DiagnosticArray, self._on_diagnostics),
        }
        for topic, (kind, callback) in topics.items():
            # What is not looked into need not be unpacked.
            receive = self._counted(topic, callback)
            self._user.node.create_subscription(
                kind, topic, receive, QoSProfile(depth=10), raw=callback is None
            )
        self._tf = self._user.node.create_publisher(TFMessage, "/tf", QoSProfile(depth=10))
        services = {
            "query": Query, "track_points": TrackPoints, "reset": Trigger,
            "change_state": ChangeState, "set_parameters": SetParameters,
        }  # fmt: skip
        self._clients = {
            name: self._user.node.create_client(kind, f"{node}/{name}") for name, kind in services.items()
        }

    def close(self) -> None:
        self._user.close()

    # Asking

    @property
    def window_seconds(self) -> float:
        """From the oldest to the newest image of the window that answered last."""
        return (nanoseconds(self._window[-1]) - nanoseconds(self._window[0])) / 1e9

    def ask_small(self) -> bool:
        """Of one pixel of the newest image, in the camera's frame; whether there was an answer to it."""
        return self._query("query, 1 point", self._request(1), (OK, NOT_READY))

    def ask_much(self) -> None:
        self._query("query, 10,000 points", self._request(10_000), (OK, NOT_READY))

    def ask_in_the_world(self) -> None:
        self._query("query in the world", self._request(10, frame_id="world"), (OK, NOT_READY))

    def ask_of_the_past(self) -> None:
        """Of the window that answered last time, which may be kept no more after a reset."""
        if self._window:
            request = self._request(10)
            request.stamps = self._window
            self._query("query of the past", request, (OK, NOT_READY, OUT_OF_WINDOW))

    def ask_nonsense(self) -> None:
        """Requests that cannot be answered as they are."""
        requests = [self._request(3), self._request(1), self._request(1), self._request(1, frame_id=NONSENSE)]
        requests[0].v = flat([1.0, 2.0])
        requests[1].t_src = flat([99], "i")
        requests[2].u = flat([np.nan])
        for request in requests:
            self._query("query, invalid", request, (INVALID, OUT_OF_WINDOW, NOT_READY))

    def ask_for_tracks(self) -> None:
        request = self._request(20)
        request = TrackPoints.Request(u=request.u, v=request.v, t_src=flat([-1], "i"))
        self._call("track_points", request, "track_points", lambda r: r.status in (OK, NOT_READY))

    # Meddling

    def reset(self) -> None:
        self._call("reset", Trigger.Request(), "reset", lambda response: True)

    def set_parameter(self, name: str, value, accepted: bool = True) -> None:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        right = lambda response: response.results[0].successful == accepted  # noqa: E731
        self._call("set_parameters", request, f"{name} := {value}", right)

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        right = lambda response: response.success  # noqa: E731
        response = self._call("change_state", request, f"transition {transition}", right, TRANSITION_LIMIT)
        return response is not None and response.success

    def publish_nonsense_transforms(self, camera_frame: str) -> None:
        """NaN, a quaternion of length 0, a frame in itself, a circle: none of it may touch the node's own."""
        now = self._user.node.get_clock().now().to_msg()

        def made(parent: str, child: str, x: float = 0.0, w: float = 1.0) -> TransformStamped:
            message = TransformStamped(child_frame_id=child)
            message.header.frame_id, message.header.stamp = parent, now
            message.transform.translation.x, message.transform.rotation.w = x, w
            return message

        a, b = f"{NONSENSE}_a", f"{NONSENSE}_b"
        self._tf.publish(TFMessage(transforms=[
            made(a, b, x=float("nan")), made(a, b, w=0.0), made(camera_frame, camera_frame), made(a, b), made(b, a),
        ]))  # fmt: skip

    def bring_listeners(self, seconds: float, slow: bool = False) -> None:
        """Another node that listens to the node and the camera, and goes; a slow one takes half a second for each."""
        visitor = UserNode("visitor", self._domain)
        receive = (lambda message: time.sleep(0.5)) if slow else (lambda message: None)
        try:
            kinds = {f"{self._name}/points": PointCloud2, f"{self._name}/tracks": Tracks, "/image": Image}
            for topic, kind in kinds.items():
                visitor.node.create_subscription(kind, topic, receive, QoSProfile(depth=10), raw=True)
            time.sleep(seconds)
        finally:
            visitor.close()

    # Noting

    def _request(self, count: int, frame_id: str = "") -> Query.Request:
        u, v = (flat(self._random.uniform(0, side - 1, count)) for side in self._size)
        newest = flat([-1], "i")
        return Query.Request(u=u, v=v, t_src=newest, t_tgt=newest, t_cam=newest, frame_id=frame_id)

    def _query(self, name: str, request: Query.Request, expected: tuple[int, ...]) -> bool:
        response = self._call("query", request, name, lambda r: r.status in expected)
        answered = response is not None and response.status == OK
        if answered:
            self._window = response.stamps
        return answered

    def _call(self, service: str, request, name: str, right, limit: float = ANSWER_LIMIT):
        """The response, noted; None where none came."""
        client, done = self._clients[service], threading.Event()
        began = time.perf_counter()
        response = None
        if client.wait_for_service(timeout_sec=limit):
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            if done.wait(limit):
                response = future.result()
            else:
                client.remove_pending_request(future)
        took = time.perf_counter() - began
        told = "no answer" if response is None else _told(response)
        good = response is not None and bool(right(response))
        self.notes.answers.append(Answer(time.time_ns(), name, took, good, told))
        return response

    def _counted(self, topic: str, callback):
        def receive(message) -> None:
            self.counts[topic] += 1
            if callback:
                callback(message)

        return receive

    def _on_points(self, msg: PointCloud2) -> None:
        self.notes.results.append((nanoseconds(msg.header.stamp), time.time_ns()))

    def _on_odometry(self, msg: Odometry) -> None:
        self.notes.poses.append((nanoseconds(msg.header.stamp), pose_is_known(msg)))

    def _on_tf(self, msg: TFMessage) -> None:
        for made in msg.transforms:
            parent, child = made.header.frame_id, made.child_frame_id
            if parent != child and not parent.startswith(NONSENSE):
                self.notes.transforms.append(nanoseconds(made.header.stamp))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        now = time.time_ns()
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            if status.name.endswith(": geometry"):
                self.notes.states.append((now, values, status.message))
            elif status.name.endswith(": camera"):
                self.notes.restarts = int(float(values.get("restarts", 0)))


def _told(response) -> str:
    """How a response says that it did what was asked, or not, in words."""
    if hasattr(response, "status"):
        return f"status {response.status}: {response.message}".rstrip(": ")
    if hasattr(response, "results"):
        result = response.results[0]
        return "set" if result.successful else result.reason
    return "done" if response.success else getattr(response, "message", "") or "refused"
