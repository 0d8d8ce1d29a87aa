"""The scene camera as a real node in a process of its own, and the truth that it publishes."""

import signal
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from camera_process import CameraProcess, end_limit, nanoseconds  # noqa: E402
from d4rt_ros.msg import Tracks  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d4rt_ros.geometry import Pinhole, invert, transform  # noqa: E402
from d4rt_ros.ros.listening.reading import world_from_child  # noqa: E402
from d4rt_ros.ros.rendered_loop import LOOP_IS_CLOSED  # noqa: E402

MODULE = "d4rt_ros.ros.scene_camera"
WIDTH, HEIGHT = 96, 64
SMALL = dict(width=WIDTH, height=HEIGHT, rate=15.0, loop=2.0)


def stamps_of(tracks):
    return {stamp.sec * 10**9 + stamp.nanosec for stamp in tracks.stamps}


def common_stamps(messages):
    """Of images whose pose and depth have come."""
    return set.intersection(
        *({nanoseconds(m) for m in messages[f"scene_camera/truth/{name}"]} for name in ("pose", "depth"))
    )


def test_images_and_truth_agree_with_each_other():
    with CameraProcess(MODULE, frame_id="eye", world_frame="room", **SMALL) as camera:
        for kind, topic in (
            (Image, "image"),
            (CameraInfo, "camera_info"),
            (Image, "scene_camera/truth/depth"),
            (PoseStamped, "scene_camera/truth/pose"),
            (Tracks, "scene_camera/truth/tracks"),
            (CameraInfo, "scene_camera/truth/camera_info"),
        ):
            camera.subscribe(kind, topic)
        messages = camera.messages
        camera.until(lambda: LOOP_IS_CLOSED in camera.output(), 60)
        closed = {topic: len(kept) for topic, kept in messages.items()}
        # Of each topic what has come since, and of those that a message of tracks speaks of the same images.
        camera.until(lambda: all(len(kept) > closed[topic] + 20 for topic, kept in messages.items()), 60)
        camera.until(lambda: stamps_of(messages["scene_camera/truth/tracks"][-1]) <= common_stamps(messages))
        images, infos, depths, poses, tracks, depth_infos = camera.messages.values()
    assert (images[0].encoding, images[0].width, images[0].height) == ("rgb8", WIDTH, HEIGHT)
    gaps = np.diff([nanoseconds(m) for m in images])
    # At its own pace once everything is rendered, and never faster.
    assert np.median(gaps[-20:]) == pytest.approx(1e9 / 15, rel=0.01) and gaps.min() > 0.9e9 / 15
    assert images[0].header.frame_id == depths[0].header.frame_id == infos[0].header.frame_id == "eye"
    assert poses[0].header.frame_id == tracks[0].header.frame_id == "room"

    small = Pinhole.from_matrix(infos[0].k, WIDTH, HEIGHT).grid(WIDTH // 2, HEIGHT // 2)
    np.testing.assert_allclose(np.reshape(depth_infos[0].k, (3, 3)), small.matrix)
    assert (depth_infos[0].width, depth_infos[0].height) == (depths[0].width, depths[0].height)

    message = tracks[-1]
    count, times = len(message.ids), len(message.stamps)
    assert message.metric and len(message.dynamic) == count and len(set(message.ids)) == count
    assert not set(message.ids) & set(tracks[-2].ids)
    positions = np.asarray(message.positions).reshape(count, times, 3)
    pixels = np.asarray(message.pixels).reshape(count, times, 2)
    visible = np.asarray(message.visible).reshape(count, times)
    camera_info = Pinhole.from_matrix(infos[0].k, infos[0].width, infos[0].height)
    by_stamp = {nanoseconds(m): world_from_child(m.pose) for m in poses}
    depth_of = {nanoseconds(m): np.frombuffer(m.data, np.float32).reshape(m.height, m.width) for m in depths}
    for t, stamp in enumerate(message.stamps):
        world_from_camera = by_stamp[stamp.sec * 10**9 + stamp.nanosec]
        seen = transform(invert(world_from_camera), positions[visible[:, t], t])
        np.testing.assert_allclose(camera_info.project(seen), pixels[visible[:, t], t], atol=0.05)
        # The depth image, which is half as large, agrees at the nearest pixel but for edges and slopes.
        depth = depth_of[stamp.sec * 10**9 + stamp.nanosec]
        assert depth.shape == (HEIGHT // 2, WIDTH // 2)
        place = pixels[visible[:, t], t] * ((WIDTH // 2 - 1) / (WIDTH - 1), (HEIGHT // 2 - 1) / (HEIGHT - 1))
        column, row = np.rint(place).astype(int).T
        assert np.median(np.abs(depth[row, column] / seen[:, 2] - 1)) < 0.03
    still = ~np.asarray(message.dynamic)
    assert still.any() and np.abs(np.asarray(message.velocities).reshape(count, 3)[still]).max() < 1e-3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 4}, "width x height is 4x64"),
        ({"rate": 0.0}, "at least two images"),
        ({"detail": 1.5}, "detail is 1.5"),
        ({"loop": 1e6}, "GiB of memory"),
        ({"seed": "pretty"}, "parameter seed is 'pretty'; expected int"),
    ],
)
def test_what_cannot_be_rendered_is_one_sentence(parameters, message):
    with CameraProcess(MODULE, **SMALL | parameters) as camera:
        status, output = camera.finish(30)
    assert status == 1 and message in output and "Traceback" not in output


def test_the_first_images_come_while_the_others_are_rendered():
    with CameraProcess(MODULE, width=320, height=240, detail=1.0, loop=20.0) as camera:
        camera.subscribe(CameraInfo, "camera_info")
        camera.until(lambda: len(camera.messages["camera_info"]) > 8, 60)
        assert LOOP_IS_CLOSED not in camera.output() and "the scene moves slower" in camera.output()
        gaps = np.diff([nanoseconds(m) for m in camera.messages["camera_info"]])
        assert np.median(gaps) > 1.1e9 / 30


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_while_it_renders(sent):
    with CameraProcess(MODULE, width=640, height=480, detail=1.0, loop=10.0) as camera:
        camera.until(lambda: "rendering" in camera.output(), 30)
        began = time.monotonic()
        camera.process.send_signal(sent)
        status, output = camera.finish(30)
    assert status == 0 and "Traceback" not in output
    assert time.monotonic() - began < end_limit()
