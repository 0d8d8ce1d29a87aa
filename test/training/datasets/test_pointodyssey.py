"""A scene of PointOdyssey, written as the data set has it."""

import cv2
import numpy as np
import pytest

from d4rt_ros.geometry.transforms import invert, pose_from_quaternion, transform
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.datasets.pointodyssey import open_pointodyssey, read_rows

HEIGHT, WIDTH, FRAMES = 24, 40, 5
K = np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]])


def pose(i):
    return pose_from_quaternion([0, 0.1 * i, 0, 1], [0.2 * i, 0, 0])


def write_scene(folder, **changed):
    for name in ("rgbs", "depths"):
        (folder / name).mkdir()
    for i in range(FRAMES):
        cv2.imwrite(str(folder / f"rgbs/rgb_{i:05d}.jpg"), np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8))
        depth = np.full((HEIGHT, WIDTH), round((2 + i) * 65.535), np.uint16)
        depth[0] = 0
        cv2.imwrite(str(folder / f"depths/depth_{i:05d}.png"), depth)
    points = np.array([[0, 0, 4.0], [1, 0, 5], [0, 1, 6]]) + np.arange(FRAMES)[:, None, None] * [0.1, 0, 0]
    points[:, 2] = np.nan
    arrays = {
        "trajs_2d": np.zeros((FRAMES, 3, 2), np.float32),
        "trajs_3d": points.astype(np.float32),
        "visibs": np.array([[True, i != 2, True] for i in range(FRAMES)]),
        "valids": np.array([[i != 3, True, True] for i in range(FRAMES)]),
        "intrinsics": np.tile(K, (FRAMES, 1, 1)).astype(np.float32),
        "extrinsics": np.stack([invert(pose(i)) for i in range(FRAMES)]).astype(np.float32),
    }
    np.savez(folder / "anno.npz", **(arrays | changed))
    return arrays


def test_frames_and_tracks(tmp_path):
    arrays = write_scene(tmp_path)
    scene = open_pointodyssey(tmp_path)
    assert len(scene) == FRAMES and not scene.static
    frame = scene.frame(3)
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and abs(int(frame.image.mean()) - 120) < 3
    assert np.isnan(frame.depth[0]).all() and frame.depth[5, 5] == pytest.approx(5, abs=0.01)
    np.testing.assert_allclose(frame.world_from_camera, pose(3), atol=1e-6)
    tracks = scene.tracks([4, 2, 3])
    assert tracks.points.shape == (3, 3, 3)
    np.testing.assert_allclose(tracks.points[:2], arrays["trajs_3d"][[4, 2, 3]][:, :2].transpose(1, 0, 2))
    np.testing.assert_array_equal(tracks.visible, [[True, True, False], [True, False, True], [False] * 3])


def test_a_point_projects_where_the_data_set_says(tmp_path):
    write_scene(tmp_path)
    scene = open_pointodyssey(tmp_path)
    world = scene.tracks([2]).points[0, 0]
    np.testing.assert_allclose(
        transform(invert(scene.frame(2).world_from_camera), world),
        transform(invert(pose(2)), world),
        atol=1e-6,
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_an_array_in_any_order(tmp_path, save):
    values = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    save(tmp_path / "a.npz", other=np.ones(7), values=values)
    np.testing.assert_array_equal(read_rows(tmp_path / "a.npz", "values", [7, 2, 7, 0]), values[[7, 2, 7, 0]])
    np.testing.assert_array_equal(read_rows(tmp_path / "a.npz", "values"), values)


def test_a_scene_that_was_not_tracked(tmp_path):
    write_scene(tmp_path, trajs_3d=np.array(()), visibs=np.array(()), valids=np.array(()))
    assert open_pointodyssey(tmp_path).tracks([0, 1]) is None


def test_bad_scenes(tmp_path):
    with pytest.raises(RecordedError, match="holds no rgbs"):
        open_pointodyssey(tmp_path)
    write_scene(tmp_path, intrinsics=np.tile(np.full((3, 3), np.nan), (FRAMES, 1, 1)))
    with pytest.raises(RecordedError, match="intrinsics are"):
        open_pointodyssey(tmp_path).frame(0)
    (tmp_path / "depths/depth_00001.png").unlink()
    with pytest.raises(RecordedError, match="depth_00001.png: is missing"):
        open_pointodyssey(tmp_path).frame(1)
    (tmp_path / "rgbs/rgb_00000.jpg").unlink()
    with pytest.raises(RecordedError, match="cameras of 5 frames, but there are 4 images"):
        open_pointodyssey(tmp_path)
    np.savez(tmp_path / "anno.npz", other=np.ones(3))
    with pytest.raises(RecordedError, match="anno.npz: has no array intrinsics"):
        open_pointodyssey(tmp_path)
    (tmp_path / "anno.npz").write_bytes(b"PK nothing")
    with pytest.raises(RecordedError, match="is the file complete"):
        open_pointodyssey(tmp_path)
