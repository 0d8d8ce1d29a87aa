"""Reading videos, folders and webcams."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from d4rt_ros.io.frames import SourceError, open_frames
from d4rt_ros.io.image_files import image_files, natural_key, read_depth
from d4rt_ros.io.image_messages import ImageError

HEIGHT, WIDTH = 48, 80


def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """RGB, red at the left, green grows downwards, blue tells the index."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 220
    image[:, :, 1] = np.linspace(0, 200, height, dtype=np.uint8)[:, None]
    image[:, :, 2] = 20 * index
    return image


def write_video(path, count=5, rate=10.0, size=(HEIGHT, WIDTH)):
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, size[::-1])
    for index in range(count):
        writer.write(picture(index, *size)[..., ::-1])
    writer.release()
    return path


def write_image(path, image):
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_video_gives_its_frames_in_rgb_with_its_times(tmp_path, name):
    frames = open_frames(write_video(tmp_path / name))
    assert (frames.size, frames.rate, frames.count, frames.live) == ((HEIGHT, WIDTH), 10.0, 5, False)
    read = list(frames)
    assert len(read) == 5
    np.testing.assert_allclose([f.stamp for f in read], np.arange(5) * 1e8, atol=1e3)
    for index, frame in enumerate(read):
        assert frame.image.dtype == np.uint8 and frame.depth is None
        assert np.abs(frame.image.astype(int) - picture(index)).mean() < 8
    assert [f.stamp for f in frames] == [f.stamp for f in read], "a second iteration starts again"


def test_a_given_rate_replaces_the_files(tmp_path):
    frames = open_frames(write_video(tmp_path / "clip.mp4"), rate=25)
    assert frames.rate == 25
    assert [f.stamp for f in frames] == [i * 40_000_000 for i in range(5)]


def test_an_odd_size(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"{index}.png", picture(index, 47, 63))
    frames = open_frames(tmp_path)
    assert frames.size == (47, 63)
    np.testing.assert_array_equal(next(iter(frames)).image, picture(0, 47, 63))


def test_a_video_that_is_stored_on_its_side_is_turned(tmp_path):
    """Phones store portrait videos as landscape with a rotation in the track header."""
    path = write_video(tmp_path / "clip.mp4")
    data = bytearray(path.read_bytes())
    matrix = (
        data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # version and flags, times and ids, reserved, layer…volume
    one, fixed = 1 << 16, 1 << 30
    assert struct.unpack_from(">9i", data, matrix) == (one, 0, 0, 0, one, 0, 0, 0, fixed)
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, HEIGHT << 16, 0, fixed)  # by 90 degrees
    path.write_bytes(data)
    frames = open_frames(path)
    image = next(iter(frames)).image
    assert frames.size == image.shape[:2] == (WIDTH, HEIGHT)
    red = image[..., 0].astype(float).mean(axis=1)
    assert red[: WIDTH // 2 - 4].mean() > 200 and red[WIDTH // 2 + 4 :].mean() < 20, (
        "the left side is now the top"
    )


def test_natural_order():
    names = ["frame10.png", "frame9.png", "Frame1.png", "frame2b.png", "frame2a.png"]
    ordered = ["Frame1.png", "frame2a.png", "frame2b.png", "frame9.png", "frame10.png"]
    assert sorted(names, key=natural_key) == ordered


def test_a_folder_of_colour_and_depth_gives_the_colour(tmp_path):
    for index in (2, 10, 1):
        write_image(tmp_path / f"frame-{index}.color.png", picture(index))
        write_image(tmp_path / f"frame-{index}.depth.png", np.full((HEIGHT, WIDTH), 1000, np.uint16))
        (tmp_path / f"frame-{index}.pose.txt").write_text("1 0 0 0")
    assert [f.name for f in image_files(tmp_path)] == [f"frame-{i}.color.png" for i in (1, 2, 10)]
    frames = open_frames(tmp_path, rate=15)
    assert (frames.count, frames.rate, frames.has_depth) == (3, 15, False)
    read = list(frames)
    assert [f.stamp for f in read] == [0, 66_666_667, 133_333_333]
    np.testing.assert_array_equal(read[2].image, picture(10))


def test_a_pattern_chooses(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"left_{index}.png", picture(index))
        write_image(tmp_path / f"right_{index}.png", picture(index + 5))
    frames = open_frames(tmp_path, pattern="right_*")
    assert [int(f.image[0, 0, 2]) for f in frames] == [100, 120, 140]
    with pytest.raises(SourceError, match="no file in the folder .* matches 'middle_"):
        open_frames(tmp_path, pattern="middle_*")


def test_depth_of_a_folder_in_metres_with_nan_for_none(tmp_path):
    raw = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    raw[0, 1] = 65535
    for index in range(2):
        write_image(tmp_path / f"{index}.color.png", picture(index))
    write_image(tmp_path / "0.depth.png", raw)
    frames = open_frames(tmp_path, with_depth=True)
    first, second = list(frames)
    assert frames.has_depth and first.depth.shape == (HEIGHT, WIDTH) and first.depth.dtype == np.float32
    assert np.isnan(first.depth[0, :2]).all() and np.isfinite(first.depth[0, 2:]).all()
    assert first.depth[1, 3] == pytest.approx((WIDTH + 3) / 1000)
    assert np.isnan(second.depth).all(), "an image without its depth file has none"


