"""ATE and RPE by hand, and that a similarity costs nothing."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.trajectory import (
    aligned_poses,
    not_measured,
    still_trajectory_errors,
    trajectory_errors,
)
from d4rt_ros.geometry import pose_matrix


def path(positions, turns_deg=None):
    turns = np.zeros((len(positions), 3))
    turns[:, 1] = 0 if turns_deg is None else np.radians(turns_deg)
    return pose_matrix(Rotation.from_rotvec(turns).as_matrix(), positions)


needs_evo = pytest.mark.skipif(find_spec("evo") is None, reason="needs evo: pip install evo")
SQUARE = [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]


@needs_evo
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_another_world_and_another_unit_cost_nothing(seed, scale):
    random = np.random.default_rng(seed)
    truth = pose_matrix(Rotation.random(6, random).as_matrix(), random.normal(size=(6, 3)))
    other = pose_matrix(Rotation.random(None, random).as_matrix(), random.normal(size=3)) @ truth
    other[:, :3, 3] *= scale
    errors = trajectory_errors(other, truth)
    assert max(errors.ate, errors.rpe_translation) < 1e-9 and errors.rpe_rotation < 1e-4


@needs_evo
def test_by_hand():
    """Every second corner of a square lifted by d: the plane's best fit is as it was, ATE is d / 2 …"""
    d = 0.01
    lifted = np.array(SQUARE, float) + np.array([[0, 0, d / 2], [0, 0, -d / 2]] * 2)
    errors = trajectory_errors(path(lifted), path(SQUARE))
    assert errors.ate == pytest.approx(d / 2, rel=1e-3)
    # … and each step is off by d across.
    assert errors.rpe_translation == pytest.approx(d, rel=1e-3) and errors.rpe_rotation == pytest.approx(0)


@needs_evo
def test_rotation_errors_by_hand():
    errors = trajectory_errors(path(SQUARE, [0, 3, 3, 3]), path(SQUARE))
    assert errors.rpe_rotation == pytest.approx(np.sqrt(9 / 3)) and errors.ate == pytest.approx(0, abs=1e-12)


@needs_evo
def test_a_camera_that_does_not_move():
    errors = still_trajectory_errors(path(SQUARE, [0, 10, 20, 30]))
    assert errors.ate == pytest.approx(np.sqrt(2)) and errors.rpe_rotation == pytest.approx(10)
    assert errors.rpe_translation == pytest.approx(2)
    nothing = still_trajectory_errors(path(np.zeros((3, 3))))
    assert nothing.ate == nothing.rpe_translation == 0


@needs_evo
def test_a_straight_path_is_aligned_by_its_first_camera():
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], float)
    world = pose_matrix(Rotation.from_euler("z", 70, degrees=True).as_matrix(), [5, 6, 7])
    assert trajectory_errors(path(10 * line), world @ path(line)).ate == pytest.approx(0, abs=1e-9)
    backwards = trajectory_errors(path(-line), path(line))  # no scale is negative: it ends in the middle
    assert backwards.ate == pytest.approx(np.sqrt(2 / 3))


def test_aligned_poses_are_rigid():
    ours, truth = aligned_poses(path(3 * np.array(SQUARE)), path(SQUARE))
    np.testing.assert_allclose(ours, truth, atol=1e-9)


def test_a_straight_path_needs_no_evo_to_be_drawn(monkeypatch):
    """Alignment is ours; evo measures alone."""
    monkeypatch.setitem(sys.modules, "evo", None)
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], float)
    ours, truth = aligned_poses(path(10 * line), path(line))
    np.testing.assert_allclose(ours[:, :3, 3], truth[:, :3, 3], atol=1e-9)


def test_without_evo_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("d4rt_ros.evaluation.trajectory.find_spec", lambda name: None)
    assert "pip install evo" in not_measured()


@needs_evo
def test_with_evo_nothing_is_missing():
    assert not_measured() == ""


@needs_evo
def test_what_cannot_be_compared():
    with pytest.raises(MetricError, match="expected two of one"):
        trajectory_errors(path(SQUARE), path(SQUARE[:3]))
    bad = path(SQUARE)
    bad[1, 0, 3] = np.nan
    with pytest.raises(MetricError, match="not finite"):
        trajectory_errors(bad, path(SQUARE))
