"""A user's node: subscribes to everything that d4rt publishes, asks its service, and keeps what arrives."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from d4rt_ros.io.image_messages import rgb_from_image
from d4rt_ros.msg import Status, Tracks
from d4rt_ros.ros.listening.asking import timed_query
from d4rt_ros.ros.listening.reading import (
    Cloud,
    depth_pixels,
    organised_cloud,
    pose_is_known,
    world_from_child,
)
from d4rt_ros.ros.listening.user_node import UserNode
from d4rt_ros.ros.messages import nanoseconds
from d4rt_ros.srv import Query

KEEP = 5_000_000_000  # nanoseconds for which images and true depth wait for their result
MOST_CLOUDS, MOST_RECORDS = 128, 32  # that are kept; of more, every other one


@dataclass
class FrameRecord:
    """What belongs to one image's stamp (nanoseconds); each None until it has come.

    image: (H, W, 3) uint8. depth: (h, w) metres, NaN = none. true_depth: (H, W). tracks: pixels (N, T, 2) and
    visible (N, T).
    """

    stamp: int
    image: np.ndarray | None = None
    depth: np.ndarray | None = None
    true_depth: np.ndarray | None = None
    tracks: tuple[np.ndarray, np.ndarray] | None = None


@dataclass
class Recording:
    """Everything that came.

    arrivals: by topic, (stamp, receipt) in nanoseconds. depths: predicted and true depth (h, w) at the same
    pixels. poses (those that are known), true_poses: by stamp, world_from_camera (4, 4). worlds: by stamp, the number
    of the world that went on from there. clouds: by stamp, MOST_CLOUDS of them, over the whole time. records: some
    complete ones. problems: what the diagnostics said, newest last. told: their newest figures by name. queries: by
    number of points, seconds that an answer took.
    """

    arrivals: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    depths: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    poses: dict[int, np.ndarray] = field(default_factory=dict)
    true_poses: dict[int, np.ndarray] = field(default_factory=dict)
    worlds: dict[int, int] = field(default_factory=dict)
    clouds: dict[int, Cloud] = field(default_factory=dict)
    records: list[FrameRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    queries: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def main_poses(self) -> dict[int, np.ndarray]:
        """`poses` of the world that most of them are in: those of two worlds do not belong together."""
        begun = sorted(self.worlds)
        world = {
            s: self.worlds[begun[max(bisect_right(begun, s) - 1, 0)]] if begun else 0 for s in self.poses
        }
        main = max(Counter(world.values()).items(), key=itemgetter(1), default=(0, 0))[0]
        return {s: self.poses[s] for s in sorted(world) if world[s] == main}


class Listener:
    """Listens in a thread of its own, from construction to close().

    domain: the ROS domain. node: d4rt's name. truth: the scene camera's name, "" where there is none.
    """

    def __init__(self, domain: int, node: str = "/d4rt", truth: str = "", record_every: float = 0.5) -> None:
        self.recording = Recording()
        self._record_every = round(record_every * 1e9)
        self._truth = bool(truth)
        self._waiting: OrderedDict[int, FrameRecord] = OrderedDict()
        self._paired: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._cloud_count = 0  # clouds that came
        self._every = 1  # how many clouds one is kept of
        self._over = False
        self._user = UserNode("d4rt_listener", domain)
        self._node = self._user.node
        self._query = self._node.create_client(Query, f"{node}/query")
        topics = [
            (PointCloud2, f"{node}/points", self._on_points),
            (Image, f"{node}/depth/image", self._on_depth),
            (CameraInfo, f"{node}/depth/camera_info", self._on_camera),
            (Odometry, f"{node}/odometry", self._on_odometry),
            (Tracks, f"{node}/tracks", self._on_tracks),
            (TFMessage, "/tf", self._on_tf),
            (DiagnosticArray, "/diagnostics", self._on_diagnostics),
        ]
        if truth:
            topics.append((Image, f"{truth}/truth/depth", self._on_true_depth))
            topics.append((PoseStamped, f"{truth}/truth/pose", self._on_true_pose))
        for kind, topic, callback in topics:
            self._subscribe(kind, topic, callback)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscribe(Status, f"{node}/status", self._on_status, latched)

    def listen_to_images(self) -> None:
        """Also subscribe to the camera's images; apart, since a video starts when its images are wanted."""
        self._subscribe(Image, "/image", self._on_image)

    def begin(self) -> None:
        """Forget what came so far but the records: it is of starting, and the scene camera's pace was another."""
        recording = self.recording
        for kept in (*recording.arrivals.values(), recording.depths, recording.problems):
            kept.clear()
        for kept in (recording.poses, recording.true_poses, recording.clouds):
            kept.clear()

    def end(self) -> None:
        """Nothing that comes from now on is kept; what is asked is."""
        self._over = True

    def image_subscribers(self) -> int:
        """How many subscribe to the camera's images, over all processes."""
        return self._node.count_subscribers("/image")

    def ask(self, count: int, timeout: float = 10.0) -> Query.Response | None:
        """Ask where `count` random pixels of the newest image are; None where no answer came."""
        if self._size is None or not self._query.service_is_ready():
            return None
        answered = timed_query(self._query, count, self._size, timeout)
        if answered is None:
            return None
        response, took = answered
        if response.status == Query.Response.OK:
            self.recording.queries[count].append(took)
        return response

    def close(self) -> None:
        self._user.close()

    def _subscribe(self, kind, topic: str, callback, qos: QoSProfile = QoSProfile(depth=10)) -> None:
        arrivals = self.recording.arrivals[topic]

        def receive(message) -> None:
            receipt = time.time_ns()
            if not self._over:
                arrivals.append((callback(message), receipt))

        self._node.create_subscription(kind, topic, receive, qos)

    def _on_image(self, msg: Image) -> int:
        record = self._record(nanoseconds(msg.header.stamp))
        record.image = rgb_from_image(msg)
        self._size = record.image.shape[:2]
        return self._received(record)

    def _on_depth(self, msg: Image) -> int:
        record = self._record(nanoseconds(msg.header.stamp))
        record.depth = depth_pixels(msg)
        return self._received(record)

    def _on_true_depth(self, msg: Image) -> int:
        record = self._record(nanoseconds(msg.header.stamp))
        record.true_depth = depth_pixels(msg)
        return self._received(record)

    def _on_camera(self, msg: CameraInfo) -> int:
        return nanoseconds(msg.header.stamp)

    def _on_points(self, msg: PointCloud2) -> int:
        stamp, clouds = nanoseconds(msg.header.stamp), self.recording.clouds
        if self._cloud_count % self._every == 0:
            clouds[stamp] = organised_cloud(msg)
        self._cloud_count += 1
        if len(clouds) > MOST_CLOUDS:
            for dropped in sorted(clouds)[1::2]:
                del clouds[dropped]
            self._every, self._cloud_count = 2 * self._every, 1
        return stamp

    def _on_status(self, msg: Status) -> int:
        stamp, worlds = nanoseconds(msg.header.stamp), self.recording.worlds
        if not worlds or worlds[max(worlds)] != msg.world:
            worlds[stamp] = msg.world
        return stamp

    def _on_tracks(self, msg: Tracks) -> int:
        record = self._record(nanoseconds(msg.header.stamp))
        shape = len(msg.ids), len(msg.stamps)
        pixels = np.asarray(msg.pixels, np.float32).reshape(*shape, 2)
        record.tracks = pixels, np.asarray(msg.visible, bool).reshape(shape)
        return self._received(record)

    def _on_odometry(self, msg: Odometry) -> int:
        stamp = nanoseconds(msg.header.stamp)
        if pose_is_known(msg):
            self.recording.poses[stamp] = world_from_child(msg.pose.pose)
        return stamp

    def _on_true_pose(self, msg: PoseStamped) -> int:
        stamp = nanoseconds(msg.header.stamp)
        self.recording.true_poses[stamp] = world_from_child(msg.pose)
        return stamp

    def _on_tf(self, msg: TFMessage) -> int:
        return nanoseconds(msg.transforms[0].header.stamp) if msg.transforms else 0

    def _on_diagnostics(self, msg: DiagnosticArray) -> int:
        for status in msg.status:
            self.recording.told.update((value.key, value.value) for value in status.values)
            if status.level != b"\x00":
                self.recording.problems.append(f"{status.name}: {status.message}")
        return nanoseconds(msg.header.stamp)

    def _record(self, stamp: int) -> FrameRecord:
        record = self._waiting.setdefault(stamp, FrameRecord(stamp))
        while next(iter(self._waiting)) < stamp - KEEP:
            self._waiting.popitem(last=False)
        return record

    def _received(self, record: FrameRecord) -> int:
        """Take what is complete out of the record."""
        truth = record.true_depth
        if record.depth is not None and truth is not None and record.stamp not in self._paired:
            self._paired.add(record.stamp)
            self.recording.depths.append((record.depth, at_grid(truth, record.depth.shape)))
        parts = (record.image, record.depth, record.tracks)
        complete = all(part is not None for part in parts) and (truth is not None or not self._truth)
        kept = self.recording.records
        if complete and (not kept or record.stamp - kept[-1].stamp >= self._record_every):
            kept.append(record)
            if len(kept) > MOST_RECORDS:
                del kept[1::2]
                self._record_every *= 2
        return record.stamp


def at_grid(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of (H, W) nearest to an align-corners grid of size (h, w)."""
    rows, columns = (
        np.rint(np.linspace(0, full - 1, n)).astype(int) for full, n in zip(values.shape, size, strict=True)
    )
    return values[np.ix_(rows, columns)]
