"""The demo's picture of made-up records."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")
pytest.importorskip("matplotlib")

from wall import wall_recording  # noqa: E402

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
        tracks=(pixels.astype(np.float32), rng.uniform(size=(30, 8)) > 0.3),
    )


def inches(picture):
    return np.array(picture.shape[1::-1]) / 100


@pytest.mark.parametrize("truth", [True, False])
def test_a_row_for_each_moment_a_column_for_each_quantity_and_the_whole_run_beside_them(tmp_path, truth):
    path = tmp_path / "overview.png"
    run = wall_recording(truth)
    run.records = [record(i, truth) for i in range(9)]
    assert demo_picture.draw(run, path)
    picture = cv2.imread(str(path))
    wide, moments = demo_picture.TALL * 80 / 48, 3 if truth else 2
    tall = demo_picture.HEAD + 3 * demo_picture.TALL
    assert inches(picture) == pytest.approx([moments * wide + demo_picture.SIDE, tall], abs=0.02)
    right = round(100 * moments * wide)
    columns = [*np.array_split(picture[40:, :right], moments, axis=1), picture[40:400, right:]]
    columns.append(picture[-150:-50, right + 80 :])
    assert all(c.std() > 10 for c in columns), "no panel is empty"


def test_a_portrait_image_a_single_record_and_no_place_that_is_known(tmp_path):
    single = record(1, truth=False, height=90, width=60)
    single.depth[:] = np.nan
    assert demo_picture.draw(Recording(records=[single]), tmp_path / "overview.png")
    picture = cv2.imread(str(tmp_path / "overview.png"))
    assert inches(picture)[0] == pytest.approx(2 * demo_picture.TALL * 60 / 90, abs=0.02)


def test_without_a_record_there_is_no_picture(tmp_path):
    assert not demo_picture.draw(Recording(), tmp_path / "overview.png")
    assert not (tmp_path / "overview.png").exists()


def test_records_are_spread_over_time_and_leave_the_first_out():
    assert demo_picture.chosen(list(range(10))) == [1, 5, 9]
    assert demo_picture.chosen([4, 5]) == [4, 5]
