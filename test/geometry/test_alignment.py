import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.geometry import AlignmentError, pose_from_quaternion, robust_umeyama, rotation_angle, umeyama

seeds = st.integers(0, 2**32 - 1)


def problem(seed, count=60, scale=None, noise=0.0):
    """Source and target points, and the true similarity as (scale, rotation, translation)."""
    rng = np.random.default_rng(seed)
    scale = float(np.exp(rng.uniform(-2, 2))) if scale is None else scale
    pose = pose_from_quaternion(rng.normal(size=4), rng.normal(size=3) * 5)
    source = rng.normal(size=(count, 3)) * rng.uniform(0.3, 2, 3)
    target = scale * source @ pose[:3, :3].T + pose[:3, 3]
    return source, target + noise * rng.normal(size=target.shape), (scale, pose[:3, :3], pose[:3, 3])


def assert_is(fit, truth, atol=1e-8):
    assert fit.scale == pytest.approx(truth[0], rel=atol * 10)
    np.testing.assert_allclose(fit.rotation, truth[1], atol=atol)
    np.testing.assert_allclose(fit.translation, truth[2], atol=atol * 100)


@given(seeds, st.integers(3, 50))
def test_exact_points_give_the_exact_similarity(seed, count):
    source, target, truth = problem(seed, count)
    fit = umeyama(source, target)
    np.testing.assert_allclose(fit.apply(source), target, atol=1e-7)
    np.testing.assert_allclose(fit.rotation @ fit.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)
    if count > 3:
        assert_is(fit, truth, 1e-6)


@given(seeds)
def test_without_scale_it_is_rigid(seed):
    source, target, truth = problem(seed, scale=1.0)
    fit = umeyama(source, target, with_scale=False)
    assert fit.scale == 1.0
    assert_is(fit, truth)
    homogeneous = np.c_[source, np.ones(len(source))] @ fit.matrix.T
    np.testing.assert_allclose(homogeneous[:, :3], target, atol=1e-9)


def test_points_of_a_plane_are_enough_and_give_no_mirror():
    source = np.random.default_rng(0).normal(size=(30, 3)) * [1, 1, 0]
    turn = pose_from_quaternion([0.3, -0.2, 0.1, 1])[:3, :3]
    fit = umeyama(source, source @ turn.T)
    np.testing.assert_allclose(fit.rotation, turn, atol=1e-9)


def test_a_mirrored_set_still_gets_a_rotation():
    source = np.random.default_rng(0).normal(size=(30, 3))
    assert np.linalg.det(umeyama(source, source * [1, 1, -1]).rotation) == pytest.approx(1.0)


def test_weights_choose():
    source, target, truth = problem(1)
    target[:20] += 3.0
    weights = np.ones(60)
    weights[:20] = 0
    assert_is(umeyama(source, target, weights), truth)
    assert_is(umeyama(source, target, weights * 1e-12), truth)


def test_what_is_not_finite_counts_for_nothing():
    source, target, truth = problem(2)
    source[0], target[1, 2] = np.nan, np.inf
    weights = np.ones(60)
    weights[2] = np.nan
    target[2] += 10
    assert_is(umeyama(source, target, weights), truth)
    fit, inliers = robust_umeyama(source, target, weights)
    assert_is(fit, truth)
    assert not inliers[:3].any() and inliers[3:].all()


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((0, 3)),
        np.random.default_rng(0).normal(size=(2, 3)),
        np.ones((10, 3)),
        np.outer(np.arange(10.0), [1, 2, 3]) + 5,
        np.full((10, 3), np.nan),
    ],
    ids=["none", "two", "one place", "one line", "not finite"],
)
def test_degenerate_sets_are_refused(source):
    for align in (umeyama, robust_umeyama):
        with pytest.raises(AlignmentError):
            align(source, source)
    other = np.random.default_rng(1).normal(size=source.shape)
    with pytest.raises(AlignmentError):
        umeyama(source, other)


@pytest.mark.parametrize("weights", [np.zeros(10), -np.ones(10), np.ones(9)])
def test_weights_that_cannot_be(weights):
    points = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(AlignmentError):
        umeyama(points, points, weights)


def test_shapes_that_do_not_match():
    with pytest.raises(AlignmentError, match=r"\(4, 3\).*\(5, 3\)"):
        umeyama(np.ones((4, 3)), np.ones((5, 3)))


@given(seeds, st.floats(0, 0.4), st.booleans())
def test_a_moving_minority_does_not_pull(seed, share, with_scale):
    source, target, truth = problem(seed, 200, None if with_scale else 1.0)
    moving = np.arange(200) < share * 200
    # One thing that moves as a whole is the hard case; scattered errors are not.
    target[moving] += truth[0] * np.array([0.5, 0.2, -0.1])
    fit, inliers = robust_umeyama(source, target, with_scale=with_scale)
    assert_is(fit, truth, 1e-6)
    np.testing.assert_array_equal(inliers, ~moving)


def test_with_noise_it_is_as_good_as_least_squares_over_the_good_points():
    source, target, truth = problem(5, 300, 1.0, noise=0.01)
    target[:100] += [0.4, 0, 0.3]
    fit, inliers = robust_umeyama(source, target, with_scale=False)
    assert not inliers[:100].any() and inliers[100:].mean() > 0.9
    assert np.degrees(rotation_angle(fit.rotation @ truth[1].T)) < 0.2
    assert np.linalg.norm(fit.translation - truth[2]) < 0.01


def test_it_is_deterministic():
    source, target, _ = problem(6, 100, noise=0.1)
    first, again = robust_umeyama(source, target)[0], robust_umeyama(source, target)[0]
    np.testing.assert_array_equal(first.matrix, again.matrix)
