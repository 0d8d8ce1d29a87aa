"""Odometry's covariances against what errors of the measurements do to the numbers that are published.

A measured pose T (of frame j, in frame i) has the error (d, w) about i's axes at j's origin: its translation moves by
d, its rotation becomes exp(w) R.
"""

import numpy as np
import pytest

pytest.importorskip("nav_msgs.msg", reason="needs ROS 2's messages")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation  # noqa: E402
from small_results import judged, small_result  # noqa: E402

from d4rt_ros.geometry import invert, pose_matrix  # noqa: E402
from d4rt_ros.ros import odometry  # noqa: E402
from d4rt_ros.ros.odometry import UNKNOWN_VARIANCE, Placed  # noqa: E402
from d4rt_ros.tasks.relative_pose import RelativePose  # noqa: E402

SECOND = 1_000_000_000
seeds = st.integers(0, 2**32 - 1)
settings.register_profile("odometry", max_examples=60, deadline=None)
settings.load_profile("odometry")


def _pose(rng, angle=np.pi, reach=2.0):
    axis = rng.normal(size=3)
    turned = Rotation.from_rotvec(rng.uniform(0, angle) * axis / np.linalg.norm(axis))
    return pose_matrix(turned.as_matrix(), rng.uniform(-reach, reach, 3))


def _covariance(rng, size=1e-3):
    root = rng.normal(size=(6, 6)) * size
    return root @ root.T + np.eye(6) * (size / 10) ** 2


def _disturbed(pose, error):
    turned = Rotation.from_rotvec(error[3:]).as_matrix() @ pose[:3, :3]
    return pose_matrix(turned, pose[:3, 3] + error[:3])


def _derivative(function, size, step=1e-6):
    """The Jacobian of function(errors (size,)) at zero, by central differences."""
    columns = [(function(step * e) - function(-step * e)) / (2 * step) for e in np.eye(size)]
    return np.stack(columns, axis=1)


def _result(stamp, pose, covariance=None, step=None, keyframe=None, **changes):
    return small_result([stamp], pose, covariance, dict(step=step, keyframe=keyframe), **changes)


def _step(pose, covariance):
    return RelativePose(pose, 1.0, 1.0, 0.1, 1.0, covariance, "pnp")


def _velocity(world_from_a, world_from_b, seconds):
    """What the twist is said to be: the step's translation in the new frame's axes, and its rotation vector."""
    moved = invert(world_from_a) @ world_from_b
    vector = Rotation.from_matrix(moved[:3, :3]).as_rotvec()
    return np.concatenate([moved[:3, :3].T @ moved[:3, 3], vector]) / seconds


@given(seeds)
def test_the_poses_covariance_is_that_of_the_child_about_the_worlds_axes(seed):
    """A base that is up to two metres from its camera, turned anyhow."""
    rng = np.random.default_rng(seed)
    pose, camera_from_base, covariance = _pose(rng), _pose(rng), _covariance(rng)

    def errors(error):
        moved, base = _disturbed(pose, error) @ camera_from_base, pose @ camera_from_base
        turned = Rotation.from_matrix(moved[:3, :3] @ base[:3, :3].T).as_rotvec()
        return np.concatenate([moved[:3, 3] - base[:3, 3], turned])

    jacobian = _derivative(errors, 6)
    expected = jacobian @ covariance @ jacobian.T
    said = odometry.pose_covariance(Placed(_result(1, pose, covariance), camera_from_base))
    np.testing.assert_allclose(said, expected, rtol=1e-6, atol=1e-12)


@given(seeds, st.sampled_from([0.02, 0.1, 1.0, 3.0]), st.booleans())
def test_the_twists_covariance_is_what_two_steps_from_one_keyframe_make_of_it(seed, seconds, base):
    """Both steps' errors, a lever arm that moves between the two (a pan-tilt), large turns, any time between."""
    rng = np.random.default_rng(seed)
    world_from_key = _pose(rng)
    steps = _pose(rng, 2.0), _pose(rng, 2.0)
    mounts = (_pose(rng), _pose(rng)) if base else (np.eye(4), np.eye(4))
    covariances = _covariance(rng), _covariance(rng)
    moved = invert(steps[0] @ mounts[0]) @ steps[1] @ mounts[1]
    if np.linalg.norm(Rotation.from_matrix(moved[:3, :3]).as_rotvec()) > 3.0:
        return  # at half a turn the rotation vector jumps

    def velocity(errors):
        ends = (_disturbed(s, e) @ m for s, e, m in zip(steps, (errors[:6], errors[6:]), mounts))
        return _velocity(*(world_from_key @ end for end in ends), seconds)

    jacobian = _derivative(velocity, 12)
    joint = np.zeros((12, 12))
    joint[:6, :6], joint[6:, 6:] = covariances
    results = [
        _result(5 * SECOND + round(seconds * SECOND) * i, world_from_key @ s, None, _step(s, c), keyframe=7)
        for i, (s, c) in enumerate(zip(steps, covariances))
    ]
    before, now = (Placed(r, m) for r, m in zip(results, mounts))
    twist, said = odometry.twist(now, before)
    np.testing.assert_allclose(twist, velocity(np.zeros(12)), atol=1e-9)
    expected = jacobian @ joint @ jacobian.T
    np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@given(seeds)
