"""The composite loss of the D4RT paper, appendix A."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.training.config import LossWeights

# The mask of each term.
KNOWN = {
    "xyz": "knows_xyz",
    "confidence": "knows_xyz",
    "uv": "knows_uv",
    "visibility": "knows_visibility",
    "displacement": "knows_displacement",
    "normal": "knows_normal",
}


def squash(x: Tensor) -> Tensor:
    """sign(x)·log(1 + |x|): far points weigh less."""
    return x.sign() * x.abs().log1p()


def known_counts(truth: dict[str, Tensor]) -> Tensor:
    """(5,) float: how many queries each mask of the truth has."""
    return torch.stack([truth[mask].sum() for mask in dict.fromkeys(KNOWN.values())]).float()


def composite_loss(
    answer: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights, counts: Tensor | None = None
) -> dict[str, Tensor]:
    """The mean of each term over the queries that it is known for, unweighted but for c, and their weighted `total`.

    answer: raw heads (B, Q, ·). truth: see `Examples`; where a mask is false, a term has neither value nor gradient.
    counts: those of `known_counts` of a whole batch of which this is a part: the parts' terms then add up to it.
    Beside the terms of the loss: `distance`, that of points without the confidence c.
    """
    counts = known_counts(truth) if counts is None else counts
    counts = dict(zip(dict.fromkeys(KNOWN.values()), counts.clamp_min(1).unbind()))
    # What is not known may be NaN, which would spoil gradients even where a mask hides it.
    known = {
        name: torch.where(truth[KNOWN[name]].view(*truth[KNOWN[name]].shape, *[1] * (truth[name].dim() - 2)),
                          truth[name], 0.0)
        for name in ("xyz", "uv", "visibility", "displacement", "normal")
    }  # fmt: skip
    confidence = answer["confidence"][..., 0]  # a logit: c is its sigmoid
    distance = (squash(answer["xyz"]) - squash(known["xyz"])).abs().sum(-1)
    values = {
        "xyz": confidence.sigmoid() * distance,
        "confidence": -F.logsigmoid(confidence),
        "uv": (answer["uv"] - known["uv"]).abs().sum(-1),
        "visibility": F.binary_cross_entropy_with_logits(
            answer["visibility"][..., 0], known["visibility"], reduction="none"
        ),
        "displacement": (answer["displacement"] - known["displacement"]).abs().mean(-1),
        "normal": 1 - F.cosine_similarity(answer["normal"], known["normal"], dim=-1),
    }
    terms = {name: _sum(value, truth[KNOWN[name]]) / counts[KNOWN[name]] for name, value in values.items()}
    terms["total"] = sum(getattr(weights, name) * value for name, value in terms.items())
    terms["distance"] = _sum(distance.detach(), truth["knows_xyz"]) / counts["knows_xyz"]
    return terms


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum()
