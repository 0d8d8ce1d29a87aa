"""What comes into the node over real DDS, good and bad; it goes on whatever comes."""

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from nav_msgs.msg import Path  # noqa: E402
from ros_testing import Running, image, info, view  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from d4rt_ros.ros import diagnostics  # noqa: E402

DEPTH = "/d4rt/depth/image"


@pytest.fixture
def running():
    with Running() as it:
        yield it.active()


def _broken(**changes):
    msg = image(100.25)
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    "msg, says",
    [
        (_broken(encoding="32FC7"), "32FC7"),
        (_broken(data=array("B", bytes(17))), "17 bytes"),
        (_broken(step=7), "step is 7"),
        (_broken(width=0, height=0, step=0, data=array("B")), "0 x 0"),
    ],
)
def test_a_broken_image_is_dropped_counted_and_the_node_goes_on(running, msg, says):
    running.listen(Image, DEPTH)
    running.stream(count=3)
    running.send("image", msg)
    assert says in running.node._figures.last_problem
    running.stream(begin=3, count=1)
    assert running.user.newest(DEPTH).header.stamp == image(100.3).header.stamp
    assert running.user.until(lambda: running.user.figure("camera", "dropped: image") == "1")


def test_stamps_that_say_nothing_are_refused(running):
    running.listen(Image, DEPTH)
    for seconds in (100, 100, 100, 0, 100.1, 100.2, 100.3):
        running.send("image", image(seconds))
    running.user.newest(DEPTH)
    assert len(running.user.heard[DEPTH]) == 1  # the four that are left are one window
    assert running.user.until(lambda: running.user.figure("camera", "dropped: stamp") == "3")


def test_time_going_back_restarts_everything(running):
    user = running.user
    running.listen(Path, "/d4rt/path")
    running.stream(begin=50, count=8)
    assert user.until(lambda: user.heard["/d4rt/path"] and len(user.heard["/d4rt/path"][-1].poses) == 5)
    running.stream(begin=0, count=3)
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    running.stream(begin=3, count=1)
    assert user.until(lambda: len(user.heard["/d4rt/path"][-1].poses) == 1)
    assert user.until(lambda: "went back" in (user.figure("camera", "last restart") or ""))
    assert user.figure("camera", "restarts") == "1"


def test_another_image_size_restarts_the_window(running):
    user = running.user
    running.listen(Image, DEPTH)
    running.stream(count=4)
    running.stream(begin=4, count=4, height=30, width=90)
    assert user.until(lambda: len(user.heard[DEPTH]) == 2)
    assert [m.header.stamp for m in user.heard[DEPTH]] == [image(t).header.stamp for t in (100.3, 100.7)]
    assert user.until(lambda: "size changed" in (user.figure("camera", "last restart") or ""))


def test_a_model_that_breaks_is_told_and_the_node_goes_on(running):
    running.listen(Image, DEPTH)
    running.model.fail = True
    running.stream()
    assert running.user.told("geometry", "failed")
    running.model.fail = False
    running.stream(begin=6, count=1)
    assert running.user.newest(DEPTH).header.stamp == image(100.6).header.stamp
    assert len(running.user.heard[DEPTH]) == 1


def test_the_newest_window_wins_and_what_is_skipped_is_counted(running):
    user, model = running.user, running.model
    running.listen(Image, DEPTH)
    model.hold.clear()
    running.stream(count=4, computed=False)
    assert user.until(model.encoding.is_set)
    for k in range(4, 14):
        running.stream(begin=k, count=1, computed=False)
        assert user.until(lambda: not running.node._streaming._waiting)  # it has been followed
    model.hold.set()
    assert user.until(lambda: len(user.heard[DEPTH]) == 2)
    assert [m.header.stamp for m in user.heard[DEPTH]] == [image(t).header.stamp for t in (100.3, 101.3)]
    assert user.until(lambda: user.figure("geometry", "windows skipped") == "9")


def test_questions_are_answered_while_a_window_is_computed(running):
    running.stream(count=4)
    running.model.hold.clear()
    running.stream(begin=4, count=1, computed=False)
    request = Query.Request(u=[1.0], v=[1.0], t_src=[-1], t_tgt=[-1], t_cam=[-1])
    response = running.user.call(Query, "/d4rt/query", request)
    assert response.status == Query.Response.OK and response.header.stamp == image(100.3).header.stamp
    running.model.hold.set()


def test_compressed_images():
    import cv2

    jpeg = cv2.imencode(".jpg", view(100.0))[1].tobytes()
    with Running({"image_transport": "compressed"}) as running:
        running.active().listen(Image, DEPTH)
        for i, data in enumerate([jpeg, jpeg[:100], b"", jpeg, jpeg, jpeg]):
            msg = CompressedImage(format="jpeg", data=array("B", data), header=image(100 + i / 10).header)
            running.send("image/compressed", msg)
        assert running.user.newest(DEPTH).header.stamp == image(100.5).header.stamp
        assert running.user.until(lambda: running.user.figure("camera", "dropped: image") == "2")


def test_whole_buffers_are_taken_and_damaged_images_are_dropped_without_a_word_of_libjpeg(capfd):
    import cv2

    draw = np.random.default_rng(0)
    picture = cv2.resize(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    half = jpeg[: len(jpeg) // 2]
    with Running({"image_transport": "compressed"}) as running:
        running.active().listen(Image, DEPTH)
        damaged = [half, half + bytes(5000), half + draw.bytes(800) + b"\xff\xd9", half + b"\xff\xd9"]
        for i, data in enumerate([*damaged, *4 * [jpeg + bytes(100_000)]]):
            header = image(100 + i / 10).header
            running.send(
                "image/compressed", CompressedImage(format="jpeg", data=array("B", data), header=header)
            )
        assert running.user.newest(DEPTH).header.stamp == image(100.7).header.stamp
        assert running.user.until(lambda: running.user.figure("camera", "dropped: image") == "4")
    assert "Corrupt JPEG" not in capfd.readouterr().err


def test_twelve_of_sixteen_bits_are_used_and_said_once(running, capfd):
    running.listen(Image, DEPTH)
    for i in range(4):
        msg = image(100 + i / 10)
        msg.encoding, msg.step = "mono16", 2 * msg.width
        msg.data = array("B", (view(100 + i / 10)[..., 0].astype(np.uint16) * 16).tobytes())
        running.send("image", msg)
    running.user.newest(DEPTH)
    assert capfd.readouterr().err.count("the images' values use 12 of 16 bits") == 1


def test_a_camera_that_is_silent_or_stops_is_told(running, monkeypatch):
    monkeypatch.setattr(diagnostics, "SILENCE", 0.5)
    assert running.user.told("camera", "no images on /image yet")
    assert running.user.status("camera").level == DiagnosticStatus.WARN
    running.send_info(info())
    running.stream()
    assert running.user.told("camera", "the camera has stopped")


@pytest.mark.parametrize(
    "msg, says",
    [
        (None, "no usable camera_info on /camera_info"),
        (info(focal=0), "not calibrated"),
        (info(height=90), "another shape"),
    ],
)
def test_without_a_usable_camera_info_the_intrinsics_are_estimated(running, msg, says):
    running.listen(CameraInfo, "/d4rt/depth/camera_info")
    if msg is not None:
        running.send_info(msg)
    running.stream()
    estimate = running.user.newest("/d4rt/depth/camera_info")
    assert estimate.k[0] == pytest.approx(100 * 47 / 63, rel=1e-3) and estimate.k[2] == pytest.approx(23.5)
    assert running.user.told("camera", says)
    assert running.user.figure("camera", "calibrated") == "False"
