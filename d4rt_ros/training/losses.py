"""The composite loss of the D4RT paper, appendix A."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d4rt_ros.training.config import LossWeights


def squash(x: Tensor) -> Tensor:
    """sign(x)·log(1 + |x|): far points weigh less."""
    return x.sign() * x.abs().log1p()


def composite_loss(
    answer: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights
) -> dict[str, Tensor]:
    """Mean over the queries of each term, unweighted but for c, and of `total`.

    answer: raw heads (B, Q, ·). truth: xyz, displacement (B, Q, 3) in units of the clip's mean depth, uv
    (B, Q, 2) in [0, 1], visibility (B, Q) in {0, 1}, normal (B, Q, 3) unit, and masks (B, Q): valid (the query
    has an answer) and in_view (its pixel at t_tgt exists). Terms without ground truth do not count.
    """
    valid, in_view = truth["valid"], truth["valid"] & truth["in_view"]
    confidence = answer["confidence"][..., 0]
    distance = (squash(answer["xyz"]) - squash(truth["xyz"])).abs().sum(-1)
    terms = {
        "xyz": _mean(confidence.sigmoid() * distance, valid),
        "confidence": _mean(-F.logsigmoid(confidence), valid),
        "uv": _mean((answer["uv"] - truth["uv"]).abs().sum(-1), in_view),
        "visibility": _mean(
            F.binary_cross_entropy_with_logits(
                answer["visibility"][..., 0], truth["visibility"], reduction="none"
            ),
            valid,
        ),
        "displacement": _mean((answer["displacement"] - truth["displacement"]).abs().mean(-1), valid),
        "normal": _mean(1 - F.cosine_similarity(answer["normal"], truth["normal"], dim=-1), valid),
    }
    terms["total"] = sum(getattr(weights, name) * value for name, value in terms.items())
    terms["distance"] = _mean(distance.detach(), valid)
    return terms


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked; 0 where nothing is. Masked-out values may be NaN."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
