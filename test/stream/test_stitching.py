"""The units of windows, by depths that they share."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import CAMERA, AnalyticScene, wandering_camera
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.stream.stitching import KEPT, StitchError, Unit, scaled_step, unit_ratio
from d4rt_ros.tasks import relative_pose

DEPTH = np.random.default_rng(0).uniform(1, 10, (9, 13))
SURE = np.full(DEPTH.shape, 0.9)


@given(st.floats(0.05, 20), st.integers(0, 1000), st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_the_ratio_of_units_is_found_among_gross_errors(ratio, seed, wrong):
    rng = np.random.default_rng(seed)
    now = rng.uniform(1, 10, 200)
    before = ratio * now * np.exp(0.02 * rng.normal(size=200))
    bad = rng.random(200) < wrong
    before[bad] *= np.exp(rng.normal(size=bad.sum()))
    before[:10] = np.nan
    found, sigma = unit_ratio(before, now, rng.uniform(0.2, 1, 200))
    assert abs(np.log(found / ratio)) < 0.02 and 0.01 <= sigma < 0.1


def test_what_is_not_confident_is_left_out():
    now = np.linspace(1, 5, 100)
    before = 2 * now * np.exp(0.05 * np.random.default_rng(0).normal(size=100))
    confidence = np.full(100, 0.9)
    before[:14], confidence[:14] = 20 * now[:14], 0.5
    assert unit_ratio(before, now, confidence) == unit_ratio(before[14:], now[14:], np.full(86, 0.9))


def test_windows_that_cannot_be_joined_say_why():
    with pytest.raises(
        StitchError, match="0 of 117 points that two windows share are usable in both; 12 are needed"
    ):
        unit_ratio(DEPTH, DEPTH, np.zeros(DEPTH.shape))
    with pytest.raises(StitchError, match="11 of 117 points"):
        unit_ratio(np.where(np.arange(117).reshape(9, 13) < 11, DEPTH, np.nan), DEPTH, SURE)
    with pytest.raises(StitchError, match="the ratio of their depths scatters by"):
        unit_ratio(np.random.default_rng(1).uniform(0.5, 50, DEPTH.shape), DEPTH, SURE)


@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_a_unit_is_measured_in_the_worlds(first, second):
    """A world of DEPTH in windows of two units, of which the first was joined truly."""
    unit = Unit(first, 0.1).of_next(DEPTH, DEPTH / second, SURE)
    assert unit.scale == pytest.approx(second * first ** (KEPT - 1))
    assert unit.sigma == pytest.approx(np.hypot(0.1 * KEPT, 0.01))


def test_errors_of_the_scale_do_not_add_up_for_ever():
    """One wrong join, as if all depths of a window were half of what they are, fades out."""
    unit = Unit(2.0, 0.5)
    for _ in range(11):
        unit = unit.of_next(unit.scale * DEPTH, DEPTH, SURE)
    assert unit.scale == pytest.approx(2.0 ** (KEPT**11)) and unit.sigma < 0.3


def test_a_scaled_step_is_as_unsure_as_its_scale():
    step = relative_pose(AnalyticScene(wandering_camera(6)), 0, 5, CAMERA)
    step = replace(step, covariance=np.diag([1e-4] * 3 + [1e-6] * 3))
    scaled = scaled_step(step, Unit(3.0, 0.1))
    np.testing.assert_allclose(scaled.i_from_j[:3, 3], 3 * step.i_from_j[:3, 3])
    np.testing.assert_array_equal(scaled.i_from_j[:3, :3], step.i_from_j[:3, :3])
    along = scaled.i_from_j[:3, 3]
    expected = 9e-4 * along @ along + 0.01 * (along @ along) ** 2
    assert along @ scaled.covariance[:3, :3] @ along == pytest.approx(expected)
    np.testing.assert_allclose(scaled.covariance[3:, 3:], step.covariance[3:, 3:])
