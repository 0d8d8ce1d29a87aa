"""A camera of two procedural scenes that misbehaves on command, for `d4rt benchmark soak`.

Each line on its standard input is a fault and for how many seconds, such as `black 2`. When a fault is over it prints
`fault NAME BEGIN END`: the stamps (nanoseconds) of the first image that it touched and of the first right one again.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports below, during which Ctrl-C must be heard already
    from d4rt_ros.ros import process

    sys.exit(process.run("d4rt_ros.ros.listening.faulty_camera"))

import threading
from dataclasses import replace
from queue import Empty, SimpleQueue

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from d4rt_ros.geometry import Pinhole
from d4rt_ros.ros.messages import camera_info, flat, header_message
from d4rt_ros.ros.playback import Pace, parameter, rgb_image, run_camera
from d4rt_ros.ros.qos import publisher

FAULTS = {
    "late": "one image in ten comes after the two that follow it",
    "early": "one image in ten is stamped more than a period early",
    "duplicate": "one image in five has the stamp of the one before it",
    "stop": "no images, then the same view again",
    "cut": "another scene from now on, while the stamps run on",
    "black": "black images",
    "noise": "new noise in every image",
    "frozen": "the same image again and again",
    "exposure": "the brightness jumps",
    "drop": "four images in ten do not come",
    "damage": "one message in three is damaged: a wrong step, cut data, an unknown encoding, no pixels",
    "info_gone": "no camera_info",
    "info_other": "camera_info of a longer lens",
    "info_nan": "camera_info that is not finite",
}
DETAIL = 0.25  # pixels rendered for each of the image's, along each side
READY = "both scenes are rendered"


class FaultyCamera(Node):
    """image (or image/compressed, JPEG) and camera_info."""

    def __init__(self) -> None:
        super().__init__("faulty_camera")
        self._size = parameter(self, "width", 640, "pixels"), parameter(self, "height", 480, "pixels")
        self._rate = parameter(self, "rate", 30.0, "images per second")
        self._seconds = parameter(self, "loop", 3.0, "seconds after which a scene repeats")
        self._compressed = parameter(self, "compressed", False, "publish JPEG on image/compressed")
        self.frame_id = parameter(self, "frame_id", "camera_optical_frame", "the camera's optical frame")
        kind, topic = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        self._image, self._info = publisher(self, kind, topic), publisher(self, CameraInfo, "camera_info")
        self._random = np.random.default_rng(0)
        self._commands: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._read_commands, daemon=True).start()
        self._scene = self._index = 0
        self._fault, self._step, self._begin, self._until = "", 0, 0, 0
        self._held: tuple[int, np.ndarray, int] | None = (
            None  # images still to come first, the late one, its stamp
        )
        self._stamp = 0

    def play(self, stop: threading.Event) -> None:
        loops = self._render(stop)
        if stop.is_set():
            return
        print(READY, flush=True)
        period = round(1e9 / self._rate)
        pace, tick = Pace(lambda: self.get_clock().now().nanoseconds, period, stop), 0
        while True:
            stamp = pace.wait(tick * period)
            if stop.is_set():
                return
            tick += 1
            self._change_fault(stamp)
            self._take_image(loops[self._scene], stamp, period)

    def _render(self, stop: threading.Event) -> list[list[np.ndarray]]:
        """Images (H, W, 3) of both scenes, seen by the same lens."""
        from d4rt_ros.scenes import intrinsics
        from d4rt_ros.scenes.loop import enlarge, looping_scene, render_frames

        width, height = self._size
        count = max(round(self._seconds * self._rate), 2)
        first = looping_scene(31, True, count / self._rate, width, height)
        second = replace(looping_scene(67, True, count / self._rate, width, height), focal=first.focal)
        matrix = intrinsics(first, height, width)[0].double().numpy()
        self._camera = Pinhole.from_matrix(matrix, width, height)
        small = max(round(height * DETAIL), 48), max(round(width * DETAIL), 64)
        return [
            [enlarge(f.rgb, width, height) for f in render_frames(scene, *small, count, self._rate, stop)]
            for scene in (first, second)
        ]

    def _read_commands(self) -> None:
        for line in sys.stdin:
            self._commands.put(line)

    def _change_fault(self, stamp: int) -> None:
        if self._fault and stamp >= self._until:
            print(f"fault {self._fault} {self._begin} {stamp}", flush=True)
            self._fault = ""
        try:
            name, seconds = self._commands.get_nowait().split()
        except Empty:
            return
        except ValueError:
            print("a command is the name of a fault and seconds", flush=True)
            return
        if name not in FAULTS:
            print(f"there is no fault {name}; it is one of {', '.join(FAULTS)}", flush=True)
            return
        self._fault, self._step, self._begin, self._until = (
            name,
            0,
            stamp,
            stamp + round(float(seconds) * 1e9),
        )
        if name == "cut":
            self._scene = 1 - self._scene

    def _take_image(self, images: list[np.ndarray], stamp: int, period: int) -> None:
        """Publish what is due at `stamp`, or what the fault makes of it."""
        fault, step = self._fault, self._step
        self._step += 1
        if fault == "stop":
            return
        if fault != "frozen":
            self._index += 1
        image = images[self._index % len(images)]
        self._publish_info(stamp)
        if fault == "late" and step % 10 == 5:
            self._held = 2, image, stamp
            return
        if fault == "drop" and self._random.random() < 0.4:
            return
        if fault == "damage" and step % 3 == 1:
            self._publish_damaged(image, stamp, step // 3)
            return
        if fault == "early" and step % 10 == 5:
            stamp -= round(1.2 * period)
        elif fault == "duplicate" and step % 5 == 2:
            stamp = self._stamp
        elif fault == "black":
            image = np.zeros_like(image)
        elif fault == "noise":
            image = self._random.integers(0, 256, image.shape, np.uint8)
        elif fault == "exposure":
            image = cv2.convertScaleAbs(
                image, alpha=(0.35, 1.0, 1.9)[step // round(0.5 * self._rate + 1) % 3]
            )
        self._publish(image, stamp)
        self._stamp = stamp
        if self._held:
            count, late, late_stamp = self._held
            self._held = (count - 1, late, late_stamp) if count > 1 else None
            if count == 1:
                self._publish(late, late_stamp)

    def _publish_info(self, stamp: int) -> None:
        if self._fault == "info_gone":
            return
        message = camera_info(header_message(stamp, self.frame_id), self._camera)
        if self._fault == "info_nan":
            message.k = np.full(9, np.nan)
        elif self._fault == "info_other":
            message.k[0] *= 1.3
            message.k[4] *= 1.3
            message.p[0] *= 1.3
            message.p[5] *= 1.3
        self._info.publish(message)

    def _publish(self, image: np.ndarray, stamp: int) -> None:
        self._image.publish(self._message(image, stamp))

    def _message(self, image: np.ndarray, stamp: int) -> Image | CompressedImage:
        header = header_message(stamp, self.frame_id)
        if not self._compressed:
            return rgb_image(header, image)
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        return CompressedImage(header=header, format="jpeg", data=flat(data.ravel(), "B"))

    def _publish_damaged(self, image: np.ndarray, stamp: int, kind: int) -> None:
        message = self._message(image, stamp)
        if self._compressed or kind % 4 == 0:
            message.data = message.data[: len(message.data) // 2]
        elif kind % 4 == 1:
            message.step = 7
        elif kind % 4 == 2:
            message.encoding = "rgb999"
        else:
            message.height = message.width = message.step = 0
            message.data = flat([], "B")
        self._image.publish(message)


def main(args=None) -> int:
    return run_camera(FaultyCamera, args)
