"""What the robot knows of metres: depth, scans and ranges from its topics, its own motion and mounting from TF."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import Image, LaserScan, PointCloud2, Range

from d4rt_ros.geometry.transforms import transform
from d4rt_ros.io.image_messages import ImageError
from d4rt_ros.io.transform_tree import NotHeardYet, TransformError, frame_name
from d4rt_ros.ros.inputs import Input
from d4rt_ros.ros.messages import nanoseconds
from d4rt_ros.ros.scale_messages import cloud_points, cone_points, scan_points, small_depth
from d4rt_ros.stream.config import only
from d4rt_ros.stream.scale import NoScale, ScaleMeasurement
from d4rt_ros.stream.scale_depth import cone_scale, image_scale, points_scale
from d4rt_ros.stream.scale_height import IMAGE_UP, ground_plane, height_scale
from d4rt_ros.stream.scale_motion import SPAN, jump, motion_scale

DEPTH_FROM = ("image", "scan", "range", "cloud")
KEPT = 200  # messages, or places of the camera, that wait for their frame or their transform
LATE = 3_000_000_000  # ns for which a transform is waited for
PERIOD = 200_000_000  # ns between two measurements, which would say little more if they came more often
STOPPED = 1_000_000_000  # ns without a transform or a message, after which it is said


@dataclass(frozen=True)
class ScaleSettings:
    """source: one of stream.config.SCALE_SOURCES. depth_from: one of DEPTH_FROM, the topic of the source depth.
    tf_frame: the fixed frame of the source tf. height: metres of the camera above the ground, 0: by TF, above
    ground_frame."""

    source: str = "none"
    depth_from: str = "image"
    tf_frame: str = "odom"
    height: float = 0.0
    ground_frame: str = "base_footprint"


def scale_settings(values: dict) -> ScaleSettings:
    """From the parameters' values, by name."""
    return ScaleSettings(
        values["scale.source"],
        values["scale.depth_from"],
        values["scale.tf_frame"],
        values["scale.height"],
        values["scale.ground_frame"],
    )


class ScaleInputs:
    """Measures the scale of results; what it subscribes to is heard until `close`.

    Messages come in the executor's threads, `measurements_for` is called in one other. Raises ValueError with a
    sentence where the user's overrides of quality of service are wrong. wanted: what results must hold for the scale to
    be measured.
    """

    def __init__(self, node, settings: ScaleSettings, transforms) -> None:
        self._source = _source(node, settings, transforms)
        self._next, self._why = 0, ""
        depth, pose = settings.source in ("depth", "height"), settings.source == "tf"
        self.wanted = only(points=depth, pose=pose)

    @property
    def problem(self) -> str:
        """Why the newest result tells no scale, or what is odd about what does, in a sentence, or ""."""
        return self._why

    @property
    def topics(self) -> list[str]:
        """What is subscribed to, by name as written."""
        return [i.name for i in self._inputs]

    @property
    def _inputs(self) -> list[Input]:
        return getattr(self._source, "inputs", [])

    def measurements_for(self, result, camera_frame: str, lens=None) -> list[ScaleMeasurement]:
        """What is measured of a stream.Result, whose lengths are in the model's unit, of the camera of this frame_id.

        lens: what the newest frame was rectified from. Never raises for what came from outside; see `problem`.
        """
        if self._source is None:
            return []
        camera_frame = frame_name(camera_frame)
        try:
            self._source.note(result, camera_frame)
            if self._next - PERIOD < result.stamp < self._next:
                return []
            measured = self._source.measure(result, camera_frame, lens)
        except (NoScale, TransformError, ImageError) as error:
            self._why = str(error)
            return []
        self._why, self._next = self._source.remark, result.stamp + PERIOD
        return [measured]

    def refresh(self) -> None:
        """Subscribe anew where the publishers offer something else than before."""
        for i in self._inputs:
            i.refresh()

    def close(self) -> None:
        for i in self._inputs:
            i.close()


def _source(node, settings: ScaleSettings, transforms):
    if settings.source == "depth":
        return _DepthImages(node) if settings.depth_from == "image" else _Points(node, settings, transforms)
    if settings.source == "tf":
        return _Motion(settings.tf_frame, transforms)
    if settings.source == "height":
        return _Height(settings, transforms)
    return None


