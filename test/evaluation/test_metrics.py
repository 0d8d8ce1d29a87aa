"""Metrics by hand."""

import numpy as np
import pytest

from d4rt_ros.evaluation.metrics import MetricError, angle_between, constant_depth_errors, depth_errors


def test_depth_is_judged_up_to_scale():
    truth = np.array([[1.0, 2.0, 4.0]])
    assert depth_errors(7 * truth, truth) == (pytest.approx(0), 1.0)


def test_depth_errors_by_hand():
    truth, predicted = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    error, delta = depth_errors(predicted, truth)
    assert error == pytest.approx((1 + 0 + 0.5) / 3) and delta == pytest.approx(1 / 3)
    assert constant_depth_errors(truth) == (error, delta)


def test_unknown_depth_does_not_count():
    truth = np.array([1.0, 2.0, np.nan, 0.0])
    predicted = np.array([1.0, 2.0, 9.0, 9.0])
    assert depth_errors(predicted, truth)[0] == 0
    assert depth_errors(np.array([1.0, np.nan, 1.0, 1.0]), truth)[0] == 0
    with pytest.raises(MetricError, match="no pixel"):
        depth_errors(predicted, np.full(4, np.nan))
    with pytest.raises(MetricError, match="shape"):
        depth_errors(predicted, truth[:3])


def test_angles():
    assert angle_between(np.array([1.0, 0, 0]), np.array([0, 2.0, 0])) == pytest.approx(90)
    assert angle_between(np.array([1.0, 1, 0]), np.array([2.0, 2, 0])) == pytest.approx(0, abs=1e-5)
    assert angle_between(np.zeros(3), np.array([1.0, 0, 0])) == 90
