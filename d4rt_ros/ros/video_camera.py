"""d4rt_video_camera: a video file, a folder of images or a webcam as a camera."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports below, during which Ctrl-C must be heard already
    from d4rt_ros.ros import programs

    sys.exit(programs.video_camera())

import threading

from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import Image

from d4rt_ros.geometry import CameraModel
from d4rt_ros.io.calibration import pinhole_of_view, read_calibration, uncalibrated
from d4rt_ros.io.frames import Frames, open_frames
from d4rt_ros.ros.messages import depth_image, header_message
from d4rt_ros.ros.playback import CameraPublisher, Pace, parameter, run_camera
from d4rt_ros.ros.qos import publisher


class VideoCamera(Node):
    """Publishes image (rgb8), camera_info, and depth (32FC1, metres) where asked for, as a camera would."""

    def __init__(self) -> None:
        super().__init__("video_camera")
        source = parameter(self, "source", "", "a video file, a folder of images, webcam:0 or /dev/video0")
        rate = parameter(self, "rate", 0.0, "images per second; 0: what the source says, 30 for a folder")
        pattern = parameter(
            self, "pattern", "", "which files of a folder are its images, e.g. '*.color.jpg' in quotes"
        )
        depth = parameter(self, "depth", False, "publish the depth images of a folder on the topic depth")
        scale = parameter(self, "depth_scale", 0.001, "metres of one step of an integer depth image")
        frame_id = parameter(self, "frame_id", "camera_optical_frame", "the camera's optical frame")
        self._loop = parameter(self, "loop", False, "start again at the end of a file or folder")
        self._wait = parameter(
            self, "wait_for_subscribers", 1, "how many must subscribe to image before a file or folder starts"
        )

        self._frames = open_frames(source, rate or None, pattern or None, depth, scale)
        calibration = self._calibration(self._frames)
        self._camera = CameraPublisher(self, calibration, frame_id)
        self._depth = publisher(self, Image, "depth") if self._frames.has_depth else None
        self.get_logger().info(self._description(calibration))

    def play(self, stop: threading.Event) -> None:
        """Publish until the source ends. Raises SourceError where it cannot be read on."""
        if not self._frames.live and not self._camera.wait_for_subscribers(self._wait, stop):
            return
        pace = Pace(self._now, round(1e9 / self._frames.rate), stop)
        published, last = 0, 0
        while True:
            for frame in self._frames:
                # A recording's times are kept; a live image was taken now.
                last = max(self._now(), last + 1) if self._frames.live else pace.wait(frame.stamp)
                if stop.is_set():
                    return
                self._camera.publish(frame.image, last)
                if self._depth and self._depth.get_subscription_count():
                    self._depth.publish(depth_image(header_message(last, self._camera.frame_id), frame.depth))
                published += 1
            if not self._loop:
                break
        self._camera.flush()
        if self._depth:
            self._depth.wait_for_all_acked(Duration(seconds=1))
        self.get_logger().info(f"{self._frames.name} ended after {published} images")

    def _calibration(self, frames: Frames) -> CameraModel:
        text = parameter(
            self,
            "camera_info",
            "",
            "fx fy cx cy, a camera_calibration YAML file, or a text file with a 3x3 matrix",
        )
        fov = parameter(
            self, "fov", 0.0, "horizontal field of view in degrees where camera_info is not given"
        )
        height, width = frames.size
        if text:
            return read_calibration(text, width, height)
        return pinhole_of_view(fov, width, height) if fov else uncalibrated(width, height)

    def _description(self, calibration: CameraModel) -> str:
        height, width = self._frames.size
        count = f", {self._frames.count} images" if self._frames.count else ""
        calibrated = f"fx {calibration.matrix[0, 0]:g}" if calibration.matrix.any() else "uncalibrated"
        return f"{self._frames.name}: {width}x{height} at {self._frames.rate:g} Hz{count}, {calibrated}"

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args=None) -> int:
    return run_camera(VideoCamera, args)
