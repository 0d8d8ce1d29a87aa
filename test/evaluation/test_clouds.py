"""Errors of point clouds by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d4rt_ros.evaluation.clouds import cloud_errors
from d4rt_ros.evaluation.metrics import MetricError

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)


def test_a_similarity_costs_nothing():
    moved = 3 * CUBE @ Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix().T + [1, 2, 3]
    errors = cloud_errors(moved, CUBE)
    assert max(errors.l1, errors.accuracy, errors.completeness) < 1e-9


def test_by_hand():
    """Corners that are off by d along z in a pattern that no similarity takes back (but for d²): x·y = ±1."""
    d, corners = 0.01, 2 * CUBE - 1
    errors = cloud_errors(corners + d * corners[:, :1] * corners[:, 1:2] * [0, 0, 1], corners)
    assert errors.l1 == pytest.approx(d, rel=0.02)
    assert errors.accuracy == pytest.approx(d, rel=0.02) and errors.completeness == pytest.approx(d, rel=0.02)


def test_points_that_are_missing_cost_completeness():
    answered = CUBE.copy()
    answered[0] = np.nan
    errors = cloud_errors(answered, CUBE)
    assert errors.accuracy == pytest.approx(0, abs=1e-9)
    # One of eight has its nearest a side away; the median has not.
    assert errors.completeness == pytest.approx(1 / 8) and errors.completeness_median == pytest.approx(
        0, abs=1e-9
    )


def test_a_point_on_another_points_place_costs_l1_alone():
    """Two of 500 points are exchanged."""
    truth = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    guess = truth.copy()
    guess[[3, 4]] = truth[[4, 3]]
    errors = cloud_errors(guess, truth)
    assert errors.l1 > 2 * np.abs(truth[3] - truth[4]).sum() / 500 * 0.9
    assert max(errors.accuracy, errors.completeness) < errors.l1 and errors.accuracy_median < 0.02


def test_what_cannot_be_compared():
    with pytest.raises(MetricError, match="cannot be aligned"):
        cloud_errors(np.full_like(CUBE, np.nan), CUBE)
    with pytest.raises(MetricError, match="8 points against 7"):
        cloud_errors(CUBE, CUBE[:7])
