"""A drive of Virtual KITTI 2, written as the data set has it."""

import cv2
import numpy as np
import pytest

from d4rt_ros.geometry.transforms import invert, pose_from_quaternion
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.datasets.virtual_kitti import open_virtual_kitti

HEIGHT, WIDTH = 18, 60


def pose(i):
    return pose_from_quaternion([0, 0.05 * i, 0, 1], [0, 0, 1.5 * i])


def write_drive(folder, count=3):
    rgb, depth = (folder / "frames" / name / "Camera_0" for name in ("rgb", "depth"))
    rgb.mkdir(parents=True)
    depth.mkdir(parents=True)
    intrinsics = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"]
    extrinsics = ["frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1"]
    for i in range(count):
        cv2.imwrite(str(rgb / f"rgb_{i:05d}.jpg"), np.full((HEIGHT, WIDTH, 3), 50 * i, np.uint8))
        raw = np.full((HEIGHT, WIDTH), 1234, np.uint16)
        raw[0] = 65535
        cv2.imwrite(str(depth / f"depth_{i:05d}.png"), raw)
        for camera in (0, 1):
            intrinsics.append(f"{i} {camera} {40 + camera} 41 30 9")
            numbers = " ".join(f"{x:.8f}" for x in invert(pose(i + camera)).ravel())
            extrinsics.append(f"{i} {camera} {numbers}")
    (folder / "intrinsic.txt").write_text("\n".join(intrinsics))
    (folder / "extrinsic.txt").write_text("\n".join(extrinsics))


def test_frames(tmp_path):
    folder = tmp_path / "Scene01" / "clone"
    write_drive(folder)
    drive = open_virtual_kitti(folder)
    assert (drive.name, len(drive), drive.static) == ("Scene01/clone", 3, False)
    frame = drive.frame(2)
    assert np.isnan(frame.depth[0]).all() and frame.depth[3, 3] == pytest.approx(12.34)
    np.testing.assert_allclose(frame.camera.matrix, [[40, 0, 30], [0, 41, 9], [0, 0, 1]])
    np.testing.assert_allclose(frame.world_from_camera, pose(2), atol=1e-6)
    assert drive.tracks([0, 1]) is None and frame.stamp == 200_000_000


def test_bad_drives(tmp_path):
    with pytest.raises(RecordedError, match="holds no frames/rgb"):
        open_virtual_kitti(tmp_path)
    write_drive(tmp_path)
    lines = (tmp_path / "extrinsic.txt").read_text().splitlines()
    (tmp_path / "extrinsic.txt").write_text("\n".join(lines[:-2] + ["2 0 " + "nan " * 16]))
    with pytest.raises(
        RecordedError, match="extrinsic.txt, frame 2: the pose has numbers that are not finite"
    ):
        open_virtual_kitti(tmp_path).frame(2)
    (tmp_path / "extrinsic.txt").write_text("\n".join(lines[:-2]))
    with pytest.raises(RecordedError, match="has no frame 2 of camera 0"):
        open_virtual_kitti(tmp_path).frame(2)
    (tmp_path / "frames/depth/Camera_0/depth_00000.png").write_bytes(b"no")
    with pytest.raises(RecordedError, match="depth_00000.png: cannot be decoded"):
        open_virtual_kitti(tmp_path).frame(0)
    (tmp_path / "intrinsic.txt").write_text("frame\n0 0 1\n")
    with pytest.raises(RecordedError, match="intrinsic.txt: expected rows"):
        open_virtual_kitti(tmp_path)
    (tmp_path / "intrinsic.txt").unlink()
    with pytest.raises(RecordedError, match="intrinsic.txt: is missing"):
        open_virtual_kitti(tmp_path)
