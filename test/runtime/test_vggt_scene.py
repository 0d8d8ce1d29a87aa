"""Answers of a VGGT's scene, against worlds whose depth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.model.query import QueryError
from d4rt_ros.model.vggt.images import fit
from d4rt_ros.runtime.vggt_scene import VGGTScene

SIDE, PATCH = 84, 14
NORMAL, DISTANCE = np.array((0.1, -0.2, -1.0)) / np.sqrt(1.05), 3.0  # of a plane in the first camera's frame


def wall(size=(42, 70), preprocessing="crop", frames=3, change=lambda depth: None, confidence=3.0):
    """A scene of a plane that NORMAL · p = -DISTANCE describes in the world, seen by moving cameras."""
    fitted = [fit(np.zeros((*size, 3), np.uint8), SIDE, PATCH, preprocessing) for _ in range(frames)]
    height, width = fitted[0].pixels.shape[:2]
    turns = Rotation.from_rotvec([(0.02 * i, -0.03 * i, 0.1 * i) for i in range(frames)]).as_matrix()
    extrinsics = np.concatenate((turns, [[[0.1 * i], [0.2 * i], [-0.1 * i]] for i in range(frames)]), -1)
    k = np.array(((90.0, 0, width / 2), (0, 95.0, height / 2), (0, 0, 1)))
    y, x = np.indices((height, width))
    rays = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(k).T
    depth = []
    for turn, shift in zip(extrinsics[..., :3], extrinsics[..., 3]):
        normal = turn @ NORMAL
        depth.append((normal @ shift - DISTANCE) / (rays @ normal))
    depth = np.array(depth, np.float32)
    change(depth)
    single = np.float32
    intrinsics = np.broadcast_to(k, (frames, 3, 3)).astype(single)
    confidences = np.full_like(depth, confidence)
    return VGGTScene(fitted, extrinsics.astype(single), intrinsics, depth, confidences)


def world(scene, answer, t):
    e = scene.extrinsics[t].astype(float)
    return (answer.xyz - e[:, 3]) @ e[:, :3]


@pytest.mark.parametrize(
    "size, mode", [((42, 70), "crop"), ((60, 100), "crop"), ((90, 40), "crop"), ((90, 40), "pad")]
)
def test_points_lie_on_the_plane_wherever_the_pixel_and_whatever_the_camera(size, mode):
    scene, random = wall(size, mode), np.random.default_rng(0)
    u, v = random.uniform(0, size[1] - 1, 200), random.uniform(size[0] * 0.3, size[0] * 0.6, 200)
    for source in range(3):
        for cam in range(3):
            answer = scene.query(u, v, source, source - 3, cam)
            points = world(scene, answer, cam)
            np.testing.assert_allclose(points @ NORMAL, -DISTANCE, rtol=1e-5)
            normals = answer.normals @ scene.extrinsics[cam][:, :3]
            np.testing.assert_allclose(normals, np.broadcast_to(NORMAL, normals.shape), atol=1e-3)
            np.testing.assert_allclose(answer.uv, np.stack((u, v), -1), rtol=1e-6)
            assert (answer.visibility == 1).all() and not answer.displacements.any()
            np.testing.assert_allclose(answer.confidence, 2 / 3, rtol=1e-6)


def test_points_are_the_maps_at_its_own_pixels():
    scene = wall()
    answer = scene.query([3, 69], [40, 0], 1, 1, 1)
    k = scene.intrinsics[1].astype(float)
    for xyz, (x, y) in zip(answer.xyz, ((3, 40), (69, 0))):
        np.testing.assert_allclose(k @ xyz / xyz[2], (x, y, 1), atol=1e-4)
        assert xyz[2] == scene.depth[1, y, x]


@given(u=st.floats(0, 99), v=st.floats(0, 59), source=st.integers(0, 2), cam=st.integers(0, 2))
def test_a_point_is_at_its_pixel_in_its_own_camera(u, v, source, cam):
    """Through the other camera and back; resized frames' pixels are the network's by areas."""
    scene = wall((60, 100))
    there = scene.query(u, v, source, source, cam)
    e = scene.extrinsics[source].astype(float)
    here = e[:, :3] @ world(scene, there, cam)[0] + e[:, 3]
    pixel = scene.intrinsics[source].astype(float) @ here / here[2]
    height, width = scene.depth.shape[1:]
    np.testing.assert_allclose((pixel[0] + 0.5) / width, (u + 0.5) / 100, atol=1e-5)
    np.testing.assert_allclose((pixel[1] + 0.5) / height, (v + 0.5) / 60, atol=1e-5)


def test_depths_are_not_blended_across_an_edge():
    def step(depth):
        depth[:, :, :35], depth[:, :, 35:] = 1, 5

    scene = wall(change=step)
    assert set(scene.query(np.linspace(30, 40, 101), 20, 0, 0, 0).xyz[:, 2]) == {1, 5}
    near = scene.query([34, 34.4, 35, 34.6], 20, 0, 0, 0)
    np.testing.assert_array_equal(near.xyz[:, 2], [1, 1, 5, 5])
    np.testing.assert_allclose(near.normals, np.tile((0, 0, -1.0), (4, 1)), atol=1e-6)


def test_what_a_crop_leaves_out_is_not_known():
    scene = wall((100, 40))  # 210 rows at the network's width, of which 84 stay
    answer = scene.query(20, np.arange(100), 0, 0, 0)
    seen = np.isfinite(answer.xyz[:, 2])
    assert (seen == ((np.arange(100) >= 30) & (np.arange(100) < 70))).all()
    assert (answer.visibility == seen).all() and (answer.confidence > 0).tolist() == seen.tolist()
    for values in (answer.xyz, answer.uv, answer.normals, answer.displacements):
        assert (np.isfinite(values) == seen[:, None]).all()


@pytest.mark.parametrize("value", [np.inf, np.nan, 0])
def test_depth_that_is_none_is_not_known(value):
    def spoil(depth):
        depth[0, 20, 30] = value

    scene = wall(change=spoil)
    answer = scene.query([30, 30, 29, 31, 30, 30], [20, 20, 20, 20, 19, 21], 0, 0, [0, 1, 0, 0, 0, 0])
    assert np.isnan(answer.xyz[:2]).all() and (answer.confidence[:2] == 0).all()
    assert np.isfinite(answer.xyz[2:]).all()
    np.testing.assert_allclose(answer.normals[2:], np.broadcast_to(NORMAL, (4, 3)), atol=1e-3)


def test_a_camera_without_focal_length_shows_nothing():
    scene = wall()
    scene.intrinsics[1, 0, 0] = np.inf
    assert np.isnan(scene.query(3, 4, 1, 1, 1).xyz).all()


def test_an_infinite_confidence_is_certain():
    assert wall(confidence=np.inf).query(3, 4, 1, 1, 1).confidence == 1


def test_what_cannot_be_asked_is_said():
    scene = wall()
    with pytest.raises(QueryError, match="cannot tell where a point goes; use a D4RT checkpoint"):
        scene.query([1, 2], 2, 0, [0, 1], 0)
    with pytest.raises(QueryError, match="outside the window"):
        scene.query(1, 2, 3, 3, 0)
    with pytest.raises(QueryError, match="outside the image"):
        scene.query(70, 2, 0, 0, 0)
    assert len(scene.query([], [], 0, 0, 0)) == 0 and scene.query([], [], 0, 0, 0).xyz.shape == (0, 3)


def test_long_answers_come_in_pieces():
    scene = wall()
    told = []
    scene._between_chunks = lambda: told.append(1)
    u = np.linspace(0, 69, 100_000)
    answer = scene.query(u, 20, 0, 0, 2)
    assert len(told) == 4 and np.isfinite(answer.xyz).all()
    np.testing.assert_array_equal(answer.xyz[70_000], scene.query(u[70_000], 20, 0, 0, 2).xyz[0])
