"""Raw pixels and images to the rectified view and back; OpenCV's own maps are the reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import CameraError, CameraModel, Pinhole
from d4rt_ros.geometry.lens import Lens

WIDTH, HEIGHT = 96, 64
K = np.array([[75.0, 0, 49.5], [0, 76.0, 30.2], [0, 0, 1]])
VIEW = Pinhole(68.0, 70.0, 46.0, 33.0, WIDTH, HEIGHT)
TURN = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
LENSES = {
    "plumb_bob of 4": ((-0.3, 0.1, 1e-3, -2e-3), False),
    "plumb_bob": ((-0.28, 0.07, 1e-3, -2e-3, 0.01), False),
    "pincushion": ((0.2, 0.05, 0.0, 0.0, 0.0), False),
    "rational": ((0.6, -0.1, 1e-3, 5e-4, 0.02, 0.9, 0.1, 0.01), False),
    "thin prism": ((-0.3, 0.1, 0, 0, 0, 0.01, 0.02, 0, 2e-3, 1e-4, -1e-3, 1e-4), False),
    "tilted": ((-0.3, 0.1, 0, 0, 0, 0, 0, 0, 1e-3, 0, 0, 0, 0.03, -0.02), False),
    "equidistant": ((-0.03, 0.006, -0.002, 3e-4), True),
}
GRID = np.stack(np.meshgrid(np.linspace(0, WIDTH - 1, 21), np.linspace(0, HEIGHT - 1, 15)), -1)


def lens(name="plumb_bob", rotation=TURN, camera=VIEW):
    distortion, fisheye = LENSES[name]
    return Lens(K, distortion, fisheye, rotation, camera)


def opencv_maps(some):
    make = cv2.fisheye.initUndistortRectifyMap if some.fisheye else cv2.initUndistortRectifyMap
    size = (some.camera.width, some.camera.height)
    x, y = make(some.matrix, np.array(some.distortion), some.rotation, some.camera.matrix, size, cv2.CV_32FC1)
    return np.stack([x, y], -1)


@pytest.mark.parametrize("name", LENSES)
def test_where_a_pixel_of_the_view_comes_from_is_where_opencv_takes_it(name):
    some = lens(name)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    np.testing.assert_allclose(some.to_image(np.stack([u, v], -1)), opencv_maps(some), atol=1e-3)


@pytest.mark.parametrize("name", LENSES)
def test_there_and_back(name):
    some = lens(name)
    np.testing.assert_allclose(some.to_image(some.to_view(GRID)), GRID, atol=0.01)
    np.testing.assert_allclose(some.to_view(some.to_image(GRID)), GRID, atol=0.01)


@pytest.mark.parametrize("name", LENSES)
def test_a_mask_of_the_view_in_the_raw_image(name):
    """Where a raw pixel is masked its place in the view is; next to the mask's edge the nearest pixel decides."""
    some, mask = lens(name), np.zeros((HEIGHT, WIDTH), bool)
    mask[20:45, 30:80] = True
    raw = some.unrectify(mask)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    x, y = np.moveaxis(some.to_view(np.stack([u, v], -1).astype(float)), -1, 0)
    inner, outer = ((x > 29.5 + d) & (x < 79.5 - d) & (y > 19.5 + d) & (y < 44.5 - d) for d in (0.2, -0.2))
    assert raw[inner].all() and not raw[~outer].any() and raw.sum() > 500
    # What a lens shows beyond the view is not masked, though all of the view is.
    full = some.unrectify(np.ones((HEIGHT, WIDTH), bool))
    inside = (x > 0) & (x < WIDTH - 1) & (y > 0) & (y < HEIGHT - 1)
    assert full[inside].mean() > 0.99 and not full[(x < -1) | (y < -1)].any()


@settings(max_examples=60, deadline=None)
@given(
    k=st.tuples(st.floats(-0.4, 0.6), st.floats(-0.05, 0.15), st.floats(-3e-3, 3e-3), st.floats(-3e-3, 3e-3)),
    more=st.tuples(*[st.floats(-0.02, 0.02)] * 4),
    fisheye=st.booleans(),
    turn=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    focal=st.floats(55, 200),
    zoom=st.floats(0.6, 1.5),
    u=st.floats(0, WIDTH - 1),
    v=st.floats(0, HEIGHT - 1),
)
def test_there_and_back_of_any_lens_that_is_one(k, more, fisheye, turn, focal, zoom, u, v):
    distortion = more if fisheye else k + more
    matrix = np.array([[focal, 0, 45], [0, focal, 33], [0, 0, 1]])
    rotation = cv2.Rodrigues(np.array(turn))[0]
    projection = np.hstack([matrix, np.zeros((3, 1))])
    projection[[0, 1], [0, 1]] *= zoom
    name = "equidistant" if fisheye else "rational_polynomial"
    model = CameraModel(WIDTH, HEIGHT, matrix, distortion, name, rotation, projection)
    try:
        some = model.view(WIDTH, HEIGHT, rectified=False).lens
    except CameraError as error:
        assert "fold" in str(error) or "fills only" in str(error)
        return
    if some is None:
        return
    for there, back in ((some.to_view, some.to_image), (some.to_image, some.to_view)):
        way = there(np.array([u, v]))
        if np.isfinite(way).all():
            np.testing.assert_allclose(back(way), [u, v], atol=0.01)


