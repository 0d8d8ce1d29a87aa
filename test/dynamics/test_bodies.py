"""What is one body in a grid of points, and what is none."""

import numpy as np
import pytest

from d4rt_ros.dynamics.bodies import LEAST_POINTS, labels_of, seen_bodies
from d4rt_ros.geometry import Pinhole

CAMERA = Pinhole.centred(45.0, 45.0, 48, 36)  # of the grid
ORIGIN = np.zeros(3)
WALL = 5.0
NO_TRACKS = np.empty(0, np.uint64), np.empty((0, 3)), np.empty((0, 3))


def grid(depth=WALL):
    return CAMERA.backproject_map(np.full((36, 48), depth, np.float32)).astype(float)


def slab(rows, columns, depth=3.0, of=None):
    """xyz and dynamic of a rectangle before a wall."""
    xyz, dynamic = (grid(), np.zeros((36, 48), bool)) if of is None else of
    xyz[rows, columns], dynamic[rows, columns] = grid(depth)[rows, columns], True
    return xyz, dynamic


def bodies(xyz, dynamic, *tracks):
    return seen_bodies(xyz, dynamic, ORIGIN, *(tracks or NO_TRACKS))


def test_a_body_is_where_its_points_are():
    xyz, dynamic = slab(np.s_[10:21], np.s_[5:16])
    [body] = bodies(xyz, dynamic)
    np.testing.assert_allclose(body.centroid, xyz[15, 10])
    np.testing.assert_allclose(body.extent, [10 * 3 / 45, 10 * 3 / 45, 0], atol=1e-6)
    assert body.share == 121 / (36 * 48) and np.isnan(body.velocity).all() and len(body.tracks) == 0


def test_a_jump_of_depth_parts_what_touches_in_the_image():
    xyz, dynamic = slab(np.s_[10:21], np.s_[16:30], 4.0, slab(np.s_[10:21], np.s_[5:16]))
    assert len(np.unique(labels_of(xyz, dynamic, ORIGIN))) == 2 + 1
    assert sorted(round(body.centroid[2], 3) for body in bodies(xyz, dynamic)) == [3, 4]
    assert len(bodies(*slab(np.s_[10:21], np.s_[16:30], 3.2, slab(np.s_[10:21], np.s_[5:16])))) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_a_hole_of_one_point_parts_nothing_and_a_gap_does(axis):
    xyz, dynamic = slab(np.s_[5:30], np.s_[5:30])
    lines = np.moveaxis(dynamic, axis, 0)
    lines[12] = False
    assert len(bodies(xyz, dynamic)) == 1
    lines[13] = False
    assert len(bodies(xyz, dynamic)) == 2


def test_a_slanted_line_of_points_is_one():
    for turn in (1, -1):
        xyz, dynamic = grid(), np.eye(36, 48, dtype=bool)[:, ::turn]
        assert len(bodies(xyz, dynamic)) == 1


def test_specks_are_no_bodies():
    xyz, dynamic = slab(np.s_[20:21], np.s_[20:22])
    dynamic[5, 5] = True
    assert LEAST_POINTS > 2 and bodies(xyz, dynamic) == []


def test_points_that_lead_away_from_a_body_are_no_part_of_it():
    """As a network draws them between a body and what is behind it."""
    xyz, dynamic = slab(np.s_[10:26], np.s_[10:26])
    for step in range(1, 7):
        slab(18, 25 + step, 3.0 * 1.12**step, (xyz, dynamic))
    [body] = bodies(xyz, dynamic)
    assert xyz[18, 31, 2] > 5.5 and body.extent[2] < 1.2
    np.testing.assert_allclose(body.centroid, xyz[10:26, 10:26].mean((0, 1)), atol=0.06)


def test_tracks_are_of_the_body_that_they_are_among():
    xyz, dynamic = slab(np.s_[10:20], np.s_[30:40], 3.0, slab(np.s_[10:20], np.s_[5:15]))
    positions = np.array([xyz[15, 10], xyz[12, 35], xyz[14, 36] * 1.02, xyz[15, 10] * 2, [np.nan] * 3])
    velocities = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1.2, 0], [5, 5, 5], [5, 5, 5]])
    left, right = sorted(
        bodies(xyz, dynamic, np.arange(5).astype(np.uint64), positions, velocities),
        key=lambda b: b.centroid[0],
    )
    assert left.tracks.tolist() == [0] and right.tracks.tolist() == [1, 2]
    np.testing.assert_allclose([left.velocity, right.velocity], [[1, 0, 0], [0, 1.1, 0]])


@pytest.mark.parametrize("size", [(2, 2), (2, 48), (36, 2)])
def test_the_smallest_grids(size):
    xyz = np.ones((*size, 3))
    assert (labels_of(xyz, np.ones(size, bool), ORIGIN) == 0).all()
