"""ROS 2 bags, written by rosbags: a robot that drives straight on, with a camera mounted on it."""

import struct

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra [train]")

from rosbags.rosbag2 import StoragePlugin  # noqa: E402
from small_bags import (  # noqa: E402
    HEIGHT,
    RATE,
    SPEED,
    WIDTH,
    K,
    T,
    compressed,
    depth_mm,
    header,
    image,
    info,
    messages,
    picture,
    tf,
    without,
    write,
)

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL  # noqa: E402
from d4rt_ros.io.recorded import RecordedError  # noqa: E402
from d4rt_ros.io.ros_bag import BagNames, open_ros_bag  # noqa: E402


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_images_with_their_depth_and_the_cameras_pose(tmp_path, storage):
    bag = open_ros_bag(write(tmp_path / "bag", messages(), storage))
    assert len(bag) == 5 and bag.static and bag.tracks([0]) is None
    for i in (3, 1):  # in any order
        frame = bag.frame(i)
        np.testing.assert_array_equal(frame.image, picture(i))
        assert np.isnan(frame.depth[0]).all() and frame.depth[1, 1] == pytest.approx(1.5 + i / 1000)
        assert frame.stamp == 100 * 10**9 + round(i * 1e9 / RATE)
        np.testing.assert_allclose(frame.camera.matrix, K)
        # Between two transforms of the odometry; the mount turns body axes into optical ones.
        np.testing.assert_allclose(
            frame.world_from_camera[:3, 3], (i / RATE * SPEED + 0.1, 0, 0.5), atol=1e-6
        )
        np.testing.assert_allclose(frame.world_from_camera[:3, :3], BODY_FROM_OPTICAL[:3, :3], atol=1e-9)


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "compressed"])
def test_other_images_and_depth_in_metres(tmp_path, encoding):
    out = [row for row in messages() if "image_raw" not in row[0]]
    for i in range(3):
        stamp, rgb = 100 + i / RATE, picture(i)
        made = {
            "bgr8": lambda: ("/camera/image_raw", image(stamp, rgb[..., ::-1], "bgr8")),
            "mono8": lambda: ("/camera/image_raw", image(stamp, rgb[..., 1], "mono8")),
            "compressed": lambda: ("/camera/image_raw/compressed", compressed(stamp, rgb)),
        }[encoding]()
        out.append((made[0], stamp, made[1]))
        metres = np.full((HEIGHT, WIDTH), 2.5, np.float32)
        metres[0], metres[1] = np.nan, -1
        out.append(("/depth", stamp, image(stamp, metres, "32FC1", padding=4)))
    frame = open_ros_bag(write(tmp_path / "bag", out)).frame(2)
    expected = np.repeat(picture(2)[..., 1:2], 3, -1) if encoding == "mono8" else picture(2)
    np.testing.assert_array_equal(frame.image, expected)
    assert np.isnan(frame.depth[:2]).all() and (frame.depth[2:] == 2.5).all()


def compressed_depth(stamp, metres, of_floats):
    """As compressed_depth_image_transport writes it; of floats 100 / depth + 3."""
    raw = 100 / metres + 3 if of_floats else 1000 * metres
    raw = np.where(np.isfinite(raw), raw, 0).round().astype(np.uint16)
    data = struct.pack("<iff", 0, 100.0, 3.0) + cv2.imencode(".png", raw)[1].tobytes()
    form = ("32FC1" if of_floats else "16UC1") + "; compressedDepth png"
    return T["sensor_msgs/msg/CompressedImage"](
        header(stamp, "camera_optical"), form, np.frombuffer(data, np.uint8)
    )


@pytest.mark.parametrize("of_floats", [False, True])
def test_compressed_depth(tmp_path, of_floats):
    out = without(messages(), "/camera/depth/image_raw")
    metres = np.full((HEIGHT, WIDTH), 0.5)
    metres[0] = np.nan
    out.append(("/depth/compressedDepth", 100.0, compressed_depth(100.0, metres, of_floats)))
    frame = open_ros_bag(write(tmp_path / "bag", out)).frame(0)
    np.testing.assert_allclose(frame.depth, metres, rtol=5e-3)


def test_the_compressed_copy_of_a_topic_is_not_another_camera(tmp_path):
    out = messages() + [("/camera/image_raw/compressed", 100.0, compressed(100.0, picture(0)))]
    assert len(open_ros_bag(write(tmp_path / "bag", out))) == 5


