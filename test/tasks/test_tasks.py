import numpy as np
import pytest
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera

from d4rt_ros.geometry import invert, transform
from d4rt_ros.tasks import depth_map, point_cloud, point_map, tracks_of_points


@pytest.fixture
def scene():
    return AnalyticScene(wandering_camera(6))


def test_depth_of_every_pixel(scene):
    depth = depth_map(scene, t=2)
    assert depth.shape == (65, 97) and depth.dtype == np.float32 and depth.flags.c_contiguous
    u, v = np.meshgrid(np.arange(97), np.arange(65))
    truth = scene.query(u.ravel(), v.ravel(), 2, 2, 2).xyz[:, 2].reshape(65, 97)
    np.testing.assert_array_equal(depth, truth)


def test_a_coarse_depth_map_is_of_the_same_rays(scene):
    depth = depth_map(scene, size=(9, 13))
    assert depth.shape == (9, 13)
    np.testing.assert_allclose(depth, depth_map(scene)[::8, ::8])
    # Back-projected by the resized camera it is the model's points.
    points = CAMERA.grid(13, 9).backproject_map(depth)
    np.testing.assert_allclose(points, point_map(scene, size=(9, 13)).xyz, atol=1e-5)


def test_depth_that_is_none_is_nan(scene):
    def spoil(answer):
        answer.xyz[0, 0], answer.xyz[1, 2], answer.xyz[2, 2], answer.xyz[3, 1] = np.nan, -1.0, 0.0, np.inf
        answer.confidence[4] = np.nan

    points = point_map(Altered(scene, spoil), size=(4, 5))
    bad = np.zeros(20, bool)
    bad[:5] = True
    np.testing.assert_array_equal(np.isnan(points.xyz).all(axis=2).ravel(), bad)
    np.testing.assert_array_equal(points.confidence.ravel() == 0, bad)
    np.testing.assert_array_equal(np.isnan(depth_map(Altered(scene, spoil), size=(4, 5))).ravel(), bad)


def test_a_point_map_in_another_camera(scene):
    own, other = point_map(scene, 1, (5, 7)), point_map(scene, 1, (5, 7), t_cam=-2)
    np.testing.assert_allclose(transform(scene.relative(4, 1), own.xyz), other.xyz, atol=1e-5)


def test_points_behind_another_camera_are_points(scene):
    behind = point_map(
        Altered(scene, lambda answer: np.negative(answer.xyz, out=answer.xyz)), 1, (5, 7), t_cam=0
    )
    assert np.isfinite(behind.xyz).all()


def test_a_cloud_of_several_frames(scene):
    cloud = point_cloud(scene, frames=[0, -1], t_cam=3, size=(5, 7))
    assert len(cloud.xyz) == len(cloud.rgb) == len(cloud.confidence) == 2 * 5 * 7
    parts = [point_map(scene, t, (5, 7), t_cam=3).xyz.reshape(-1, 3) for t in (0, 5)]
    np.testing.assert_array_equal(cloud.xyz, np.concatenate(parts))
    np.testing.assert_array_equal(cloud.rgb[35:].reshape(5, 7, 3), scene.frames[5][::16, ::16])
    assert cloud.rgb.dtype == np.uint8
    assert len(point_cloud(scene, size=(5, 7)).xyz) == 6 * 35


def test_a_cloud_has_no_holes(scene):
    def spoil(answer):
        answer.xyz[::3] = np.nan

    cloud = point_cloud(Altered(scene, spoil), frames=[2], size=(5, 6))
    assert len(cloud.xyz) == len(cloud.rgb) == 20 and np.isfinite(cloud.xyz).all()
    np.testing.assert_array_equal(
        cloud.rgb, point_cloud(scene, frames=[2], size=(5, 6)).rgb[np.arange(30) % 3 != 0]
    )


def test_tracks_are_exact_and_move_with_the_ball(scene):
    ball = CAMERA.project(transform(invert(scene.poses[0]), scene.ball[0]))
    wall = np.array([90.0, 60.0])
    tracks = tracks_of_points(scene, *np.stack([ball, wall], 1), t_src=0, t_cam=0)
    assert tracks.xyz.shape == (2, 6, 3) and tracks.uv.shape == (2, 6, 2)
    assert tracks.visibility.shape == tracks.confidence.shape == (2, 6)
    centre = transform(invert(scene.poses[0]), scene.ball)
    np.testing.assert_allclose(np.diff(tracks.xyz[0], axis=0), np.diff(centre, axis=0), atol=1e-5)
    np.testing.assert_allclose(tracks.xyz[1], np.tile(tracks.xyz[1, :1], (6, 1)), atol=1e-5)
    # The camera turns away from it.
    np.testing.assert_array_equal(tracks.visibility[0] > 0.5, tracks.uv[0, :, 0] > -0.5)
    assert tracks.visibility[0, 0] == 1 and tracks.visibility[0, -1] == 0


def test_tracks_in_each_times_own_camera(scene):
    u, v, t_src = np.array([10.0, 50, 80]), np.array([10.0, 30, 60]), np.array([0, 2, 5])
    own, fixed = tracks_of_points(scene, u, v, t_src), tracks_of_points(scene, u, v, t_src, t_cam=-1)
    for t in range(6):
        np.testing.assert_allclose(transform(scene.relative(5, t), own.xyz[:, t]), fixed.xyz[:, t], atol=1e-5)
    seen = own.visibility > 0.5
    np.testing.assert_allclose(CAMERA.project(own.xyz)[seen], own.uv[seen], atol=1e-3)
    for k in range(3):
        np.testing.assert_allclose(own.uv[k, t_src[k]], [u[k], v[k]], atol=1e-3)


def test_tracks_that_are_not_finite_are_not_visible(scene):
    def spoil(answer):
        answer.xyz[0], answer.uv[1], answer.visibility[2] = np.inf, np.nan, np.nan

    tracks = tracks_of_points(Altered(scene, spoil), [48.0], [32.0], 5)
    np.testing.assert_array_equal(tracks.visibility[0, :3], 0)
    assert np.isnan(tracks.xyz[0, 0]).all() and tracks.confidence[0, 0] == 0
    assert np.isnan(tracks.uv[0, 1]).all() and np.isfinite(tracks.xyz[0, 1]).all()
    assert np.isfinite(tracks.visibility).all()


@pytest.mark.parametrize("task", [depth_map, point_map])
def test_a_frame_outside_the_window(scene, task):
    for t in (6, -7):
        with pytest.raises(IndexError, match="window of 6"):
            task(scene, t=t)
