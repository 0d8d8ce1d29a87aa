"""Each term of the loss against a value computed by hand."""

import math

import pytest
import torch

from d4rt_ros.training.config import LossWeights
from d4rt_ros.training.losses import composite_loss, squash


def one_query(**changes):
    """One query's raw answer and truth; every term is zero but for the confidence's."""
    answer = {
        "xyz": [0.5, -1.0, 2.0],
        "uv": [0.25, 0.75],
        "visibility": [40.0],
        "displacement": [0.0, 0.0, 0.0],
        "normal": [0.0, 0.0, -3.0],
        "confidence": [0.0],
    }
    answer = {name: torch.tensor(changes.get(name, value)).view(1, 1, -1) for name, value in answer.items()}
    truth = {
        "xyz": torch.tensor([[[0.5, -1.0, 2.0]]]),
        "uv": torch.tensor([[[0.25, 0.75]]]),
        "visibility": torch.ones(1, 1),
        "displacement": torch.zeros(1, 1, 3),
        "normal": torch.tensor([[[0.0, 0.0, -1.0]]]),
        "valid": torch.ones(1, 1, dtype=torch.bool),
        "in_view": torch.ones(1, 1, dtype=torch.bool),
    }
    return answer, truth


def terms(answer, truth):
    return {name: float(value) for name, value in composite_loss(answer, truth, LossWeights()).items()}


def test_a_perfect_answer_costs_its_doubt_alone():
    result = terms(*one_query())
    for name in ("xyz", "uv", "visibility", "displacement", "normal"):
        assert result[name] == pytest.approx(0, abs=1e-6), name
    assert result["confidence"] == pytest.approx(math.log(2))
    assert result["total"] == pytest.approx(0.2 * math.log(2), abs=1e-6)


def test_points_are_compared_after_the_logarithm_and_weighted_by_confidence():
    result = terms(*one_query(xyz=[0.5, -1.0, 5.0]))
    assert result["distance"] == pytest.approx(math.log(6) - math.log(3))
    assert result["xyz"] == pytest.approx(0.5 * math.log(2))  # sigmoid(0) = 0.5


def test_squash_is_odd():
    torch.testing.assert_close(
        squash(torch.tensor([-3.0, 0.0, 3.0])), torch.tensor([-math.log(4), 0.0, math.log(4)])
    )


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("uv", [0.35, 0.55], 0.3),
        ("visibility", [0.0], math.log(2)),
        ("displacement", [0.3, 0.0, -0.6], 0.3),
        ("normal", [0.0, 2.0, 0.0], 1.0),
        ("confidence", [math.log(3)], -math.log(0.75)),
    ],
)
def test_each_term_by_hand(name, value, expected):
    answer, truth = one_query(**{name: value})
    assert terms(answer, truth)[name] == pytest.approx(expected, abs=1e-5)


def test_total_is_the_weighted_sum():
    answer, truth = one_query(uv=[0.35, 0.75], displacement=[0.3, 0.0, 0.0])
    weights = LossWeights(xyz=0, uv=2, visibility=0, displacement=5, normal=0, confidence=0)
    assert float(composite_loss(answer, truth, weights)["total"]) == pytest.approx(2 * 0.1 + 5 * 0.1)


def test_what_has_no_truth_does_not_count():
    answer, truth = one_query(uv=[9.0, 9.0])
    truth["uv"] = torch.full((1, 1, 2), torch.nan)
    truth["in_view"][:] = False
    assert terms(answer, truth)["uv"] == 0
    truth["valid"][:] = False
    assert terms(answer, truth)["total"] == 0


def test_nan_truth_leaves_the_gradient_finite():
    answer, truth = one_query()
    answer["uv"].requires_grad_(True)
    truth["uv"][:], truth["in_view"][:] = torch.nan, False
    composite_loss(answer, truth, LossWeights())["total"].backward()
    assert torch.isfinite(answer["uv"].grad).all()
