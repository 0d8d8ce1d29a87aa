"""The video camera as a real node in a process of its own."""

import signal
import sys
import threading
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from camera_process import CameraProcess, RosProcess, end_limit, nanoseconds  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d4rt_ros.ros.playback import Pace, rgb_image  # noqa: E402

HEIGHT, WIDTH = 48, 80
MODULE = "d4rt_ros.ros.video_camera"


@pytest.fixture
def folder(tmp_path):
    """Nine images whose blue channel counts, with depth that counts too."""
    for index in range(9):
        image = np.full((HEIGHT, WIDTH, 3), (10 * index, 0, 200), np.uint8)  # BGR
        image[:, : WIDTH // 4, 2] = 100
        assert cv2.imwrite(str(tmp_path / f"frame-{index}.color.png"), image)
        depth = np.full((HEIGHT, WIDTH), 1000 + index, np.uint16)
        depth[0, 0] = 0
        assert cv2.imwrite(str(tmp_path / f"frame-{index}.depth.png"), depth)
    return tmp_path


def pixels(msg):
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)


def test_every_image_of_a_folder_arrives_once_in_order_and_the_node_ends(folder):
    with CameraProcess(MODULE, source=folder, rate=30, camera_info="'60 61 40 24'", frame_id="eye") as camera:
        camera.subscribe(CameraInfo, "camera_info")
        camera.until_there("camera_info")
        camera.subscribe(Image, "image")
        status, output = camera.finish()
        assert status == 0, output
        assert "80x48 at 30 Hz, 9 images, fx 60" in output and "ended after 9 images" in output
        images, infos = camera.messages["image"], camera.messages["camera_info"]
        assert [int(pixels(m)[0, 0, 2]) for m in images] == [10 * i for i in range(9)]
        assert pixels(images[0])[5, 0].tolist() == [100, 0, 0] and pixels(images[0])[5, 79].tolist() == [
            200,
            0,
            0,
        ]
        m = images[0]
        assert (m.encoding, m.width, m.height, m.step, m.header.frame_id) == (
            "rgb8",
            WIDTH,
            HEIGHT,
            3 * WIDTH,
            "eye",
        )
        stamps = [nanoseconds(m) for m in images]
        gaps = np.diff(stamps)
        assert (gaps > 0).all() and np.median(gaps) == pytest.approx(1e9 / 30, rel=0.01)
        assert [nanoseconds(m) for m in infos] == stamps
        np.testing.assert_array_equal(infos[0].k, [60, 0, 40, 0, 61, 24, 0, 0, 1])
        assert (infos[0].width, infos[0].height, infos[0].header.frame_id) == (WIDTH, HEIGHT, "eye")


def test_stamps_are_now_and_the_pace_is_the_sources(folder):
    received = []
    with CameraProcess(MODULE, source=folder, rate=20) as camera:
        camera.node.create_subscription(
            Image, "image", lambda m: received.append((time.time_ns(), nanoseconds(m))), 10
        )
        camera.until(lambda: len(received) == 9)
    arrival, stamp = np.array(received).T
    assert (np.abs(arrival - stamp) < 2e9).all()  # late on a busy machine; made up, it would be off by years
    assert 8 / 20 - 0.05 < (stamp[-1] - stamp[0]) / 1e9 < 2.0


def test_it_waits_for_somebody_to_listen(folder):
    with CameraProcess(MODULE, source=folder) as camera:
        camera.subscribe(CameraInfo, "camera_info")
        camera.receive(2.0)
        assert camera.process.poll() is None and not camera.messages["camera_info"]
        camera.subscribe(Image, "image")
        assert camera.finish()[0] == 0
        assert len(camera.messages["image"]) == 9


def test_it_waits_for_as_many_as_it_is_told(folder):
    with CameraProcess(MODULE, source=folder, wait_for_subscribers=2) as camera:
        camera.subscribe(Image, "image")
        camera.receive(2.0)
        assert camera.process.poll() is None and not camera.messages["image"]
        camera.subscribe(Image, "image")
        assert camera.finish()[0] == 0
        assert len(camera.messages["image"]) == 18


