"""The scene camera as a real node in a process of its own, and the truth that it publishes."""

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from camera_process import CameraProcess, nanoseconds  # noqa: E402
from d4rt_ros.msg import Tracks  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, transform  # noqa: E402
from d4rt_ros.ros.scene_camera import enlarge, one_scene, render_loop, true_tracks  # noqa: E402

MODULE = "d4rt_ros.ros.scene_camera"
WIDTH, HEIGHT = 96, 64
SMALL = dict(width=WIDTH, height=HEIGHT, rate=15.0, loop=2.0)


def pose(message):
    p, q = message.pose.position, message.pose.orientation
    return pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])


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
        camera.until(lambda: len(camera.messages["scene_camera/truth/tracks"]) > 3, 60)
        images, infos, depths, poses, tracks, depth_infos = camera.messages.values()
    assert (images[0].encoding, images[0].width, images[0].height) == ("rgb8", WIDTH, HEIGHT)
    gaps = np.diff([nanoseconds(m) for m in images])
    assert (gaps > 0).all() and np.median(gaps) == pytest.approx(1e9 / 15, rel=0.01)
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
    by_stamp = {nanoseconds(m): pose(m) for m in poses}
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


def test_it_ends_while_it_renders():
    with CameraProcess(MODULE, width=640, height=480, detail=1.0, loop=10.0) as camera:
        camera.until(lambda: "rendering" in camera.output(), 30)
        camera.process.terminate()
        status, output = camera.finish(30)
    assert status == 0 and "Traceback" not in output


def test_the_loop_closes_and_a_seed_is_a_scene():
    scenes = one_scene(3, True, 2.0, WIDTH, HEIGHT)
    loop, again, beyond = (
        render_loop(
            one_scene(seed, True, 2.0, WIDTH, HEIGHT), 16, 24, count, 4.0, threading.Event(), lambda _: None
        )
        for seed, count in ((3, 8), (3, 8), (3, 9))
    )
    np.testing.assert_array_equal(loop.rgb, again.rgb)
    np.testing.assert_allclose(beyond.world_from_camera[8], loop.world_from_camera[0], atol=1e-4)
    np.testing.assert_allclose(beyond.depth[8], loop.depth[0], rtol=1e-3)
    # A real camera's noise is another one in every picture; what is left of it in the mean is little.
    assert abs(np.mean(beyond.rgb[8].astype(int) - loop.rgb[0])) < 0.5
    assert np.nanmean(np.abs(loop.depth[4] / loop.depth[0] - 1)) > 0.01, "something moves"
    focal = scenes.focal[0].numpy() * (WIDTH - 1, HEIGHT - 1)
    assert focal[0] == pytest.approx(focal[1]), "square pixels"


def test_without_moving_objects_points_stand_still():
    seconds = np.arange(8) / 15
    moving = true_tracks(one_scene(5, True, 4.0, WIDTH, HEIGHT), seconds, (WIDTH, HEIGHT))
    still = true_tracks(one_scene(5, False, 4.0, WIDTH, HEIGHT), seconds, (WIDTH, HEIGHT))
    assert not still.moving.any() and np.ptp(still.positions, axis=1).max() < 1e-3
    assert moving.positions.shape == (9 * 12, 8, 3) and moving.visible[:, -1].all()


def test_enlarging_keeps_outer_pixels_and_straight_lines():
    ramp = np.zeros((16, 24, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 230, 24).round()
    ramp[..., 1] = np.linspace(0, 150, 16).round()[:, None]
    large = enlarge(ramp, WIDTH, HEIGHT)
    assert large.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(large[[0, 0, -1, -1], [0, -1, 0, -1]], ramp[[0, 0, -1, -1], [0, -1, 0, -1]])
    assert np.abs(large[..., 0] - np.linspace(0, 230, WIDTH)).max() < 2
    assert np.abs(large[..., 1] - np.linspace(0, 150, HEIGHT)[:, None]).max() < 2
