"""Many points made few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.geometry import voxels
from d4rt_ros.geometry.voxels import thinned


def cloud(count, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(scale=spread, size=(count, 3)).astype(np.float32)
    return xyz, rng.integers(0, 256, (count, 3), dtype=np.uint8), rng.uniform(0.1, 1, count)


@given(st.integers(0, 200), st.integers(0, 10**6), st.floats(0.05, 3.0), st.integers(1, 5))
def test_one_point_for_each_cube_that_holds_any(count, seed, voxel, pieces):
    xyz, rgb, weights = cloud(count, seed)
    cubes = {}
    for i, cube in enumerate(np.floor(xyz.astype(np.float64) / voxel).astype(int).tolist()):
        cubes.setdefault(tuple(cube), []).append(i)
    few, colours = thinned(zip(*(np.array_split(x, pieces) for x in (xyz, rgb, weights))), voxel)
    assert len(few) == len(cubes) and few.dtype == np.float32 and colours.dtype == np.uint8
    for point, colour, cube in zip(few, colours, sorted(cubes)):
        rows = cubes[cube]
        np.testing.assert_allclose(point, np.average(xyz[rows], 0, weights[rows]), atol=1e-5)
        np.testing.assert_allclose(colour, np.average(rgb[rows], 0, weights[rows]), atol=0.51)


def test_means_are_weighted():
    xyz = np.array([[0.1, 0.1, 0.1], [0.5, 0.1, 0.1], [5, 5, 5]], np.float32)
    rgb = np.array([[0, 100, 10], [200, 100, 10], [1, 2, 3]], np.uint8)
    few, colours = thinned([(xyz, rgb, np.array([3.0, 1.0, 0.01]))], 1.0)
    np.testing.assert_allclose(few, [[0.2, 0.1, 0.1], [5, 5, 5]], rtol=1e-6)
    np.testing.assert_array_equal(colours, [[50, 100, 10], [1, 2, 3]])


def test_parts_and_their_order_change_nothing(monkeypatch):
    parts = [cloud(200, seed, 3.0) for seed in range(6)]
    once = thinned([tuple(np.concatenate(x) for x in zip(*parts))], 0.7)
    monkeypatch.setattr(voxels, "CHUNK", 300)
    again = thinned(reversed(parts), 0.7)
    np.testing.assert_allclose(again[0], once[0], atol=1e-5)
    assert np.abs(again[1].astype(int) - once[1]).max() <= 1


def test_what_is_no_point_does_not_count():
    xyz, rgb, weights = cloud(8)
    xyz[0], xyz[1, 2], xyz[2, 0], weights[3], weights[4] = np.nan, np.inf, 3e9, 0.0, np.nan
    few, _ = thinned([(xyz, rgb, weights)], 1e-3)
    assert len(few) == 3 and np.isfinite(few).all()


def test_no_points():
    for parts in ([], [cloud(0)]):
        xyz, rgb = thinned(parts, 1.0)
        assert xyz.shape == rgb.shape == (0, 3) and xyz.dtype == np.float32 and rgb.dtype == np.uint8


@pytest.mark.parametrize("voxel", [0, -1.0, np.nan, np.inf])
def test_a_cube_that_is_none(voxel):
    with pytest.raises(ValueError, match="side of a cube must be positive"):
        thinned([], voxel)
