"""A run's path: similarities cost nothing, untrusted frames neither help nor harm, jumps are seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.evaluation.calibration import coverage
from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.run_path import (
    motion_doubts,
    pairs_apart,
    path_length,
    run_path_errors,
    still_run_path_errors,
)
from d4rt_ros.geometry import pose_matrix
from d4rt_ros.geometry.transforms import cross_matrix

COUNT = 60
STAMPS = np.round(np.arange(COUNT) * 1e9 / 15).astype(np.int64)


def wandering(seed=0, count=COUNT):
    """A path that bends in all directions; (count, 4, 4)."""
    t = np.linspace(0, 4, count)[:, None]
    phase = np.random.default_rng(seed).uniform(0, 6, (2, 3))
    turns = Rotation.from_rotvec(0.4 * np.sin([1.0, 1.3, 0.7] * t + phase[0]))
    return pose_matrix(turns.as_matrix(), np.sin([0.9, 1.1, 1.4] * t + phase[1]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 20))
def test_another_world_and_another_unit_cost_nothing(seed, scale):
    random = np.random.default_rng(seed)
    truth = wandering(seed)
    other = pose_matrix(Rotation.random(None, random).as_matrix(), random.normal(size=3)) @ truth
    other[:, :3, 3] *= scale
    errors = run_path_errors(other, truth, STAMPS)
    assert max(vars(errors).values()) < 1e-4


def test_the_still_camera_by_hand():
    """One metre a second along x and 9 degrees a second about z, as a square wave would have it along y."""
    seconds = STAMPS / 1e9
    place = np.stack([seconds, np.where(seconds % 2 < 1, 0.0, 0.3), 0 * seconds], 1)
    truth = pose_matrix(Rotation.from_rotvec(np.radians(9) * seconds[:, None] * [0, 0, 1]).as_matrix(), place)
    errors = still_run_path_errors(truth, STAMPS)
    assert errors.rpe_rotation == pytest.approx(9, rel=1e-6)
    assert errors.rpe_translation == pytest.approx(np.sqrt(1 + 0.09), rel=1e-6)
    spread = np.sqrt(((place - place.mean(0)) ** 2).sum(1).mean())
    assert errors.ate == pytest.approx(100 * spread / path_length(truth))
    assert errors.step_translation == pytest.approx(np.hypot(1 / 15, 0.3))
    assert errors.step_rotation == pytest.approx(9 / 15) and errors.jump_translation == 0


def test_a_jump_is_seen_whatever_its_direction():
    truth = wandering()
    for axis in range(3):
        ours = wandering()
        ours[30:, axis, 3] += 0.05
        turn = np.zeros(3)
        turn[axis] = np.radians(2)
        ours[40:, :3, :3] = ours[40:, :3, :3] @ Rotation.from_rotvec(turn).as_matrix()
        errors = run_path_errors(ours, truth, STAMPS)
        assert errors.step_translation == pytest.approx(0.05, rel=0.1)
        assert errors.step_rotation == pytest.approx(2, rel=0.01)
        assert errors.jump_translation < errors.step_translation and errors.jump_rotation < 2


def test_a_jump_is_what_a_step_has_too_much():
    """Half a metre a second along x, then one step of 5 cm more, sideways none; and one that is missing is no jump."""
    truth = pose_matrix(translation=np.outer(STAMPS / 2e9, [1.0, 0, 0]))
    ours = truth.copy()
    ours[30:, 0, 3] += 0.05
    errors = run_path_errors(ours, truth, STAMPS)
    assert errors.jump_translation == pytest.approx(0.05, rel=0.1) and errors.jump_rotation == 0
    late = truth.copy()
    late[30:, 0, 3] -= 0.03
    late = run_path_errors(late, truth, STAMPS)
    assert late.jump_translation < 0.004 and late.step_translation == pytest.approx(0.03, rel=0.1)


def test_frames_that_are_not_trusted_are_left_out():
    truth, ours = wandering(), wandering()
    trusted = np.ones(COUNT, bool)
    trusted[10:20] = False
    ours[10:15] = np.nan
    ours[15:20, 0, 3] += 100.0  # as a node that says that it does not know
    assert max(vars(run_path_errors(ours, truth, STAMPS, trusted)).values()) < 1e-6
    assert run_path_errors(ours, truth, STAMPS).ate > 10
    unknown = truth.copy()
    unknown[3] = np.nan
    assert run_path_errors(wandering(), unknown, STAMPS).ate < 1e-6
    with pytest.raises(MetricError, match="1 of 60"):
        run_path_errors(ours, truth, STAMPS, np.arange(COUNT) == 5 * 8)


def test_pairs_are_a_second_apart_whatever_is_missing():
    i, j = pairs_apart(STAMPS, 10**9)
    np.testing.assert_array_equal(j - i, 15)
    assert len(i) == COUNT - 15
    kept = np.delete(np.arange(COUNT), [20, 21, 22, 23])
    i, j = pairs_apart(STAMPS[kept], 10**9)
    np.testing.assert_array_equal(kept[j] - kept[i], 15)
    assert not set(kept[j]) & {20, 21, 22, 23} and not len(pairs_apart(STAMPS[:10], 10**9)[0])
    uneven = np.sort(np.random.default_rng(0).choice(STAMPS, 40, replace=False)) + 10**15
    i, j = pairs_apart(uneven, 10**9)
    assert np.all(2 * np.abs(uneven[j] - uneven[i] - 10**9) <= np.median(np.diff(uneven)))


def random_walk(seed, truth, position, turn):
    """The path that adds a step's error after the other to a true one, and the covariances that say so."""
    random = np.random.default_rng(seed)
    ours, covariance = truth.copy(), np.zeros((len(truth), 6, 6))
    for k in range(1, len(truth)):
        step = np.linalg.inv(truth[k - 1]) @ truth[k]
        error = random.normal(size=6)
        error[:3] *= position
        error[3:] *= turn
        # Of the new camera, about the world's axes.
        exact = ours[k - 1] @ step
        ours[k] = pose_matrix(
            Rotation.from_rotvec(error[3:]).as_matrix() @ exact[:3, :3], exact[:3, 3] + error[:3]
        )
        lever = np.eye(6)
        lever[:3, 3:] = -cross_matrix(ours[k, :3, 3] - ours[k - 1, :3, 3])
        covariance[k] = lever @ covariance[k - 1] @ lever.T + np.diag([position**2] * 3 + [turn**2] * 3)
    return ours, covariance


