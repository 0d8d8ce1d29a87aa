"""Each fault of the camera that misbehaves, seen by a subscriber."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from camera_process import RosProcess, nanoseconds  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from d4rt_ros.io.image_messages import ImageError, rgb_from_compressed, rgb_from_image  # noqa: E402
from d4rt_ros.ros.listening.faulty_camera import FAULTS, READY  # noqa: E402

WIDTH, HEIGHT, RATE = 96, 64, 30.0
PERIOD = 1e9 / RATE


class Camera(RosProcess):
    """The camera, told its faults, and what it sent while it had one."""

    def __init__(self, kind=Image, topic="image", **parameters):
        parameters = dict(width=WIDTH, height=HEIGHT, rate=RATE, loop=1.0) | parameters
        words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        super().__init__(
            sys.executable,
            "-m",
            "d4rt_ros.ros.listening.faulty_camera",
            "--ros-args",
            *words,
            stdin=subprocess.PIPE,
        )
        self._kind, self._topic = kind, topic

    def __enter__(self):
        super().__enter__()
        self.subscribe(self._kind, self._topic)
        self.subscribe(CameraInfo, "camera_info")
        self.images, self.infos = self.messages[self._topic], self.messages["camera_info"]
        self.until(lambda: READY in self.output() and len(self.images) > 5 and len(self.infos) > 5, 60)
        return self

    def during(self, fault, seconds):
        """Images and camera_infos from a fault's beginning to its end, as stamped; and both stamps."""
        begins = len(self.images), len(self.infos)
        told = f"fault {fault} "
        count = self.output().count(told)
        self.tell(f"{fault} {seconds}")
        self.until(lambda: self.output().count(told) > count)
        begin, end = map(int, self.output().rpartition(told)[2].split()[:2])
        after = lambda kept: nanoseconds(kept[-1]) > end + 3 * PERIOD  # noqa: E731
        self.until(lambda: after(self.images) and after(self.infos))
        images, infos = (
            [m for m in kept[start:] if begin - 2 * PERIOD <= nanoseconds(m) < end]
            for kept, start in zip((self.images, self.infos), begins, strict=True)
        )
        return images, infos, begin, end

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def camera():
    with Camera() as running:
        yield running


def pixels(message):
    return np.frombuffer(message.data, np.uint8).reshape(HEIGHT, WIDTH, 3).astype(int)


def test_images_without_a_fault_are_right(camera):
    begin = len(camera.images)
    camera.until(lambda: len(camera.images) > begin + 10)
    stamps = np.array([nanoseconds(m) for m in camera.images[begin:]])
    assert (np.diff(stamps) > 0).all() and all(pixels(m).std() > 5 for m in camera.images[begin:])
    info = camera.infos[-1]
    assert (info.width, info.height) == (WIDTH, HEIGHT) and info.k[0] == info.p[0] > 10


def test_stamps_go_wrong_as_told(camera):
    late, _, _, _ = camera.during("late", 0.6)
    assert (np.diff([nanoseconds(m) for m in late]) < 0).any(), "one comes after those that follow it"
    early, _, _, _ = camera.during("early", 0.6)
    steps = np.diff([nanoseconds(m) for m in early])
    assert (steps < 0).any() and steps.min() > -1.5 * PERIOD
    duplicate, _, _, _ = camera.during("duplicate", 0.6)
    assert (np.diff([nanoseconds(m) for m in duplicate]) == 0).any()


def test_a_stop_is_a_stop_and_then_the_view_goes_on(camera):
    images, _, begin, end = camera.during("stop", 0.5)
    assert not [m for m in images if nanoseconds(m) >= begin] and end - begin == pytest.approx(
        0.5e9, abs=2 * PERIOD
    )


def test_pictures_go_wrong_as_told(camera):
    def within(fault, seconds=0.4):
        images, _, begin, _ = camera.during(fault, seconds)
        return [pixels(m) for m in images if nanoseconds(m) >= begin]

    assert all(not p.any() for p in within("black"))
    noise = within("noise")
    assert np.abs(noise[1] - noise[0]).mean() > 60
    frozen = within("frozen")
    assert len(frozen) > 5 and all((p == frozen[0]).all() for p in frozen)
    brightness = [p.mean() for p in within("exposure", 1.2)]
    assert max(brightness) > 1.8 * min(brightness)


def test_a_cut_is_another_scene_and_a_second_one_leads_back(camera):
    def scenes():
        before = pixels(camera.images[-1])
        _, _, begin, _ = camera.during("cut", 0)
        after = next(pixels(m) for m in camera.images if nanoseconds(m) >= begin)
        return before, after

    first, second = scenes()
    assert np.abs(first - second).mean() > 10
    again, _ = scenes()
    assert np.abs(again - second).mean() < np.abs(first - second).mean()


def test_images_are_lost_and_damaged_as_told(camera):
    images, _, begin, end = camera.during("drop", 1.5)
    share = len([m for m in images if nanoseconds(m) >= begin]) * PERIOD / (end - begin)
    assert 0.3 < share < 0.85
    damaged, refused = camera.during("damage", 1.0)[0], []
    for message in damaged:
        try:
            rgb_from_image(message)
        except ImageError as error:
            refused.append(str(error))
    assert len(set(refused)) >= 3 and len(refused) < len(damaged), refused


def test_camera_info_goes_wrong_as_told(camera):
    focal = camera.infos[-1].k[0]
    _, infos, begin, _ = camera.during("info_gone", 0.4)
    assert not [m for m in infos if nanoseconds(m) >= begin]
    for fault, right in (("info_other", lambda k: k == pytest.approx(1.3 * focal)), ("info_nan", np.isnan)):
        _, infos, begin, _ = camera.during(fault, 0.4)
        seen = [m.k[0] for m in infos if nanoseconds(m) >= begin]
        assert seen and all(right(k) for k in seen)


def test_what_is_no_fault_is_said(camera):
    camera.tell("sleep 3")
    camera.tell("what")
    camera.until(lambda: "there is no fault sleep" in camera.output() and "a command is" in camera.output())
    assert all(name in camera.output() for name in FAULTS)


def test_jpeg_is_cut():
    with Camera(CompressedImage, "image/compressed", compressed="true") as camera:
        assert rgb_from_compressed(camera.images[0]).shape == (HEIGHT, WIDTH, 3)
        damaged = camera.during("damage", 0.5)[0]
        bad = 0
        for message in damaged:
            try:
                rgb_from_compressed(message)
            except ImageError:
                bad += 1
        assert 0 < bad < len(damaged)
