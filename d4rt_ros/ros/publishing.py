"""From the pipeline's results to messages on topics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from d4rt_ros.geometry import invert, quaternion_from_pose
from d4rt_ros.ros import messages, qos
from d4rt_ros.ros.transforms import TransformError, broadcast
from d4rt_ros.stream import Outputs, Result

POINTS, DEPTH, DEPTH_INFO = "~/points", "~/depth/image", "~/depth/camera_info"
ODOMETRY, PATH, TRACKS = "~/odometry", "~/path", "~/tracks"

UNKNOWN_VARIANCE = 1e6  # of a velocity that was not measured


@dataclass(frozen=True)
class Frames:
    """Names of frames: camera is the images' frame_id, child what the odometry is of (camera or base)."""

    world: str
    camera: str
    child: str


def result_messages(
    result: Result, frames: Frames, topics, camera_from_child=None, before: Result | None = None
) -> dict:
    """The messages of a result by topic: of those `topics` that the result has something for.

    camera_from_child: (4, 4), where the odometry is not of the camera. before: the last result, for velocity.
    """
    camera_header = messages.header_message(result.stamp, frames.camera)
    world_header = messages.header_message(result.stamp, frames.world)
    made = {}
    if result.points is not None:
        points = result.points
        if POINTS in topics:
            made[POINTS] = messages.point_cloud(camera_header, points.xyz, points.rgb, points.confidence)
        if DEPTH in topics:
            made[DEPTH] = messages.depth_image(camera_header, points.depth)
        if DEPTH_INFO in topics:
            made[DEPTH_INFO] = messages.camera_info(camera_header, points.camera)
    if result.tracks is not None and TRACKS in topics:
        made[TRACKS] = messages.tracks(world_header, result.tracks)
    if result.world_from_camera is not None and ODOMETRY in topics:
        made[ODOMETRY] = _odometry(world_header, frames.child, result, camera_from_child, before)
    return made


class Publishers:
    """The node's topics. `listener` looks up the robot's own transforms (needed for world_to_base only)."""

    def __init__(self, node, world: str, base: str, tf_mode: str, path_length: int, listener=None) -> None:
        from d4rt_ros.msg import Tracks

        self._node, self._listener = node, listener
        self._world, self._base, self._tf_mode = world, base, tf_mode
        types = {
            POINTS: PointCloud2,
            DEPTH: Image,
            DEPTH_INFO: CameraInfo,
            ODOMETRY: Odometry,
            PATH: Path,
            TRACKS: Tracks,
        }
        self._topics = {topic: qos.publisher(node, kind, topic) for topic, kind in types.items()}
        self._tf = None
        if tf_mode != "none":
            self._tf = qos.publisher(node, TFMessage, "/tf", qos.TF)
        self._path: deque = deque(maxlen=path_length)
        self._before: Result | None = None

    def wanted(self) -> Outputs:
        """What somebody listens to now."""
        subscribed = self._subscribed()
        pose = self._tf is not None or bool({ODOMETRY, PATH} & subscribed)
        return Outputs(points=bool({POINTS, DEPTH, DEPTH_INFO} & subscribed), tracks=TRACKS in subscribed, pose=pose)

    def publish(self, result: Result, camera_frame: str) -> str:
        """Publish what is listened to. Returns why there is no transform of the base, or ""."""
        to_base = self._tf_mode == "world_to_base"
        frames = Frames(self._world, camera_frame, self._base if to_base else camera_frame)
        subscribed, camera_from_child, problem = self._subscribed(), None, ""
        if to_base:
            try:
                camera_from_child = self._listener.lookup(camera_frame, self._base, result.stamp)
            except TransformError as error:
                subscribed = subscribed - {ODOMETRY, PATH}
                problem = f"the pose of '{self._base}' is not published: {error}"
        made = result_messages(result, frames, subscribed, camera_from_child, self._before)
        for topic, message in made.items():
            self._topics[topic].publish(message)
        if result.world_from_camera is not None and not problem:
            self._publish_pose(result, frames, camera_from_child, PATH in subscribed)
        self._before = result
        return problem

    def restart(self) -> None:
        """A new world: what was before is not joined to it."""
        self._before = None
        self._path.clear()

    def limit_path(self, length: int) -> None:
        self._path = deque(self._path, maxlen=length)

    def destroy(self) -> None:
        for publisher in (*self._topics.values(), self._tf):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _subscribed(self) -> set[str]:
        return {topic for topic, publisher in self._topics.items() if publisher.get_subscription_count() > 0}

    def _publish_pose(self, result: Result, frames: Frames, camera_from_child, with_path: bool) -> None:
        pose = _child_pose(result, camera_from_child)
        if self._tf_mode == "camera_to_world":
            self._tf.publish(broadcast(result.stamp, frames.camera, frames.world, invert(pose)))
        elif self._tf is not None:
            self._tf.publish(broadcast(result.stamp, frames.world, frames.child, pose))
        header = messages.header_message(result.stamp, frames.world)
        self._path.append(PoseStamped(header=header, pose=messages.pose_message(pose)))
        if with_path:
            self._topics[PATH].publish(Path(header=header, poses=list(self._path)))


def _child_pose(result: Result, camera_from_child) -> np.ndarray:
    pose = result.world_from_camera
    return pose if camera_from_child is None else pose @ camera_from_child


def _odometry(header, child: str, result: Result, camera_from_child, before: Result | None) -> Odometry:
    twist, variance = np.zeros(6), np.eye(6) * UNKNOWN_VARIANCE
    pose = _child_pose(result, camera_from_child)
    if result.trust.pose and before is not None and before.trust.pose and result.step is not None:
        seconds = (result.stamp - before.stamp) / 1e9
        moved = invert(_child_pose(before, camera_from_child)) @ pose
        twist = np.concatenate([moved[:3, :3].T @ moved[:3, 3], _turn(moved)]) / seconds
        variance = result.step.covariance / seconds**2
    return messages.odometry(header, child, pose, result.pose_covariance, twist, variance)


def _turn(pose: np.ndarray) -> np.ndarray:
    """The rotation of a pose as a vector: its axis times its angle."""
    q = quaternion_from_pose(pose)
    sine = np.linalg.norm(q[:3])
    return q[:3] * (2 * np.arctan2(sine, q[3]) / sine if sine > 1e-12 else 2.0)
