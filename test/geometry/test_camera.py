import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.geometry import CameraError, Pinhole

cameras = st.builds(
    Pinhole,
    fx=st.floats(20, 2000),
    fy=st.floats(20, 2000),
    cx=st.floats(-100, 800),
    cy=st.floats(-100, 800),
    width=st.integers(2, 900),
    height=st.integers(2, 700),
)
CAMERA = Pinhole(500.0, 510.0, 310.0, 245.0, 640, 480)


def test_a_point_on_the_axis_is_at_the_principal_point():
    np.testing.assert_allclose(CAMERA.project([0, 0, 2]), [310, 245])
    np.testing.assert_allclose(CAMERA.project([1, -1, 2]), [310 + 250, 245 - 255])


@given(cameras, st.floats(-500, 1500), st.floats(-500, 1500), st.floats(0.01, 1000))
def test_project_undoes_backproject(camera, u, v, depth):
    point = camera.backproject([u, v], depth)
    assert point[2] == depth
    np.testing.assert_allclose(camera.project(point), [u, v], atol=1e-6)


def test_what_is_not_in_front_has_no_pixel():
    points = [[0, 0, -1], [1, 1, 0], [np.nan, 0, 1], [0, 0, np.nan], [0, 0, 1]]
    seen = np.isfinite(CAMERA.project(points)).all(axis=1)
    np.testing.assert_array_equal(seen, [False, False, False, False, True])


@given(cameras, st.integers(2, 100), st.integers(2, 100))
def test_resized_keeps_the_outer_pixels(camera, width, height):
    small = camera.grid(width, height)
    assert (small.width, small.height) == (width, height)
    for corner, small_corner in (
        ((0, 0), (0, 0)),
        ((camera.width - 1, camera.height - 1), (width - 1, height - 1)),
    ):
        ray, small_ray = camera.backproject(corner, 1.0), small.backproject(small_corner, 1.0)
        np.testing.assert_allclose(ray, small_ray, atol=1e-6 * (1 + np.abs(ray).max()))


@given(cameras)
def test_resized_to_its_own_size_and_back(camera):
    assert camera.grid(camera.width, camera.height) == camera
    back = camera.grid(33, 47).grid(camera.width, camera.height)
    np.testing.assert_allclose(back.matrix, camera.matrix, rtol=1e-9, atol=1e-6)


def test_backproject_map_is_backproject_everywhere():
    camera = Pinhole(40.0, 50.0, 5.5, 2.0, 12, 7)
    depth = np.random.default_rng(0).uniform(1, 5, (7, 12)).astype(np.float32)
    depth[3, 4] = np.nan
    u, v = np.meshgrid(np.arange(12), np.arange(7))
    points = camera.backproject_map(depth)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, camera.backproject(np.stack([u, v], -1), depth), rtol=1e-5)
    assert np.isnan(points[3, 4]).all() and np.isfinite(points).sum() == 3 * (7 * 12 - 1)


def test_backproject_map_refuses_another_size():
    with pytest.raises(CameraError, match=r"\(640, 480\).*640x480"):
        CAMERA.backproject_map(np.ones((640, 480)))


def test_from_matrix():
    assert Pinhole.from_matrix(CAMERA.matrix, 640, 480) == CAMERA
    assert Pinhole.from_matrix(CAMERA.matrix.ravel(), 640, 480) == CAMERA
    assert Pinhole.centred(500, 510, 640, 480).project([0, 0, 1]).tolist() == [319.5, 239.5]


@pytest.mark.parametrize("bad", [np.zeros(9), np.full(9, np.nan), np.diag([-1, 1, 1]), np.ones(6)])
def test_what_is_no_camera_matrix(bad):
    with pytest.raises(CameraError):
        Pinhole.from_matrix(bad, 640, 480)


def test_what_is_no_image():
    for size in ((1, 480), (640, 0)):
        with pytest.raises(CameraError):
            Pinhole(500, 500, 0, 0, *size)
        with pytest.raises(CameraError):
            CAMERA.grid(*size)


def test_a_camera_is_a_value():
    assert hash(Pinhole.centred(1, 2, 3, 4)) == hash(Pinhole.centred(1, 2, 3, 4))
