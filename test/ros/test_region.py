"""The region of interest through the node: from a parameter or a topic, of cloud, depth and tracks."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_testing import Running, image, info, set_parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, RegionOfInterest  # noqa: E402

from d4rt_ros.ros.interest import region_from_message  # noqa: E402

DEPTH, INFO, POINTS, TRACKS = "/d4rt/depth/image", "/d4rt/depth/camera_info", "/d4rt/points", "/d4rt/tracks"
OUTSIDE = "a region of 40x20 pixels at 50, 10 is not within the image of 64x48"


def listening(running, *more):
    for kind, topic in ((Image, DEPTH), (CameraInfo, INFO), (PointCloud2, POINTS), (Tracks, TRACKS), *more):
        running.active().listen(kind, topic)
    return running


def newest(running, after):
    """The messages on the four topics of the result after so many."""
    return [running.user.newest(topic, after) for topic in (DEPTH, INFO, POINTS, TRACKS)]


def seen_pixels(running, after):
    """Pixels (N, 2) of the image that the newest cloud's points lie at, by an honest camera of 100 px."""
    _, _, cloud, _ = newest(running, after)
    points = np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)[:, :3]
    points = points[np.isfinite(points).all(1)]
    return points[:, :2] / points[:, 2:] * 100 + [31.5, 23.5]


def tracked_pixels(message):
    return np.reshape(message.pixels, (len(message.ids), -1, 2))[:, -1]


def use(running, x, y, width, height, rectify=False, refused=False):
    """Publish a region on the topic; return when the node has it, or has refused it."""
    message = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height, do_rectify=rectify)
    running.user.publish("roi", message)
    interest, wanted = running.node._streaming.interest, region_from_message(message)
    assert running.user.until(lambda: interest.problems if refused else interest.wanted == wanted)


def check_whole(running, after):
    pixels = seen_pixels(running, after)
    np.testing.assert_allclose([pixels.min(0), pixels.max(0)], [[0, 0], [63, 47]], atol=1e-3)


def check_region(running, after, x, y, width, height):
    depth, camera_info, _, tracks = newest(running, after)
    assert (depth.height, depth.width) == (camera_info.height, camera_info.width) == (36, 48)
    np.testing.assert_array_equal(np.frombuffer(depth.data, np.float32), 2.0)
    pixels = seen_pixels(running, after)
    np.testing.assert_allclose(
        [pixels.min(0), pixels.max(0)], [[x, y], [x + width - 1, y + height - 1]], atol=1e-3
    )
    # camera_info is that of the grid: its corners are the region's corner pixels.
    k = np.reshape(camera_info.k, (3, 3))
    corners = (np.array([[0, 0], [47, 35]]) - k[:2, 2]) / np.diag(k)[:2] * 100 + [31.5, 23.5]
    np.testing.assert_allclose(corners, [[x, y], [x + width - 1, y + height - 1]], atol=1e-3)
    tracked = tracked_pixels(tracks)
    assert len(tracked) and (tracked >= [x - 0.5, y - 0.5]).all()
    assert (tracked <= [x + width - 0.5, y + height - 0.5]).all()


def test_a_parameter_at_start_and_while_the_node_runs():
    with Running({"roi": [10, 20, 30, 15]}) as running:
        listening(running).send_info(info())
        running.stream(count=4)
        check_region(running, 0, 10, 20, 30, 15)
        assert set_parameter(running.user, "roi", [0, 0, 0, 0]).successful
        running.stream(begin=4, count=1)
        check_whole(running, 1)
        assert set_parameter(running.user, "roi", [2, 4, 60, 40]).successful
        running.stream(begin=5, count=1)
        check_region(running, 2, 2, 4, 60, 40)


def test_a_topic_and_the_whole_image_again():
    with Running() as running:
        listening(running).send_info(info())
        use(running, 10, 20, 30, 15)  # before there is an image
        running.stream(count=4)
        check_region(running, 0, 10, 20, 30, 15)
        use(running, 0, 0, 64, 48)
        running.stream(begin=4, count=1)
        check_region(running, 1, 0, 0, 64, 48)
        use(running, 5, 6, 20, 20)
        use(running, 0, 0, 0, 0)
        running.stream(begin=5, count=1)
        check_whole(running, 2)
        assert running.user.told("camera", "ok")


