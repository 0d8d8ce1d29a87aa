"""The boundary error by hand."""

import numpy as np
import pytest

from d4rt_ros.evaluation.boundaries import (
    REACH,
    BoundaryErrors,
    boundary_errors,
    depth_edges,
    trivial_boundary_errors,
)
from d4rt_ros.evaluation.metrics import MetricError


def step(column, near=1.0, far=2.0, size=(40, 60)):
    """A wall whose depth jumps before a column."""
    depth = np.full(size, near)
    depth[:, column:] = far
    return depth


def test_an_edge_is_where_depth_jumps():
    edges = depth_edges(step(30))
    columns = np.flatnonzero(edges.any(axis=0))
    assert set(columns) <= {29, 30} and edges[:, columns].any(axis=1).mean() > 0.9


@pytest.mark.parametrize("scale", [1e-3, 1.0, 500.0])
def test_edges_do_not_depend_on_the_unit(scale):
    np.testing.assert_array_equal(depth_edges(scale * step(30)), depth_edges(step(30)))


def test_what_is_no_edge():
    assert not depth_edges(np.full((20, 30), 3.0)).any()
    assert not depth_edges(step(30, 1.0, 1.05)).any()
    assert not depth_edges(np.tile(np.linspace(1, 2, 60), (40, 1))).any()
    assert not depth_edges(np.full((20, 30), np.nan)).any()


def test_the_truth_has_no_error():
    errors = boundary_errors(7 * step(30), step(30))
    assert errors == BoundaryErrors(0, 0, pytest.approx(0))


@pytest.mark.parametrize("shift", [1, 4, 8])
def test_a_shifted_edge_is_as_far_off_as_it_was_shifted(shift):
    errors = boundary_errors(step(30 + shift), step(30))
    assert errors.accuracy == pytest.approx(shift, abs=0.1)
    assert errors.completeness == pytest.approx(shift, abs=0.1)
    assert boundary_errors(step(28), step(30)).depth > 0.2


def test_edges_that_are_none_and_edges_too_far_off():
    truth = step(20)
    assert boundary_errors(np.ones_like(truth), truth).accuracy == REACH
    assert boundary_errors(np.ones_like(truth), truth).completeness == REACH
    far = boundary_errors(step(45), truth)
    assert far.accuracy == far.completeness == REACH


def test_an_edge_too_many_does_not_cost_completeness():
    both = step(30)
    both[:, :22] = 0.3
    errors = boundary_errors(both, step(30))
    assert errors.completeness == pytest.approx(0, abs=0.1) and 3 < errors.accuracy < 5


def test_a_blurred_edge_costs_depth_and_not_place():
    import cv2

    errors = boundary_errors(cv2.blur(step(30), (5, 5)), step(30))
    assert errors.accuracy < 1.1 and errors.completeness < 1.1 and errors.depth > 0.05


def test_what_is_not_predicted_does_not_count():
    guess = step(30)
    guess[:5] = np.nan
    assert boundary_errors(guess, step(30)).depth == pytest.approx(0)
    nothing = boundary_errors(np.full((40, 60), np.nan), step(30))
    assert nothing.accuracy == nothing.completeness == REACH and np.isnan(nothing.depth)


def test_the_trivial_answer():
    trivial = trivial_boundary_errors(step(30))
    assert 4 < trivial.accuracy < 5 and trivial.completeness == REACH and trivial.depth > 0.2


def test_maps_that_cannot_be_compared():
    with pytest.raises(MetricError, match="no edges"):
        boundary_errors(step(30), np.ones((40, 60)))
    with pytest.raises(MetricError, match=r"shape \(40, 60\), the true one \(39, 60\)"):
        boundary_errors(step(30), step(30, size=(39, 60)))


def test_edges_beside_what_is_not_known_count_in_neither_map():
    """The sensor saw nothing in a strip; whether depth jumps there nobody knows."""
    truth, guess = step(20), step(20)
    truth[:, 40:44] = np.nan
    guess[:, 42:] = 5.0
    assert boundary_errors(guess, truth) == BoundaryErrors(0, 0, pytest.approx(0))
    guess[:, 26:] = 5.0
    assert boundary_errors(guess, truth).accuracy > 0
    truth[:, 17:24] = np.nan
    with pytest.raises(MetricError, match="no edges"):
        boundary_errors(guess, truth)
