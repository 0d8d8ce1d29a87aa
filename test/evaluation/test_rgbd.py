"""Depth against a depth camera's, on a folder that the test writes."""

import cv2
import numpy as np
import pytest

from d4rt_ros.evaluation.rgbd import RgbdError, evaluate_rgbd, read_depth


class Model:
    """Two frames a window; answers one depth everywhere."""

    num_frames = 2

    def prepare(self, image):
        return image

    def __init__(self, scene):
        self.encode = scene


def write(folder, count=5):
    random = np.random.default_rng(0)
    for i in range(count):
        cv2.imwrite(str(folder / f"frame-{i:06d}.color.jpg"), random.integers(0, 255, (24, 40, 3), np.uint8))
        depth = np.tile(np.linspace(1000, 3000, 40), (24, 1)).astype(np.uint16)
        depth[:2], depth[2:4] = 0, 65535
        cv2.imwrite(str(folder / f"frame-{i:06d}.depth.png"), depth)


def test_one_depth_everywhere_is_the_baseline(tmp_path, still_scene):
    write(tmp_path)
    error, delta = evaluate_rgbd(Model(still_scene), tmp_path)
    assert error.count == 3  # windows of 2 frames, every second one, in 5 frames
    assert error.value == pytest.approx(error.baseline) and delta.value == pytest.approx(delta.baseline)
    assert 0.1 < error.value < 0.5


def test_unknown_depth_is_nan(tmp_path):
    write(tmp_path, 1)
    depth = read_depth(tmp_path / "frame-000000.depth.png")
    assert np.isnan(depth[:4]).all() and depth[10, 0] == pytest.approx(1.0)


def test_bad_folders(tmp_path, still_scene):
    with pytest.raises(RgbdError, match="needs more than 2 frames"):
        evaluate_rgbd(Model(still_scene), tmp_path)
    write(tmp_path)
    (tmp_path / "frame-000001.depth.png").unlink()
    with pytest.raises(RgbdError, match="found 5 and 4"):
        evaluate_rgbd(Model(still_scene), tmp_path)
    write(tmp_path)
    (tmp_path / "frame-000004.depth.png").write_bytes(b"nonsense")
    with pytest.raises(RgbdError, match="frame-000004.depth.png: not a readable"):
        evaluate_rgbd(Model(still_scene), tmp_path)
