"""d4rt_scene_camera: a procedural scene as a camera, with the truth on topics of its own."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from d4rt_ros.geometry import Pinhole, transform
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

MAX_BYTES = 4 * 2**30
TRACK_FRAMES, TRACK_STRIDE, TRACK_GRID = 8, 2, (9, 12)  # as the node's defaults


@dataclass(frozen=True)
class Loop:
    """N frames that close.

    rgb: (N, H, W, 3) uint8. depth: (N, H, W) float32 metres along z. world_from_camera: (N, 4, 4) float64.
    """

    rgb: np.ndarray
    depth: np.ndarray
    world_from_camera: np.ndarray


class SceneCamera(Node):
    """Renders one loop at the start, then publishes it again and again, which costs next to nothing.

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

        self._scenes = one_scene(seed, moving, self._count / self._rate, self._width, self._height)
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
        """Render, then publish until `stop`."""
        loop = self._render(stop)
        images = [enlarge(image, self._width, self._height) for image in loop.rgb]
        if stop.is_set() or not self._camera.wait_for_subscribers(self._wait, stop):
            return
        period = round(1e9 / self._rate)
        pace = Pace(lambda: self.get_clock().now().nanoseconds, period, stop)
        while True:
            for index in range(self._count):
                stamp = pace.wait(index * period)
                if stop.is_set():
                    return
                self._camera.publish(images[index], stamp)
                self._published.append((index, stamp))
                self._publish_truth(loop, index, stamp)

    def _publish_truth(self, loop: Loop, index: int, stamp: int) -> None:
        if self._pose.get_subscription_count():
            pose = pose_message(loop.world_from_camera[index])
            self._pose.publish(PoseStamped(header=header_message(stamp, self._world), pose=pose))
        header = header_message(stamp, self._camera.frame_id)
        self._depth_info.publish(camera_info(header, self._depth_camera))
        if self._depth.get_subscription_count():
            self._depth.publish(depth_image(header, loop.depth[index]))
        if self._tracks.get_subscription_count() and len(self._published) == self._published.maxlen:
            self._tracks.publish(self._tracks_message(header_message(stamp, self._world)))

    def _tracks_message(self, header) -> Tracks:
        window = list(self._published)[::TRACK_STRIDE]
        seconds = np.array([index for index, _ in window]) / self._rate
        true = true_tracks(self._scenes, seconds, (self._width, self._height))
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

    def _render(self, stop: threading.Event) -> Loop:
        log, count = self.get_logger(), self._count
        height, width = self._rendered
        log.info(f"rendering {count} images of {width}x{height}, once")

        def progress(done: int) -> None:
            if done % max(count // 4, 1) == 0:
                log.info(f"rendered {done} of {count}")

        return render_loop(self._scenes, height, width, count, self._rate, stop, progress)

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
        size = self._count * self._width * self._height * (3 + 7 * detail**2)
        if size > MAX_BYTES:
            raise ValueError(
                f"{self._count} images of {self._width}x{self._height} need {size / 2**30:.1f} GiB of "
                f"memory, more than {MAX_BYTES // 2**30}; make loop, rate or the image smaller"
            )


def one_scene(seed: int, moving: bool, period: float, width: int, height: int):
    """Scenes of a batch of one with square pixels, which repeats after `period` seconds."""
    import torch

    from d4rt_ros.scenes import SceneConfig, sample_scenes

    config = SceneConfig(still_scenes=0.0 if moving else 1.0, still_cameras=0.0, period=period)
    scenes = sample_scenes(1, seed, config)
    fx = scenes.focal[:, 0] * (width - 1)
    focal = torch.stack([scenes.focal[:, 0], fx / (height - 1)], -1)
    return replace(scenes, focal=focal, aspect=torch.full_like(scenes.aspect, width / height))


def render_loop(scenes, height: int, width: int, count: int, rate: float, stop, progress) -> Loop:
    """`count` frames, 1 / rate seconds apart; on all CPU cores, or the GPU. progress(done) after each."""
    import torch

    from d4rt_ros.scenes import render

    device = "cuda" if torch.cuda.is_available() else "cpu"
    scenes = scenes.to(device)
    loop = Loop(
        np.empty((count, height, width, 3), np.uint8),
        np.empty((count, height, width), np.float32),
        np.empty((count, 4, 4)),
    )

    @torch.inference_mode()
    def frame(index: int) -> None:
        if stop.is_set():
            return
        picture = render(scenes, torch.tensor([[index / rate]], device=device), height, width, samples=1)
        loop.rgb[index] = picture.rgb[0, 0].cpu().numpy()
        loop.depth[index] = picture.depth[0, 0].cpu().numpy()
        loop.world_from_camera[index] = picture.world_from_camera[0, 0].cpu().numpy()

    torch.set_num_threads(1)  # frames side by side; threads within a frame would wait for each other
    with ThreadPoolExecutor(1 if device == "cuda" else os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(frame, range(count)), start=1):
            if not stop.is_set():
                progress(done)
    return loop


@dataclass(frozen=True)
class TrueTracks:
    """Of N points at T times.

    positions: (N, T, 3) in the world, metres. pixels: (N, T, 2). visible: (N, T) bool. moving: (N,) bool.
    """

    positions: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray
    moving: np.ndarray


def true_tracks(scenes, seconds: np.ndarray, size: tuple[int, int]) -> TrueTracks:
    """The points that a grid of the last image sees, at each of the times (T,). size: (width, height)."""
    import torch

    from d4rt_ros.scenes import camera_poses, ground_truth

    times = torch.as_tensor(seconds, dtype=torch.float32)[None]
    rows, columns = TRACK_GRID
    v, u = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    count, steps = rows * columns, len(seconds)
    uv = torch.as_tensor(np.stack([u, v], -1), dtype=torch.float32).reshape(1, count, 1, 2)
    uv = uv.expand(-1, -1, steps, -1).reshape(1, -1, 2)
    newest = torch.full((1, count * steps), steps - 1)
    target = torch.arange(steps).repeat(count)[None]
    truth = ground_truth(scenes, times, uv, newest, target, newest)
    pose = camera_poses(scenes, times)[0, -1].double().numpy()
    shape = count, steps
    pixels = truth.uv[0].numpy() * (np.array(size) - 1)
    return TrueTracks(
        positions=transform(pose, truth.xyz[0].double().numpy()).reshape(*shape, 3),
        pixels=pixels.reshape(*shape, 2),
        visible=truth.visibility[0].numpy().reshape(shape),
        moving=truth.moving[0].numpy().reshape(shape)[:, -1],
    )


def enlarge(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 of a smaller image, outer pixel centres on outer pixel centres."""
    import cv2

    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    small_from_large = np.float64([[(columns - 1) / (width - 1), 0, 0], [0, (rows - 1) / (height - 1), 0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, small_from_large, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def main(args=None) -> int:
    return run_camera(SceneCamera, args)


if __name__ == "__main__":
    sys.exit(main())
