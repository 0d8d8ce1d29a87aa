import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.stream import dense
from d4rt_ros.stream.dense import correction, sample_depth

SIZE = 150, 200  # of images
GRID = 36, 48


def plain_image(size=SIZE):
    return np.full((*size, 3), 90, np.uint8)


def grid_pixels(size=SIZE, grid=GRID):
    """x and y (h, w) of a grid's points."""
    return np.meshgrid(np.linspace(0, size[1] - 1, grid[1]), np.linspace(0, size[0] - 1, grid[0]))


def pixels_of(count, seed, size=SIZE):
    return np.random.default_rng(seed).uniform(0, 1, (count, 2)) * (np.array(size[::-1]) - 1)


def smooth(x, y, size=SIZE):
    return 0.2 + 0.3 * np.sin(3 * x / size[1]) * np.cos(2 * y / size[0])


def corrected(count=200, sigma=0.05, seed=0, **kwargs):
    """The correction of an even depth by points of the smooth one."""
    pixels = pixels_of(count, seed)
    values = smooth(*pixels.T) + sigma * np.random.default_rng(seed + 1).normal(size=count)
    return correction(np.zeros(GRID), plain_image(), pixels, values, np.full(count, sigma), **kwargs)


def test_a_smooth_error_of_the_model_is_found():
    truth = smooth(*grid_pixels())
    error = corrected().log - truth
    assert np.sqrt((error**2).mean()) < 0.03 < 0.1 < truth.std()


def test_without_points_the_prior_stands():
    empty = np.zeros((0, 2)), np.zeros(0), np.zeros(0)
    result = correction(np.zeros(GRID), plain_image(), *empty, prior=(0.3, 0.2))
    np.testing.assert_allclose(result.log, 0.3, atol=1e-9)
    assert result.offset == pytest.approx(0.3) and result.offset_sigma == pytest.approx(0.2)
    assert (result.sigma > 0.2).all()


def test_few_points_move_the_whole_and_leave_it_unsure_where_they_are_not():
    pixels = np.array([[10.0, 10.0], [14.0, 12.0]])
    result = correction(np.zeros(GRID), plain_image(), pixels, [0.4, 0.4], [0.05, 0.05], prior=(0.0, 0.3))
    assert 0.3 < result.log[2, 3] < 0.42 and 0.05 < result.log[-1, -1] < result.log[2, 3]
    assert result.sigma[2, 3] < 0.6 * result.sigma[-1, -1]


def test_the_error_is_within_two_sigma_as_often_as_it_should():
    inside, ratio = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # As a model's errors are: over large parts of the image, and over small ones.
        large, small = (cv2.GaussianBlur(rng.normal(size=GRID), (0, 0), width) for width in (5.0, 1.5))
        truth = rng.uniform(0.1, 0.3) * (large / large.std() + 0.5 * small / small.std())
        count = int(rng.uniform(40, 300))
        pixels, sigmas = pixels_of(count, seed), rng.uniform(0.03, 0.2, count)
        values = sample_depth(truth, pixels, SIZE) + sigmas * rng.normal(size=count)
        values[rng.random(count) < 0.05] += 1.0
        result = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas)
        error = np.abs(result.log - truth)
        inside.append((error < 2 * result.sigma).mean())
        surer = result.sigma < np.median(result.sigma)
        ratio.append(error[surer].mean() / error[~surer].mean())
    assert 0.9 < np.mean(inside) < 0.98 and np.mean(ratio) < 0.9


def test_unsure_points_say_little():
    sure, unsure = (corrected(100, sigma).log.std() for sigma in (0.05, 5.0))
    assert unsure < 0.2 * sure


def test_a_correction_does_not_cross_a_jump_of_the_depth():
    near_and_far = np.where(np.arange(GRID[1]) < 24, 0.0, 1.0) * np.ones(GRID)
    pixels = pixels_of(60, 0)
    pixels = pixels[np.abs(pixels[:, 0] - 99.5) > 15]
    truth = np.where(np.arange(GRID[1]) < 24, 0.3, -0.1) * np.ones(GRID)
    values, sigmas = np.where(pixels[:, 0] < 99.5, 0.3, -0.1), np.full(len(pixels), 0.05)
    jump = correction(near_and_far, plain_image(), pixels, values, sigmas)
    even = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas)
    beside = np.s_[:, 21:27]
    assert np.abs(jump.log - truth)[beside].max() < 0.1 < 0.15 < np.abs(even.log - truth)[beside].max()


def test_where_no_point_is_beyond_a_jump_it_is_less_sure():
    near_and_far = np.where(np.arange(GRID[1]) < 24, 0.0, 1.0) * np.ones(GRID)
    pixels = pixels_of(100, 0) * [0.45, 1.0]
    values, sigmas = np.full(100, 0.3), np.full(100, 0.05)
    jump = correction(near_and_far, plain_image(), pixels, values, sigmas)
    even = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas)
    assert jump.sigma[:, 26].mean() > 1.3 * even.sigma[:, 26].mean()
    np.testing.assert_allclose(jump.sigma[:, 15], even.sigma[:, 15], rtol=0.1)


def test_an_edge_of_the_image_loosens_too():
    image = plain_image()
    image[:, 100:] = 190
    pixels = pixels_of(100, 0) * [0.45, 1.0]
    values, sigmas = np.full(100, 0.3), np.full(100, 0.05)
    across = correction(np.zeros(GRID), image, pixels, values, sigmas)
    even = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas)
    assert across.sigma[:, 28].mean() > 1.1 * even.sigma[:, 28].mean()


