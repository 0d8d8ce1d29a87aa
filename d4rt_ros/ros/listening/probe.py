"""Measuring a running node from outside: rates, latencies and answers, as cheaply as can be."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from d4rt_ros.msg import Tracks
from d4rt_ros.ros.listening.asking import timed_query
from d4rt_ros.ros.listening.user_node import UserNode
from d4rt_ros.srv import Query

# Relative to the node's name, but for those of the camera; camera_info comes with each image and is small.
EVERYTHING = {
    "points": PointCloud2, "depth/image": Image, "tracks": Tracks, "odometry": Odometry, "/camera_info": CameraInfo,
}  # fmt: skip
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
        self._user = UserNode("d4rt_probe", domain)
        self._node, self._name = self._user.node, node
        self._query = self._node.create_client(Query, f"{node}/query")

    def subscribe(self, topics: dict[str, type]) -> Arrivals:
        """Subscribe to topics of the node, or of the camera (with a slash), until `unsubscribe`."""
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
        self._user.close()

    def _subscribe(self, kind: type, topic: str, arrivals: Arrivals):
        kept = arrivals.topics[topic]
        # Each of these messages begins with its stamp, after four bytes of encapsulation.

        def receive(data: bytes) -> None:
            seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
            kept.append((seconds * 1_000_000_000 + nanoseconds, time.time_ns()))

        name = topic if topic.startswith("/") else f"{self._name}/{topic}"
        return self._node.create_subscription(kind, name, receive, QoSProfile(depth=5), raw=True)