class _Source:
    """What measures a result. remark: what is odd about what was measured last, in a sentence, or "". inputs: what is
    subscribed to."""

    def __init__(self, *inputs: Input) -> None:
        self.remark, self.inputs = "", list(inputs)

    def note(self, result, camera_frame: str) -> None:
        """Remember of every result what a later one is measured by. Raises NoScale or TransformError."""

    def measure(self, result, camera_frame: str, lens) -> ScaleMeasurement:
        """Raises NoScale, TransformError or ImageError with a sentence where the scale is not told."""
        raise NotImplementedError


class _Matched:
    """The newest messages of a topic, found by stamp; safe from several threads.

    keep(message) -> what is kept of it. Where that raises, the sentence is what `nearest` raises.
    """

    def __init__(self, node, kind, topic: str, keep: Callable) -> None:
        self._keep, self._lock = keep, threading.Lock()
        self._kept: deque[tuple[int, object]] = deque(maxlen=KEPT)
        self.input = Input(node, kind, topic, self._take, MutuallyExclusiveCallbackGroup(), latched=False)
        self.input.refresh()

    def nearest(self, stamp: int, within: float):
        """What was kept of the message nearest to a stamp, at most so many ns away. Raises NoScale."""
        with self._lock:
            kept = list(self._kept)
        topic = self.input.topic
        if not kept:
            who = "" if self.input.publishers() else f"; nobody publishes {self.input.type_name} there"
            raise NoScale(f"nothing has come on {topic} yet{who}")
        nearest, message = min(kept, key=lambda pair: abs(pair[0] - stamp))
        away = (stamp - nearest) / 1e9
        if abs(away) * 1e9 > within:
            if away > STOPPED / 1e9:
                raise NoScale(f"nothing has come on {topic} for {away:.1f} s of the images' stamps")
            raise NoScale(
                f"nothing on {topic} is stamped within {within / 1e6:.0f} ms of the image; the nearest is "
                f"{abs(away) * 1e3:.0f} ms {'before' if away > 0 else 'after'}"
            )
        if isinstance(message, Exception):
            raise NoScale(f"what comes on {topic} is of no use: {message}")
        return message

    def _take(self, msg) -> None:
        try:
            kept = self._keep(msg)
        except Exception as error:  # of whatever a message can be: the node goes on
            kept = error
        stamp = nanoseconds(msg.header.stamp)
        with self._lock:
            if self._kept and stamp < self._kept[-1][0] - LATE:  # a recording that began again
                self._kept.clear()
            self._kept.append((stamp, kept))


class _DepthImages(_Source):
    """A depth camera's images, registered to the image topic, of any size."""

    def __init__(self, node) -> None:
        self._messages = _Matched(node, Image, "depth", small_depth)
        super().__init__(self._messages.input)

    def measure(self, result, camera_frame: str, lens) -> ScaleMeasurement:
        frame, image = self._messages.nearest(result.stamp, _half_period(result))
        if frame and frame != camera_frame:
            raise NoScale(
                f"depth on {self.inputs[0].topic} comes in the frame '{frame}', the images in '{camera_frame}': the "
                "depth that is registered to the colour image is wanted"
            )
        return image_scale(image, result, lens)


class _Points(_Source):
    """A laser scanner, a range finder or a cloud, in any frame that TF connects with the camera's."""

    def __init__(self, node, settings: ScaleSettings, transforms) -> None:
        kind, keep = {
            "scan": (LaserScan, scan_points),
            "range": (Range, cone_points),
            "cloud": (PointCloud2, cloud_points),
        }[settings.depth_from]
        self._scale = cone_scale if settings.depth_from == "range" else points_scale
        self._messages = _Matched(node, kind, settings.depth_from, keep)
        super().__init__(self._messages.input)
        self._transforms = transforms
        transforms.listen()

    def measure(self, result, camera_frame: str, lens) -> ScaleMeasurement:
        stamp = result.stamp
        frame, points = self._messages.nearest(stamp, _half_period(result))
        if not len(points):
            raise NoScale(f"what came on {self.inputs[0].topic} holds no point within its range")
        points = transform(self._transforms.lookup(camera_frame, frame, stamp), points)
        depth, sigma = _depth_of(result)
        return self._scale(points, depth, result.points.camera, stamp, sigma)


