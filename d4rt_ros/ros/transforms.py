"""TF: what we broadcast, and looking up the robot's own transforms with or without tf2_ros."""

from __future__ import annotations

import functools
import threading
from bisect import bisect
from collections import deque
from typing import Callable

import numpy as np
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from d4rt_ros.geometry import invert, pose_from_quaternion, quaternion_from_pose
from d4rt_ros.ros import messages, qos

TF_MODES = ("auto", "world_to_camera", "camera_to_world", "world_to_base", "none")
CACHE_NANOSECONDS = 10_000_000_000  # as tf2's buffer


class TransformError(LookupError):
    """A transform that is not known; says which, and what is missing."""


def broadcast(stamp: int, parent: str, child: str, parent_from_child) -> TFMessage:
    """One transform for /tf."""
    transform = TransformStamped(header=messages.header_message(stamp, parent), child_frame_id=child)
    transform.transform = messages.transform_message(parent_from_child)
    return TFMessage(transforms=[transform])


class TransformTree:
    """Every frame's transforms to its parent, of the last ten seconds; lookups between any two frames.

    It is what tf2's buffer is, small: used where tf2_ros is not installed. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._static: dict[str, tuple[str, np.ndarray]] = {}  # child: (parent, parent_from_child)
        self._moving: dict[
            str, tuple[str, deque]
        ] = {}  # child: (parent, (stamp, parent_from_child) in order)

    def insert(self, message: TFMessage, static: bool = False) -> None:
        """Add the transforms of a message; those that are no transform are ignored."""
        for transform in message.transforms:
            try:
                pose = messages.pose_from_transform(transform.transform)
            except ValueError:
                continue
            parent, child = (_frame(f) for f in (transform.header.frame_id, transform.child_frame_id))
            with self._lock:
                if static:
                    self._static[child] = (parent, pose)
                else:
                    self._insert_moving(parent, child, messages.nanoseconds(transform.header.stamp), pose)

    def lookup(self, target: str, source: str, stamp: int | None = None) -> np.ndarray:
        """target_from_source (4, 4) at `stamp` (ns; None: the newest of each part). Raises TransformError."""
        target, source = _frame(target), _frame(source)
        with self._lock:
            up, down = self._ancestors(source), self._ancestors(target)
            common = next((frame for frame in up if frame in down), None)
            if common is None:
                known = ", ".join(sorted(set(self._static) | set(self._moving))) or "none"
                raise TransformError(f"TF does not connect '{source}' and '{target}'; it knows of: {known}")
            return invert(self._to_ancestor(down, common, stamp)) @ self._to_ancestor(up, common, stamp)

    def _insert_moving(self, parent: str, child: str, stamp: int, pose: np.ndarray) -> None:
        known = self._moving.get(child)
        if known is None or known[0] != parent or stamp < known[1][-1][0] - CACHE_NANOSECONDS:
            self._moving[child] = (
                parent,
                deque([(stamp, pose)]),
            )  # new, or its clock was set back: a bag loops
            return
        poses = known[1]
        place = bisect([s for s, _ in poses], stamp) if stamp < poses[-1][0] else len(poses)
        poses.insert(place, (stamp, pose))
        while poses[0][0] < poses[-1][0] - CACHE_NANOSECONDS:
            poses.popleft()

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while (link := self._static.get(chain[-1]) or self._moving.get(chain[-1])) and link[0] not in chain:
            chain.append(link[0])
        return chain

    def _to_ancestor(self, chain: list[str], ancestor: str, stamp: int | None) -> np.ndarray:
        pose = np.eye(4)
        for frame in chain[: chain.index(ancestor)]:
            pose = self._to_parent(frame, stamp) @ pose
        return pose

    def _to_parent(self, frame: str, stamp: int | None) -> np.ndarray:
        if frame in self._static:
            return self._static[frame][1]
        parent, poses = self._moving[frame]
        if stamp is None:
            return poses[-1][1]
        if not poses[0][0] <= stamp <= poses[-1][0]:
            raise TransformError(
                f"TF knows '{frame}' in '{parent}' from {poses[0][0] / 1e9:.3f} to "
                f"{poses[-1][0] / 1e9:.3f} s, not at {stamp / 1e9:.3f} s"
            )
        stamps = [s for s, _ in poses]
        after = min(bisect(stamps, stamp), len(poses) - 1)
        before = max(after - 1, 0)
        span = stamps[after] - stamps[before]
        return interpolate(
            poses[before][1], poses[after][1], (stamp - stamps[before]) / span if span else 1.0
        )


class TransformListener:
    """Looks transforms up: by tf2_ros where it is installed, else by our own tree.

    It hears /tf and /tf_static only from `listen` or the first lookup on: a robot's /tf is a lot for Python.
    """

    def __init__(self, node, callback_group) -> None:
        self._node, self._group = node, callback_group
        self._look_up: Callable | None = None

    def listen(self) -> None:
        """Begin to hear, if it does not yet."""
        if self._look_up is None:
            self._look_up = _tf2_lookup(self._node) or _own_lookup(self._node, self._group)

    def lookup(self, target: str, source: str, stamp: int | None = None) -> np.ndarray:
        """target_from_source (4, 4) at `stamp` (ns; None: the newest). Raises TransformError."""
        if self._look_up is None:
            self.listen()
            raise TransformError("TF was not listened to until now; it is from now on, so ask again")
        return self._look_up(target, source, stamp)


def _own_lookup(node, callback_group) -> Callable:
    tree = TransformTree()
    for topic, profile, static in (("/tf", qos.TF, False), ("/tf_static", qos.TF_STATIC, True)):
        insert = functools.partial(tree.insert, static=static)
        node.create_subscription(TFMessage, topic, insert, profile, callback_group=callback_group)
    return tree.lookup


def _tf2_lookup(node) -> Callable | None:
    try:
        import tf2_ros
        from rclpy.time import Time
    except ImportError:
        return None
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)

    def lookup(target: str, source: str, stamp: int | None, listener=listener) -> np.ndarray:
        try:
            found = buffer.lookup_transform(target, source, Time(nanoseconds=stamp or 0))
        except tf2_ros.TransformException as error:
            raise TransformError(str(error)) from None
        return messages.pose_from_transform(found.transform)

    return lookup


def interpolate(a: np.ndarray, b: np.ndarray, fraction: float) -> np.ndarray:
    """The pose (4, 4) between a (0) and b (1): translation on the line, rotation on the arc (slerp)."""
    p, q = quaternion_from_pose(a), quaternion_from_pose(b)
    q = q if p @ q >= 0 else -q
    angle = np.arccos(min(p @ q, 1.0))
    if angle > 1e-6:  # else the arc is the line
        p, q = (
            p * np.sin((1 - fraction) * angle) / np.sin(angle),
            q * np.sin(fraction * angle) / np.sin(angle),
        )
        rotation = p + q
    else:
        rotation = (1 - fraction) * p + fraction * q
    return pose_from_quaternion(rotation, (1 - fraction) * a[:3, 3] + fraction * b[:3, 3])


def _frame(name: str) -> str:
    return name.lstrip("/")  # old drivers still write /camera