def test_a_bent_image_is_straightened_unless_its_topic_says_rectified(tmp_path):
    out = without(messages(), "/camera/camera_info") + [
        ("/camera/camera_info", 100.0, info(100.0, (0.3, 0, 0, 0, 0)))
    ]
    frame = open_ros_bag(write(tmp_path / "raw", out)).frame(1)
    assert (frame.image != picture(1)).any() and np.isfinite(frame.depth[1:]).any()
    assert set(np.unique(frame.depth[np.isfinite(frame.depth)])) == {np.float32(1.501)}, "depth is not mixed"
    renamed = [(topic.replace("/camera/image_raw", "/camera/image_rect"), *rest) for topic, *rest in out]
    np.testing.assert_array_equal(open_ros_bag(write(tmp_path / "rect", renamed)).frame(1).image, picture(1))


def with_info(out, message):
    return without(out, "/camera/camera_info") + [("/camera/camera_info", 100.0, message)]


def renamed(out, name):
    return [(topic.replace("/camera/image_raw", name), *rest) for topic, *rest in out]


@pytest.mark.parametrize(
    "name, rectified",
    [("/camera/image_rect_color", True), ("/camera/image_correct", False), ("/rect/image", False)],
)
def test_a_rectified_image_has_p_and_a_raw_one_is_brought_there(tmp_path, name, rectified):
    message = info(100.0, (0.2, 0.05, 0, 0))
    message.p = message.p * 0.9 + np.eye(3, 4)[:3].ravel() * [*[0] * 10, 0.1, 0]
    out = [(t.replace("/camera/camera_info", "/info"), *rest) for t, *rest in with_info(messages(), message)]
    frame = open_ros_bag(write(tmp_path / "bag", renamed(out, name))).frame(1)
    np.testing.assert_allclose(frame.camera.matrix, message.p.reshape(3, 4)[:, :3])
    assert (frame.image == picture(1)).all() == rectified
    assert np.isnan(frame.depth[1:]).any() != rectified


def test_a_fisheyes_images_are_straightened(tmp_path):
    message = info(100.0, (0.02, 0.01, 0, 0, 0))
    message.distortion_model = "equidistant"
    frame = open_ros_bag(write(tmp_path / "bag", with_info(messages(), message))).frame(1)
    x, y = cv2.fisheye.initUndistortRectifyMap(
        K, np.array([0.02, 0.01, 0, 0]), np.eye(3), K, (WIDTH, HEIGHT), cv2.CV_32FC1
    )
    expected = cv2.remap(picture(1), x, y, cv2.INTER_LINEAR)
    assert np.abs(frame.image.astype(int) - expected)[1:-1, 1:-1].max() <= 8


def test_the_camera_info_of_the_image_before_it_was_made_smaller(tmp_path):
    message = info(100.0)
    message.width, message.height = 2 * WIDTH, 2 * HEIGHT
    frame = open_ros_bag(write(tmp_path / "bag", with_info(messages(), message))).frame(0)
    np.testing.assert_allclose(frame.camera.matrix, [[12.5, 0, 7.75], [0, 13, 4.25], [0, 0, 1]])


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(k=np.diag([1.0, 1, 1]).ravel(), p=np.eye(3, 4).ravel()), "focal length"),
        (dict(d=np.array([-9.0, 0, 0, 0, 0])), "fold"),
        (dict(d=np.array([np.nan] * 5)), "finite"),
        (dict(r=2 * np.eye(3).ravel()), "rotation"),
    ],
)
def test_an_implausible_camera_info_is_refused(tmp_path, change, says):
    message = info(100.0)
    for name, value in change.items():
        setattr(message, name, value)
    bag = open_ros_bag(write(tmp_path / "bag", with_info(messages(), message)))
    with pytest.raises(RecordedError, match=f"camera_info is of no use.*{says}"):
        bag.frame(0)


def test_without_poses(tmp_path):
    path = write(tmp_path / "bag", without(messages(), "/tf", "/tf_static"))
    bag = open_ros_bag(path, poses=False, static=False)
    assert len(bag) == 5 and bag.frame(0).world_from_camera is None and not bag.static


