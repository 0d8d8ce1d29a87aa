"""What the camera nodes share: images and their calibration, published at the source's pace to its end."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import numpy as np
import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from d4rt_ros.geometry import CameraModel
from d4rt_ros.ros import process
from d4rt_ros.ros.large_messages import large_segment
from d4rt_ros.ros.messages import flat, header_message
from d4rt_ros.ros.qos import publisher


def parameter(node: Node, name: str, default, description: str):
    """Declare and read a parameter that is fixed at start. A whole number also serves where a float is meant.

    Raises ValueError where the given value has another type than the default.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True, dynamic_typing=True)
    value = node.declare_parameter(name, default, descriptor).value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"parameter {name} is {value!r}; expected {type(default).__name__}: {description}")
    return value


def rgb_image(header, image: np.ndarray) -> Image:
    """An rgb8 message of an (H, W, 3) uint8 array."""
    height, width = image.shape[:2]
    msg = Image(header=header, height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    msg.data = flat(image, "B")
    return msg


def calibration_message(calibration: CameraModel) -> CameraInfo:
    """A CameraInfo without its header."""
    msg = CameraInfo(width=calibration.width, height=calibration.height)
    msg.distortion_model, msg.d = calibration.distortion_model, list(calibration.distortion)
    msg.k = calibration.matrix.ravel()
    msg.r = calibration.rectification.ravel()
    msg.p = calibration.projection.ravel()
    return msg


class CameraPublisher:
    """`image` and `camera_info` of one camera."""

    def __init__(self, node: Node, calibration: CameraModel, frame_id: str) -> None:
        self.frame_id = frame_id
        self._info_message = calibration_message(calibration)
        self._info = publisher(node, CameraInfo, "camera_info")
        self._image = publisher(node, Image, "image")

    def publish(self, image: np.ndarray, stamp: int) -> None:
        """image (H, W, 3) uint8 RGB; stamp in nanoseconds."""
        header = header_message(stamp, self.frame_id)
        self._info_message.header = header
        self._info.publish(self._info_message)  # first, so that it is known when its image arrives
        if self._image.get_subscription_count():
            self._image.publish(rgb_image(header, image))

    def wait_for_subscribers(self, count: int, stop: threading.Event) -> bool:
        """Until `count` subscribe to `image`; False where `stop` came first."""
        while self._image.get_subscription_count() < count:
            if stop.wait(0.02):
                return False
        # A subscriber learns of us a moment after we learn of it, and would miss the first images.
        return not stop.wait(0.3 if count else 0)

    def flush(self) -> None:
        """Until the subscribers have what was published, for a second each at most."""
        for sent in (self._info, self._image):
            sent.wait_for_all_acked(Duration(seconds=1))


class Pace:
    """Gives a recording's times the stamps of a clock, and waits until each is due.

    now: the clock, in nanoseconds. period: between frames, in nanoseconds; it separates the last frame from
    the first one where the recording starts again. Stamps are strictly increasing. A recording that cannot be
    read as fast as it was taken is played slower, not made up for.
    """

    def __init__(self, now: Callable[[], int], period: int, stop: threading.Event) -> None:
        self._now, self._period, self._stop = now, period, stop
        self._origin: int | None = None
        self._time = self._stamp = 0

    def wait(self, time: int) -> int:
        """The stamp of the frame at `time` (nanoseconds), when it is due."""
        now = self._now()
        if self._origin is None:
            self._origin, self._time, self._stamp = now - time, time, now - 1
        elif time <= self._time:  # starts again
            self._origin = self._stamp + self._period - time
            self._time = time - self._period
        late = now - (self._origin + time)
        if late > self._period:
            self._origin += late
        elif late < 0:
            # No longer than the recording's own gap, whatever the clock does.
            self._stop.wait(min(-late, time - self._time) / 1e9)
        self._time, self._stamp = time, max(self._origin + time, self._stamp + 1)
        return self._stamp


def run_camera(create: Callable[[], Node], args=None) -> int:
    """Run a camera node until its `play(stop: threading.Event)` returns or the process is told to end.

    Gives the exit status: 1, and a logged sentence, where the node cannot be made or play raises ValueError. The node
    is made and played in a thread of its own, so that a source that is still opening does not keep the process from
    ending.
    """
    process.prepare()
    logger = rclpy.logging.get_logger("d4rt_camera")
    if args is None:  # what a source loses, such as the end of a video, is said where all else is
        warnings.showwarning = lambda message, *_, **__: logger.warning(str(message))
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy's own for arguments that it cannot parse
        logger.error(f"{error}; a value with special characters needs quotes: -p \"pattern:='*.jpg'\"")
        return 1
    stop, failures, nodes = threading.Event(), [], []
    process.on_signal(stop.set)
    executor = SingleThreadedExecutor()

    def run() -> None:
        try:
            with large_segment() as room:
                nodes.append(create())
            if room:
                nodes[0].get_logger().warning(room)
            executor.add_node(nodes[0])
            nodes[0].play(stop)
        except (ValueError, ParameterException) as error:
            failures.append(error)
            (nodes[0].get_logger() if nodes else logger).error(str(error))
        except Exception as error:
            # A publisher of a context that has been shut down under us is the end, not an error.
            if rclpy.ok() and not stop.is_set():
                failures.append(error)
                raise

    thread = threading.Thread(target=run, name="play", daemon=True)
    thread.start()
    try:
        while rclpy.ok() and thread.is_alive() and not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass
    stop.set()
    thread.join(timeout=1.0)
    if not thread.is_alive():  # else it is in the middle of opening something, with our node in its hands
        executor.shutdown()
        if nodes and rclpy.ok():
            nodes[0].destroy_node()
        rclpy.try_shutdown()
    return 1 if failures else 0