def test_one_outside_the_image_is_refused_and_the_old_one_stays():
    with Running() as running:
        listening(running).send_info(info())
        running.stream(count=4)
        use(running, 10, 20, 30, 15)
        use(running, 50, 10, 40, 20, refused=True)
        refused = set_parameter(running.user, "roi", [50, 10, 40, 20])
        assert not refused.successful and OUTSIDE in refused.reason
        running.stream(begin=4, count=1)
        check_region(running, 1, 10, 20, 30, 15)
        assert running.user.told("geometry", f"a message on roi is refused: {OUTSIDE}")
        use(running, 11, 20, 30, 15)
        seen = len(running.user.heard["/diagnostics"])
        running.user.newest("/diagnostics", seen)
        assert running.user.told("geometry", "ok")


@pytest.mark.parametrize(
    "wrong, says",
    [
        ([1, 2, 3], "must be 4 numbers"),
        ([0, 0, 1, 9], "2x2 pixels or more"),
        ([-1, 0, 5, 5], "0 to 65535"),
        ("all", "4 whole numbers"),
    ],
)
def test_what_is_no_region_is_refused(wrong, says):
    with Running() as running:
        refused = set_parameter(running.active().user, "roi", wrong)
        assert not refused.successful and says in refused.reason


def test_a_parameter_that_the_images_turn_out_not_to_have_is_told_and_the_whole_image_used():
    with Running({"roi": [50, 10, 40, 20]}) as running:
        listening(running).send_info(info())
        running.stream(count=4)
        check_whole(running, 0)
        assert running.user.told(
            "geometry", f"the whole image is used instead of the region of interest: {OUTSIDE}"
        )
        for i in range(4):
            running.send("image", image(101 + i / 10, height=96, width=128))  # one that has it
        assert running.user.told("geometry", "ok")
        running.user.newest(DEPTH, 1)
        assert running.node._streaming.pipeline.config.region is not None


def test_another_parameter_leaves_the_topics_region_alone():
    with Running() as running:
        listening(running).send_info(info())
        use(running, 10, 20, 30, 15)
        assert set_parameter(running.user, "path.length", 7).successful
        running.stream(count=4)
        check_region(running, 0, 10, 20, 30, 15)


def raw_info():
    """A lens that pulls the image's corners in, over the same view."""
    msg = info()
    msg.d = [-0.8, 0.0, 0.0, 0.0, 0.0]
    return msg


@pytest.mark.parametrize("rectify", [True, False])
def test_a_region_of_the_raw_image_goes_through_the_lens_where_it_says_so(rectify):
    with Running() as running:
        listening(running).send_info(raw_info())
        use(running, 4, 10, 8, 20, rectify)
        running.stream(count=4)
        depth, camera_info, _, tracks = newest(running, 0)
        k = np.reshape(camera_info.k, (3, 3))
        corners = (np.array([[0, 0], [47, 35]]) - k[:2, 2]) / np.diag(k)[:2] * 100 + [31.5, 23.5]
        grid = np.frombuffer(depth.data, np.float32).reshape(36, 48)
        # Tracks' pixels are the raw image's.
        u, v = tracked_pixels(tracks).T
        if rectify:
            assert (
                len(u) and (u >= 3.5).all() and (u <= 11.5).all() and (v >= 9.5).all() and (v <= 29.5).all()
            )
            # x (1 - 0.8 (x² + 0.14²)) = 0.28, the raw column 3.5 at its upper end: the view's is 1. Its sides are bent.
            assert corners[0, 0] == pytest.approx(1, abs=1e-3) and np.isnan(grid).any()
        else:
            np.testing.assert_allclose(corners, [[4, 10], [11, 29]], atol=1e-3)
        assert np.isfinite(grid).mean() > 0.5


def test_the_pose_is_of_the_whole_image_all_the_same():
    with Running({"roi": [0, 0, 8, 8]}) as running:
        listening(running, (Odometry, "/d4rt/odometry")).send_info(info())
        running.stream(count=6)
        odometry = running.user.newest("/d4rt/odometry", 2)
        assert odometry.pose.covariance[0] < 1
        assert running.user.told("geometry", "ok")
