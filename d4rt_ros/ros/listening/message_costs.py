"""What converting messages costs, without a network."""

from __future__ import annotations

import threading
import time

import numpy as np
from sensor_msgs.msg import CameraInfo

from d4rt_ros.ros.calibration import Calibration
from d4rt_ros.ros.messages import camera_info, depth_image, header_message, odometry, point_cloud
from d4rt_ros.ros.playback import rgb_image


def message_costs(rows: int = 256, columns: int = 256, repeats: int = 50) -> dict[str, float]:
    """Median milliseconds of what is not the network: a 640x480 image message to the model's input, rectifying it,
    and a result with a cloud of rows x columns points to its messages."""
    from d4rt_ros.io.image_messages import rgb_from_image
    from d4rt_ros.runtime import load
    from d4rt_ros.scenes.loop import enlarge, looping_scene, render_frames
    from d4rt_ros.stream import Frame, Pipeline, PipelineConfig, Stream

    model = load(device="cpu")
    stream, result = Stream(Pipeline(model, PipelineConfig(depth_size=(rows, columns)))), None
    # A scene to be measured, so that a result has all its parts.
    scene = looping_scene(31, False, 4.0, 640, 480)
    frames = render_frames(scene, 60, 80, model.num_frames, 15.0, threading.Event())
    for index, frame in enumerate(frames, start=1):
        image = enlarge(frame.rgb, 640, 480)
        result = stream.add(Frame(image, index * 66_000_000)) or result
    header, points, raw = header_message(1, "camera"), result.points, raw_calibration()
    message = rgb_image(header, image)

    def messages():
        point_cloud(header, points.xyz, points.rgb, points.confidence)
        depth_image(header, points.depth)
        camera_info(header, points.camera)
        odometry(header, "camera", result.pose.world_from_camera, np.eye(6), np.zeros(6), np.eye(6))

    costs = {
        "image message to model input": lambda: model.prepare(rgb_from_image(message)),
        "result to messages": messages,
        "rectify 640x480": lambda: raw.view(image, "/image_raw", "auto"),
    }
    return {name: _median_ms(work, repeats) for name, work in costs.items()}


def raw_calibration() -> Calibration:
    """Of a lens that bends straight lines, so that its images are rectified."""
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[-0.3, 0.1, 1e-3, -1e-3, 0.0])
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    calibration = Calibration()
    calibration.update(info)
    return calibration


def _median_ms(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))
