import numpy as np

from d4rt_ros.geometry import Pinhole
from d4rt_ros.stream import Points
from d4rt_ros.stream.sky import sky

ROWS, COLUMNS = 18, 24
CAMERA = Pinhole.centred(24, 24, COLUMNS, ROWS)


def outdoors(top=(150, 180, 230), confidence=0.5):
    """A field up to the middle of the image, and what is above it; its points."""
    rng = np.random.default_rng(0)
    image = np.zeros((90, 120, 3), np.uint8)
    image[:45] = top
    image[45:] = rng.integers(20, 120, (45, 120, 1))
    depth, told = np.full((ROWS, COLUMNS), 4.0, np.float32), np.full((ROWS, COLUMNS), 0.95, np.float32)
    depth[:9], told[:9] = 9.0, confidence
    depth[9:] -= np.arange(9)[:, None] / 3
    xyz = CAMERA.backproject_map(depth)
    return Points(
        xyz, np.zeros((ROWS, COLUMNS, 3), np.uint8), told, CAMERA, np.full_like(depth, np.nan)
    ), image


def test_the_sky_is_above_the_field():
    found = sky(*outdoors())
    assert found[:8].mean() > 0.9 and not found[10:].any()


def test_what_is_sure_or_not_blue_or_textured_or_below_is_none():
    assert not sky(*outdoors(confidence=0.97)).any()
    assert not sky(*outdoors(top=(220, 190, 150))).any()
    points, image = outdoors()
    image[:45] = np.random.default_rng(1).integers(100, 255, (45, 120, 3))
    assert not sky(points, image).any()
    points, image = outdoors()
    image[:6] = 30  # a dark ceiling over it: a blue wall
    points.confidence[:2] = 0.97
    assert not sky(points, image).any()


def test_where_nothing_is_known_there_is_none():
    points, image = outdoors()
    points.xyz[:] = np.nan
    assert not sky(points, image).any()
