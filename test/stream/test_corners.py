"""Corners are where a point can be followed: not in noise, not on edges, and each in its own part of the image."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from d4rt_ros.stream.corners import corners  # noqa: E402

NONE = np.zeros((0, 2))
HEIGHT, WIDTH = 120, 200


def board(square=20):
    """A chess board, smoothed as images are before they are searched."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] // square
    return cv2.GaussianBlur(np.uint8(80 + 90 * ((x + y) % 2)), (0, 0), 1.0)


def noise(level, sigma, seed=0):
    image = np.random.default_rng(seed).normal(level, sigma, (HEIGHT, WIDTH))
    return cv2.GaussianBlur(np.uint8(np.clip(image, 0, 255)), (0, 0), 1.0)


def test_corners_are_where_squares_meet():
    found = corners(board(40), NONE)
    assert len(found) == 2 * 4
    assert (np.abs((found + 0.5 + 20) % 40 - 20) < 2.5).all()


def test_noise_plain_images_and_edges_have_none():
    step = np.where(np.arange(WIDTH) < 100, 0, 80)
    assert not len(corners(np.full((HEIGHT, WIDTH), 90, np.uint8), NONE))
    assert len(corners(noise(90, 12), NONE)) <= 1
    assert len(corners(noise(90 + step, 4), NONE)) <= 1
    assert len(corners(np.uint8(np.clip(board() + noise(128, 4) - 128.0, 0, 255)), NONE)) >= 40


def test_none_is_near_another_or_a_taken_point_or_where_it_may_not_be():
    grey, taken = noise(128, 60), np.array([[30.2, 40.4], [199.0, 119.0]])
    grey = cv2.GaussianBlur(grey, (0, 0), 2.0)
    grey = cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX)
    allowed = np.zeros(grey.shape, bool)
    allowed[:, :150] = True
    found = corners(grey, taken, allowed)
    assert len(found) > 10 and found[:, 0].max() < 150
    apart = np.linalg.norm(found[:, None] - np.concatenate([found, taken])[None], axis=2)
    np.fill_diagonal(apart, 99)
    assert apart.min() > 6
    cells = found // 16
    assert len(np.unique(cells, axis=0)) == len(found) and not (cells == [1, 2]).all(axis=1).any()


@pytest.mark.parametrize("shape", [(1, 1), (5, 30), (16, 16), (17, 500)])
def test_images_of_any_size(shape):
    assert corners(np.zeros(shape, np.uint8), NONE).shape == (0, 2)
