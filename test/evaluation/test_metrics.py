"""Metrics by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.evaluation.metrics import (
    MetricError,
    aligned_depth,
    angle_between,
    constant_depth_errors,
    depth_errors,
)


@pytest.mark.parametrize("alignment", ["median", "scale", "scale_shift"])
def test_depth_is_judged_up_to_scale(alignment):
    truth = np.array([[1.0, 2.0, 4.0]])
    assert depth_errors(7 * truth, truth, alignment) == (pytest.approx(0, abs=1e-9), 1.0)


def test_depth_errors_by_hand():
    truth, predicted = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    error, delta = depth_errors(predicted, truth)
    assert error == pytest.approx((1 + 0 + 0.5) / 3) and delta == pytest.approx(1 / 3)
    assert constant_depth_errors(truth) == (error, delta)
    assert (
        constant_depth_errors(truth, "scale") == constant_depth_errors(truth, "scale_shift") == (error, delta)
    )


def test_one_gross_error_does_not_move_the_scale():
    """sum |s p - t| over p = 1, 2, 10 and t = 2, 4, 1: 17.5 at s = 0.1, 19 at 2, and it bends nowhere else."""
    predicted, truth = np.array([1.0, 2.0, 10.0]), np.array([2.0, 4.0, 1.0])
    np.testing.assert_allclose(aligned_depth(predicted, truth, "scale"), 0.1 * predicted)
    truth[2] = 20.5
    np.testing.assert_allclose(aligned_depth(predicted, truth, "scale"), 2.05 * predicted)


def test_scale_and_shift_take_the_line_that_most_points_are_on():
    predicted = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    truth = 0.5 * predicted + 3
    assert depth_errors(predicted, truth, "scale_shift")[0] == pytest.approx(0, abs=1e-6)
    truth[2] = 90.0
    line = aligned_depth(predicted, truth, "scale_shift")
    np.testing.assert_allclose(line, 0.5 * predicted + 3, atol=1e-3)
    assert depth_errors(predicted, truth, "scale")[0] > 0.2


@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.floats(0.1, 50)), min_size=1, max_size=30),
    st.floats(0.01, 100),
)
def test_no_other_scale_has_a_smaller_sum_of_errors(pairs, other):
    predicted, truth = np.array(pairs).T
    ours = np.abs(aligned_depth(predicted, truth, "scale") - truth).sum()
    assert ours <= np.abs(other * predicted - truth).sum() * (1 + 1e-9)


def test_unknown_depth_does_not_count():
    truth = np.array([1.0, 2.0, np.nan, 0.0])
    predicted = np.array([1.0, 2.0, 9.0, 9.0])
    assert depth_errors(predicted, truth)[0] == 0
    assert depth_errors(np.array([1.0, np.nan, 1.0, 1.0]), truth)[0] == 0
    assert np.isnan(aligned_depth(np.array([1.0, -1.0, np.nan, 1.0]), truth)).tolist() == [0, 1, 1, 0]
    with pytest.raises(MetricError, match="no pixel"):
        depth_errors(predicted, np.full(4, np.nan))
    with pytest.raises(MetricError, match="shape"):
        depth_errors(predicted, truth[:3])
    with pytest.raises(
        MetricError, match="unknown alignment 'affine'; use one of median, scale, scale_shift"
    ):
        depth_errors(predicted, truth, "affine")


def test_angles():
    assert angle_between(np.array([1.0, 0, 0]), np.array([0, 2.0, 0])) == pytest.approx(90)
    assert angle_between(np.array([1.0, 1, 0]), np.array([2.0, 2, 0])) == pytest.approx(0, abs=1e-5)
    assert angle_between(np.zeros(3), np.array([1.0, 0, 0])) == 90
