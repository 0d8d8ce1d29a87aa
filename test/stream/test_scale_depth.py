"""Scale from depth that was measured: images of any size, points, a cone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import Pinhole
from d4rt_ros.stream.scale import NoScale
from d4rt_ros.stream.scale_depth import cone_scale, depth_at, depth_scale, points_scale

CAMERA = Pinhole.centred(40.0, 40.0, 48, 36)  # of the grid
FACTOR = 1.7


def smooth(rng, sd, shape=(36, 48), cells=(4, 6)):
    """An error whose neighbours are alike."""
    import cv2

    return cv2.resize(rng.normal(0, sd, cells), shape[::-1], interpolation=cv2.INTER_CUBIC)


def room(rng=None):
    """Depth (36, 48) of a slanted wall with a box before it, in the model's unit."""
    u, v = np.meshgrid(np.arange(48), np.arange(36))
    depth = 1.5 + 0.02 * u + 0.01 * v
    depth[15:30, 10:24] = 0.8
    return depth


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20.0), st.floats(0.0, 0.3))
def test_the_ratio_of_two_depths(seed, factor, holes):
    rng, depth = np.random.default_rng(seed), room()
    measured = factor * depth * np.exp(rng.normal(0, 0.02, depth.shape))
    measured[rng.random(depth.shape) < holes] = rng.choice([np.nan, 0.0, np.inf, -1.0])
    found = depth_scale(measured, depth, 7)
    assert found.log_metres == pytest.approx(math.log(factor), abs=0.01)
    assert found.stamp == 7 and found.source == "depth" and 0.005 < found.sigma < 0.06


def test_a_third_that_contradicts_counts_little():
    depth = room()
    measured = FACTOR * depth
    measured[:, :16] *= 3.0
    assert depth_scale(measured, depth, 0).log_metres == pytest.approx(math.log(FACTOR), abs=0.02)


@pytest.mark.parametrize("sd", [0.03, 0.1, 0.2])
def test_sigma_is_honest(sd):
    rng, depth, inside = np.random.default_rng(1), room(), []
    for _ in range(150):
        wrong = depth * np.exp(smooth(rng, sd) + rng.normal(0, 0.02, depth.shape))
        found = depth_scale(FACTOR * depth, wrong, 0)
        inside.append(abs(found.log_metres - math.log(FACTOR)) < 2 * found.sigma)
    assert 0.89 <= np.mean(inside) <= 1.0


def test_what_is_surer_counts_more():
    depth, sigma = room(), np.full((36, 48), 0.02)
    measured = FACTOR * depth
    depth[:, 20:] *= 1.4
    sigma[:, 20:] = 0.5
    assert depth_scale(measured, depth, 0, sigma).log_metres == pytest.approx(math.log(FACTOR), abs=0.02)
    nothing_known = depth_scale(measured, room(), 0, np.full((36, 48), np.nan))
    assert nothing_known.log_metres == pytest.approx(math.log(FACTOR), abs=1e-6)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (np.full((36, 48), np.nan), "all of it is NaN"),
        (np.zeros((36, 48)), "all of it is NaN"),
        (np.ones((24, 48)), "shape"),
        (np.full((36, 48), 1500.0), "millimetres"),
        (np.where(np.arange(48 * 36).reshape(36, 48) < 10, 1.0, np.nan), "10 pixels"),
    ],
)
def test_what_tells_no_scale_is_refused_with_a_sentence(measured, words):
    with pytest.raises(NoScale, match=words):
        depth_scale(measured, room(), 0)


def test_depth_that_shows_something_else_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(NoScale, match="do they show the same"):
        depth_scale(room(), room() * np.exp(rng.normal(0, 1.0, (36, 48))), 0)


@pytest.mark.parametrize("size", [(480, 640), (240, 320), (36, 48), (90, 120), (1080, 1440)])
def test_a_depth_image_of_any_size_is_read_where_the_pixel_is(size):
    """Depth that says in which of 4 x 3 fields it is, of an image of 640x480."""
    rows, columns = np.arange(size[0]) * 3 // size[0], np.arange(size[1]) * 4 // size[1]
    image = (1 + rows[:, None] * 4 + columns).astype(np.float32)
    u, v = np.meshgrid(np.arange(80, 640, 160), np.arange(80, 480, 160))
    np.testing.assert_array_equal(depth_at(image, np.stack([u, v], -1), (480, 640)), image_of_fields())


def image_of_fields():
    return 1 + np.arange(12, dtype=np.float32).reshape(3, 4)


def test_pixels_outside_and_depth_of_another_shape_are_none():
    pixels = np.array([[-1.0, 5.0], [5.0, -0.6], [64.0, 5.0], [np.nan, 5.0], [63.4, 47.4], [0.0, 0.0]])
    depth = depth_at(np.full((48, 64), 2.0), pixels, (48, 64))
    np.testing.assert_array_equal(np.isnan(depth), [True, True, True, True, False, False])
    with pytest.raises(NoScale, match="640x360, the image 640x480"):
        depth_at(np.ones((360, 640)), pixels, (480, 640))
    with pytest.raises(NoScale, match="shape"):
        depth_at(np.ones((4, 4, 3)), pixels, (48, 64))


