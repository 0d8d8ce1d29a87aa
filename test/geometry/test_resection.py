import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, rotation_angle, transform
from d4rt_ros.geometry.perturbation import perturbation, perturbed
from d4rt_ros.geometry.resection import GaussianPose, ResectionError, resect, rotation_only

CAMERA = Pinhole.centred(260.0, 250.0, 320, 240)
NOWHERE = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 2))


def scene(rng, count=150):
    """A camera somewhere in the world, points in its view, and their pixels."""
    pose = pose_from_quaternion(rng.normal(size=4), rng.normal(size=3) * 3)
    pixels = rng.uniform(0, 1, (count, 2)) * [319, 239]
    return pose, transform(pose, CAMERA.backproject(pixels, rng.uniform(1, 5, count))), pixels


def still(points):
    return np.zeros_like(points)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_exact_points_give_the_exact_pose(seed):
    rng = np.random.default_rng(seed)
    pose, points, pixels = scene(rng, int(rng.integers(12, 100)))
    start = perturbed(pose, rng.normal(size=6) * 0.03)
    fit = resect(points, still(points), pixels, CAMERA, start, iterations=20)
    np.testing.assert_allclose(fit.world_from_camera, pose, atol=1e-5)
    assert (fit.weights > 0.999).all() and np.abs(fit.residuals).max() < 1e-2


def test_errors_are_as_large_as_the_covariance_says():
    """Landmarks of uncertain depth, noisy pixels: per coordinate and all together, about the world's axes."""
    rng, inside, lengths = np.random.default_rng(1), [], []
    for _ in range(250):
        pose, points, pixels = scene(rng)
        found = transform(pose @ perturbed(np.eye(4), rng.normal(size=6) * 0.2), np.zeros((1, 3)))
        spread = 0.02 * (points - found)
        drawn = points + spread * rng.normal(size=(len(points), 1))
        seen = pixels + 0.5 * rng.normal(size=pixels.shape)
        fit = resect(drawn, spread, seen, CAMERA, perturbed(pose, rng.normal(size=6) * 0.01))
        error = perturbation(pose, fit.world_from_camera)[0]
        inside.append(np.abs(error) <= 2 * np.sqrt(np.diag(fit.covariance)))
        lengths.append(error @ np.linalg.solve(fit.covariance, error))
    assert 0.93 <= np.mean(inside) <= 0.97
    assert np.mean(lengths) == pytest.approx(6.0, abs=0.7)


def test_an_uncertain_depth_counts_across_its_epipolar_line_alone():
    rng = np.random.default_rng(2)
    pose, points, pixels = scene(rng)
    other = perturbed(pose, np.r_[0.4 * pose[:3, 0], 0.0, 0.05, 0.0])
    seen = CAMERA.project(transform(invert(other), points))
    seen += 0.2 * rng.normal(size=seen.shape)
    # Depths along the rays of the first camera are off by 30 %; only half of the points say so.
    spread = 0.3 * (points - pose[:3, 3])
    spread[::2] *= 0.0
    off = points + spread * rng.normal(size=(len(points), 1))
    ends = np.isfinite(seen).all(axis=1)
    right = resect(off[ends], spread[ends], seen[ends], CAMERA, pose, 0.2, iterations=12)
    error = perturbation(other, right.world_from_camera)[0]
    assert error @ np.linalg.solve(right.covariance, error) < 25
    # Across the lines the uncertain ones do help: they halve the variance of some turn.
    half = resect(off[::2], spread[::2], seen[::2], CAMERA, pose, 0.2, iterations=12)
    assert np.linalg.eigvalsh(np.linalg.solve(half.covariance, right.covariance) @ np.eye(6)).min() < 0.7


