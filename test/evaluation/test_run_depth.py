"""Depth of a whole run: scales cost nothing where they are allowed, and all where they are not."""

import numpy as np
import pytest

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.run_depth import (
    constant_run_depth_errors,
    on_grid,
    run_depth_errors,
    run_depth_scale,
)

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.uniform(1, 5, (24, 3, 4))


def test_one_scale_for_the_run_costs_nothing():
    errors = run_depth_errors(7 * TRUTH, TRUTH)
    assert max(errors.block, errors.one, errors.drift) < 1e-12
    assert run_depth_scale(7 * TRUTH, TRUTH) == pytest.approx(1 / 7)


def test_a_scale_of_each_block_is_drift_and_no_error_of_the_blocks():
    """Three blocks of 8 frames, each at its own scale: only ONE scale shows it."""
    scale = np.repeat([1.0, 1.1, 1.21], 8)
    errors = run_depth_errors(TRUTH * scale[:, None, None], TRUTH)
    assert errors.block < 1e-12
    assert errors.drift == pytest.approx(np.std(np.log([1.0, 1.1, 1.21])))
    assert errors.one == pytest.approx((0.1 + (1 - 1 / 1.1)) / 3, rel=0.02)


def test_noise_is_no_drift():
    errors = run_depth_errors(TRUTH * np.exp(RANDOM.normal(0, 0.1, TRUTH.shape)), TRUTH)
    assert errors.block == pytest.approx(errors.one, rel=0.1) and errors.drift < 0.03
    assert errors.one == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.15)


def test_the_trivial_answer():
    steps = np.tile([1.0, 2.0, 2.0], (8, 1))[:, None]
    errors = constant_run_depth_errors(steps)
    # The scale that makes the sum of absolute errors least is 2, and a third of the pixels is off by 100 %.
    assert errors.block == errors.one == pytest.approx(1 / 3) and errors.drift == 0


def test_what_is_not_known_counts_for_nothing():
    predicted, truth = 2 * TRUTH, TRUTH.copy()
    predicted[3:9] = np.nan
    predicted[0, 0, 0], predicted[0, 0, 1], predicted[0, 0, 2] = -1, np.inf, 0
    truth[20:, :, 0] = np.nan
    errors = run_depth_errors(predicted, truth)
    assert max(errors.block, errors.one, errors.drift) < 1e-12
    with pytest.raises(MetricError, match="no pixel"):
        run_depth_errors(predicted[3:9], truth[3:9])
    with pytest.raises(MetricError, match="expected two of one"):
        run_depth_errors(predicted, truth[1:])
    assert np.isnan(run_depth_scale(predicted[3:9], truth[3:9]))


def test_the_grid_has_the_images_corners():
    depth = np.arange(7 * 11.0).reshape(7, 11)
    np.testing.assert_array_equal(on_grid(depth, (3, 6)), depth[[0, 3, 6]][:, [0, 2, 4, 6, 8, 10]])
    np.testing.assert_array_equal(on_grid(depth, (7, 11)), depth)