def test_honest_covariances_cover_what_they_should():
    position, rotation = [], []
    for seed in range(12):
        truth = wandering(seed, 200)
        ours, covariance = random_walk(seed, truth, 2e-3, 1e-3)
        stamps = np.round(np.arange(200) * 1e9 / 15).astype(np.int64)
        world = pose_matrix(Rotation.from_rotvec([0.3, 1.0, -0.5]).as_matrix(), [1, 2, 3])
        turned = np.kron(np.eye(2), world[:3, :3])
        doubts = motion_doubts(world @ ours, turned @ covariance @ turned.T, truth, stamps)
        position.append((doubts.position.ravel(), doubts.position_sigma.ravel()))
        rotation.append((doubts.rotation.ravel(), doubts.rotation_sigma.ravel()))
        np.testing.assert_allclose(doubts.rotation_sigma, 1e-3 * np.sqrt(15), rtol=1e-6)
    for pairs in (position, rotation):
        shares = coverage(*(np.concatenate(x) for x in zip(*pairs)))
        assert np.all((shares > 0.88) & (shares < 0.995)), shares


def test_sigmas_are_in_the_paths_own_unit():
    truth = wandering(1, 200)
    ours, covariance = random_walk(1, truth, 2e-3, 1e-3)
    stamps = np.round(np.arange(200) * 1e9 / 15).astype(np.int64)
    plain = motion_doubts(ours, covariance, truth, stamps)
    ours[:, :3, 3] *= 10
    covariance[:, :3] *= 10
    covariance[:, :, :3] *= 10
    tenfold = motion_doubts(ours, covariance, truth, stamps)
    np.testing.assert_allclose(tenfold.position_sigma, 10 * plain.position_sigma)
    np.testing.assert_allclose(tenfold.position, 10 * plain.position, atol=2e-3)
    np.testing.assert_allclose(tenfold.rotation, plain.rotation)


def test_a_covariance_that_does_not_grow_doubts_nothing():
    truth = wandering()
    doubts = motion_doubts(truth, np.zeros((COUNT, 6, 6)), truth, STAMPS)
    assert not doubts.position_sigma.any() and np.abs(doubts.position).max() < 1e-9
