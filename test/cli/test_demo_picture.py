"""The demo's picture of made-up records."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")
pytest.importorskip("matplotlib")

from d4rt_ros.cli import demo_picture  # noqa: E402
from d4rt_ros.ros.listening.listener import FrameRecord, Recording  # noqa: E402


def record(stamp, truth=True, height=48, width=80):
    rng = np.random.default_rng(stamp)
    depth = rng.uniform(1, 4, (12, 20)).astype(np.float32)
    depth[0] = np.nan
    pixels = rng.uniform(0, 1, (30, 8, 2)) * (width, height)
    pixels[3] = np.nan
    return FrameRecord(
        stamp,
        image=rng.integers(0, 256, (height, width, 3), np.uint8),
        depth=depth,
        true_depth=rng.uniform(2, 8, (24, 40)).astype(np.float32) if truth else None,
        cloud=(rng.uniform(1, 3, (200, 3)).astype(np.float32), rng.integers(0, 256, (200, 3), np.uint8)),
        tracks=(pixels.astype(np.float32), rng.uniform(size=(30, 8)) > 0.3),
        camera=np.array([[20.0, 0, 9.5], [0, 20, 5.5], [0, 0, 1]]),
    )


@pytest.mark.parametrize("truth", [True, False])
def test_a_row_for_each_record_and_a_column_for_each_quantity(tmp_path, truth):
    path = tmp_path / "overview.png"
    assert demo_picture.draw(Recording(records=[record(i, truth) for i in range(9)]), path)
    picture = cv2.imread(str(path))
    panel = demo_picture.PANEL * 100
    assert picture.shape[1] == pytest.approx(panel * (4 if truth else 3), abs=2)
    assert picture.shape[0] == pytest.approx(3 * panel * 48 / 80 + 35, abs=2)
    columns = np.array_split(picture[40:], 4 if truth else 3, axis=1)
    assert all(c.std() > 10 for c in columns), "no panel is empty"


def test_a_portrait_image_and_a_single_record_with_no_points(tmp_path):
    single = record(1, truth=False, height=90, width=60)
    single.cloud = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    single.depth[:] = np.nan
    assert demo_picture.draw(Recording(records=[single]), tmp_path / "overview.png")
    picture = cv2.imread(str(tmp_path / "overview.png"))
    assert picture.shape[0] == pytest.approx(demo_picture.PANEL * 150 + 35, abs=2)


def test_without_a_record_there_is_no_picture(tmp_path):
    assert not demo_picture.draw(Recording(), tmp_path / "overview.png")
    assert not (tmp_path / "overview.png").exists()


def test_records_are_spread_over_time_and_leave_the_first_out():
    assert demo_picture.chosen(list(range(10))) == [1, 5, 9]
    assert demo_picture.chosen([4, 5]) == [4, 5]