def test_from_a_result_that_is_the_keyframe_it_is_the_steps_alone(seed):
    rng = np.random.default_rng(seed)
    key, step, covariance = _pose(rng), _pose(rng, 2.0), _covariance(rng)
    before = Placed(_result(SECOND, key, 100 * np.eye(6)), np.eye(4))
    now = Placed(_result(2 * SECOND, key @ step, None, _step(step, covariance), SECOND), np.eye(4))
    jacobian = _derivative(lambda e: _velocity(np.eye(4), _disturbed(step, e), 1.0), 6)
    expected = jacobian @ covariance @ jacobian.T
    np.testing.assert_allclose(
        odometry.twist(now, before)[1], expected, rtol=1e-4, atol=1e-5 * expected.max()
    )


def test_sampled_errors_have_the_covariance_that_is_said():
    rng = np.random.default_rng(3)
    steps, covariances = (_pose(rng, 1.0), _pose(rng, 1.0)), (_covariance(rng), _covariance(rng))
    mounts = _pose(rng), _pose(rng)
    samples = []
    for _ in range(4000):
        errors = [rng.multivariate_normal(np.zeros(6), c) for c in covariances]
        ends = [_disturbed(s, e) @ m for s, e, m in zip(steps, errors, mounts)]
        samples.append(_velocity(*ends, 0.1))
    before, now = (
        Placed(_result((i + 1) * SECOND // 10, s, None, _step(s, c), keyframe=5), m)
        for i, (s, c, m) in enumerate(zip(steps, covariances, mounts))
    )
    said, sampled = odometry.twist(now, before)[1], np.cov(np.array(samples).T)
    ratios = np.linalg.eigvals(np.linalg.solve(said, sampled)).real  # all one where both are the same
    assert 0.85 < ratios.min() and ratios.max() < 1.15


@given(seeds)
def test_poses_that_share_no_keyframe_are_not_surer_than_either(seed):
    rng = np.random.default_rng(seed)
    a, b = (
        _result(
            (i + 1) * SECOND, _pose(rng), _covariance(rng), _step(np.eye(4), 1e-9 * np.eye(6)), keyframe=i
        )
        for i in range(2)
    )
    said = odometry.step_covariance(b, a)
    turned = np.kron(np.eye(2), b.pose.world_from_camera[:3, :3])
    least = turned.T @ b.pose.covariance @ turned
    assert np.linalg.eigvalsh(said - least).min() > -1e-12


@pytest.mark.parametrize(
    "stamp, judgement",
    [(SECOND, {"lost": "dark"}), (SECOND, {"world": 3}), (2 * SECOND, {}), (3 * SECOND, {})],
)
def test_a_way_that_was_not_measured_has_no_velocity(stamp, judgement):
    step = _step(np.eye(4), 1e-6 * np.eye(6))
    now = Placed(_result(2 * SECOND, _pose(np.random.default_rng(0)), None, step, keyframe=SECOND), np.eye(4))
    before = Placed(judged(_result(stamp, np.eye(4)), **judgement), np.eye(4))
    for twist, covariance in (odometry.twist(now, before), odometry.twist(now, None)):
        assert not twist.any()
        np.testing.assert_array_equal(covariance, np.eye(6) * UNKNOWN_VARIANCE)


def test_a_camera_that_was_found_again_after_a_pause_has_no_velocity():
    """Both poses are trusted, no step leads from one to the other."""
    rng = np.random.default_rng(0)
    before, now = (Placed(_result(t * SECOND, _pose(rng)), np.eye(4)) for t in (1, 121))
    twist, covariance = odometry.twist(now, before)
    assert not twist.any()
    np.testing.assert_array_equal(covariance, np.eye(6) * UNKNOWN_VARIANCE)


def test_a_camera_whose_image_stands_still_is_said_to_stand():
    pose = _pose(np.random.default_rng(1))
    before = Placed(_result(SECOND, pose), np.eye(4))
    now = Placed(_result(2 * SECOND, pose, frozen_seconds=1.0), np.eye(4))
    twist, covariance = odometry.twist(now, before)
    np.testing.assert_allclose(twist, 0, atol=1e-12)
    assert np.diag(covariance).max() < 1e-4


@given(seeds)
def test_covariances_are_symmetric_and_positive(seed):
    rng = np.random.default_rng(seed)
    before, now = (
        Placed(
            _result((i + 1) * SECOND, _pose(rng), _covariance(rng), _step(_pose(rng), _covariance(rng)), 9),
            _pose(rng),
        )
        for i in range(2)
    )
    for covariance in (odometry.pose_covariance(now), odometry.twist(now, before)[1]):
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9, atol=1e-15)
        assert np.linalg.eigvalsh(covariance).min() > 0
