import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import (
    AlignmentError,
    Similarity,
    pose_from_quaternion,
    robust_umeyama,
    rotation_angle,
    transform,
    umeyama,
)

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


@given(seeds, st.booleans(), st.booleans())
def test_it_is_the_least_squares_one(seed, with_scale, mirrored):
    """Of noisy points, weighted, no similarity beside it is better; nor where only a mirror would fit."""
    rng = np.random.default_rng(seed)
    source, target, _ = problem(seed, 20, noise=0.5)
    target, weights = target * [1, 1, -1 if mirrored else 1], rng.uniform(0, 1, 20)

    def cost(scale, rotation, translation):
        off = Similarity(scale, rotation, translation).apply(source) - target
        return float(weights @ (off**2).sum(axis=1))

    fit = umeyama(source, target, weights, with_scale)
    least = cost(fit.scale, fit.rotation, fit.translation)
    for _ in range(10):
        scale = fit.scale * (1 + 1e-3 * rng.normal()) if with_scale else 1.0
        turn = Rotation.from_rotvec(1e-3 * rng.normal(size=3)).as_matrix()
        translation = fit.translation + 1e-3 * rng.normal(size=3)
        assert cost(scale, turn @ fit.rotation, translation) >= least * (1 - 1e-12)


def test_a_thing_that_moves_by_ten_deviations_is_left_out_though_nearly_half_is_of_it():
    source, target, truth = problem(7, 400, 3.0, noise=0.01)
    target[:180] += 0.1 * np.array([0.6, 0.64, -0.48])
    fit, inliers = robust_umeyama(source, target)
    assert not inliers[:180].any() and inliers[180:].mean() > 0.97
    best = umeyama(source[180:], target[180:])
    np.testing.assert_allclose(fit.translation, best.translation, atol=1e-3)


def test_three_deviations_are_the_border():
    source, target, truth = problem(8, 2000, 1.0, noise=0.01)
    target[:200] += 0.05 * np.array([0.6, 0.64, -0.48])
    inliers = robust_umeyama(source, target)[1]
    assert inliers[:200].mean() < 0.15 and 0.96 < inliers[200:].mean() < 0.995


@pytest.mark.parametrize("seed", range(6))
def test_a_distant_thing_that_turns_does_not_lead_astray(seed):
    """All points together are a start that ends at the thing: it is far, so that it turns the fit by little."""
    source, target, (scale, rotation, translation) = problem(seed, 200, 3.0, noise=0.01)
    rng = np.random.default_rng(seed + 99)
    source[:80] = 0.3 * rng.normal(size=(80, 3)) + [6, 0, 0]
    turned = transform(pose_from_quaternion(rng.normal(size=4), [0, 9, 0]), source[:80])
    target[:80] = scale * turned @ rotation.T + translation
    fit, inliers = robust_umeyama(source, target)
    np.testing.assert_allclose(fit.translation, translation, atol=0.02)
    assert not inliers[:80].any() and inliers[80:].mean() > 0.9


def test_with_weights_by_depth_the_relative_error_is_compared():
    """Errors of one per cent of the depth: the far points' are a hundred times larger and count for as good."""
    rng = np.random.default_rng(9)
    depth = np.exp(rng.uniform(0, np.log(100), 500))
    source = rng.normal(size=(500, 3)) * depth[:, None]
    target = source + 0.01 * depth[:, None] * rng.normal(size=(500, 3))
    target[:50] += depth[:50, None] * [0.1, 0.1, 0]
    inliers = robust_umeyama(source, target, 1 / depth**2)[1]
    assert not inliers[:50].any()
    for part in (depth < 3, depth > 30):
        assert inliers[50:][part[50:]].mean() > 0.94


def test_it_is_deterministic():
    source, target, _ = problem(6, 100, noise=0.1)
    first, again = robust_umeyama(source, target)[0], robust_umeyama(source, target)[0]
    np.testing.assert_array_equal(first.matrix, again.matrix)
