"""Where most values lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.stream.robust import robust_location


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.01, 0.3), st.floats(0, 0.4))
def test_the_robust_location_is_that_of_most(seed, location, spread, share):
    rng = np.random.default_rng(seed)
    values = rng.normal(location, spread, 400)
    outliers = rng.random(400) < share
    values[outliers] += rng.uniform(8, 40, outliers.sum()) * spread  # all on one side
    found, scatter, counts = robust_location(values)
    assert abs(found - location) < 0.6 * spread and 0.4 * spread < scatter < 2.5 * spread
    assert counts[outliers].mean() < 0.35 if outliers.any() else True


def test_the_robust_location_weighs_and_takes_few_values():
    values = np.array([0.0] * 10 + [5.0] * 10)
    assert robust_location(values, np.array([1.0] * 10 + [0.1] * 10))[0] == pytest.approx(0, abs=0.1)
    assert robust_location(values, np.array([0.1] * 10 + [1.0] * 10))[0] == pytest.approx(5, abs=0.1)
    assert robust_location([0.7])[0] == pytest.approx(0.7)