def test_float_depth_is_metres(tmp_path):
    raw = np.array([[1.5, 0.0, -1.0, np.inf, np.nan]], np.float32)
    write_image(tmp_path / "depth.tiff", raw)
    np.testing.assert_array_equal(
        read_depth(tmp_path / "depth.tiff"), [[1.5, np.nan, np.nan, np.nan, np.nan]]
    )


def test_depth_that_is_not_depth(tmp_path):
    write_image(tmp_path / "depth.png", picture(1))
    with pytest.raises(ImageError, match="depth.png: has type uint8 .* one channel of uint16 or float32"):
        read_depth(tmp_path / "depth.png")


def test_a_folder_without_depth_says_so(tmp_path):
    write_image(tmp_path / "a.png", picture(1))
    with pytest.raises(SourceError, match="no depth image beside a.png"):
        open_frames(tmp_path, with_depth=True)


def test_mixed_sizes_name_the_file(tmp_path):
    write_image(tmp_path / "1.png", picture(1))
    write_image(tmp_path / "2.png", picture(1, 32, 40))
    frames = iter(open_frames(tmp_path))
    next(frames)
    with pytest.raises(SourceError, match=r"2\.png is 40x32, the frames before it are 80x48"):
        next(frames)


def test_a_truncated_image_names_the_file(tmp_path):
    write_image(tmp_path / "1.png", picture(1))
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:20])
    frames = iter(open_frames(tmp_path))
    next(frames)
    with pytest.raises(SourceError, match=r"2\.png: the png is cut off after 20 bytes"):
        next(frames)


def test_grey_and_transparent_images_become_rgb(tmp_path):
    write_image(tmp_path / "1.png", np.full((HEIGHT, WIDTH), 7, np.uint8))
    assert cv2.imwrite(str(tmp_path / "2.png"), np.full((HEIGHT, WIDTH, 4), 9, np.uint8))
    assert [f.image.shape for f in open_frames(tmp_path)] == [(HEIGHT, WIDTH, 3)] * 2


def test_sources_that_are_nothing(tmp_path):
    with pytest.raises(SourceError, match="'/nowhere/clip.mp4' does not exist; give a video file"):
        open_frames("/nowhere/clip.mp4")
    with pytest.raises(SourceError, match="'' does not exist"):
        open_frames("")
    with pytest.raises(SourceError, match="no file in the folder .* is an image"):
        open_frames(tmp_path)
    (tmp_path / "noise.mp4").write_bytes(zlib.compress(b"no video"))
    with pytest.raises(SourceError, match="noise.mp4 cannot be opened as a video"):
        open_frames(tmp_path / "noise.mp4")
    write_image(tmp_path / "frame1.png", picture(1))
    with pytest.raises(SourceError, match="single image; give its folder"):
        open_frames(tmp_path / "frame1.png")
    with pytest.raises(SourceError, match="webcam:97 cannot be opened"):
        open_frames("webcam:97")


def test_a_truncated_video_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="clip.mp4 cannot be opened as a video"):
        open_frames(path)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_rates_that_are_none(tmp_path, rate):
    with pytest.raises(SourceError, match="positive number of frames per second"):
        open_frames(write_video(tmp_path / "clip.mp4"), rate=rate)


class Webcam:
    """What OpenCV offers of a camera that delivers three images."""

    def __init__(self, device):
        self.device, self.images = device, [picture(i)[..., ::-1] for i in range(4)]

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return self.device == 3

    def set(self, *_):
        return True

    def get(self, prop):
        return 15.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        return (True, self.images.pop(0)) if self.images else (False, None)

    def release(self):
        self.images = []


def test_a_webcam_runs_until_it_stops_delivering(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    frames = open_frames("webcam:3")
    assert (frames.size, frames.rate, frames.count, frames.live) == ((HEIGHT, WIDTH), 15.0, None, True)
    stamps, images = [], []
    with pytest.raises(SourceError, match="webcam:3 stopped delivering"):
        for frame in frames:
            stamps.append(frame.stamp)
            images.append(frame.image)
    assert len(stamps) == 3 and (np.diff(stamps) > 0).all()
    np.testing.assert_array_equal(images[0], picture(1))


class Phone:
    """What OpenCV offers of a video whose frames come at their own times, milliseconds."""

    times = (40.0, 70.0, 140.0, 140.0, 0.0)

    def __init__(self, path):
        self.index = -1

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return True

    def set(self, *_):
        return True

    def get(self, prop):
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_POS_MSEC: self.times[max(self.index, 0)]}.get(prop, 0.0)

    def read(self):
        self.index += 1
        return (True, picture(self.index)) if self.index < len(self.times) else (False, None)

    def release(self):
        pass


def test_times_that_vary_are_kept_and_times_that_stand_still_go_on_at_the_files_rate(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", Phone)
    frames = open_frames(tmp_path / "clip.mp4")
    assert frames.count is None, "the file does not say"
    assert [f.stamp / 1e6 for f in frames] == [0, 30, 100, 140, 180]
