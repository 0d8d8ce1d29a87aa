"""J and F of masks."""

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from d4rt_ros.evaluation.masks import (
    FrameScore,
    boundary,
    boundary_accuracy,
    frame_score,
    mask_figure,
    mask_table,
    region_similarity,
    sequence_score,
)


def square(x, y, side, size=(60, 80)):
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_regions_by_hand():
    nothing = np.zeros((60, 80), bool)
    assert region_similarity(square(10, 10, 20), square(10, 10, 20)) == 1
    # 20x20 and the same shifted by 10: 200 in common of 600.
    assert region_similarity(square(10, 10, 20), square(20, 10, 20)) == pytest.approx(1 / 3)
    assert region_similarity(nothing, nothing) == 1
    assert (
        region_similarity(nothing, square(10, 10, 20)) == region_similarity(square(10, 10, 20), nothing) == 0
    )


def test_a_boundary_lies_half_a_pixel_up_and_left():
    mask = np.zeros((5, 6), bool)
    mask[2:4, 2:4] = True
    assert np.argwhere(boundary(mask)).tolist() == [
        [1, 1],
        [1, 2],
        [1, 3],
        [2, 1],
        [2, 3],
        [3, 1],
        [3, 2],
        [3, 3],
    ]
    touching = np.zeros((4, 4), bool)
    touching[2:, 2:] = True  # no boundary at the border of the image
    assert np.argwhere(boundary(touching)).tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [3, 1]]
    assert not boundary(np.ones((4, 4), bool)).any()


def test_boundaries_by_hand():
    # A diagonal of 100 pixels: 0.8 of them round up to 1.
    truth = square(20, 20, 20)
    nothing = np.zeros_like(truth)
    assert boundary_accuracy(truth, truth) == boundary_accuracy(square(21, 20, 20), truth) == 1
    assert boundary_accuracy(nothing, truth) == boundary_accuracy(truth, nothing) == 0
    assert boundary_accuracy(nothing, nothing) == boundary_accuracy(~nothing, nothing) == 1
    # Half planes whose edges are two columns apart do not meet; of two strips, one edge meets, the other does not.
    left = np.zeros_like(truth)
    left[:, :30] = True
    wider = left.copy()
    wider[:, :32] = True
    assert boundary_accuracy(wider, left) == 0
    strip = left.copy()
    strip[:, :10] = False  # precision 1/2, recall 1
    assert boundary_accuracy(strip, left) == pytest.approx(2 / 3)
    assert boundary_accuracy(left, strip) == pytest.approx(2 / 3)


def test_the_tolerance_grows_with_the_image():
    truth = square(100, 100, 200, size=(480, 854))  # 0.8 % of 980 pixels: 8
    assert boundary_accuracy(square(108, 100, 200, size=(480, 854)), truth) == 1
    assert boundary_accuracy(square(110, 100, 200, size=(480, 854)), truth) < 0.8


def test_boundaries_by_distances():
    """An own way to the same numbers: no disks, but the distance of every pixel to the other boundary."""
    random = np.random.default_rng(0)
    for _ in range(8):
        height, width = random.integers(50, 130, 2)
        y, x = np.mgrid[:height, :width]
        masks = []
        for _ in range(2):
            cy, cx, r = random.uniform(0, height), random.uniform(0, width), random.uniform(5, 40)
            masks.append((y - cy) ** 2 + 2 * (x - cx) ** 2 < r * r)
        a, b = (_edges_slowly(mask) for mask in masks)
        if not (a.any() and b.any()):
            continue
        reach = math.ceil(0.008 * math.sqrt(height**2 + width**2))
        precision = (distance_transform_edt(~b)[a] <= reach).mean()
        recall = (distance_transform_edt(~a)[b] <= reach).mean()
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert boundary_accuracy(*masks) == pytest.approx(expected)


def _edges_slowly(mask):
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            others = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            edge[y, x] = any(mask[o] != mask[y, x] for o in others if o[0] < height and o[1] < width)
    return edge


def test_frames_in_which_too_little_moves_are_judged_by_what_is_masked_wrongly():
    truth = square(0, 0, 6)  # 36 of 4800 pixels
    score = frame_score(square(0, 0, 12), truth, least=0.01)
    assert math.isnan(score.region) and math.isnan(score.boundary)
    assert score.false == pytest.approx((144 - 36) / (4800 - 36))
    assert frame_score(None, truth) == FrameScore(0.0, 0.0, 0.0)
    assert frame_score(truth, truth).region == 1
    assert math.isnan(frame_score(None, np.ones((4, 5), bool)).false)


def test_sequences_count_alike_whatever_their_length():
    long = sequence_score([FrameScore(0.4, 0.2, 0.0)] * 8)
    short = sequence_score(
        [FrameScore(1.0, 0.6, 0.5), FrameScore(math.nan, math.nan, 0.1), FrameScore(0.5, 0.5, 0.0)]
    )
    assert short.j_mean == 0.75 and short.j_recall == 0.5 and short.f_mean == pytest.approx(0.55)
    assert short.judged == 2 and short.false == pytest.approx(0.2)
    nothing = sequence_score([FrameScore(math.nan, math.nan, 0.3)])
    assert math.isnan(nothing.j_mean) and nothing.judged == 0
    figure = mask_figure("ours", {"a": long, "b": short, "c": nothing})
    assert (
        figure.j_mean == pytest.approx((0.4 + 0.75) / 2) and figure.j_recall == 0.25 and figure.frames == 10
    )
    assert figure.false == pytest.approx((0.0 + 0.2 + 0.3) / 3)
    assert mask_table([figure, mask_figure("none", {"c": nothing})], "masks").row_count == 2