@pytest.mark.parametrize("shift", [5.0, 8.0, 15.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_half_of_the_points_may_move_together(shift, seed):
    rng = np.random.default_rng(seed)
    pose, points, pixels = scene(rng, 200)
    seen = pixels + 0.5 * rng.normal(size=pixels.shape)
    angle = rng.uniform(0, 2 * np.pi)
    seen[:99] += shift * np.array([np.cos(angle), np.sin(angle)])
    fit = resect(points, still(points), seen, CAMERA, perturbed(pose, rng.normal(size=6) * 0.003))
    error = perturbation(pose, fit.world_from_camera)[0]
    assert error @ np.linalg.solve(fit.covariance, error) < 40
    assert fit.weights[:99].max() < 0.2 and np.median(fit.weights[99:]) > 0.4
    np.testing.assert_allclose(
        np.median(fit.residuals[:99], axis=0) / shift, [np.cos(angle), np.sin(angle)], atol=0.15
    )


def test_what_moves_together_by_little_does_not_carry_the_pose_half_way():
    """From a near start. By the wide kernel alone six of these end between the two."""
    for seed in range(16):
        rng = np.random.default_rng(seed)
        pose, points, pixels = scene(rng, 200)
        seen = pixels + 0.5 * rng.normal(size=pixels.shape)
        angle = rng.uniform(0, 2 * np.pi)
        seen[:95] += 3.0 * np.array([np.cos(angle), np.sin(angle)])
        fit = resect(points, still(points), seen, CAMERA, perturbed(pose, rng.normal(size=6) * 0.001))
        error = perturbation(pose, fit.world_from_camera)[0]
        assert error @ np.linalg.solve(fit.covariance, error) < 40, seed


def test_points_behind_the_camera_or_not_finite_count_for_nothing():
    rng = np.random.default_rng(3)
    pose, points, pixels = scene(rng, 60)
    start = perturbed(pose, rng.normal(size=6) * 0.01)
    seen = pixels + rng.normal(size=pixels.shape)
    without = resect(points[20:], still(points[20:]), seen[20:], CAMERA, start)
    points[:10] = 2 * pose[:3, 3] - points[:10]
    points[10:13], seen[13:17], spread = np.nan, np.inf, still(points)
    spread[17:20] = np.nan
    fit = resect(points, spread, seen, CAMERA, start)
    np.testing.assert_allclose(fit.world_from_camera, without.world_from_camera, atol=1e-12)
    np.testing.assert_allclose(fit.covariance, without.covariance, rtol=1e-9)
    assert not fit.weights[:20].any() and not fit.residuals[:20].any()


def test_a_prior_pulls_as_much_as_it_knows():
    rng = np.random.default_rng(4)
    pose, points, pixels = scene(rng)
    seen = pixels + 0.5 * rng.normal(size=pixels.shape)
    free = resect(points, still(points), seen, CAMERA, pose, kernel=(1e6, 1e6))
    mean = perturbed(pose, rng.normal(size=6) * 0.002)
    root = rng.normal(size=(6, 6))
    information = np.linalg.inv(free.covariance) * 0.5 + 1e4 * root @ root.T
    fit = resect(
        points, still(points), seen, CAMERA, pose, prior=GaussianPose(mean, information), kernel=(1e6, 1e6)
    )
    # As two Gaussians of one thing combine.
    covariance = np.linalg.inv(np.linalg.inv(free.covariance) + information)
    away = perturbation(mean, free.world_from_camera)[0]
    expected = perturbed(free.world_from_camera, covariance @ information @ away)
    error = perturbation(fit.world_from_camera, expected)[0]
    assert error @ np.linalg.solve(covariance, error) < 0.01
    np.testing.assert_allclose(fit.covariance, covariance, atol=0.02 * np.abs(covariance).max())


def test_stars_say_where_the_camera_looks_and_not_where_it_is_but_a_prior_does():
    rng = np.random.default_rng(5)
    pose, points, pixels = scene(rng)
    points = pose[:3, 3] + (points - pose[:3, 3]) * 1e9
    alone = resect(points, still(points), pixels, CAMERA, pose)
    assert (
        np.sqrt(np.diag(alone.covariance)[:3]).min()
        > 1e5
        > 1e-3
        > np.sqrt(np.diag(alone.covariance)[3:]).max()
    )
    prior = GaussianPose(pose, np.diag([100.0] * 3 + [1.0] * 3))
    fit = resect(points, still(points), pixels, CAMERA, perturbed(pose, np.full(6, 1e-3)), prior=prior)
    np.testing.assert_allclose(np.diag(fit.covariance)[:3], 0.01, rtol=0.01)
    assert rotation_angle(fit.world_from_camera[:3, :3].T @ pose[:3, :3]) < 1e-4


def test_too_few_points_say_so():
    pose, points, pixels = scene(np.random.default_rng(6), 10)
    for rows in (slice(0), slice(5)):
        with pytest.raises(ResectionError, match="needs 6"):
            resect(points[rows], still(points[rows]), pixels[rows], CAMERA, pose)
    with pytest.raises(ResectionError, match="0 of 10 points"):
        resect(2 * pose[:3, 3] - points, still(points), pixels, CAMERA, pose)
    with pytest.raises(ResectionError, match="needs 6"):  # nothing agrees
        resect(points, still(points), np.random.default_rng(7).uniform(0, 240, (10, 2)), CAMERA, pose)


def test_points_of_one_line_or_place_do_not_determine_a_pose():
    pose, points, _ = scene(np.random.default_rng(8), 30)
    line = points[0] + np.linspace(0, 1, 30)[:, None] * (points[1] - points[0])
    for where in (line, np.repeat(points[:1], 30, axis=0)):
        pixels = CAMERA.project(transform(invert(pose), where))
        with pytest.raises(ResectionError, match="determine"):
            resect(where, still(where), pixels, CAMERA, pose)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"points": np.zeros((3, 2))}, "points has shape"),
        ({"pixels": np.zeros((3, 2))}, "one of each"),
        ({"start": np.full((4, 4), np.nan)}, "start"),
        ({"pixel_sigma": 0.0}, "pixel_sigma"),
        ({"iterations": 0}, "iterations"),
        ({"kernel": (8.0, 0.0)}, "kernel"),
    ],
)
def test_arguments_that_cannot_be(change, sentence):
    pose, points, pixels = scene(np.random.default_rng(9), 20)
    arguments = {"points": points, "spread": still(points), "pixels": pixels, "camera": CAMERA, "start": pose}
    with pytest.raises(ValueError, match=sentence):
        resect(**(arguments | change))