def scan(depth, row=20, factor=FACTOR, rng=None):
    """Points (N, 3) in metres along a row of the image, all over it."""
    u = np.linspace(0, 47, 200)
    z = factor * depth[row, np.rint(u).astype(int)]
    return CAMERA.backproject(np.column_stack([u, np.full(200, float(row))]), z)


def test_points_of_a_scan_tell_the_scale():
    depth = room()
    found = points_scale(scan(depth), depth, CAMERA, 3)
    assert found.log_metres == pytest.approx(math.log(FACTOR), abs=0.01) and found.sigma < 0.1


def test_points_that_are_hidden_from_the_camera_do_not_count():
    """A scanner beside the camera sees the wall behind the box as well."""
    depth = room()
    wall = 1.5 + 0.02 * np.arange(48) + 0.2
    behind = CAMERA.backproject(np.column_stack([np.arange(10, 24), np.full(14, 20)]), FACTOR * wall[10:24])
    hidden = points_scale(np.concatenate([scan(depth), np.repeat(behind, 10, axis=0)]), depth, CAMERA, 0)
    assert hidden.log_metres == pytest.approx(math.log(FACTOR), abs=0.02)


def test_most_points_may_be_hidden():
    """Of a box the scanner sees its front once, and what is behind it three times."""
    depth = np.full((36, 48), 1.6)
    depth[15:30, 10:24] = 0.8
    u, v = (x.ravel() for x in np.meshgrid(np.linspace(11, 22, 40), np.linspace(16, 28, 20)))
    front = CAMERA.backproject(np.column_stack([u, v]), np.full(len(u), FACTOR * 0.8))
    behind = CAMERA.backproject(np.column_stack([u, v]), np.full(len(u), FACTOR * 1.6))
    found = points_scale(np.concatenate([front, behind, behind * 1.01, behind * 1.02]), depth, CAMERA, 0)
    assert found.log_metres == pytest.approx(math.log(FACTOR), abs=0.02)


def test_points_beside_the_image_and_of_the_robot_itself_do_not_count():
    depth = room()
    others = np.array([[5.0, 0, 1], [0, 0, -2], [0, 0, 0.001], [np.nan, 0, 1], [np.inf, 0, 1]])
    found = points_scale(np.concatenate([scan(depth), others]), depth, CAMERA, 0)
    assert found.log_metres == pytest.approx(math.log(FACTOR), abs=0.01)
    with pytest.raises(NoScale, match="within the image"):
        points_scale(others, depth, CAMERA, 0)
    with pytest.raises(NoScale, match="within the image"):
        points_scale(np.zeros((0, 3)), depth, CAMERA, 0)
    with pytest.raises(NoScale, match=r"\(N, 3\)"):
        points_scale(np.zeros(3), depth, CAMERA, 0)
    with pytest.raises(NoScale, match="not of this"):
        points_scale(scan(depth), depth[:20], CAMERA, 0)
    with pytest.raises(NoScale, match="where the image shows depth"):
        points_scale(scan(depth), np.full((36, 48), np.nan), CAMERA, 0)


@pytest.mark.parametrize("sd", [0.05, 0.12])
def test_sigma_of_a_scan_is_honest(sd):
    rng, depth, inside = np.random.default_rng(2), room(), []
    for _ in range(150):
        wrong = depth * np.exp(smooth(rng, sd))
        found = points_scale(scan(depth), wrong, CAMERA, 0)
        inside.append(abs(found.log_metres - math.log(FACTOR)) < 2 * found.sigma)
    assert 0.88 <= np.mean(inside) <= 1.0


def test_a_single_point_tells_little():
    depth = room()
    one = CAMERA.backproject(np.array([[40.0, 20.0]]), np.array([FACTOR * depth[20, 40]]))
    found = points_scale(one, depth, CAMERA, 0)
    assert found.log_metres == pytest.approx(math.log(FACTOR), abs=1e-6) and found.sigma > 0.08


def cap(distance, half=0.25):
    """Points all over a cone along the camera's axis."""
    y, x = (a.ravel() for a in np.mgrid[-half:half:9j, -half:half:9j])
    angle = np.hypot(x, y)
    inside = angle <= half
    sides = np.sinc(angle / np.pi)[inside]
    return distance * np.column_stack([x[inside] * sides, y[inside] * sides, np.cos(angle[inside])])


def test_a_range_finder_hears_the_nearest_thing_in_its_cone():
    """A pole that stands at the cone's edge, in front of a wall."""
    depth = np.full((36, 48), 2.0)
    depth[:, 26:30] = 1.0
    pole = CAMERA.backproject_map(depth)[18, 26]
    found = cone_scale(cap(FACTOR * np.linalg.norm(pole)), depth, CAMERA, 0)
    assert found.log_metres == pytest.approx(math.log(FACTOR), abs=0.05) and found.sigma >= 0.1
    with pytest.raises(NoScale, match="cone"):
        cone_scale(cap(1.0) + [0.6, 0, 0], depth, CAMERA, 0)
