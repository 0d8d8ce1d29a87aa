"""From the pipeline's results to messages on topics. What may be published is decided here, from what of a
result is trusted."""

from __future__ import annotations

from collections import deque
from typing import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert
from d4rt_ros.io.transform_tree import NotHeardYet, TransformError
from d4rt_ros.ros import broadcasting, messages, odometry, qos
from d4rt_ros.ros.broadcasting import ERROR, WARN, Broadcast, FrameNames
from d4rt_ros.ros.markers import Drawing, Keyframes, marker_array
from d4rt_ros.ros.object_markers import ObjectMarkers
from d4rt_ros.ros.odometry import UNKNOWN_VARIANCE, Placed
from d4rt_ros.ros.transforms import TransformListener
from d4rt_ros.stream import Outputs, Result

POINTS, DEPTH, DEPTH_INFO = "~/points", "~/depth/image", "~/depth/camera_info"
STATIC, DYNAMIC = "~/points/static", "~/points/dynamic"
MASK, MASK_INFO = "~/dynamic_mask", "~/dynamic_mask/camera_info"
ODOMETRY, PATH, TRACKS, MARKERS = "~/odometry", "~/path", "~/tracks", "~/markers"
OBJECTS, OBJECT_MARKERS = "~/objects", "~/objects/markers"
PATIENCE = 0.1  # seconds to wait for where the camera was on the base, with a joint between


def result_messages(
    result: Result,
    frames: FrameNames,
    topics,
    child: str,
    placed: Placed | None,
    before: Placed | None = None,
    when_lost: str = "inflate",
    lenses=(),
    info: CameraInfo | None = None,
) -> dict:
    """The messages of a result by topic: of those `topics` that the result has something for, and may say.

    child: the frame that the odometry is of. placed: the result with its place, None where the child's is not
    known; before: the last result that was placed, for the velocity. lenses: of the window's frames (io.Frame).
    info: the camera's own camera_info, None where it has none.
    """
    camera_header = messages.header_message(result.stamp, frames.camera)
    world_header = messages.header_message(result.stamp, frames.world)
    made = {}
    if not result.problem and result.points is not None:
        points = result.points
        dynamic = points.dynamic if moves_known(result) else None
        if POINTS in topics:
            made[POINTS] = messages.point_cloud(
                camera_header, points.xyz, points.rgb, points.confidence, dynamic
            )
        for topic, value in ((STATIC, False), (DYNAMIC, True)):
            if topic in topics and dynamic is not None:
                part = points.only(dynamic == value)
                made[topic] = messages.point_cloud(
                    camera_header, part.xyz, part.rgb, part.confidence, dynamic
                )
        if DEPTH in topics:
            made[DEPTH] = messages.depth_image(camera_header, points.depth)
        if DEPTH_INFO in topics:
            made[DEPTH_INFO] = messages.camera_info(camera_header, points.camera)
    if moves_known(result):
        if MASK in topics:
            lens = lenses[-1] if lenses else None
            mask = result.moving.mask if lens is None else lens.unrectify(result.moving.mask)
            made[MASK] = messages.mask_image(camera_header, mask)
        if MASK_INFO in topics:
            own = info if result.camera.calibrated else None
            made[MASK_INFO] = (
                messages.camera_info(camera_header, result.camera.pinhole)
                if own is None
                else messages.restamped(own, camera_header)
            )
        if OBJECTS in topics and result.trusted and result.objects is not None:
            made[OBJECTS] = messages.objects(world_header, result)
    if result.trusted and result.tracks is not None and TRACKS in topics:
        made[TRACKS] = messages.tracks(world_header, result, lenses)
    if placed is not None and ODOMETRY in topics and (result.trusted or when_lost == "inflate"):
        made[ODOMETRY] = _odometry(world_header, child, placed, before)
    return made


def moves_known(result: Result) -> bool:
    """Whether what moves may be said: it is determined, and nothing of the result is distrusted."""
    return result.moving is not None and not result.reason


def _odometry(header, child: str, placed: Placed, before: Placed | None) -> Odometry:
    covariance = np.eye(6) * UNKNOWN_VARIANCE
    if placed.pose.trusted:
        covariance = odometry.pose_covariance(placed)
    twist = odometry.twist(placed, before)
    return messages.odometry(header, child, placed.world_from_child, covariance, *twist)


