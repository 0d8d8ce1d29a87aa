"""A scan of ScanNet, written as its SensReader exports it."""

import cv2
import numpy as np
import pytest

from d4rt_ros.geometry.transforms import pose_matrix
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.datasets.scannet import open_scannet

HEIGHT, WIDTH = 20, 32  # of depth; the images are twice as large


def write_scan(folder, count=11):
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir()
    for i in range(count):
        cv2.imwrite(str(folder / f"color/{i}.jpg"), np.full((2 * HEIGHT, 2 * WIDTH, 3), 20 * i, np.uint8))
        cv2.imwrite(str(folder / f"depth/{i}.png"), np.full((HEIGHT, WIDTH), 1000 + i, np.uint16))
        np.savetxt(folder / f"pose/{i}.txt", pose_matrix(translation=(i, 0, 0)))
    np.savetxt(folder / "intrinsic/intrinsic_color.txt", np.diag([60.0, 62, 1, 1]) + 31.5 * np.eye(4, k=2))


def test_frames_come_at_the_size_of_their_depth(tmp_path):
    write_scan(tmp_path)
    scan = open_scannet(tmp_path)
    assert len(scan) == 11 and scan.static
    frame = scan.frame(10)  # not the third, as sorting names as text would have it
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and abs(int(frame.image.mean()) - 200) < 3
    assert frame.depth[0, 0] == pytest.approx(1.01)
    assert frame.world_from_camera[0, 3] == 10
    assert frame.camera.matrix[0, 0] == 30 and frame.camera.matrix[1, 1] == 31


def test_bad_scans(tmp_path):
    with pytest.raises(RecordedError, match="holds no color"):
        open_scannet(tmp_path)
    write_scan(tmp_path)
    np.savetxt(tmp_path / "pose/1.txt", np.full((4, 4), -np.inf))
    with pytest.raises(RecordedError, match=r"pose/1.txt: the pose has numbers that are not finite"):
        open_scannet(tmp_path).frame(1)
    (tmp_path / "depth/2.png").unlink()
    with pytest.raises(RecordedError, match=r"depth/2.png: is missing"):
        open_scannet(tmp_path).frame(2)
    (tmp_path / "intrinsic/intrinsic_color.txt").unlink()
    with pytest.raises(RecordedError, match="intrinsic_color.txt: is missing; expected 4x4 numbers"):
        open_scannet(tmp_path)
