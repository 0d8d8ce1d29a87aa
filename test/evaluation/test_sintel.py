"""Sintel's formats, as the test writes them."""

import cv2
import numpy as np
import pytest

from d4rt_ros.evaluation.recorded import evaluate_recorded
from d4rt_ros.evaluation.sintel import TAG, open_sintel, read_cam, read_dpt
from d4rt_ros.geometry import pose_matrix
from d4rt_ros.io.recorded import RecordedError

K = np.array([[60, 0, 19.5], [0, 60, 11.5], [0, 0, 1.0]])


def write_dpt(file, depth):
    height, width = depth.shape
    file.write_bytes(
        TAG.tobytes() + np.array([width, height], "<i4").tobytes() + depth.astype("<f4").tobytes()
    )


def write_cam(file, matrix, camera_from_world):
    file.write_bytes(
        TAG.tobytes() + matrix.astype("<f8").tobytes() + camera_from_world[:3].astype("<f8").tobytes()
    )


@pytest.fixture
def training(tmp_path):
    folder, random = tmp_path / "training", np.random.default_rng(0)
    for part in ("final", "depth", "camdata_left"):
        (folder / part / "cave_2").mkdir(parents=True)
    for i in range(4):
        name = f"cave_2/frame_{i + 1:04}"
        cv2.imwrite(str(folder / "final" / f"{name}.png"), random.integers(0, 255, (24, 40, 3), np.uint8))
        depth = np.tile(np.linspace(2, 9, 40), (24, 1))
        depth[:3] = 1e9
        write_dpt(folder / "depth" / f"{name}.dpt", depth)
        write_cam(
            folder / "camdata_left" / f"{name}.cam", K, pose_matrix(translation=[-0.1 * i, 0.02 * i**2, 0])
        )
    return folder


def test_frames(training):
    (sequence,) = open_sintel(training)
    assert (sequence.name, len(sequence), sequence.static) == ("cave_2", 4, False)
    frame = sequence.frame(3)
    assert frame.image.shape == (24, 40, 3) and frame.depth.shape == (24, 40)
    assert np.isnan(frame.depth[:3]).all() and frame.depth[5, 0] == 2
    np.testing.assert_array_equal(frame.camera.matrix, K)
    np.testing.assert_allclose(frame.world_from_camera[:3, 3], [0.3, -0.18, 0])


def test_it_can_be_evaluated_on(training, still_model):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")
    figures = {f.name: f for f in evaluate_recorded(still_model, open_sintel(training.parent))}
    error = figures["depth AbsRel, median-scaled"]
    assert error.value == pytest.approx(error.baseline) and error.count == 2
    assert 0 < figures["ATE of a clip (Sim3), m"].value < 1.2 * figures["ATE of a clip (Sim3), m"].baseline


def test_bad_folders(training, tmp_path):
    with pytest.raises(RecordedError, match="none of Sintel's sequences; expected final/alley_2"):
        open_sintel(tmp_path / "elsewhere")
    (sequence,) = open_sintel(training)
    file = training / "depth/cave_2/frame_0001.dpt"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(RecordedError, match=r"frame_0001.dpt: says 40x24 and has \d+ bytes"):
        sequence.frame(0)
    file.unlink()
    with pytest.raises(RecordedError, match="frame_0001.dpt: cannot be read"):
        sequence.frame(0)
    (training / "camdata_left/cave_2/frame_0002.cam").write_bytes(b"PIEHnonsense")
    with pytest.raises(RecordedError, match="frame_0002.cam: has 12 bytes"):
        sequence.frame(1)
    (training / "final/cave_2/frame_0003.png").write_bytes(b"nonsense")
    with pytest.raises(RecordedError, match="frame_0003.png: cannot be decoded"):
        sequence.frame(2)


def test_other_files(tmp_path):
    for read in (read_dpt, read_cam):
        (tmp_path / "file").write_bytes(b"something else")
        with pytest.raises(RecordedError, match="does not begin with Sintel's tag"):
            read(tmp_path / "file")
    (tmp_path / "file").write_bytes(TAG.tobytes())
    with pytest.raises(RecordedError, match="says 0x0"):
        read_dpt(tmp_path / "file")