class _Motion(_Source):
    """The camera's way in a fixed frame of the robot."""

    def __init__(self, frame: str, transforms) -> None:
        super().__init__()
        self._frame, self._transforms = frame_name(frame), transforms
        self._waiting: deque[tuple[int, np.ndarray]] = deque(maxlen=KEPT)
        self._known: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self._of, self._last = None, 0  # the world and the camera's frame, and the stamp of the newest result
        transforms.listen()

    def note(self, result, camera_frame: str) -> None:
        stamp, pose = result.stamp, result.pose
        if pose is None or not pose.trusted:
            raise NoScale("the camera's place is not known" + (f": {pose.reason}" if pose else ""))
        if (pose.world, camera_frame) != self._of or stamp < self._last:
            self._waiting.clear()
            self._known.clear()
            self._of = pose.world, camera_frame
        if stamp > self._last or not self._known:
            self._waiting.append((stamp, pose.world_from_camera[:3, 3].copy()))
        self._last = stamp
        self._look_up(stamp, camera_frame)
        while self._known and self._known[0][0] < stamp - SPAN * 1e9:
            self._known.popleft()

    def measure(self, result, camera_frame: str, lens) -> ScaleMeasurement:
        if not self._known:
            raise NoScale("the camera's place is not known by TF yet")
        if not self._transforms.tree.moves(self._frame, camera_frame):
            raise NoScale(
                f"between '{self._frame}' and '{camera_frame}' nothing moves on TF; scale.tf_frame must be a frame "
                "that the robot moves in, such as odom"
            )
        stamps, estimated, measured = (np.array(x) for x in zip(*self._known))
        self.remark = jump(stamps, estimated, measured)
        return motion_scale(stamps, estimated, measured)

    def _look_up(self, stamp: int, camera_frame: str) -> None:
        """Where TF says that the camera was, of the places that wait for it. Raises TransformError."""
        while self._waiting:
            at, estimated = self._waiting[0]
            try:
                measured = self._transforms.lookup(self._frame, camera_frame, at)[:3, 3]
            except NotHeardYet as error:
                if stamp - at > LATE:
                    self._waiting.popleft()
                    continue
                if stamp - at > STOPPED:
                    raise TransformError(
                        f"TF does not follow the camera in '{self._frame}': {error}"
                    ) from None
                return
            except TransformError:
                self._waiting.popleft()
                if not self._waiting:
                    raise
                continue
            self._waiting.popleft()
            self._known.append((at, estimated, measured))


class _Height(_Source):
    """The camera's height above the ground: the user's, or TF's."""

    def __init__(self, settings: ScaleSettings, transforms) -> None:
        super().__init__()
        self._settings, self._transforms = settings, transforms
        if not settings.height:
            transforms.listen()

    def measure(self, result, camera_frame: str, lens) -> ScaleMeasurement:
        _, sigma = _depth_of(result)
        height, up, up_sigma = self._settings.height, IMAGE_UP, math.radians(10)
        if not height:
            stamp = result.stamp
            ground_from_camera = self._transforms.lookup(self._settings.ground_frame, camera_frame, stamp)
            height, up, up_sigma = ground_from_camera[2, 3], ground_from_camera[2, :3], math.radians(3)
            if height <= 0:
                raise NoScale(
                    f"TF says that '{camera_frame}' is {-height:.2f} m below '{self._settings.ground_frame}'"
                )
        ground = ground_plane(result.points.static.xyz, up, up_sigma, sigma)
        return height_scale(ground, float(height), result.stamp)


def _half_period(result) -> float:
    """ns, of the frames of the window."""
    stamps = result.window.stamps
    return float(np.median(np.diff(stamps))) / 2 if len(stamps) > 1 else 0.0


def _depth_of(result) -> tuple[np.ndarray, np.ndarray | None]:
    if result.points is None:
        raise NoScale(result.problem or "depth was not asked for")
    return result.points.static.depth, result.points.sigma
