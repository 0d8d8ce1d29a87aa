"""A trajectory of TartanAir, written as the data set has it."""

import cv2
import numpy as np
import pytest

from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.datasets.tartanair import open_tartanair

HEIGHT, WIDTH = 24, 40


def write_trajectory(folder, count=3):
    for name in ("image_left", "depth_left"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"image_left/{i:06d}_left.png"), np.full((HEIGHT, WIDTH, 3), i, np.uint8))
        depth = np.full((HEIGHT, WIDTH), 3.0 + i, np.float32)
        depth[0] = 10_000
        np.save(folder / f"depth_left/{i:06d}_left_depth.npy", depth)
    # Flying north (x), then turned by 90 degrees to the right, about z which is down.
    turn = np.sqrt(0.5)
    np.savetxt(
        folder / "pose_left.txt", [[1, 0, 0, 0, 0, 0, 1]] * (count - 1) + [[1, 0, 0, 0, 0, turn, turn]]
    )


def test_frames(tmp_path):
    folder = tmp_path / "hospital" / "Easy" / "P001"
    write_trajectory(folder)
    sequence = open_tartanair(folder)
    assert (sequence.name, len(sequence), sequence.static) == ("hospital/Easy/P001", 3, True)
    frame = sequence.frame(1)
    assert frame.image.max() == 1 and frame.camera.matrix[0, 0] == 320
    assert np.isnan(frame.depth[0]).all() and (frame.depth[1:] == 4).all()
    # The optical axis points north, the image's right side east, its lower side down.
    np.testing.assert_allclose(
        frame.world_from_camera[:3, :3].T, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-9
    )
    turned = sequence.frame(2).world_from_camera
    np.testing.assert_allclose(turned[:3, 2], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(turned[:3, 3], [1, 0, 0], atol=1e-9)


def test_bad_trajectories(tmp_path):
    with pytest.raises(RecordedError, match="holds no image_left"):
        open_tartanair(tmp_path)
    write_trajectory(tmp_path)
    rows = np.loadtxt(tmp_path / "pose_left.txt")
    rows[1, 3] = np.nan
    np.savetxt(tmp_path / "pose_left.txt", rows)
    sequence = open_tartanair(tmp_path)
    with pytest.raises(RecordedError, match="pose_left.txt, line 2"):
        sequence.frame(1)
    (tmp_path / "depth_left/000000_left_depth.npy").write_bytes(b"no")
    with pytest.raises(RecordedError, match="000000_left_depth.npy: is no array"):
        sequence.frame(0)
    (tmp_path / "depth_left/000002_left_depth.npy").unlink()
    with pytest.raises(RecordedError, match="000002_left_depth.npy: is missing"):
        sequence.frame(2)
    np.savetxt(tmp_path / "pose_left.txt", rows[:2])
    with pytest.raises(RecordedError, match="has 2 poses for 3 images"):
        open_tartanair(tmp_path)
    for file in tmp_path.glob("depth_left/*"):
        file.unlink()
    with pytest.raises(RecordedError, match="depth_left"):
        open_tartanair(tmp_path)