def test_images_at_which_tf_or_depth_is_silent_are_left_out(tmp_path):
    out = [row for row in messages(8) if not (row[0] == "/tf" and row[1] > 100.35)]
    # The last transform is of 100.3: within half a second of it the robot is taken to stand there.
    assert len(open_ros_bag(write(tmp_path / "tf", out))) == 8
    out = [row for row in messages(20) if not (row[0] == "/tf" and row[1] > 100.35)]
    assert len(open_ros_bag(write(tmp_path / "long", out))) == 9
    out = [row for row in messages() if not (row[0] == "/camera/depth/image_raw" and row[1] > 100.2)]
    assert len(open_ros_bag(write(tmp_path / "depth", out))) == 2


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda out: without(out, "/tf", "/tf_static"), "TF does not connect.*knows no frame; record /tf"),
        (lambda out: without(out, "/tf"), "in TF nothing moves between camera_optical and base_link"),
        (lambda out: without(out, "/tf_static"), "TF does not connect.*it knows base_link, odom"),
        (lambda out: without(out, "/camera/depth/image_raw"), "one topic of depth images.*found none"),
        (lambda out: without(out, "/camera/image_raw"), "one topic of colour images, found none"),
        (lambda out: without(out, "/camera/camera_info"), "one topic of CameraInfo, found none"),
        (
            lambda out: out + [("/rear/image", 100.0, image(100.0, picture(0), "rgb8"))],
            "found several.*--image",
        ),
        (lambda out: [(t, s + 50 * (t == "/tf"), m) for t, s, m in out], None),
        (lambda out: shifted_tf(out), "no transform from camera_optical to odom at the images' times"),
        (lambda out: nan_tf(out), "TF does not connect"),
    ],
)
def test_bags_that_lack_something(tmp_path, spoil, message):
    path = write(tmp_path / "bag", spoil(messages()))
    if message is None:  # when a transform was recorded does not matter, only its stamp
        assert len(open_ros_bag(path)) == 5
        return
    with pytest.raises(RecordedError, match=message):
        open_ros_bag(path)


def shifted_tf(out):
    moved = [("/tf", 200.0 + i, tf(200.0 + i, "odom", "base_link", (0, 0, 0))) for i in range(3)]
    return without(out, "/tf") + moved


def nan_tf(out):
    return without(out, "/tf_static") + [
        ("/tf_static", 0.0, tf(0, "base_link", "camera_optical", [np.nan] * 3))
    ]


def test_topics_and_frames_by_name(tmp_path):
    out = messages() + [("/rear/image", 100.0, image(100.0, picture(0), "rgb8"))]
    path = write(tmp_path / "bag", out)
    bag = open_ros_bag(path, BagNames(image="/camera/image_raw", world="base_link", camera="odom"))
    assert bag.frame(1).world_from_camera[0, 3] == pytest.approx(-0.07)
    with pytest.raises(RecordedError, match="no messages of /nothing; it has /camera/camera_info"):
        open_ros_bag(path, BagNames(image="/nothing"))


def test_depth_that_is_not_registered(tmp_path):
    out = without(messages(), "/camera/depth/image_raw")
    out += [("/depth", 100.0, image(100.0, depth_mm(0), "16UC1", frame="depth_optical"))]
    path = write(tmp_path / "bag", out)
    with pytest.raises(RecordedError, match="not in the image's frame camera_optical"):
        open_ros_bag(path)
    assert len(open_ros_bag(path, BagNames(depth="/depth"))) == 1


def test_a_frame_that_cannot_be_decoded(tmp_path):
    out = without(messages(), "/camera/image_raw")
    for i in range(2):
        stamp = 100 + i / RATE
        broken = compressed(stamp, picture(i))
        broken.data = broken.data[:40] if i else broken.data
        out.append(("/camera/image_raw/compressed", stamp, broken))
    bag = open_ros_bag(write(tmp_path / "bag", out))
    bag.frame(0)
    with pytest.raises(RecordedError, match="/camera/image_raw/compressed at 100.1.*cut off"):
        bag.frame(1)


def test_a_camera_info_that_does_not_fit(tmp_path):
    half, none = info(100.0), info(100.0)
    half.width = WIDTH // 2
    none.k, none.p = np.zeros(9), np.zeros(12)
    bags = []
    for name, wrong in (("half", half), ("none", none)):
        out = without(messages(), "/camera/camera_info") + [("/camera/camera_info", 100.0, wrong)]
        bags.append(write(tmp_path / name, out))
    with pytest.raises(RecordedError, match="for 16x18 pixels, the image has 32x18"):
        open_ros_bag(bags[0]).frame(0)
    with pytest.raises(RecordedError, match="camera_info is all zero"):
        open_ros_bag(bags[1])


def test_what_is_no_bag(tmp_path):
    with pytest.raises(RecordedError, match="cannot be read as a ROS 2 bag"):
        open_ros_bag(tmp_path)
    with pytest.raises(RecordedError, match="ROS 1 bag; convert"):
        open_ros_bag(tmp_path / "old.bag")
