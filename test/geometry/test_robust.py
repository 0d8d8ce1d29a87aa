import numpy as np
import pytest

from d4rt_ros.geometry.robust import (
    check_kernel,
    inverse_information,
    kernel_calibration,
    robust_cost,
    robust_weights,
)


def test_weights_are_the_costs_slope():
    squared, step = np.linspace(0.0, 60.0, 31)[1:], 1e-5
    for k in (2.0, 8.0):
        slope = (robust_cost(squared + step, k) - robust_cost(squared - step, k)) / (2 * step)
        np.testing.assert_allclose(robust_weights(squared, k), slope, rtol=1e-6)


def test_what_is_infinitely_far_costs_no_more_and_weighs_nothing():
    assert robust_cost(np.array(np.inf), 2.0) == 4.0
    assert robust_weights(np.array(np.inf), 2.0) == 0.0
    assert robust_weights(np.array(0.0), 2.0) == 1.0


@pytest.mark.parametrize("k", [1.5, 2.0, 4.0, 1e6])
def test_the_calibrated_curvature_is_the_variance_of_an_estimate(k):
    """The mean of normal 2D residuals, estimated with the kernel, varies as the scaled normal matrix says."""
    rng, count = np.random.default_rng(0), 200
    scale, curvature = kernel_calibration(k)
    means, said = np.zeros((2000, 2)), 0.0
    samples = rng.normal(size=(2000, count, 2))
    for _ in range(30):
        weights = robust_weights(((samples - means[:, None]) ** 2).sum(axis=2), k)
        means = (weights[..., None] * samples).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    said = 1.0 / (scale * curvature * weights.sum(axis=1)).mean()
    assert means.var() == pytest.approx(said, rel=0.06)
    # The scale makes the cost's own curvature, which pulls against a prior, that information.
    step = 1e-2
    squared = [((samples - means[:, None] - [d, 0.0]) ** 2).sum(axis=2) for d in (-step, 0.0, step)]
    low, middle, high = (scale * robust_cost(s, k).sum(axis=1).mean() for s in squared)
    assert (low + high - 2 * middle) / (2 * step**2) == pytest.approx(1.0 / said, rel=0.05)


def test_a_wide_kernel_is_least_squares():
    assert kernel_calibration(1e6) == pytest.approx((1.0, 1.0), abs=1e-9)


def test_the_inverse_of_badly_scaled_information():
    information = np.diag([1e-8, 1e8]) + np.array([[0.0, 0.5], [0.5, 0.0]])
    np.testing.assert_allclose(inverse_information(information) @ information, np.eye(2), atol=1e-6)
    assert inverse_information(np.zeros((0, 0))).shape == (0, 0)
    for singular in (np.ones((2, 2)), np.zeros((2, 2)), np.diag([1.0, 0.0])):
        with pytest.raises(np.linalg.LinAlgError):
            inverse_information(singular)


@pytest.mark.parametrize("kernel", [(8.0,), (8.0, 0.5), (np.nan, 2.0), (np.inf, 2.0)])
def test_kernels_that_are_none(kernel):
    with pytest.raises(ValueError, match="kernel"):
        check_kernel(kernel)
