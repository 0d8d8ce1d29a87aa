"""A user's node: subscribes to everything that d4rt publishes, asks its service, and keeps what arrives."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from d4rt_ros.geometry import pose_from_quaternion
from d4rt_ros.io.image_messages import rgb_from_image
from d4rt_ros.msg import Tracks
from d4rt_ros.ros.asking import timed_query
from d4rt_ros.ros.messages import nanoseconds
from d4rt_ros.srv import Query

KEEP = 3_000_000_000  # nanoseconds for which images and true depth wait for their result


@dataclass
class FrameRecord:
    """What belongs to one image's stamp (nanoseconds); each None until it has come.

    image: (H, W, 3) uint8. depth: (h, w) metres, NaN = none, and camera: its (3, 3) intrinsics. true_depth:
    (H, W). cloud: xyz (N, 3) in the camera frame and rgb (N, 3) uint8. tracks: pixels (N, T, 2) and visible
    (N, T).
    """

    stamp: int
    image: np.ndarray | None = None
    depth: np.ndarray | None = None
    true_depth: np.ndarray | None = None
    cloud: tuple[np.ndarray, np.ndarray] | None = None
    tracks: tuple[np.ndarray, np.ndarray] | None = None
    camera: np.ndarray | None = None


@dataclass
class Recording:
    """Everything that came.

    arrivals: by topic, (stamp, receipt) in nanoseconds. depths: predicted and true depth (h, w) at the same
    pixels. poses, true_poses: by stamp, world_from_camera (4, 4). moments: some complete ones. problems:
    what the diagnostics said, newest last. queries: by number of points, seconds that an answer took.
    """

    arrivals: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    depths: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    poses: dict[int, np.ndarray] = field(default_factory=dict)
    true_poses: dict[int, np.ndarray] = field(default_factory=dict)
    moments: list[FrameRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    queries: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


class Listener:
    """Listens in a thread of its own, from construction to close().

    domain: the ROS domain. node: d4rt's name. truth: the scene camera's name, "" where there is none.
    """

    def __init__(self, domain: int, node: str = "/d4rt", truth: str = "", moment_every: float = 1.5) -> None:
        self.recording = Recording()
        self._moment_every = round(moment_every * 1e9)
        self._truth = bool(truth)
        self._waiting: OrderedDict[int, FrameRecord] = OrderedDict()
        self._paired: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("d4rt_listener", context=self._context)
        self._prefix = node
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
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="listener", daemon=True)
        self._thread.start()

    def listen_to_images(self) -> None:
        """Also subscribe to the camera's images; apart, since a video starts when its images are wanted."""
        self._subscribe(Image, "/image", self._on_image)

    def begin(self) -> None:
        """Forget arrivals and problems so far: those of starting."""
        for arrivals in self.recording.arrivals.values():
            arrivals.clear()
        self.recording.problems.clear()

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
        rclpy.shutdown(context=self._context)
        self._thread.join(timeout=5)
        self._executor.shutdown()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def _subscribe(self, kind, topic: str, callback) -> None:
        arrivals = self.recording.arrivals[topic]

        def receive(message) -> None:
            receipt = time.time_ns()
            stamp = callback(message)
            arrivals.append((stamp, receipt))

        self._node.create_subscription(kind, topic, receive, QoSProfile(depth=10))

    def _on_image(self, msg: Image) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        moment.image = rgb_from_image(msg)
        self._size = moment.image.shape[:2]
        return self._received(moment)

    def _on_depth(self, msg: Image) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        moment.depth = depth_pixels(msg)
        return self._received(moment)

    def _on_true_depth(self, msg: Image) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        moment.true_depth = depth_pixels(msg)
        return self._received(moment)

    def _on_camera(self, msg: CameraInfo) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        moment.camera = np.reshape(msg.k, (3, 3))
        return self._received(moment)

    def _on_points(self, msg: PointCloud2) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        moment.cloud = cloud_points(msg)
        return self._received(moment)

    def _on_tracks(self, msg: Tracks) -> int:
        moment = self._moment(nanoseconds(msg.header.stamp))
        shape = len(msg.ids), len(msg.stamps)
        pixels = np.asarray(msg.pixels, np.float32).reshape(*shape, 2)
        moment.tracks = pixels, np.asarray(msg.visible, bool).reshape(shape)
        return self._received(moment)

    def _on_odometry(self, msg: Odometry) -> int:
        stamp = nanoseconds(msg.header.stamp)
        self.recording.poses[stamp] = pose_matrix(msg.pose.pose)
        return stamp

    def _on_true_pose(self, msg: PoseStamped) -> int:
        stamp = nanoseconds(msg.header.stamp)
        self.recording.true_poses[stamp] = pose_matrix(msg.pose)
        return stamp

    def _on_tf(self, msg: TFMessage) -> int:
        return nanoseconds(msg.transforms[0].header.stamp) if msg.transforms else 0

    def _on_diagnostics(self, msg: DiagnosticArray) -> int:
        for status in msg.status:
            if status.level != b"\x00":
                self.recording.problems.append(f"{status.name}: {status.message}")
        return nanoseconds(msg.header.stamp)

    def _moment(self, stamp: int) -> FrameRecord:
        moment = self._waiting.setdefault(stamp, FrameRecord(stamp))
        while next(iter(self._waiting)) < stamp - KEEP:
            self._waiting.popitem(last=False)
        return moment

    def _received(self, moment: FrameRecord) -> int:
        """Take what is complete out of the moment."""
        truth = moment.true_depth
        if moment.depth is not None and truth is not None and moment.stamp not in self._paired:
            self._paired.add(moment.stamp)
            self.recording.depths.append((moment.depth, at_grid(truth, moment.depth.shape)))
        parts = (moment.image, moment.depth, moment.cloud, moment.tracks, moment.camera)
        complete = all(part is not None for part in parts) and (truth is not None or not self._truth)
        kept = self.recording.moments
        if complete and (not kept or moment.stamp - kept[-1].stamp >= self._moment_every):
            kept.append(moment)
        return moment.stamp


def depth_pixels(msg: Image) -> np.ndarray:
    """(H, W) float32 of a 32FC1 image."""
    return np.frombuffer(msg.data, np.float32).reshape(msg.height, msg.width)


def at_grid(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of (H, W) nearest to an align-corners grid of size (h, w)."""
    rows, columns = (
        np.rint(np.linspace(0, full - 1, n)).astype(int) for full, n in zip(values.shape, size, strict=True)
    )
    return values[np.ix_(rows, columns)]


def cloud_points(msg: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """xyz (N, 3) float32 and rgb (N, 3) uint8 of the finite points of a cloud with float fields x y z rgb."""
    rows = np.frombuffer(msg.data, np.uint8).reshape(-1, msg.point_step)
    offset = {f.name: f.offset for f in msg.fields}
    xyz = np.stack([rows[:, offset[n] : offset[n] + 4].copy().view("<f4")[:, 0] for n in "xyz"], -1)
    rgb = rows[:, offset["rgb"] : offset["rgb"] + 3][:, ::-1]
    finite = np.isfinite(xyz).all(-1)
    return xyz[finite], rgb[finite]


def pose_matrix(pose) -> np.ndarray:
    """(4, 4) of a geometry_msgs/Pose."""
    p, q = pose.position, pose.orientation
    return pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])
