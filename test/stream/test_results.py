import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.stream.results import velocities, world_tracks
from d4rt_ros.tasks import PointTracks

STAMPS = (1e9 * (5 + np.arange(8) / 15)).astype(np.int64)
SECONDS = (STAMPS - STAMPS[-1]) / 1e9


def moving(velocity, acceleration, noise=0.0, count=1):
    t = SECONDS[:, None]
    positions = np.array([1.0, 2, 3]) + t * np.array(velocity) + t**2 / 2 * np.array(acceleration)
    return positions + noise * np.random.default_rng(0).normal(size=(count, *positions.shape))


@given(st.tuples(*[st.floats(-3, 3)] * 3))
def test_a_steady_velocity_is_exact(velocity):
    found = velocities(moving(velocity, [0, 0, 0]), STAMPS, np.ones((1, 8)))
    np.testing.assert_allclose(found[0], velocity, atol=1e-4)


def test_velocities_are_the_newest_ones():
    """A line over the window is off by the acceleration times half of it: 0.7 m/s here."""
    found = velocities(moving([1, 0, 0], [0, 3, 0]), STAMPS, np.ones((1, 8)))[0]
    np.testing.assert_allclose(found, [1, 0, 0], atol=0.3)
    noisy = velocities(moving([1, 0, 0], [0, 3, 0], 0.01, 500), STAMPS, np.ones((500, 8)))
    assert np.median(np.linalg.norm(noisy - [1, 0, 0], axis=1)) < 0.35


def test_noise_is_not_taken_for_acceleration():
    """A parabola alone would err by 0.13."""
    found = velocities(moving([1, 0, 0], [0, 0, 0], 0.01, 500), STAMPS, np.ones((500, 8)))
    assert np.median(np.linalg.norm(found - [1, 0, 0], axis=1)) < 0.12


def test_hidden_frames_never_count():
    positions, weights = moving([1, 2, 3], [0, 0, 0]), np.ones((1, 8))
    positions[0, 2:5] += [5, 0, 0]
    weights[0, 2:5] = 0
    np.testing.assert_allclose(velocities(positions, STAMPS, weights)[0], [1, 2, 3], atol=1e-3)
    positions[0, 2:5] = np.nan
    np.testing.assert_allclose(velocities(positions, STAMPS, weights)[0], [1, 2, 3], atol=1e-3)


@pytest.mark.parametrize(
    "seen, known", [([], False), ([7], False), ([3], False), ([0, 7], True), ([6, 7], True)]
)
def test_what_is_not_known_is_nan(seen, known):
    weights = np.zeros((1, 8))
    weights[0, seen] = 0.05
    found = velocities(moving([1, 2, 3], [0, 0, 0]), STAMPS, weights)[0]
    assert np.isfinite(found).all() == known
    if known:
        np.testing.assert_allclose(found, [1, 2, 3], atol=1e-3)


def test_tracks_are_not_visible_outside_the_image_nor_does_that_count():
    xyz = moving([1, 0, 0], [0, 0, 0], 0.0, 2).astype(np.float32)
    xyz[:, :3] += 9  # where the pixel is outside
    uv = np.full((2, 8, 2), 5, np.float32)
    uv[0, :3, 0], uv[1, :3, 1] = -0.6, 47.6
    ones = np.ones((2, 8), np.float32)
    tracks = world_tracks(PointTracks(xyz, uv, ones, ones), STAMPS, np.eye(4), 0, (48, 64))
    assert not tracks.visible[:, :3].any() and tracks.visible[:, 3:].all()
    np.testing.assert_allclose(tracks.velocities, [[1, 0, 0]] * 2, atol=1e-3)
