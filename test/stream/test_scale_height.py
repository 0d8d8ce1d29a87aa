"""Scale from the height above the ground."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import Pinhole
from d4rt_ros.stream.scale import NoScale
from d4rt_ros.stream.scale_height import IMAGE_UP, ground_plane, height_scale

CAMERA = Pinhole.centred(40.0, 40.0, 48, 36)
RAYS = CAMERA.backproject_map(np.ones((36, 48)))


def up(pitch=0.0, roll=0.0):
    """(3,) in the optical frame of a camera that looks down by `pitch` and is rolled, radians."""
    return np.array([math.sin(roll), -math.cos(pitch) * math.cos(roll), -math.sin(pitch) * math.cos(roll)])


def hall(height, pitch=0.3, roll=0.0, wall=6.0, normal=None):
    """Depth (36, 48) of a floor so many units below the camera and a wall across."""
    down = RAYS @ (up(pitch, roll) if normal is None else normal)
    with np.errstate(divide="ignore"):
        depth = np.where(down < 0, -height / down, np.inf)
    return np.minimum(depth, wall)


def points(depth):
    return RAYS * depth[..., None]


def blurred(rng, depth, sd):
    import cv2

    field = cv2.resize(rng.normal(0, sd, (4, 6)), (48, 36), interpolation=cv2.INTER_CUBIC)
    return depth * np.exp(field + rng.normal(0, 0.01, depth.shape))


@settings(max_examples=40)
@given(st.floats(0.1, 3.0), st.floats(0.1, 0.9), st.floats(-0.3, 0.3))
def test_the_height_above_a_floor_that_is_known_exactly(height, pitch, roll):
    ground = ground_plane(points(hall(height, pitch, roll, wall=6 * height)), up(pitch, roll), 0.05)
    assert ground.height == pytest.approx(height, rel=0.01)
    np.testing.assert_allclose(ground.up, up(pitch, roll), atol=0.01)
    assert 0.03 < ground.sigma < 0.15 and ground.share > 0.1


def test_the_image_says_what_is_up_where_nothing_else_does():
    ground = ground_plane(points(hall(1.2, pitch=0.2)), IMAGE_UP)
    assert ground.height == pytest.approx(1.2, rel=0.02)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 1.5), st.floats(0.2, 0.6))
def test_noise_and_holes_and_boxes_on_the_floor(seed, height, pitch):
    rng = np.random.default_rng(seed)
    depth = blurred(rng, hall(height, pitch, wall=5 * height), 0.03)
    depth[8:20, 4:14] = np.minimum(depth[8:20, 4:14], 1.5 * height)  # a box
    depth[rng.random(depth.shape) < 0.1] = np.nan
    ground = ground_plane(points(depth), up(pitch), math.radians(3))
    assert abs(math.log(ground.height / height)) < 3 * ground.sigma


def test_sigma_is_honest():
    for sd in (0.03, 0.1):
        rng, inside = np.random.default_rng(3), []
        for _ in range(80):
            pitch, height = rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.5)
            tilt = rng.normal(0, math.radians(2), 2)
            normal = up(pitch + tilt[0], tilt[1])
            depth = blurred(rng, hall(height, wall=6 * height, normal=normal), sd)
            try:
                ground = ground_plane(
                    points(depth), up(pitch), math.radians(3), np.full(depth.shape, 1.2 * sd)
                )
            except NoScale:
                continue
            inside.append(abs(math.log(ground.height / height)) < 2 * ground.sigma)
        assert len(inside) > 50 and np.mean(inside) >= 0.88


def test_the_lowest_of_two_planes_is_the_ground():
    """A table fills more of the view than the floor does."""
    floor, table = hall(1.5, 0.5), hall(0.5, 0.5)
    depth = floor.copy()
    depth[10:, 20:] = table[10:, 20:]
    depth[:10, 30:] = table[:10, 30:]
    assert ground_plane(points(depth), up(0.5), 0.05).height == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (np.full((36, 48), 3.0), "level"),  # a wall alone
        (np.full((36, 48), np.nan), "0 points"),
        (hall(1.0, pitch=-1.0), "points of level surfaces"),  # it looks at the ceiling
    ],
)
def test_where_no_ground_is_seen_it_says_so(depth, words):
    with pytest.raises(NoScale, match=words):
        ground_plane(points(depth), up(0.3), 0.05)


def test_a_slope_is_no_ground():
    with pytest.raises(NoScale):
        ground_plane(points(hall(1.0, pitch=0.3 + math.radians(30))), up(0.3), 0.05)


def test_what_tells_nothing_is_refused():
    xyz = points(hall(1.0))
    for wrong, words in (
        ((xyz[0], IMAGE_UP), "grid"),
        ((xyz[:3], IMAGE_UP), "grid"),
        ((xyz, [0, 0, 0]), "up is"),
    ):
        with pytest.raises(NoScale, match=words):
            ground_plane(*wrong)
    ground = ground_plane(xyz, up(0.3))
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(NoScale, match="more than 0"):
            height_scale(ground, wrong, 0)
    found = height_scale(ground, 2.0, 5)
    assert found.log_metres == pytest.approx(math.log(2.0), abs=0.01) and found.stamp == 5
    assert found.source == "height"
