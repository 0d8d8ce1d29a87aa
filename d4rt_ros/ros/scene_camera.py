"""d4rt_scene_camera: a procedural scene as a camera, with the truth on topics of its own."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports below, during which Ctrl-C must be heard already
    from d4rt_ros.ros import programs

    sys.exit(programs.scene_camera())

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from d4rt_ros.geometry import Pinhole
from d4rt_ros.io.calibration import pinhole
from d4rt_ros.msg import Tracks
from d4rt_ros.ros.messages import (
    camera_info,
    depth_image,
    flat,
    header_message,
    pose_message,
    stamp_message,
)
from d4rt_ros.ros.playback import CameraPublisher, Pace, parameter, run_camera
from d4rt_ros.ros.qos import publisher
from d4rt_ros.ros.rendered_loop import RenderedLoop

if TYPE_CHECKING:
    from d4rt_ros.scenes.loop import LoopFrame

MAX_BYTES = 4 * 2**30
TRACK_FRAMES, TRACK_STRIDE, TRACK_GRID = 8, 2, (9, 12)  # as the node's defaults


class SceneCamera(Node):
    """Publishes one loop again and again, which costs next to nothing once it is rendered; RenderedLoop tells what
    it does until then.

    Beside image and camera_info: ~/truth/depth (32FC1, metres along z, as large as rendered: its outer pixel
    centres are the image's) with its ~/truth/camera_info, ~/truth/pose (the camera in the scene) and
    ~/truth/tracks (a grid of points of the newest image, over TRACK_FRAMES images).
    """

    def __init__(self) -> None:
        super().__init__("scene_camera")
        self._width = parameter(self, "width", 640, "pixels")
        self._height = parameter(self, "height", 480, "pixels")
        self._rate = parameter(self, "rate", 30.0, "images per second")
        detail = parameter(self, "detail", 0.5, "pixels rendered for each of the image's, along each side")
        seconds = parameter(self, "loop", 4.0, "seconds after which everything repeats")
        seed = parameter(self, "seed", 31, "which scene")
        moving = parameter(self, "moving", True, "whether objects move")
        frame_id = parameter(self, "frame_id", "camera_optical_frame", "the camera's optical frame")
        self._world = parameter(self, "world_frame", "scene", "the frame of the true poses")
        self._wait = parameter(
            self, "wait_for_subscribers", 0, "how many must subscribe to image before it starts"
        )
        self._count = round(seconds * self._rate) if self._rate > 0 else 0
        self._check(detail)
        self._rendered = tuple(max(round(n * detail), 2) for n in (self._height, self._width))

        from d4rt_ros.scenes.loop import looping_scene  # here, since it brings torch, which takes its time

        self._scenes = looping_scene(seed, moving, self._count / self._rate, self._width, self._height)
        self._camera = CameraPublisher(self, pinhole(self._matrix(), self._width, self._height), frame_id)
        full = Pinhole.from_matrix(self._matrix(), self._width, self._height)
        self._depth_camera = full.grid(*self._rendered[::-1])
        self._depth = publisher(self, Image, "~/truth/depth")
        self._depth_info = publisher(self, CameraInfo, "~/truth/camera_info")
        self._pose = publisher(self, PoseStamped, "~/truth/pose")
        self._tracks = publisher(self, Tracks, "~/truth/tracks")
        self._published: deque[tuple[int, int]] = deque(maxlen=(TRACK_FRAMES - 1) * TRACK_STRIDE + 1)
        self._next_id = 0

    def play(self, stop: threading.Event) -> None:
        """Publish until `stop`, from the first rendered images on."""
        period = round(1e9 / self._rate)
        loop = RenderedLoop(self._frames(stop), self._count, period, self.get_logger())
        if not loop.begun(stop) or not self._camera.wait_for_subscribers(self._wait, stop):
            return
        pace, time = Pace(lambda: self.get_clock().now().nanoseconds, period, stop), 0
        while True:
            for index in range(self._count):
                if (frame := loop.frame(index, stop)) is None:
                    return
                stamp = pace.wait(time)
                if stop.is_set():
                    return
                self._camera.publish(frame.rgb, stamp)
                self._published.append((index, stamp))
                self._publish_truth(frame, index, stamp)
                time += loop.interval(index)

    def _frames(self, stop: threading.Event) -> Iterator[LoopFrame]:
        from d4rt_ros.scenes.loop import enlarge, render_frames

        height, width = self._rendered
        self.get_logger().info(f"rendering {self._count} images of {width}x{height}, once")
        for frame in render_frames(self._scenes, height, width, self._count, self._rate, stop):
            yield replace(frame, rgb=enlarge(frame.rgb, self._width, self._height))

    def _publish_truth(self, frame: LoopFrame, index: int, stamp: int) -> None:
        if self._pose.get_subscription_count():
            pose = pose_message(frame.world_from_camera)
            self._pose.publish(PoseStamped(header=header_message(stamp, self._world), pose=pose))
        header = header_message(stamp, self._camera.frame_id)
        self._depth_info.publish(camera_info(header, self._depth_camera))
        if self._depth.get_subscription_count():
            self._depth.publish(depth_image(header, frame.depth))
        if self._tracks.get_subscription_count() and len(self._published) == self._published.maxlen:
            self._tracks.publish(self._tracks_message(header_message(stamp, self._world)))

    def _tracks_message(self, header) -> Tracks:
        from d4rt_ros.scenes.loop import true_tracks

        window = list(self._published)[::TRACK_STRIDE]
        seconds = np.array([index for index, _ in window]) / self._rate
        true = true_tracks(self._scenes, seconds, (self._width, self._height), TRACK_GRID)
        count = len(true.visible)
        message = Tracks(header=header, stamps=[stamp_message(stamp) for _, stamp in window], metric=True)
        message.ids = flat(np.arange(self._next_id, self._next_id + count), "Q")
        self._next_id += count  # each message has new points
        last = (window[-1][1] - window[-2][1]) / 1e9
        message.positions, message.pixels = flat(true.positions), flat(true.pixels)
        message.velocities = flat((true.positions[:, -1] - true.positions[:, -2]) / last)
        message.visible, message.dynamic = true.visible.ravel().tolist(), true.moving.tolist()
        message.confidence = flat(np.ones(true.visible.shape))
        return message

    def _matrix(self) -> np.ndarray:
        from d4rt_ros.scenes import intrinsics

        return intrinsics(self._scenes, self._height, self._width)[0].double().numpy()

    def _check(self, detail: float) -> None:
        if self._width < 16 or self._height < 16:
            raise ValueError(f"width x height is {self._width}x{self._height}; it must be at least 16x16")
        if not 0 < detail <= 1:
            raise ValueError(f"detail is {detail}; it must be above 0 and at most 1")
        if not self._count >= 2:
            raise ValueError("rate and loop must be positive, and give at least two images")
        size = self._count * self._width * self._height * (3 + 4 * detail**2)
        if size > MAX_BYTES:
            raise ValueError(
                f"{self._count} images of {self._width}x{self._height} need {size / 2**30:.1f} GiB of "
                f"memory, more than {MAX_BYTES // 2**30}; make loop, rate or the image smaller"
            )


def main(args=None) -> int:
    return run_camera(SceneCamera, args)
