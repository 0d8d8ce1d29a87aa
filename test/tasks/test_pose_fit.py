"""The fit itself, against numerical differentiation and where half of what it is given is wrong."""

import numpy as np
import pytest
from analytic_scene import Altered, AnalyticScene, wandering_camera
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, pose_matrix, rotation_angle, transform
from d4rt_ros.tasks import pose_fit, relative_pose
from d4rt_ros.tasks.pose_fit import solve_pnp, solve_rigid

CAMERA = Pinhole(300.0, 380.0, 170.0, 115.0, 321, 241)
TRUTH = pose_matrix(Rotation.from_rotvec([0.02, -0.05, 0.03]).as_matrix(), [0.2, -0.1, 0.15])
seeds = st.integers(0, 2**32 - 1)


def rows(count, seed=0, i_from_j=TRUTH, depth=(1.0, 6.0)):
    """Points (N, 3) in their own camera, the exact pixels in the other one, and which are of camera j."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, [CAMERA.width - 1, CAMERA.height - 1], (count, 2))
    points = CAMERA.backproject(pixels, rng.uniform(*depth, count))
    back = np.arange(count) % 2 == 1
    seen = np.where(back[:, None], transform(i_from_j, points), transform(invert(i_from_j), points))
    return points, seen, back


def errors(estimate, truth=TRUTH):
    """Degrees and the length of the shift."""
    error = invert(truth) @ estimate
    return float(np.degrees(rotation_angle(error))), float(np.linalg.norm(error[:3, 3]))


@given(seeds)
def test_the_normal_equations_are_the_derivatives_of_the_pixels(seed):
    rng = np.random.default_rng(seed)
    pose = pose_from_quaternion([*rng.uniform(-0.3, 0.3, 3), 1.0], rng.uniform(-0.5, 0.5, 3))
    points, seen, back = rows(20, seed, pose, depth=(2.0, 6.0))
    pixels = CAMERA.project(seen) + rng.normal(size=(20, 2))
    kept = np.isfinite(pixels).all(axis=1)
    points, pixels, back = points[kept], pixels[kept], back[kept]
    weights = rng.uniform(0.1, 2.0, len(points))

    def off(step):
        return pose_fit._errors(pose_fit._moved(pose, step), points, pixels, back, CAMERA)[1]

    step = 1e-6
    jacobian = np.stack([(off(step * e) - off(-step * e)) / (2 * step) for e in np.eye(6)], axis=-1)
    seen, here, _ = pose_fit._errors(pose, points, pixels, back, CAMERA)
    normal, gradient = pose_fit._normal_equations(pose, seen, here, back, weights, CAMERA)
    expected = np.einsum("nki,n,nkj->ij", jacobian, weights, jacobian)
    np.testing.assert_allclose(normal, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    slope = -np.einsum("nki,n,nk->i", jacobian, weights, here)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max())


@given(seeds)
def test_a_move_is_along_and_about_the_axes_of_camera_j(seed):
    rng = np.random.default_rng(seed)
    pose, step = pose_from_quaternion(rng.normal(size=4), rng.normal(size=3)), rng.normal(size=6)
    there = invert(pose) @ pose_fit._moved(pose, step)
    np.testing.assert_allclose(there[:3, 3], step[:3], atol=1e-9)
    np.testing.assert_allclose(there[:3, :3], Rotation.from_rotvec(step[3:]).as_matrix(), atol=1e-9)


@settings(max_examples=20)
@given(seeds)
def test_exact_rows_give_the_exact_pose(seed):
    rng = np.random.default_rng(seed)
    pose = pose_from_quaternion([*rng.uniform(-0.1, 0.1, 3), 1.0], rng.uniform(-0.3, 0.3, 3))
    points, seen, back = rows(60, seed, pose)
    pixels = CAMERA.project(seen)
    kept = np.isfinite(pixels).all(axis=1)
    fit = solve_pnp(points[kept], pixels[kept], back[kept], np.ones(kept.sum()), CAMERA)
    assert errors(fit.i_from_j, pose)[0] < 1e-3 and errors(fit.i_from_j, pose)[1] < 1e-4
    assert fit.inliers.all()
    fit = solve_rigid(points, seen, back, np.ones(60))
    assert errors(fit.i_from_j, pose)[0] < 1e-4 and errors(fit.i_from_j, pose)[1] < 1e-5


@pytest.mark.parametrize("kind", [False, True])
def test_rows_of_one_kind_are_enough(kind):
    points, seen, back = rows(80)
    mine = back == kind
    pixels = CAMERA.project(seen[mine])
    fit = solve_pnp(points[mine], pixels, back[mine], np.ones(40), CAMERA)
    assert errors(fit.i_from_j)[0] < 1e-3 and errors(fit.i_from_j)[1] < 1e-4


def test_pixels_count_by_their_weight():
    """Half of the pixels are off to one side by a little, and said to be worth little."""
    points, seen, back = rows(200)
    pixels = CAMERA.project(seen)
    wrong = np.arange(200) // 2 % 2 == 0
    pixels[wrong, 0] += np.where(back[wrong], -2.0, 2.0)
    weights = np.where(wrong, 0.01, 1.0)
    trusting, fair = (
        errors(solve_pnp(points, pixels, back, w, CAMERA).i_from_j) for w in (weights, 0 * weights + 1)
    )
    assert fair[0] > 0.05
    assert trusting[0] < 0.1 * fair[0]


def test_rigid_points_count_by_their_weight():
    points, seen, back = rows(200)
    wrong = np.arange(200) // 2 % 2 == 0
    seen[wrong] = seen[wrong] + np.where(back[wrong, None], [0.02, 0, 0], [-0.02, 0, 0]) * points[wrong, 2:]
    weights = np.where(wrong, 0.01, 1.0)
    trusting, fair = (errors(solve_rigid(points, seen, back, w).i_from_j) for w in (weights, 0 * weights + 1))
    assert fair[0] > 0.1 or fair[1] > 0.01
    assert trusting[0] < 0.2 * max(fair[0], 0.1) and trusting[1] < 0.2 * max(fair[1], 0.01)


def test_a_thing_that_moves_hardly_pulls():
    """Geman-McClure: what is ten deviations off weighs nearly nothing, however many go together."""
    points, seen, back = rows(4000)
    rng = np.random.default_rng(1)
    pixels = CAMERA.project(seen) + 0.3 * rng.normal(size=(4000, 2))
    alone = np.arange(4000) // 2 % 3 > 0  # two thirds stand still
    pixels[~alone, 0] += np.where(back[~alone], -3.0, 3.0)
    ones = np.ones(4000)
    fit = solve_pnp(points, pixels, back, ones, CAMERA).i_from_j
    best = solve_pnp(points[alone], pixels[alone], back[alone], ones[alone], CAMERA).i_from_j
    # In pixels, of which the thing is off by three.
    moved = CAMERA.project(transform(invert(fit) @ best, seen[~back])) - CAMERA.project(seen[~back])
    assert np.nanmedian(np.linalg.norm(moved, axis=1)) < 0.06


@pytest.mark.parametrize("kind", [False, True])
def test_a_plane_is_not_seen_from_behind(kind):
    """Pixels that only a camera behind the plane could have."""
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-1, 1, (40, 2)), np.full(40, 3.0)]
    behind = pose_matrix(np.diag([-1.0, 1.0, -1.0]), [0.0, 0.0, 6.0])  # looks back at the plane
    pixels = CAMERA.project(transform(behind, points))
    back = np.full(40, kind)
    assert pose_fit._ransac(points, pixels, back, CAMERA, 10.0) == []
    with pytest.raises(np.linalg.LinAlgError):
        solve_pnp(points, pixels, back, np.ones(40), CAMERA)
    # The same points as a camera before the plane sees them are found.
    pixels = CAMERA.project(transform(invert(TRUTH), points))
    assert len(pose_fit._ransac(points, pixels, back, CAMERA, 10.0)) == 1


def test_scatter_is_the_deviation_of_a_coordinate():
    errors_ = np.hypot(*np.random.default_rng(0).normal(size=(2, 100_000)))
    assert pose_fit._scatter(errors_, 100.0) == pytest.approx(1.0, rel=0.02)
    assert pose_fit._scatter(errors_, 1.5) == 0.5 and pose_fit._scatter(0 * errors_, 100.0) == 0.01


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_inliers_are_those_that_agree_within_three_deviations(share):
    points, seen, back = rows(2000)
    pixels = CAMERA.project(seen) + 0.3 * np.random.default_rng(2).normal(size=(2000, 2))
    wrong = np.arange(2000) < share * 2000
    pixels[wrong, 1] += 3.0
    fit = solve_pnp(points, pixels, back, np.ones(2000), CAMERA)
    assert fit.inliers[~wrong].mean() > 0.98 and (not wrong.any() or fit.inliers[wrong].mean() < 0.02)
    assert fit.residual == pytest.approx(0.3 * np.sqrt(2), rel=0.05)


def covariance_of(solve, trials=150):
    """The errors' covariance over many draws of noise, and the mean of what the fits say of themselves: of x y z
    and the turns about x y z, about the axes of frame i."""
    rng, found, told = np.random.default_rng(3), [], []
    truth = pose_matrix(Rotation.from_rotvec([0.3, -0.5, 0.4]).as_matrix(), [0.4, -0.3, 0.2])
    for _ in range(trials):
        fit = solve(rng, truth)
        turn = Rotation.from_matrix(fit.i_from_j[:3, :3] @ truth[:3, :3].T).as_rotvec()
        found.append(np.r_[fit.i_from_j[:3, 3] - truth[:3, 3], turn])
        told.append(np.linalg.inv(fit.information))
    return np.cov(np.array(found).T), np.mean(told, axis=0)


def noisy_pnp(rng, truth):
    points, seen, back = rows(100, 4, truth, depth=(2.0, 6.0))
    pixels = CAMERA.project(seen) + 0.2 * rng.normal(size=(100, 2))
    kept = np.isfinite(pixels).all(axis=1)
    return solve_pnp(points[kept], pixels[kept], back[kept], np.ones(kept.sum()), CAMERA)


def noisy_rigid(rng, truth):
    points, seen, back = rows(100, 4, truth, depth=(2.0, 6.0))
    seen = seen + 0.01 * points[:, 2:] * rng.normal(size=(100, 3))
    return solve_rigid(points, seen, back, np.ones(100))


@pytest.mark.parametrize("solve", [noisy_pnp, noisy_rigid])
def test_information_is_the_inverse_of_the_errors_covariance(solve):
    found, told = covariance_of(solve)
    # In units of the deviations that are told: the identity, but for what so few draws are off.
    scale = np.linalg.inv(np.linalg.cholesky(told))
    spread = np.linalg.eigvalsh(scale @ found @ scale.T)
    assert 0.4 < spread.min() and spread.max() < 2.2


@pytest.mark.parametrize("kind", [False, True])
def test_a_point_behind_the_camera_that_sees_it_agrees_with_no_pixel(kind):
    points, back = np.array([[0.0, 0, 1], [0, 0, 3]]), np.full(2, kind)
    ahead = pose_matrix(translation=[0, 0, -2.0 if kind else 2.0])  # the seeing camera is 2 m further on
    _, off, found = pose_fit._errors(ahead, points, np.full((2, 2), [171.0, 115.0]), back, CAMERA)
    np.testing.assert_array_equal(found, [np.inf, 1.0])
    np.testing.assert_array_equal(off, [[0, 0], [1, 0]])


def test_what_does_not_agree_makes_no_pose_surer():
    points, seen, back = rows(200)
    pixels = CAMERA.project(seen) + 0.2 * np.random.default_rng(5).normal(size=(200, 2))
    pixels[:80] += 40.0
    fit = solve_pnp(points, pixels, back, np.ones(200), CAMERA)
    kept = fit.inliers
    alone = solve_pnp(points[kept], pixels[kept], back[kept], np.ones(kept.sum()), CAMERA)
    np.testing.assert_allclose(np.diag(fit.information), np.diag(alone.information), rtol=0.1)


@pytest.mark.parametrize("method", ["pnp", "rigid"])
def test_a_pose_goes_by_the_confident_answers(method):
    """Three of four points are off, each its own way, and the model says that it does not know them."""
    scene = AnalyticScene(wandering_camera(3), ball=np.full((3, 3), 100.0))
    off = np.random.default_rng(0).normal(size=(288, 2)) * (np.arange(288) % 4 > 0)[:, None]

    def spoil(low):
        def change(answer):
            here, there = slice(0, 288), slice(288, 576)
            answer.confidence[here][off[:, 0] != 0] = low
            answer.uv[there] += 2 * off
            answer.xyz[there, :2] += 0.05 * off * answer.xyz[there, 2:]

        return change

    def error(low):
        pose = relative_pose(Altered(scene, spoil(low)), 0, 2, scene.camera, method)
        return sum(errors(pose.i_from_j, scene.relative(0, 2)))

    trusted, doubted = error(0.9), error(0.01)
    assert trusted > 0.02 and doubted < 0.3 * trusted, (trusted, doubted)