@pytest.mark.parametrize(
    "mean, information", [(np.zeros((4, 4)), np.eye(6)), (np.eye(4), np.full((6, 6), np.nan))]
)
def test_priors_that_are_none(mean, information):
    with pytest.raises(ValueError, match="prior"):
        GaussianPose(mean, information)


def turned(rng, degrees, count=150):
    """Pixels of two images between which the camera turned by about that much, and the rotation a_from_b."""
    turn = perturbed(np.eye(4), np.r_[0, 0, 0, rng.normal(size=3) * np.radians(degrees)])[:3, :3]
    a = rng.uniform(0, 1, (count, 2)) * [319, 239]
    return turn, a, CAMERA.project(CAMERA.backproject(a, np.ones(count)) @ turn)


@pytest.mark.parametrize("degrees", [0.0, 1.0, 10.0])
def test_a_rotation_is_found_from_any_distance_and_its_covariance_is_true(degrees):
    rng, inside = np.random.default_rng(10), []
    for _ in range(100):
        turn, a, b = turned(rng, degrees)
        b += 0.5 * rng.normal(size=b.shape)
        fit = rotation_only(a, b, CAMERA)
        error = perturbation(
            *(np.block([[r, np.zeros((3, 1))], [0, 0, 0, 1]]) for r in (fit.a_from_b, turn))
        )[0][3:]
        inside.append(np.abs(error) <= 2 * np.sqrt(np.diag(fit.covariance)))
    assert 0.9 <= np.mean(inside) <= 0.99


def test_what_a_rotation_leaves_is_parallax():
    rng = np.random.default_rng(11)
    turn, a, b = turned(rng, 5.0)
    b[:60] += [0.0, 25.0]
    b[-1] = np.nan
    fit = rotation_only(a, b, CAMERA)
    np.testing.assert_allclose(fit.a_from_b, turn, atol=1e-4)
    np.testing.assert_allclose(fit.residuals[:60], np.tile([0.0, 25.0], (60, 1)), atol=0.1)
    assert fit.weights[:60].max() < 1e-3 < 0.99 < fit.weights[60:-1].min()
    assert fit.weights[-1] == 0 and not fit.residuals[-1].any()


def test_pixels_that_give_no_rotation():
    for a in (np.zeros((0, 2)), np.full((20, 2), np.nan), np.zeros((5, 2))):
        with pytest.raises(ResectionError, match="needs 6"):
            rotation_only(a, a, CAMERA)
    with pytest.raises(ValueError, match="pairs"):
        rotation_only(np.zeros((7, 2)), np.zeros((8, 2)), CAMERA)