def test_it_need_not_wait(folder):
    with CameraProcess(MODULE, source=folder, wait_for_subscribers=0) as camera:
        assert camera.finish()[0] == 0


def test_a_loop_goes_on_with_increasing_stamps(folder):
    with CameraProcess(MODULE, source=folder, rate=50, loop="true") as camera:
        camera.subscribe(Image, "image")
        camera.until(lambda: len(camera.messages["image"]) > 21)
        counts = [int(pixels(m)[0, 0, 2]) // 10 for m in camera.messages["image"]]
        assert counts == [i % 9 for i in range(len(counts))]
        gaps = np.diff([nanoseconds(m) for m in camera.messages["image"]])
        assert (gaps > 0).all()
        camera.process.send_signal(signal.SIGINT)
        assert camera.finish()[0] == 0


def test_depth_of_a_folder_has_its_images_stamps(folder):
    with CameraProcess(MODULE, source=folder, depth="true") as camera:
        camera.subscribe(Image, "depth")
        camera.until_there("depth")
        camera.subscribe(Image, "image")
        assert camera.finish()[0] == 0
        images, depths = camera.messages["image"], camera.messages["depth"]
        assert [nanoseconds(m) for m in depths] == [nanoseconds(m) for m in images]
        for index, message in enumerate(depths):
            depth = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
            assert message.encoding == "32FC1" and depth.shape == (HEIGHT, WIDTH)
            assert np.isnan(depth[0, 0]) and depth[3, 7] == pytest.approx(1 + index / 1000)


def test_a_video_without_calibration(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (WIDTH, HEIGHT))
    for _ in range(5):
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    writer.release()
    with CameraProcess(MODULE, source=tmp_path / "a.avi", remap=["image:=color/image_raw"]) as camera:
        camera.subscribe(CameraInfo, "camera_info")
        camera.until_there("camera_info")
        camera.subscribe(Image, "color/image_raw")
        status, output = camera.finish()
        assert status == 0 and "uncalibrated" in output
        assert len(camera.messages["color/image_raw"]) == 5
        info = camera.messages["camera_info"][0]
        assert not any(info.k) and not any(info.p) and (info.width, info.height) == (WIDTH, HEIGHT)


def test_a_calibration_file_is_published_as_it_is(folder):
    (folder / "camera.yaml").write_text(
        "image_width: 80\nimage_height: 48\ndistortion_model: equidistant\n"
        "camera_matrix: {rows: 3, cols: 3, data: [50, 0, 40, 0, 51, 23, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.01, -0.02, 0.003, -0.001, 0]}\n"
        "rectification_matrix: {rows: 3, cols: 3, data: [0, -1, 0, 1, 0, 0, 0, 0, 1]}\n"
        "projection_matrix: {rows: 3, cols: 4, data: [45, 0, 39, 0, 0, 46, 24, 0, 0, 0, 1, 0]}\n"
    )
    path = folder / "camera.yaml"
    with CameraProcess(MODULE, source=folder, pattern="'*.color.png'", camera_info=path) as camera:
        camera.subscribe(CameraInfo, "camera_info")
        camera.subscribe(Image, "image")
        status, output = camera.finish()
        assert status == 0, output
        info = camera.messages["camera_info"][0]
    assert (info.width, info.height, info.distortion_model) == (80, 48, "equidistant")
    assert list(info.k) == [50, 0, 40, 0, 51, 23, 0, 0, 1] and list(info.d) == [0.01, -0.02, 0.003, -0.001, 0]
    assert list(info.r) == [0, -1, 0, 1, 0, 0, 0, 0, 1]
    assert list(info.p) == [45, 0, 39, 0, 0, 46, 24, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"source": "/nowhere.mp4"}, "'/nowhere.mp4' does not exist; give a video file"),
        ({"source": "FOLDER", "rate": "fast"}, "parameter rate is 'fast'; expected float"),
        ({"source": "FOLDER", "camera_info": "'1 2 3'"}, "has 3 numbers"),
        ({"source": "FOLDER", "camera_info": "'525 525 320 240'"}, "outside the 80x48 images"),
        ({"source": "FOLDER", "pattern": "'*.gif'"}, "no file in the folder"),
        ({"source": "FOLDER", "pattern": "*.gif"}, "needs quotes"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(folder, parameters, message):
    parameters = {k: folder if v == "FOLDER" else v for k, v in parameters.items()}
    with CameraProcess(MODULE, **parameters) as camera:
        status, output = camera.finish()
    assert status == 1 and message in output and "Traceback" not in output


def test_an_image_that_breaks_later_ends_the_node_with_its_name(folder):
    (folder / "frame-4.color.png").write_bytes(b"broken")
    with CameraProcess(MODULE, source=folder) as camera:
        camera.subscribe(Image, "image")
        status, output = camera.finish()
        assert len(camera.messages["image"]) == 4
    assert status == 1 and "frame-4.color.png: cannot be decoded" in output and "Traceback" not in output


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_while_a_source_is_still_opening(sent):
    """As a camera in the network is, or a webcam that another program holds."""
    code = (
        "import time; from d4rt_ros.ros import process; process.prepare(); import d4rt_ros.ros.video_camera as camera\n"
        "def opening(*_): print('opening', flush=True); time.sleep(60)\n"
        "camera.open_frames = opening; process.run(camera.__name__)"
    )
    with RosProcess(sys.executable, "-c", code, "--ros-args", "-p", "source:=rtsp://robot/stream") as camera:
        camera.until(lambda: "opening" in camera.output(), 30)
        began = time.monotonic()
        camera.process.send_signal(sent)
        status, output = camera.finish(30)
    assert status == 0 and output.strip() == "opening"
    assert time.monotonic() - began < end_limit()


def test_an_image_message_is_built_in_a_few_milliseconds():
    from d4rt_ros.ros.messages import header_message

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        msg = rgb_image(header_message(1, "camera"), image)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.005
    np.testing.assert_array_equal(pixels(msg), image)


class Clock:
    """A clock and an event whose waiting moves it."""

    def __init__(self):
        self.time = 5 * 10**9

    def now(self):
        return self.time

    def wait(self, seconds):
        assert seconds >= 0
        self.time += round(seconds * 1e9)


def test_pace_keeps_the_recordings_times():
    clock = Clock()
    pace = Pace(clock.now, 100, clock)
    stamps = []
    for time_ in (0, 100, 250, 300):
        stamps.append(pace.wait(time_))
        assert clock.time == stamps[-1]
        clock.time += 30  # publishing takes its time
    assert np.diff(stamps).tolist() == [100, 150, 50]


def test_pace_starts_again_a_period_after_the_last():
    clock = Clock()
    pace = Pace(clock.now, 100, clock)
    stamps = [pace.wait(t) for t in (0, 100, 200, 0, 100, 200, 0)]
    assert np.diff(stamps).tolist() == [100] * 6


def test_pace_does_not_make_up_for_a_slow_reader():
    clock = Clock()
    pace = Pace(clock.now, 100, clock)
    first = pace.wait(0)
    clock.time += 1000
    second = pace.wait(100)
    assert second - first == 1000 == clock.time - first
    assert pace.wait(200) - second == 100


def test_pace_increases_when_the_clock_is_set_back():
    clock = Clock()
    pace = Pace(clock.now, 100, clock)
    first = pace.wait(0)
    clock.time -= 10**9
    before = clock.time
    assert pace.wait(100) > first
    assert clock.time - before <= 100, "does not stand still for a second"


def test_the_real_event_is_what_pace_waits_on():
    stop = threading.Event()
    pace = Pace(time.monotonic_ns, 10**7, stop)
    start = time.monotonic()
    for index in range(6):
        pace.wait(index * 10**7)
    assert 0.045 < time.monotonic() - start < 0.5
