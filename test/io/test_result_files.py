"""A camera's path and a cloud as files, read by those who read such files."""

import numpy as np
import pytest

from d4rt_ros.geometry.transforms import pose_from_quaternion, rotation_angle
from d4rt_ros.io.pose_track import pose_track
from d4rt_ros.io.result_files import whole, write_arrays, write_ply, write_trajectory

# As cameras stamp their images: of so many nanoseconds a float has 256 at best.
STAMPS = np.array([1_700_000_000_000_000_001, 1_700_000_000_066_666_667, 1_700_000_000_133_333_333])


def poses(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return pose_from_quaternion(rng.normal(size=(count, 4)), rng.normal(size=(count, 3)))


def test_a_path_comes_back(tmp_path):
    truth = poses()
    assert write_trajectory(tmp_path / "path.txt", STAMPS, truth) == 3
    lines = (tmp_path / "path.txt").read_text().splitlines()
    assert lines[0].startswith("# timestamp tx ty tz qx qy qz qw")
    assert [line.split()[0] for line in lines[1:]] == [
        "1700000000.000000001", "1700000000.066666667", "1700000000.133333333",
    ]  # fmt: skip
    rows = np.loadtxt(tmp_path / "path.txt")
    read = pose_from_quaternion(rows[:, 4:], rows[:, 1:4])
    np.testing.assert_allclose(read, truth, atol=1e-7)
    assert pose_track(rows[:, 0], rows[:, 1:4], rows[:, 4:]).stamps == sorted(rows[:, 0])


def test_evo_reads_the_path(tmp_path):
    file_interface = pytest.importorskip("evo.tools.file_interface", reason="needs the extra [eval]")
    truth = poses(3, 1)
    write_trajectory(tmp_path / "path.txt", STAMPS, truth)
    read = file_interface.read_tum_trajectory_file(str(tmp_path / "path.txt"))
    for ours, theirs in zip(truth, read.poses_se3):
        assert rotation_angle(np.linalg.inv(ours) @ theirs) < 1e-6
        np.testing.assert_allclose(theirs[:3, 3], ours[:3, 3], atol=1e-7)


def test_poses_that_are_not_known_are_left_out(tmp_path):
    path = poses()
    path[1] = np.nan
    assert write_trajectory(tmp_path / "path.txt", STAMPS, path) == 2
    assert len(np.loadtxt(tmp_path / "path.txt")) == 2
    assert write_trajectory(tmp_path / "none.txt", STAMPS, np.full((3, 4, 4), np.nan)) == 0
    assert (tmp_path / "none.txt").read_text().count("\n") == 1
    assert write_trajectory(tmp_path / "none.txt", [], np.empty((0, 4, 4))) == 0


def test_a_path_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="expected as many"):
        write_trajectory(tmp_path / "path.txt", STAMPS[:2], poses())
    with pytest.raises(ValueError, match="world_from_camera has shape"):
        write_trajectory(tmp_path / "path.txt", STAMPS, np.zeros((3, 7)))
    assert list(tmp_path.iterdir()) == []


def read_ply(file):
    """What a PLY's own header says of what follows it."""
    header, _, data = file.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    [count] = [int(line.split()[2]) for line in lines if line.startswith("element vertex")]
    types = {"float": "<f4", "uchar": "u1"}
    fields = [line.split()[1:] for line in lines if line.startswith("property")]
    dtype = np.dtype([(name, types[kind]) for kind, name in fields])
    assert len(data) == count * dtype.itemsize
    return np.frombuffer(data, dtype)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_cloud_comes_back(tmp_path, count):
    rng = np.random.default_rng(count)
    xyz, rgb = rng.normal(size=(count, 3)), rng.integers(0, 256, (count, 3), dtype=np.uint8)
    write_ply(tmp_path / "cloud.ply", xyz, rgb)
    points = read_ply(tmp_path / "cloud.ply")
    np.testing.assert_allclose(np.stack([points[n] for n in "xyz"], 1), xyz, rtol=1e-6)
    np.testing.assert_array_equal(np.stack([points[n] for n in ("red", "green", "blue")], 1), rgb)


def test_opencv_reads_the_cloud(tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "loadPointCloud"):
        pytest.skip("this OpenCV reads no PLY")
    xyz = np.arange(30, dtype=np.float32).reshape(10, 3)
    write_ply(tmp_path / "cloud.ply", xyz, np.zeros((10, 3), np.uint8))
    np.testing.assert_array_equal(cv2.loadPointCloud(str(tmp_path / "cloud.ply"))[0].reshape(-1, 3), xyz)


def test_a_cloud_that_is_none(tmp_path):
    for xyz, rgb in ((np.zeros((3, 3)), np.zeros((2, 3), np.uint8)), (np.zeros(3), np.zeros(3))):
        with pytest.raises(ValueError, match="expected \\(N, 3\\) both"):
            write_ply(tmp_path / "cloud.ply", xyz, rgb)
    assert list(tmp_path.iterdir()) == []


def test_arrays_come_back(tmp_path):
    write_arrays(tmp_path / "a.npz", depth=np.eye(3), reason=np.array(("", "lost")))
    read = np.load(tmp_path / "a.npz")
    assert read["depth"].sum() == 3 and tuple(read["reason"]) == ("", "lost")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_nobody_meets_half_a_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        with whole(file) as partial:
            partial.write_text("hal")
            raise KeyboardInterrupt
    assert file.read_text() == "before" and [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    with whole(file) as partial:
        partial.write_text("after")
        assert file.read_text() == "before"
    assert file.read_text() == "after" and [f.name for f in tmp_path.iterdir()] == ["a.txt"]
