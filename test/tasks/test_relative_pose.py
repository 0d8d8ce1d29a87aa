import numpy as np
import pytest
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, rotation_angle
from d4rt_ros.tasks import PoseError, camera_poses, relative_pose
from d4rt_ros.tasks.relative_pose import _check

METHODS = ("pnp", "rigid")


def errors(estimate, truth):
    """Degrees and metres."""
    error = invert(truth) @ estimate
    return float(np.degrees(rotation_angle(error))), float(np.linalg.norm(error[:3, 3]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("camera", [None, CAMERA], ids=["estimated", "given"])
@pytest.mark.parametrize("pair", [(0, 3), (3, 0), (2, 3), (-1, -2)])
def test_exact_answers_give_the_exact_pose(method, camera, pair):
    scene = AnalyticScene(wandering_camera(5))
    pose = relative_pose(scene, *pair, camera, method)
    degrees, metres = errors(pose.i_from_j, scene.relative(*pair))
    assert degrees < 0.01 and metres < 0.001
    assert pose.method == method and pose.inliers > 0.8 and 0.3 < pose.usable <= 1
    assert scene.calls == 1


@pytest.mark.parametrize("method", METHODS)
def test_noise_and_gross_errors_and_a_moving_ball(method):
    scene = AnalyticScene(wandering_camera(4), noise=0.005, spoiled=0.1)
    pose = relative_pose(scene, 0, 3, CAMERA, method)
    degrees, metres = errors(pose.i_from_j, scene.relative(0, 3))
    assert degrees < 1.0 and metres < 0.1
    assert 0.5 < pose.inliers < 0.95


@pytest.mark.parametrize("method", METHODS)
def test_the_covariance_holds_the_errors(method):
    """Normalised squared errors of 6 numbers: about 6 or, with a covariance on the safe side, less."""
    squared = []
    for seed in range(30):
        scene = AnalyticScene(wandering_camera(3), noise=0.02, seed=seed, radius=0.3)
        pose = relative_pose(scene, 0, 2, CAMERA, method)
        truth = scene.relative(0, 2)
        turn = pose.i_from_j[:3, :3] @ truth[:3, :3].T
        error = np.r_[pose.i_from_j[:3, 3] - truth[:3, 3], (turn - turn.T)[[2, 0, 1], [1, 2, 0]] / 2]
        squared.append(error @ np.linalg.solve(pose.covariance, error))
        np.testing.assert_allclose(pose.covariance, pose.covariance.T, atol=1e-12)
    assert 0.05 < np.mean(squared) < 8


@pytest.mark.parametrize("method", METHODS)
def test_more_noise_is_less_sure(method):
    quiet, loud = (
        relative_pose(AnalyticScene(wandering_camera(3), noise=noise), 0, 2, CAMERA, method)
        for noise in (0.005, 0.03)
    )
    assert (np.diag(loud.covariance) > 2 * np.diag(quiet.covariance)).all()
    assert loud.residual > 2 * quiet.residual


@pytest.mark.parametrize("method", METHODS)
def test_a_camera_that_stands_still(method):
    scene = AnalyticScene(wandering_camera(4, speed=0))
    pose = relative_pose(scene, 0, 3, CAMERA, method)
    degrees, metres = errors(pose.i_from_j, np.eye(4))
    assert degrees < 0.01 and metres < 0.001 and pose.parallax < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_camera_that_only_turns(method):
    turn = pose_from_quaternion([[0, 0.05 * k, 0, 1] for k in range(3)])
    pose = relative_pose(AnalyticScene(turn), 0, 2, CAMERA, method)
    degrees, metres = errors(pose.i_from_j, turn[2])
    assert degrees < 0.01 and metres < 0.001 and pose.parallax < 0.1


def test_parallax_grows_with_the_way():
    near, far = (relative_pose(AnalyticScene(wandering_camera(4)), 0, j, CAMERA) for j in (1, 3))
    assert 1 < near.parallax < far.parallax


@pytest.mark.parametrize("method", METHODS)
def test_it_is_deterministic(method):
    first, again = (
        relative_pose(
            AnalyticScene(wandering_camera(3), noise=0.02, spoiled=0.2), 0, 2, CAMERA, method
        ).i_from_j
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


def test_a_half_of_the_answers_missing_is_enough():
    def spoil(answer):
        answer.xyz[::2] = np.nan
        answer.uv[1::5] = np.inf
        answer.visibility[2::7] = np.nan

    for method in METHODS:
        scene = AnalyticScene(wandering_camera(3))
        pose = relative_pose(Altered(scene, spoil), 0, 2, CAMERA, method)
        assert errors(pose.i_from_j, scene.relative(0, 2))[0] < 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
def test_answers_that_say_nothing(method, value):
    def spoil(answer):
        answer.xyz[:], answer.uv[:] = value, value

    with pytest.raises(PoseError):
        relative_pose(Altered(AnalyticScene(wandering_camera(3)), spoil), 0, 2, CAMERA, method)


def test_pixels_that_are_all_the_same_give_no_pose():
    def spoil(answer):
        answer.uv[:] = 40.0

    with pytest.raises(PoseError, match="determine"):
        relative_pose(Altered(AnalyticScene(wandering_camera(3)), spoil), 0, 2, CAMERA)


def test_views_that_do_not_overlap():
    poses = pose_from_quaternion([[0, 0, 0, 1], [0, 1, 0, 0.1]])
    with pytest.raises(PoseError, match="overlap"):
        relative_pose(AnalyticScene(poses), 0, 1, CAMERA)
    # The rigid alignment needs no overlap of the views.
    assert errors(relative_pose(AnalyticScene(poses), 0, 1, CAMERA, "rigid").i_from_j, poses[1])[0] < 0.01


def spoiled_rows(scene, change):
    """What of the second answer (points of i, then of j, in the other frame) `change` makes, of 2 x 12 x 12 rows."""
    return Altered(
        scene, lambda answer: change(*(x[288:] for x in (answer.uv, answer.visibility, answer.xyz)))
    )


def test_what_is_not_seen_does_not_count():
    scene = AnalyticScene(wandering_camera(3))
    clear = relative_pose(scene, 0, 2, CAMERA)

    def hide(uv, visibility, xyz):
        uv[::2] += 5.0
        visibility[::2] = 0.4

    hidden = relative_pose(spoiled_rows(scene, hide), 0, 2, CAMERA)
    assert hidden.usable == pytest.approx(clear.usable / 2, abs=0.02) and hidden.inliers > 0.8
    assert errors(hidden.i_from_j, scene.relative(0, 2))[0] < 0.01


def test_the_rays_are_the_given_camera_s_and_the_depth_the_model_s():
    def widen(answer):
        answer.xyz[:, :2] *= 1.3

    scene = AnalyticScene(wandering_camera(3))
    pose = relative_pose(Altered(scene, widen), 0, 2, CAMERA)
    assert errors(pose.i_from_j, scene.relative(0, 2))[0] < 0.01


@pytest.mark.parametrize("seen, enough", [(12, True), (11, False)])
def test_a_pose_needs_twelve_points(seen, enough):
    scene = AnalyticScene(wandering_camera(3))
    counted = []

    def hide_and_count(uv, visibility, xyz):
        rows = np.flatnonzero(visibility > 0.5)
        kept = rows[np.linspace(0, len(rows) - 1, seen).astype(int)]
        visibility[np.setdiff1d(rows, kept)] = 0
        counted.append(len(kept))

    spoiled = spoiled_rows(scene, hide_and_count)
    if enough:
        assert errors(relative_pose(spoiled, 0, 2, CAMERA).i_from_j, scene.relative(0, 2))[0] < 0.1
    else:
        with pytest.raises(PoseError, match="11 of 288 points are usable"):
            relative_pose(spoiled, 0, 2, CAMERA)
    assert counted == [seen]


@pytest.mark.parametrize("method", METHODS)
def test_a_pose_is_never_surer_than_the_floor(method):
    covariance = relative_pose(AnalyticScene(wandering_camera(3)), 0, 2, CAMERA, method).covariance
    deviations = np.sqrt(np.diag(covariance))
    assert (deviations[:3] >= 0.002).all() and (deviations[3:] >= np.radians(0.1)).all()
    assert (deviations[:3] < 0.01).all() and (deviations[3:] < np.radians(0.2)).all()


@pytest.mark.parametrize("shift, rotation, fine", [(1.9, 0.4, True), (2.1, 0.1, False), (0.1, 0.6, False)])
def test_a_pose_that_is_less_sure_than_its_depth_is_none(shift, rotation, fine):
    covariance = np.diag([0.01, shift**2, 0.01, 0.01, 0.01, rotation**2])
    if fine:
        return _check(np.eye(4), covariance, 2.0)
    with pytest.raises(PoseError, match="uncertain"):
        _check(np.eye(4), covariance, 2.0)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="pnp, rigid"):
        relative_pose(AnalyticScene(wandering_camera(2)), 0, 1, method="icp")


@pytest.mark.parametrize("method", METHODS)
def test_poses_of_a_whole_window(method):
    scene = AnalyticScene(wandering_camera(5))
    poses = camera_poses(scene, method=method)
    assert poses.shape == (5, 4, 4) and scene.calls == 1
    np.testing.assert_array_equal(poses[0], np.eye(4))
    for j in range(5):
        degrees, metres = errors(poses[j], scene.relative(0, j))
        assert degrees < 0.01 and metres < 0.002


def test_frames_that_do_not_see_the_first_are_joined_to_the_one_before():
    scene = AnalyticScene(wandering_camera(16))
    poses = camera_poses(scene, CAMERA)
    assert np.degrees(rotation_angle(scene.relative(0, 15))) > 60
    degrees, metres = errors(poses[15], scene.relative(0, 15))
    assert degrees < 0.01 and metres < 0.002


class LyingBetween:
    """A scene whose frames 0 and 2 do not agree: of `lying` of the rows between them, pixels are aside."""

    def __init__(self, scene, lying, hidden):
        self._scene, self._lying, self._hidden = scene, lying, hidden

    def __getattr__(self, name):
        return getattr(self._scene, name)

    def query(self, **fields):
        answer = self._scene.query(**fields)
        between = np.abs(fields["t_src"] - fields["t_tgt"]) == 2
        place = np.random.default_rng(0).permutation(len(between)) / len(between)
        aside = np.where(fields["t_src"] < fields["t_tgt"], 6.0, -6.0)
        lying = between & (place < self._lying)
        answer.uv[lying, 0] += aside[lying]
        answer.uv[between & (place > 1 - self._lying), 1] += 10.0
        answer.visibility[between & ~lying & self._hidden] = 0
        return answer


@pytest.mark.parametrize("lying, hidden", [(0.45, False), (0.2, True)], ids=["few agree", "few are seen"])
def test_frames_that_do_not_agree_with_the_first_are_joined_to_the_one_before(lying, hidden):
    scene = AnalyticScene(wandering_camera(3), ball=np.full((3, 3), 100.0))
    liar = LyingBetween(scene, lying, hidden)
    direct = relative_pose(liar, 0, 2, CAMERA)
    assert errors(direct.i_from_j, scene.relative(0, 2))[0] > 0.2
    assert (direct.usable < 0.25 < 0.5 < direct.inliers) if hidden else (direct.inliers < 0.5)
    assert errors(camera_poses(liar, CAMERA)[2], scene.relative(0, 2))[0] < 0.01


@pytest.mark.parametrize("camera", ["wide", 500.0, np.eye(3), CAMERA.matrix, Pinhole.centred(90, 95, 98, 65)])
def test_a_camera_that_is_none_of_the_scene_s(camera):
    scene = AnalyticScene(wandering_camera(2))
    for task in (lambda: relative_pose(scene, 0, 1, camera), lambda: camera_poses(scene, camera)):
        with pytest.raises(ValueError, match="is no Pinhole|98x65 pixels and the scene's frames have 97x65"):
            task()


def test_a_window_of_one_frame():
    np.testing.assert_array_equal(camera_poses(AnalyticScene(wandering_camera(1))), np.eye(4)[None])
