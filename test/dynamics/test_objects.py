"""Synthetic bodies before a wall: found, measured, and known again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.dynamics.objects import UNSEEN, Objects, ObjectTracker, scaled
from d4rt_ros.geometry import Pinhole

CAMERA = Pinhole.centred(45.0, 45.0, 48, 36)  # of the grid
PERIOD = 100_000_000
ORIGIN = np.zeros(3)
WALL = 5.0


def seen(*balls, noise=0.0, seed=0):
    """xyz (36, 48, 3) and dynamic of balls (x, y, z, radius) before a wall, in a world that is the camera's frame."""
    rays = CAMERA.backproject_map(np.ones((36, 48), np.float32)).astype(float)
    depth, owner = np.full((36, 48), WALL), np.zeros((36, 48), bool)
    for x, y, z, radius in balls:
        # A disc that faces the camera; the nearer one hides the farther one.
        hit = np.hypot(rays[..., 0] * z - x, rays[..., 1] * z - y) < radius
        hit &= z < depth
        depth[hit], owner[hit] = z, True
    depth *= 1 + noise * np.random.default_rng(seed).normal(size=depth.shape)
    return rays * depth[..., None], owner


def show(tracker, k, *balls, **options):
    return tracker.update(k * PERIOD, *seen(*balls, **options), ORIGIN)


def test_one_that_moves_evenly_is_one_with_its_place_its_size_and_its_velocity():
    tracker = ObjectTracker(first_id=7)
    for k in range(12):
        objects = show(tracker, k, (-1 + 0.1 * k, 0.2, 3.0, 0.5), noise=0.005, seed=k)
        assert objects.ids.tolist() == [7] and objects.ids.dtype == np.uint64
        if k == 0:
            np.testing.assert_allclose(objects.centroids, [[-1, 0.2, 3]], atol=0.05)
            assert np.isnan(objects.velocities).all() and np.isnan(objects.covariances[0, 3:]).all()
            assert np.isfinite(objects.covariances[0, :3, :3]).all()
    np.testing.assert_allclose(objects.centroids, [[0.1, 0.2, 3]], atol=0.05)
    np.testing.assert_allclose(objects.extents[0, :2], 1.0, atol=0.15)
    np.testing.assert_allclose(objects.velocities, [[1, 0, 0]], atol=0.15)
    sigma = np.sqrt(np.diag(objects.covariances[0]))
    assert (np.abs(objects.velocities[0] - [1, 0, 0]) < 3 * sigma[3:]).all() and sigma[3:].max() < 1.0
    np.testing.assert_allclose(objects.covariances[0], objects.covariances[0].T, atol=1e-12)


def test_nothing_moves():
    objects = show(ObjectTracker(), 0)
    assert len(objects) == 0 and objects.centroids.shape == (0, 3) and objects.covariances.shape == (0, 6, 6)
    assert objects.tracks == ()


def test_everything_moves():
    xyz, _ = seen()
    objects = ObjectTracker().update(0, xyz, np.ones((36, 48), bool), ORIGIN)
    assert len(objects) == 1 and objects.centroids[0, 2] == pytest.approx(WALL, rel=0.01)


def test_where_nothing_is_known_there_is_no_body():
    objects = ObjectTracker().update(0, np.full((36, 48, 3), np.nan), np.ones((36, 48), bool), ORIGIN)
    assert len(objects) == 0


@pytest.mark.parametrize(
    "depths", [(3.0, 4.0), (3.0, 3.0)], ids=["one before the other", "one through the other"]
)
def test_two_that_cross_keep_their_ids(depths):
    tracker = ObjectTracker()
    near, far = depths
    counts = []
    for k in range(21):
        objects = show(tracker, k, (-1 + 0.1 * k, 0.1, near, 0.45), (1 - 0.1 * k, -0.1, far, 0.3))
        counts.append(len(objects))
        if k == 0:
            left, right = objects.ids[np.argsort(objects.centroids[:, 0])]
    assert counts[0] == counts[-1] == 2 and min(counts) >= 1
    after = dict(zip(objects.ids.tolist(), objects.centroids[:, 0]))
    assert after[int(left)] == pytest.approx(1.0, abs=0.2) and after[int(right)] == pytest.approx(
        -1.0, abs=0.2
    )
    # Both, or the larger one while they were one.
    assert tracker.next_id == 3


def test_one_that_comes_back_soon_is_the_same_and_later_another():
    tracker = ObjectTracker()
    for k in range(5):
        [first] = show(tracker, k, (0.1 * k, 0, 3.0, 0.4)).ids
    for k in range(5, 9):
        assert len(show(tracker, k)) == 0
    assert show(tracker, 9, (0.9, 0, 3.0, 0.4)).ids.tolist() == [first]
    later = 9 + round(UNSEEN * 1e9 / PERIOD) + 2
    [other] = show(tracker, later, (0.9, 0, 3.0, 0.4)).ids
    assert other == tracker.next_id - 1 != first


def test_of_one_that_splits_the_larger_part_keeps_the_id():
    tracker = ObjectTracker()
    for k in range(4):
        whole = show(tracker, k, (0, 0, 3.0, 0.6), (0.5, 0, 3.0, 0.3))
    assert len(whole) == 1
    for k in range(4, 9):
        parts = show(tracker, k, (0, 0, 3.0, 0.6), (0.5 + 0.12 * (k - 3), 0, 3.0, 0.3))
    sizes = dict(zip(parts.ids.tolist(), parts.extents[:, 0]))
    assert len(sizes) == 2 and sizes[int(whole.ids[0])] == max(sizes.values())


