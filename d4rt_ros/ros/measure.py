"""Measuring a running node from outside: rates, latencies and answers, as cheaply as can be."""

from __future__ import annotations

import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

from d4rt_ros.msg import Tracks
from d4rt_ros.ros.asking import timed_query
from d4rt_ros.srv import Query

EVERYTHING = {"points": PointCloud2, "depth/image": Image, "tracks": Tracks, "odometry": Odometry}
POSE_ALONE = {"odometry": Odometry}


@dataclass
class Arrivals:
    """By topic, (stamp, receipt) of every message, nanoseconds."""

    topics: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def rate(self, topic: str) -> float:
        """Messages a second, 0 where there were fewer than two."""
        receipts = [receipt for _, receipt in self.topics[topic]]
        return 1e9 * (len(receipts) - 1) / (receipts[-1] - receipts[0]) if len(receipts) > 1 else 0.0

    def latencies(self, topic: str) -> np.ndarray:
        """Milliseconds from stamp to receipt, in order of receipt."""
        return np.array([(receipt - stamp) / 1e6 for stamp, receipt in self.topics[topic]])


class Probe:
    """Subscribes without unpacking anything but the stamp, so that the measuring process stays out of the way."""

    def __init__(self, domain: int, node: str = "/d4rt"):
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("d4rt_probe", context=self._context)
        self._name = node
        self._query = self._node.create_client(Query, f"{node}/query")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def subscribe(self, topics: dict[str, type]) -> Arrivals:
        """Subscribe to topics of the node until `unsubscribe`."""
        arrivals = Arrivals()
        self._subscriptions = [self._subscribe(kind, topic, arrivals) for topic, kind in topics.items()]
        return arrivals

    def unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def ask(self, count: int, width: int, height: int, timeout: float = 10.0) -> float | None:
        """Seconds that a query of `count` random pixels took; None where it failed."""
        if not self._query.wait_for_service(timeout):
            return None
        answered = timed_query(self._query, count, (height, width), timeout)
        return answered[1] if answered and answered[0].status == Query.Response.OK else None

    def close(self) -> None:
        rclpy.shutdown(context=self._context)
        self._thread.join(timeout=5)

    def _subscribe(self, kind: type, topic: str, arrivals: Arrivals):
        kept = arrivals.topics[topic]
        # Each of these messages begins with its stamp, after four bytes of encapsulation.

        def receive(data: bytes) -> None:
            seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
            kept.append((seconds * 1_000_000_000 + nanoseconds, time.time_ns()))

        return self._node.create_subscription(
            kind, f"{self._name}/{topic}", receive, QoSProfile(depth=5), raw=True
        )

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass


def message_costs(rows: int = 256, columns: int = 256, repeats: int = 50) -> dict[str, float]:
    """Median milliseconds of what is not the network: a 640x480 image message to the model's input, and a result
    with a cloud of rows x columns points to its messages."""
    from d4rt_ros.io.image_messages import rgb_from_image
    from d4rt_ros.ros.publishing import DEPTH, DEPTH_INFO, ODOMETRY, POINTS, TRACKS, Frames, result_messages
    from d4rt_ros.runtime import load
    from d4rt_ros.stream import Frame, Outputs, Pipeline, PipelineConfig

    random = np.random.default_rng(0)
    message = Image(height=480, width=640, encoding="rgb8", step=1920)
    message.data.frombytes(random.integers(0, 255, 640 * 480 * 3, np.uint8).tobytes())
    model = load(device="cpu")
    pipeline = Pipeline(model, PipelineConfig(depth_size=(rows, columns)))
    image, result = rgb_from_image(message), None
    for stamp in range(1, model.num_frames + 1):
        result = pipeline.add(Frame(image, stamp * 33_000_000), Outputs()) or result
    topics = {POINTS, DEPTH, DEPTH_INFO, ODOMETRY, TRACKS}
    costs = {
        "image message to model input": lambda: model.prepare(rgb_from_image(message)),
        "result to messages": lambda: result_messages(result, Frames("world", "camera", "camera"), topics),
    }
    return {name: _median_ms(work, repeats) for name, work in costs.items()}


def _median_ms(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))