class Publishers:
    """The node's topics. `listener` hears the robot's own transforms. world, base, map_name: frames; "" for no map.
    info() -> the camera's own camera_info, None where none is known. Raises ValueError for frames that cannot be.

    One thread at a time follows TF and publishes; `wanted`, `problems` and `change` are for any.
    """

    def __init__(
        self,
        node,
        world: str,
        base: str,
        tf_mode: str,
        path_length: int,
        listener: TransformListener,
        when_lost: str = "inflate",
        map_name: str = "",
        info: Callable[[], CameraInfo | None] = lambda: None,
    ) -> None:
        from d4rt_ros.msg import Objects, Tracks

        self._node, self._listener, self._tf_mode, self._info = node, listener, tf_mode, info
        (self.world, wrong_world), (self._base, wrong_base) = (
            broadcasting.mended(name, what) for name, what in ((world, "frames.world"), (base, "frames.base"))
        )
        if self.world == self._base:
            raise ValueError(f"frames.world and frames.base are both '{self.world}'; give one another name")
        self._map, wrong_map = broadcasting.mended(map_name, "frames.map") if map_name else ("", "")
        if self._map == self._base:
            raise ValueError(f"frames.map and frames.base are both '{self._map}'; give one another name")
        if self._map == self.world:  # the user's map is the world itself
            self._map = ""
        self._misnamed = [(WARN, sentence) for sentence in (wrong_world, wrong_base, wrong_map) if sentence]
        self._camera, self._wrong_camera = "", ""
        types = {
            POINTS: PointCloud2,
            STATIC: PointCloud2,
            DYNAMIC: PointCloud2,
            MASK: Image,
            MASK_INFO: CameraInfo,
            OBJECTS: Objects,
            OBJECT_MARKERS: MarkerArray,
            DEPTH: Image,
            DEPTH_INFO: CameraInfo,
            ODOMETRY: Odometry,
            PATH: Path,
            TRACKS: Tracks,
            MARKERS: MarkerArray,
        }
        self._topics = {topic: qos.publisher(node, kind, topic) for topic, kind in types.items()}
        self._tf = None
        if tf_mode != "none":
            listener.listen()
            self._tf = qos.publisher(node, TFMessage, "/tf", qos.TF)
        self._broadcast = Broadcast("none", None)
        self._map_fault: tuple[bytes, str] | None = None  # why the map is not ours
        self._unplaced: list[tuple[bytes, str]] = []  # why the base's pose is not known
        self._path: deque = deque()
        self._path_length, self._when_lost = path_length, when_lost
        self._before: Placed | None = None
        self._world = 0  # that of the path
        self._keyframes, self._drawn = Keyframes(), -1  # and the world that was drawn last
        self._bodies = ObjectMarkers()

    @property
    def map(self) -> str:
        """The frame that corrects the world; "" where there is none, or the robot has one of that name."""
        return "" if self._map_fault else self._map

    @property
    def problems(self) -> list[tuple[bytes, str]]:
        """What is wrong with frames and transforms: (level of diagnostics, sentence)."""
        misnamed = [(WARN, self._wrong_camera)] if self._wrong_camera else []
        mapless = [self._map_fault] if self._map_fault and self._broadcast.kind != "none" else []
        return [*self._misnamed, *misnamed, *self._broadcast.problems, *mapless, *self._unplaced]

    def camera_frame(self, frame_id: str) -> str:
        """The images' frame as TF takes it."""
        name, self._wrong_camera = broadcasting.mended(
            frame_id, "the images' frame_id", broadcasting.UNNAMED_CAMERA
        )
        return name

    def follow_tf(self, camera: str) -> bool:
        """Decide anew what is broadcast. Returns whether the pose is of another frame now than it was, so that a
        new world has to begin."""
        names = FrameNames(self.world, self._base, camera, self._map)
        before, self._camera, self._unplaced = self._broadcast.child, camera, []
        self._broadcast = broadcasting.chosen(
            self._tf_mode, names, self._listener.tree, self._listener.seconds
        )
        fault = broadcasting.map_fault(names, self._broadcast.kind, self._listener.tree)
        self._map_fault = fault if self._map else None
        child = self._broadcast.child
        return None not in (before, child) and (before == self._base) != (child == self._base)

    def wanted(self, pose_asked: bool = False) -> Outputs:
        """What somebody listens to now. pose_asked: a service wants the pose as well."""
        subscribed = self._subscribed()
        pose = pose_asked or self._broadcast.kind != "none" or bool({ODOMETRY, PATH, MARKERS} & subscribed)
        known = self._broadcast.child is not None
        clouds, bodies = {POINTS, STATIC, DYNAMIC}, {OBJECTS, OBJECT_MARKERS}
        return Outputs(
            points=bool((clouds | {DEPTH, DEPTH_INFO}) & subscribed),
            tracks=known and bool({TRACKS, MARKERS} & subscribed),
            pose=known and pose,
            masks=known and bool((clouds | {MASK, MASK_INFO}) & subscribed),
            objects=known and bool(bodies & subscribed),
        )

    def start_pose(self, stamp: int) -> np.ndarray | None:
        """world_from_camera (4, 4) where a world begins at `stamp`: at the base's pose where the pose is the base's.
        None where TF does not say where the camera is on it."""
        if self._broadcast.child != self._base or self._base == self._camera:
            return BODY_FROM_OPTICAL
        camera_from_base = self._camera_from_child(stamp)
        return None if camera_from_base is None else invert(camera_from_base)

    def publish_pose(self, result: Result, current: Callable[[], bool] = lambda: True) -> None:
        """Publish where an image was taken, as far as it is listened to, as long as it is of the `current` world."""
        before, child, placed, self._before = self._before, self._broadcast.child, None, None
        if result.pose is None:
            return
        self._follow_world(result)
        if child is not None:
            camera_from_child = self._camera_from_child(result.stamp)
            if camera_from_child is not None:
                self._before = placed = Placed(result, camera_from_child)
        made, subscribed = {}, self._subscribed()
        if placed is not None and result.trusted:  # first, so that what follows can be transformed
            made = self._pose_messages(result, placed.world_from_child, subscribed)
        made |= self._messages(result, subscribed & {ODOMETRY}, placed, before)
        self._send(made, current)

    def publish_window(self, result: Result, lenses=(), current: Callable[[], bool] = lambda: True) -> None:
        """Publish what a window shows, as far as it is listened to. lenses: of its frames (io.Frame)."""
        subscribed = self._subscribed()
        made = self._messages(result, subscribed - {ODOMETRY}, lenses=lenses)
        self._follow_world(result)
        if result.trusted and MARKERS in subscribed:
            header = messages.header_message(result.stamp, self.world)
            made[MARKERS] = marker_array(header, self._drawing(result), self._drawn != result.pose.world)
            self._drawn = result.pose.world
        if OBJECT_MARKERS in subscribed:
            header = messages.header_message(result.stamp, self.world)
            bodies = result.objects if moves_known(result) and result.trusted else None
            if drawn := self._bodies.drawn(header, bodies, result.pose.world if result.pose else self._world):
                made[OBJECT_MARKERS] = drawn
        self._send(made, current)

    def _follow_world(self, result: Result) -> None:
        """Path and keyframes are of one world."""
        if result.pose is not None and result.pose.world != self._world:
            self._world, self._keyframes = result.pose.world, Keyframes()
            self._path.clear()
        if result.trusted:
            self._keyframes.add(result.stamp, result.pose)

    def _messages(self, result: Result, topics: set[str], placed=None, before=None, lenses=()) -> dict:
        frames = FrameNames(self.world, self._base, self._camera)
        child = self._broadcast.child or self._camera
        return result_messages(
            result, frames, topics, child, placed, before, self._when_lost, lenses, self._info()
        )

    def _send(self, made: dict, current: Callable[[], bool]) -> None:
        for topic, message in made.items():
            if not current():
                return
            if topic == "/tf":
                self._listener.expect(message)
                self._tf.publish(message)
            else:
                self._topics[topic].publish(message)

    def change(self, path_length: int, when_lost: str) -> None:
        self._path_length, self._when_lost = path_length, when_lost

    def destroy(self) -> None:
        for publisher in (*self._topics.values(), self._tf):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _subscribed(self) -> set[str]:
        return {topic for topic, publisher in self._topics.items() if publisher.get_subscription_count() > 0}

    def _camera_from_child(self, stamp: int) -> np.ndarray | None:
        """(4, 4), None where TF does not say; then `problems` does."""
        child, self._unplaced = self._broadcast.child, []
        if child == self._camera:
            return np.eye(4)
        try:
            return self._listener.lookup(self._camera, child, stamp, PATIENCE)
        except TransformError as error:
            soon = isinstance(error, NotHeardYet) or self._listener.seconds < broadcasting.LISTENING
            remedy = "" if soon else "; start robot_state_publisher or a static transform, or set frames.base"
            sentence = f"the pose of '{child}' is not published: {error}{remedy}"
            self._unplaced = [(WARN if soon else ERROR, sentence)]
            return None

    def _pose_messages(self, result: Result, pose: np.ndarray, subscribed: set[str]) -> dict:
        """What follows from a pose that is trusted: its place in the path, and on /tf."""
        made, header = {}, messages.header_message(result.stamp, self.world)
        transforms = self._transforms(result, pose)
        if transforms:
            made["/tf"] = TFMessage(transforms=transforms)
        self._path.append(PoseStamped(header=header, pose=messages.pose_message(pose)))
        while len(self._path) > self._path_length:
            self._path.popleft()
        if PATH in subscribed:
            made[PATH] = Path(header=header, poses=list(self._path))
        return made

    def _transforms(self, result: Result, pose: np.ndarray) -> list[TransformStamped]:
        """What is broadcast of a pose that is trusted."""
        stamp, kind, child = result.stamp, self._broadcast.kind, self._broadcast.child
        if kind == "none":
            return []
        if kind == "camera_to_world":
            return [messages.transform_stamped(stamp, child, self.world, invert(pose))]
        transforms = [messages.transform_stamped(stamp, self.world, child, pose)]
        # The robot's own map may still come as long as TF was not heard.
        if self.map and self._listener.seconds >= broadcasting.LISTENING:
            correction = result.pose.map_from_world
            transforms.append(messages.transform_stamped(stamp, self.map, self.world, correction))
        return transforms

    def _drawing(self, result: Result) -> Drawing:
        return Drawing(
            path=[pose.pose.position for pose in self._path],
            keyframes=self._keyframes.poses,
            camera=result.camera.pinhole,
            tracks=result.tracks,
            pose=result.pose.world_from_camera,
            covariance=result.pose.covariance,
            unit=result.scale.metres,
        )