def test_gross_errors_are_outvoted():
    pixels = pixels_of(200, 3)
    values = smooth(*pixels.T)
    wrong = np.arange(200) % 10 == 0
    values[wrong] += 1.0
    result = correction(np.zeros(GRID), plain_image(), pixels, values, np.full(200, 0.05))
    assert np.abs(result.log - smooth(*grid_pixels())).mean() < 0.03
    assert result.agreement[wrong].max() < 0.1 < 0.5 < np.median(result.agreement[~wrong])


def test_rows_that_are_not_finite_or_outside_count_for_nothing():
    pixels, sigmas = pixels_of(60, 1), np.full(60, 0.05)
    values = smooth(*pixels.T)
    expected = correction(np.zeros(GRID), plain_image(), pixels[6:], values[6:], sigmas[6:])
    pixels[0], values[1], sigmas[2], sigmas[3] = np.nan, np.inf, np.nan, 0.0
    pixels[4], pixels[5] = (-1.0, 20.0), (100.0, 150.0)
    result = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas)
    np.testing.assert_allclose(result.log, expected.log)
    np.testing.assert_array_equal(result.agreement[:6], 0.0)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_unknown_depth_takes_nothing_from_the_rest(share):
    depth = np.zeros(GRID)
    depth[np.random.default_rng(0).random(GRID) < share] = np.nan
    pixels = pixels_of(200, 2)
    result = correction(depth, plain_image(), pixels, smooth(*pixels.T), np.full(200, 0.05))
    assert np.isfinite(result.log).all() and np.isfinite(result.sigma).all()
    assert np.abs(result.log - smooth(*grid_pixels())).mean() < 0.03


@given(st.floats(-3, 3), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_what_all_points_and_the_prior_share_shifts_the_whole(shift, seed):
    pixels, sigmas = pixels_of(40, seed), np.full(40, 0.1)
    values = smooth(*pixels.T)
    plain = correction(np.zeros(GRID), plain_image(), pixels, values, sigmas, prior=(0.1, 0.2))
    shifted = correction(
        np.zeros(GRID), plain_image(), pixels, values + shift, sigmas, prior=(0.1 + shift, 0.2)
    )
    np.testing.assert_allclose(shifted.log, plain.log + shift, atol=1e-9)
    np.testing.assert_allclose(shifted.sigma, plain.sigma, atol=1e-9)


def test_an_upright_image_is_the_lying_one_turned():
    rng = np.random.default_rng(0)
    depth, image = rng.normal(0, 0.1, GRID), cv2.blur(rng.integers(0, 255, SIZE).astype(np.uint8), (9, 9))
    pixels, sigmas = pixels_of(80, 5), np.full(80, 0.05)
    values = smooth(*pixels.T)
    lying = correction(depth, image, pixels, values, sigmas)
    upright = correction(depth.T, np.ascontiguousarray(image.T), pixels[:, ::-1], values, sigmas)
    np.testing.assert_allclose(upright.log.T, lying.log, atol=1e-9)
    np.testing.assert_allclose(upright.sigma.T, lying.sigma, atol=1e-9)


@pytest.mark.parametrize("size", [SIZE, (200, 150), (70, 150)])
def test_variances_are_those_of_the_inverse(size):
    lattice = dense._Lattice.over(np.random.default_rng(0).normal(size=GRID), plain_image(size))
    points = lattice.between(np.random.default_rng(1).random((50, 2)), np.zeros(50))
    posterior, _ = lattice.posterior(points, np.zeros(50), np.full(50, 0.05), 0.3, (0.0, 0.1))
    count = posterior.band.shape[1]
    matrix = sum(np.diag(row[: count - k], -k) for k, row in enumerate(posterior.band))
    matrix = matrix + np.tril(matrix, -1).T
    # With the offset as one more unknown.
    pull = (0.3 * dense.DEVIATION) ** -2
    whole = np.full((count + 1, count + 1), -pull)
    whole[:-1, :-1], whole[-1, -1] = matrix, 0.1**-2 + count * pull
    expected = np.diag(np.linalg.inv(whole))
    np.testing.assert_allclose(posterior.variances(), expected[:-1], rtol=1e-9)
    assert 1 / posterior.information == pytest.approx(expected[-1])


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 pixels, 2 values"):
        correction(np.zeros(GRID), plain_image(), np.zeros((3, 2)), np.zeros(2), np.ones(3))
    with pytest.raises(ValueError, match="float64 .*uint8 is expected"):
        correction(np.zeros(GRID), np.zeros(SIZE), np.zeros((3, 2)), np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="standard deviation above 0"):
        correction(np.zeros(GRID), plain_image(), np.zeros((3, 2)), np.zeros(3), np.ones(3), prior=(0.0, 0.0))
    with pytest.raises(ValueError, match="log_depth has shape"):
        correction(np.zeros(9), plain_image(), np.zeros((3, 2)), np.zeros(3), np.ones(3))


def test_depth_is_sampled_between_the_points_of_its_grid():
    x, y = grid_pixels()
    pixels = pixels_of(100, 0)
    plane = 0.002 * x - 0.001 * y
    np.testing.assert_allclose(sample_depth(plane, pixels, SIZE), pixels @ [0.002, -0.001], atol=1e-12)
    np.testing.assert_allclose(sample_depth(plane, [[199.0, 149.0]], SIZE), [plane[-1, -1]], atol=1e-12)


def test_depth_is_not_sampled_across_jumps_where_it_is_unknown_or_outside():
    depth = np.where(np.arange(GRID[1]) < 24, 0.0, 1.0) * np.ones(GRID)
    depth[0, 0] = np.nan
    pixels = [
        [98.0, 50.0],
        [60.0, 50.0],
        [150.0, 50.0],
        [2.0, 2.0],
        [-1.0, 50.0],
        [200.0, 50.0],
        [np.nan, 3.0],
    ]
    expected = [np.nan, 0.0, 1.0, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(sample_depth(depth, pixels, SIZE), expected)
