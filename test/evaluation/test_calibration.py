"""Calibration by hand."""

import numpy as np
import pytest

from d4rt_ros.evaluation.calibration import (
    accuracy,
    average_precision,
    coverage,
    expected_calibration_error,
    rank_correlation,
    sparsification_area,
)
from d4rt_ros.evaluation.metrics import MetricError


def test_accuracy_by_hand():
    assert accuracy([0.9, 0.2, 0.6, 0.5], [True, False, False, False]) == 3 / 4


def test_average_precision_by_hand():
    """Falling: hit, miss, hit. Precision 1 at recall 1/2, and 2/3 at recall 1."""
    assert average_precision([0.3, 0.9, 0.5], [True, True, False]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == pytest.approx(1 / 4)
    assert average_precision([4, 3, 2, 1], [True, True, False, False]) == 1
    assert np.isnan(average_precision([1, 2], [False, False]))


def test_calibration_error_by_hand():
    """Two points said at 0.75 of which one is true (0.25 off); two said at 0.05 of which none is (0.05 off)."""
    assert expected_calibration_error([0.75, 0.75, 0.05, 0.05], [1, 0, 0, 0]) == pytest.approx(
        (0.25 + 0.05) / 2
    )
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0


def test_ranks():
    assert rank_correlation([3, 2, 1], [0.1, 0.2, 5]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [0.1, 0.2, 5]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0


def test_sparsification():
    error = np.arange(100.0)
    oracle = sparsification_area(-error, error)
    # What is left of 0 … 99 are the n smallest, whose mean is (n - 1) / 2, for n = 100, 95, … 5.
    assert oracle == pytest.approx(np.mean([(n - 1) / 2 for n in range(100, 0, -5)]) / 49.5)
    assert sparsification_area(error, error) > 1 > oracle
    same = sparsification_area(np.ones(2000), np.random.default_rng(0).random(2000))
    assert same == pytest.approx(1, abs=0.1)
    assert sparsification_area(np.ones(5), np.zeros(5)) == 0


def test_unlike_lengths():
    with pytest.raises(MetricError, match="3 values against 2"):
        accuracy([1, 2, 3], [1, 2])


def test_honest_sigmas_cover_every_fifth():
    random = np.random.default_rng(0)
    sigma = np.exp(random.normal(size=20_000))
    shares = coverage(random.normal(size=20_000) * sigma, sigma)
    np.testing.assert_allclose(shares, 0.954, atol=0.012)


def test_who_is_too_sure_is_found_where_he_is():
    random = np.random.default_rng(0)
    sigma = np.exp(random.normal(size=20_000))
    shares = coverage(random.normal(size=20_000) * np.maximum(sigma, 0.7), sigma)
    assert shares[0] < 0.6 and shares[-1] == pytest.approx(0.954, abs=0.012)


def test_what_is_not_known_is_not_covered():
    error, sigma = np.array([1.0, np.nan, 1, 1, 1, 1, 1]), np.array([1.0, 1, np.nan, 0, 1, 1, 1])
    np.testing.assert_array_equal(coverage(error, sigma), [0, 1, 1, 1, 1])
    assert np.isnan(coverage(error[:3], sigma[:3])).all()
