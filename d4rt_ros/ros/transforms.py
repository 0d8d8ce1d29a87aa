"""TF: one transform as a message, and looking up the robot's own transforms with or without tf2_ros."""

from __future__ import annotations

import functools
import time

import numpy as np
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from d4rt_ros.io.transform_tree import NotHeardYet, TransformError, TransformTree, frame_name
from d4rt_ros.ros import messages, qos

TF_MODES = ("auto", "world_to_camera", "camera_to_world", "world_to_base", "none")
CACHE_NANOSECONDS = 10_000_000_000  # as tf2's buffer
OWN_REMEMBERED = 4000  # transforms: two for each image, heard back late on a busy machine
MOST_COMPLAINTS = 100  # sentences about others' transforms, each of which is said once


def broadcast(stamp: int, parent: str, child: str, parent_from_child) -> TFMessage:
    """One transform for /tf."""
    return TFMessage(transforms=[messages.transform_stamped(stamp, parent, child, parent_from_child)])


class TransformListener:
    """The robot's TF without what we broadcast ourselves; lookups by tf2_ros where it is installed, else by `tree`.

    It hears /tf and /tf_static only from `listen` or the first lookup on: a robot's /tf is a lot for Python.
    """

    def __init__(self, node, callback_group) -> None:
        self._node, self._group = node, callback_group
        self.tree = TransformTree(CACHE_NANOSECONDS)
        self._buffer = None
        self._since: float | None = None
        self._own: dict[tuple, None] = {}  # in order
        self._said: set[tuple] = set()

    @property
    def seconds(self) -> float:
        """How long it has listened."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def listen(self) -> None:
        """Begin to hear, if it does not yet."""
        if self._since is None:
            self._since = time.monotonic()
            self._buffer = _tf2_buffer()
            for topic, profile, static in (("/tf", qos.TF, False), ("/tf_static", qos.TF_STATIC, True)):
                insert = functools.partial(self.insert, static=static)
                self._node.create_subscription(TFMessage, topic, insert, profile, callback_group=self._group)

    def expect(self, message: TFMessage) -> None:
        """This is what we broadcast now: heard back, it is nothing that the robot says."""
        self._own |= {_identity(transform): None for transform in message.transforms}
        while len(self._own) > OWN_REMEMBERED:
            del self._own[next(iter(self._own))]

    def insert(self, message: TFMessage, static: bool = False) -> None:
        """Take what is heard. What is no transform is left out, and said once."""
        for transform in message.transforms:
            if not static and _identity(transform) in self._own:
                continue
            steps = self.tree.clock_steps
            fault = self.tree.insert(transform, static)
            if fault:
                self._complain((transform.header.frame_id, transform.child_frame_id), fault)
            elif self._buffer is not None:
                if self.tree.clock_steps != steps:
                    self._buffer.clear()
                put = self._buffer.set_transform_static if static else self._buffer.set_transform
                put(transform, "d4rt")

    def lookup(self, target: str, source: str, stamp: int | None = None, patience: float = 0.0) -> np.ndarray:
        """target_from_source (4, 4) at `stamp` (ns; None: the newest). Raises TransformError.

        patience: seconds to wait for what may still come; a joint is often heard of later than the image.
        """
        if self._since is None:
            self.listen()
            raise NotHeardYet("TF was not listened to until now; it is from now on, so ask again")
        target, source, end = frame_name(target), frame_name(source), time.monotonic() + patience
        while True:
            try:
                if self._buffer is None:
                    return self.tree.lookup(target, source, stamp)
                return _tf2_lookup(self._buffer, target, source, stamp)
            except NotHeardYet:
                if time.monotonic() >= end:
                    raise
            time.sleep(0.005)

    def _complain(self, about: tuple, sentence: str) -> None:
        if about not in self._said and len(self._said) < MOST_COMPLAINTS:
            self._said.add(about)
            self._node.get_logger().warning(sentence)


def _identity(transform: TransformStamped) -> tuple:
    stamp = transform.header.stamp
    return transform.header.frame_id, transform.child_frame_id, stamp.sec, stamp.nanosec


def _tf2_buffer():
    try:
        import tf2_ros
    except ImportError:
        return None
    return tf2_ros.Buffer()


def _tf2_lookup(buffer, target: str, source: str, stamp: int | None) -> np.ndarray:
    import tf2_ros
    from rclpy.time import Time

    try:
        found = buffer.lookup_transform(target, source, Time(nanoseconds=stamp or 0))
        pose = messages.pose_from_transform(found.transform)
    except tf2_ros.ExtrapolationException as error:
        raise (NotHeardYet if "future" in str(error) else TransformError)(_sentence(error)) from None
    except Exception as error:  # tf2's own, of a transform that is none, and whatever its bindings raise
        raise TransformError(_sentence(error)) from None
    if not np.isfinite(pose).all():
        raise TransformError(f"TF's transform from '{source}' to '{target}' is not finite")
    return pose


def _sentence(error: Exception) -> str:
    return f"TF says: {str(error).strip().rstrip('.') or type(error).__name__}"
