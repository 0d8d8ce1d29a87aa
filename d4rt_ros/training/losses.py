"""The composite loss of the D4RT paper, appendix A, and three terms more, which have no weight by default."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.training.config import LossWeights

# The mask of each term; a condition on the true values is added for some.
KNOWN = {
    "xyz": "knows_xyz",
    "confidence": "knows_xyz",
    "log_depth": "knows_xyz",
    "direction": "knows_xyz",
    "uv": "knows_uv",
    "visibility": "knows_visibility",
    "displacement": "knows_displacement",
    "heading": "knows_displacement",
    "normal": "knows_normal",
}
NEAR = 0.02  # mean depths: a depth that is not less, and the shortest displacement that has a heading
WIDE = 0.25  # cosine to the optical axis: beyond it no lens looks, and a logarithm of depth says little


def squash(x: Tensor) -> Tensor:
    """sign(x)·log(1 + |x|): far points weigh less."""
    return x.sign() * x.abs().log1p()


def known_counts(truth: dict[str, Tensor]) -> Tensor:
    """(len(KNOWN),) float: how many queries each term is known for."""
    return torch.stack([mask.sum() for mask in _masks(truth).values()]).float()


def composite_loss(
    answer: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights, counts: Tensor | None = None
) -> dict[str, Tensor]:
    """The mean of each term over the queries that it is known for, unweighted but for c, and their weighted `total`.

    answer: raw heads (B, Q, ·). truth: see `Examples`; where a mask is false, a term has neither value nor gradient.
    counts: those of `known_counts` of a whole batch of which this is a part: the parts' terms then add up to it.
    Beside the terms of the loss: `distance`, that of points without the confidence c.
    """
    masks = _masks(truth)
    counts = known_counts(truth) if counts is None else counts
    counts = dict(zip(masks, counts.clamp_min(1).unbind()))
    # What is not known may be NaN, which would spoil gradients even where a mask hides it.
    known = {
        name: torch.where(
            masks[name].view(*masks[name].shape, *[1] * (truth[name].dim() - 2)), truth[name], 0.0
        )
        for name in ("xyz", "uv", "visibility", "displacement", "normal")
    }
    confidence = answer["confidence"][..., 0]  # a logit: c is its sigmoid
    distance = (squash(answer["xyz"]) - squash(known["xyz"])).abs().sum(-1)
    values = {
        "xyz": confidence.sigmoid() * distance,
        "confidence": -F.logsigmoid(confidence),
        "log_depth": _log_depth_error(answer["xyz"][..., 2], known["xyz"][..., 2], masks["log_depth"]),
        "direction": (F.normalize(answer["xyz"], dim=-1) - F.normalize(known["xyz"], dim=-1)).abs().sum(-1),
        "uv": (answer["uv"] - known["uv"]).abs().sum(-1),
        "visibility": F.binary_cross_entropy_with_logits(
            answer["visibility"][..., 0], known["visibility"], reduction="none"
        ),
        "displacement": (answer["displacement"] - known["displacement"]).abs().mean(-1),
        "heading": 1 - F.cosine_similarity(answer["displacement"], known["displacement"], dim=-1),
        "normal": 1 - F.cosine_similarity(answer["normal"], known["normal"], dim=-1),
    }
    terms = {name: _sum(value, masks[name]) / counts[name] for name, value in values.items()}
    terms["total"] = sum(getattr(weights, name) * value for name, value in terms.items())
    terms["distance"] = _sum(distance.detach(), masks["xyz"]) / counts["xyz"]
    return terms


def _masks(truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """(B, Q) bool of each term: where it is known. A comparison with NaN is false."""
    masks = {name: truth[mask] for name, mask in KNOWN.items()}
    far = truth["xyz"].norm(dim=-1)
    masks["log_depth"] = masks["log_depth"] & (truth["xyz"][..., 2] > (WIDE * far).clamp_min(NEAR))
    masks["direction"] = masks["direction"] & (far > NEAR)
    masks["heading"] = masks["heading"] & (truth["displacement"].norm(dim=-1) > NEAR)
    return masks


def _log_depth_error(guess: Tensor, z: Tensor, mask: Tensor) -> Tensor:
    """|log guess - log z| (B, Q) after a scale for each clip, by the median (Eigen et al. 2014 take the mean)."""
    error = guess.clamp_min(NEAR).log() - torch.where(mask, z, 1.0).log()
    centre = error.detach().masked_fill(~mask, torch.nan).nanmedian(-1, keepdim=True).values
    return (error - centre.nan_to_num(0.0)).abs()


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum()