def test_far_away_in_the_next_moment_it_is_another():
    tracker = ObjectTracker()
    for k in range(5):
        [first] = show(tracker, k, (-1.2, 0, 3.0, 0.3)).ids
    assert first not in show(tracker, 5, (1.2, 0, 3.0, 0.3)).ids


def test_an_earlier_stamp_begins_anew_with_new_ids():
    tracker = ObjectTracker()
    show(tracker, 10, (0, 0, 3.0, 0.4))
    assert show(tracker, 2, (0, 0, 3.0, 0.4)).ids.tolist() == [2]


def tracks_on(place, velocity, count=5, first=100):
    """ids, positions, velocities of tracks around a place; of the last two, one is far away and one is not known."""
    rng = np.random.default_rng(1)
    positions = np.asarray(place) + rng.normal(size=(count, 3)) * 0.05
    positions = np.concatenate([positions, [[0, 0, 9.0]], [[np.nan] * 3]])
    velocities = np.asarray(velocity) + rng.normal(size=(count + 2, 3)) * 0.02
    return np.arange(first, first + count + 2).astype(np.uint64), positions, velocities


def test_tracks_tell_the_velocity_at_once():
    xyz, dynamic = seen((0.3, 0, 3.0, 0.5))
    tracks = tracks_on((0.3, 0, 3.0), (0.4, 0.0, -0.2))
    objects = ObjectTracker().update(0, xyz, dynamic, ORIGIN, *tracks)
    assert objects.tracks[0].tolist() == [100, 101, 102, 103, 104] and objects.tracks[0].dtype == np.uint64
    np.testing.assert_allclose(objects.velocities, [[0.4, 0, -0.2]], atol=0.05)
    assert np.isfinite(objects.covariances).all()


def test_tracks_without_a_velocity_tell_none():
    xyz, dynamic = seen((0.3, 0, 3.0, 0.5))
    ids, positions, velocities = tracks_on((0.3, 0, 3.0), (0.4, 0.0, -0.2))
    objects = ObjectTracker().update(0, xyz, dynamic, ORIGIN, ids, positions, velocities * np.nan)
    assert np.isnan(objects.velocities).all() and len(objects.tracks[0]) == 5


def test_what_has_the_same_tracks_is_the_same_however_far_it_went():
    tracker = ObjectTracker()
    for k, x in enumerate((-1.0, 1.0)):
        xyz, dynamic = seen((x, 0, 3.0, 0.3))
        objects = tracker.update(k * PERIOD, xyz, dynamic, ORIGIN, *tracks_on((x, 0, 3.0), (np.nan,) * 3))
        assert objects.ids.tolist() == [1]


def test_scaled():
    objects = Objects(
        np.uint64([3]), np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 6, 6)), ()
    )
    twice = scaled(objects, 2.0, np.array([1.0, 0, 0]))
    np.testing.assert_array_equal(twice.centroids, [[3, 2, 2]])
    np.testing.assert_array_equal(twice.extents, [[2, 2, 2]])
    np.testing.assert_array_equal(twice.velocities, [[2, 2, 2]])
    assert (twice.covariances == 4).all()


scenes = st.lists(
    st.lists(
        st.tuples(st.floats(-2, 2), st.floats(-1, 1), st.floats(1, 4.5), st.floats(0.05, 1.0)), max_size=3
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(scenes, st.integers(1, 8))
def test_whatever_moves_ids_are_new_or_known_and_boxes_are_boxes(shown, period):
    tracker, last = ObjectTracker(), 0
    for k, balls in enumerate(shown):
        objects = show(tracker, period * k, *balls)
        ids = objects.ids.tolist()
        assert ids == sorted(set(ids)) and all(0 < i < tracker.next_id for i in ids)
        assert tracker.next_id >= last
        last = tracker.next_id
        assert np.isfinite(objects.centroids).all() and (objects.extents >= 0).all()
        for covariance in objects.covariances:
            known = covariance if np.isfinite(covariance).all() else covariance[:3, :3]
            assert np.linalg.eigvalsh(known).min() > 0


@settings(max_examples=20)
@given(scenes, st.floats(0.05, 20.0), st.tuples(*[st.floats(-5, 5)] * 3))
def test_the_unit_and_the_place_of_the_world_do_not_matter(shown, unit, offset):
    here, there, offset = ObjectTracker(), ObjectTracker(), np.array(offset)
    for k, balls in enumerate(shown):
        xyz, dynamic = seen(*balls)
        expected = scaled(here.update(k * PERIOD, xyz, dynamic, ORIGIN), unit, offset)
        objects = there.update(k * PERIOD, xyz * unit + offset, dynamic, offset)
        np.testing.assert_array_equal(objects.ids, expected.ids)
        np.testing.assert_allclose(objects.centroids, expected.centroids, rtol=1e-6, atol=1e-6 * unit)
        np.testing.assert_allclose(objects.velocities, expected.velocities, rtol=1e-6, atol=1e-6 * unit)
        np.testing.assert_allclose(objects.covariances, expected.covariances, rtol=1e-6, atol=1e-9 * unit**2)
