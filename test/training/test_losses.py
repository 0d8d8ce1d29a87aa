"""Each term of the loss against a value computed by hand."""

import math

import pytest
import torch

from d4rt_ros.training.config import LossWeights
from d4rt_ros.training.losses import KNOWN, composite_loss, known_counts, squash


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
    }
    truth |= {mask: torch.ones(1, 1, dtype=torch.bool) for mask in KNOWN.values()}
    return answer, truth


WEIGHTS = LossWeights()  # the paper's
ALL_TERMS = LossWeights(log_depth=0.7, direction=0.6, heading=0.5)


def terms(answer, truth):
    return {name: float(value) for name, value in composite_loss(answer, truth, WEIGHTS).items()}


def test_the_defaults_are_the_papers():
    assert WEIGHTS == LossWeights(
        xyz=1.0, uv=0.1, visibility=0.1, displacement=0.1, normal=0.5, confidence=0.2,
        log_depth=0.0, direction=0.0, heading=0.0,  # not in the paper
    )  # fmt: skip


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


@pytest.mark.parametrize(
    "xyz, expected",
    [
        ([1.0, -2.0, 4.0], 0.0),  # twice as far
        ([-0.5, 1.0, -2.0], 2 * (0.5 + 1 + 2) / math.sqrt(5.25)),
        ([0.0, 0.0, 1.0], (0.5 + 1 + math.sqrt(5.25) - 2) / math.sqrt(5.25)),
    ],
)
def test_direction_is_compared_whatever_the_distance(xyz, expected):
    assert terms(*one_query(xyz=xyz))["direction"] == pytest.approx(expected, abs=1e-5)


def test_depth_is_compared_by_its_logarithm_but_for_a_scale_of_the_clip():
    """Guesses of 3, 6 and 24 for 1, 2 and 4: the third is twice too far, 3 being the scale."""
    answer, truth = (
        {key: value.expand(1, 3, *value.shape[2:]).clone() for key, value in part.items()}
        for part in one_query()
    )
    truth["xyz"] = torch.tensor([[[0.1, 0.0, 1.0], [0.0, 0.2, 2.0], [0.0, 0.0, 4.0]]])
    answer["xyz"] = torch.tensor([[[0.1, 0.0, 3.0], [0.0, 0.2, 6.0], [0.0, 0.0, 24.0]]], requires_grad=True)
    result = composite_loss(answer, truth, LossWeights(xyz=0.0, log_depth=1.0))
    assert result["log_depth"].item() == pytest.approx(math.log(2) / 3, abs=1e-6)
    result["total"].backward()
    assert answer["xyz"].grad[0, 2, 2] == pytest.approx(1 / 24 / 3)
    truth["xyz"][0, 2] = torch.tensor([8.0, 0.0, 1.0])  # no lens looks so far to the side
    assert composite_loss(answer, truth, WEIGHTS)["log_depth"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("length, expected", [(0.5, 1 - 0.6), (0.01, 0.0)])
def test_the_heading_of_what_moves_counts_however_short_the_guess(length, expected):
    answer, truth = one_query(displacement=[0.0003, 0.0, 0.0004])
    truth["displacement"][:] = torch.tensor([length, 0.0, 0.0])
    assert terms(answer, truth)["heading"] == pytest.approx(expected, abs=1e-4)


def test_total_is_the_weighted_sum():
    answer, truth = one_query(
        xyz=[1.0, -1.0, 2.0],
        uv=[0.35, 0.75],
        visibility=[0.0],
        displacement=[0.3, 0.0, 0.0],
        normal=[0.0, 2.0, 0.0],
    )
    half, distance = math.log(2), math.log(2) - math.log(1.5)
    expected = 1.0 * 0.5 * distance + 0.2 * half + 0.1 * 0.1 + 0.1 * half + 0.1 * 0.1 + 0.5 * 1.0
    assert terms(answer, truth)["total"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["xyz", "uv", "visibility", "displacement", "normal"])
def test_what_has_no_truth_does_not_count_in_its_own_term_alone(name):
    """Of two equal queries the second does not know one thing: the mean stays the first's."""
    wrong = {
        "xyz": [1.0, 1.0, 1.0], "uv": [0.9, 0.9], "visibility": [0.3], "displacement": [1.0, 1.0, 1.0],
        "normal": [1.0, 0.0, 0.0],
    }  # fmt: skip
    answer, truth = one_query(**wrong)
    alone = terms(answer, truth)
    answer = {key: value.repeat(1, 2, 1) for key, value in answer.items()}
    truth = {key: torch.cat((value, value), 1) for key, value in truth.items()}
    truth[name][:, 1], truth[KNOWN[name]][:, 1] = torch.nan, False
    assert terms(answer, truth) == pytest.approx(alone, abs=1e-6)
    truth[KNOWN[name]][:] = False
    assert terms(answer, truth)[name] == 0


def test_nan_truth_leaves_the_gradient_finite():
    answer, truth = one_query()
    for value in answer.values():
        value.requires_grad_(True)
    for name in ("xyz", "uv", "visibility", "displacement", "normal"):
        truth[name][:], truth[KNOWN[name]][:] = torch.nan, False
    composite_loss(answer, truth, ALL_TERMS)["total"].backward()
    assert all((value.grad == 0).all() for value in answer.values())


def test_parts_of_a_batch_add_up_to_it():
    generator = torch.Generator().manual_seed(0)
    sizes = {"xyz": 3, "uv": 2, "visibility": 1, "displacement": 3, "normal": 3, "confidence": 1}
    answer = {name: torch.randn(2, 9, size, generator=generator) for name, size in sizes.items()}
    truth = {name: torch.rand(2, 9, size, generator=generator) for name, size in sizes.items()}
    truth["visibility"] = truth["visibility"][..., 0].round()
    truth |= {mask: torch.rand(2, 9, generator=generator) < 0.6 for mask in KNOWN.values()}
    together = composite_loss(answer, truth, ALL_TERMS)
    counts = known_counts(truth)
    parts = [
        composite_loss({k: v[i : i + 1] for k, v in answer.items()}, {k: v[i : i + 1] for k, v in truth.items()},
                       ALL_TERMS, counts)
        for i in range(2)
    ]  # fmt: skip
    for name, value in together.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)