def test_shapes_and_what_is_not_known():
    some = lens()
    for shape in ((2,), (0, 2), (3, 2), (2, 3, 2)):
        assert some.to_view(np.ones(shape)).shape == some.to_image(np.ones(shape)).shape == shape
    for way in (some.to_view, some.to_image):
        rows = way([[np.nan, 3], [20, 30], [3, np.inf]])
        np.testing.assert_array_equal(np.isfinite(rows).all(1), [False, True, False])


def test_beyond_the_fold_there_is_nothing():
    """r - 0.25 r^3 grows up to r = 1.155 (49 degrees), where it is 0.77."""
    some = Lens(K, (-0.25, 0, 0, 0), False, np.eye(3), Pinhole(30.0, 30.0, 47.5, 31.5, WIDTH, HEIGHT))
    assert some.limit == pytest.approx(np.arctan(np.sqrt(4 / 3)))
    far = np.hypot(GRID[..., 0] - 47.5, GRID[..., 1] - 31.5) / 30
    np.testing.assert_array_equal(np.isfinite(some.to_image(GRID)).all(-1), far < np.sqrt(4 / 3))
    radius = np.hypot(*np.moveaxis((GRID - K[:2, 2]) / np.diag(K)[:2], -1, 0))
    known = np.isfinite(some.to_view(GRID)).all(-1)
    assert known[radius < 0.765].all() and not known[radius > 0.775].any()


def test_the_image_is_not_mirrored_into_the_views_corners():
    some = Lens(K, (-0.25, 0, 0, 0), False, np.eye(3), Pinhole(30.0, 30.0, 47.5, 31.5, WIDTH, HEIGHT))
    view = some.rectify(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    beyond = np.hypot(u - 47.5, v - 31.5) / 30 > np.sqrt(4 / 3)
    assert not view[beyond].any() and not some.valid[beyond].any()
    folded = opencv_maps(some)[beyond]
    assert ((folded > 0) & (folded < [WIDTH - 1, HEIGHT - 1])).all(1).any()  # what OpenCV alone would show


def test_a_view_from_beside_or_behind_has_no_pixel():
    fisheye = Lens(np.array([[20.0, 0, 47.5], [0, 20, 31.5], [0, 0, 1]]), (0.0,) * 4, True, np.eye(3), VIEW)
    # A fisheye of 20 pixels a radian sees 90 degrees from its axis at 31.4 pixels from its centre.
    view = fisheye.to_view([[47.5 + 20 * np.pi / 4, 31.5], [47.5 + 20 * 1.6, 31.5]])
    np.testing.assert_allclose(view[0], [VIEW.cx + VIEW.fx, VIEW.cy], atol=1e-6)
    assert np.isnan(view[1]).all()
    behind = Lens(K, (-0.1, 0, 0, 0), False, cv2.Rodrigues(np.array([0, 2.0, 0]))[0], VIEW)
    assert np.isnan(behind.to_view([48.0, 32.0])).all()


@pytest.mark.parametrize("name", LENSES)
def test_a_rectified_image_is_image_procs(name):
    """cv2.remap of OpenCV's maps, as image_geometry's rectifyImage has it."""
    some = lens(name)
    image = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2
    )
    maps = opencv_maps(some)
    expected = cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR).astype(int)
    inner = cv2.erode(
        np.ones((HEIGHT, WIDTH), np.uint8) if some.valid is None else some.valid * np.uint8(1),
        np.ones((5, 5)),
    )
    assert np.abs(some.rectify(image) - expected)[inner > 0].max() <= 3
    if some.valid is not None:
        assert not some.rectify(image)[~some.valid].any()
        inside = ((maps >= -0.5) & (maps <= np.array([WIDTH, HEIGHT]) - 0.5)).all(-1)
        np.testing.assert_array_equal(some.valid, inside)
        with pytest.raises(ValueError):
            some.valid[0, 0] = True


def test_what_the_view_shows_is_on_the_cameras_rays():
    """Points on a slanted wall, seen raw, appear in the view where the rectified camera projects them."""
    some = lens("equidistant")
    points = VIEW.backproject(GRID[4:-4, 4:-4], 3.0)  # in the view's frame
    raw, angle = points @ TURN, None
    angle = np.arctan2(np.hypot(raw[..., 0], raw[..., 1]), raw[..., 2])
    k = LENSES["equidistant"][0]
    bent = angle * (1 + sum(c * angle ** (2 * i + 2) for i, c in enumerate(k)))
    side = raw[..., :2] / np.hypot(raw[..., 0], raw[..., 1])[..., None]
    pixels = side * bent[..., None] * [K[0, 0], K[1, 1]] + K[:2, 2]
    np.testing.assert_allclose(some.to_view(pixels), VIEW.project(points), atol=1e-6)


def test_depth_is_not_mixed_and_ends_at_the_border():
    some = lens("pincushion", np.eye(3))
    depth = np.where(np.arange(WIDTH) < 48, np.float32(1), np.float32(5)) * np.ones((HEIGHT, 1), np.float32)
    view = some.rectify_depth(depth)
    assert view.dtype == np.float32 and set(np.unique(view[np.isfinite(view)])) == {1.0, 5.0}
    np.testing.assert_array_equal(np.isnan(view), ~some.valid)


def test_depth_is_along_the_views_axis():
    """A wall at z = 2 before a camera whose view is turned: of a point 2 m along z, not 2 m away."""
    some = lens("plumb_bob")
    view = some.rectify_depth(np.full((HEIGHT, WIDTH), 2.0, np.float32))
    raw = VIEW.backproject_map(view.astype(np.float64)) @ TURN
    np.testing.assert_allclose(raw[..., 2][np.isfinite(view)], 2.0, rtol=1e-5)
