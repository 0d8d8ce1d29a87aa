"""How weights follow gradients: the rate over time, AdamW and Muon, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from d4rt_ros.training.config import TrainConfig
from d4rt_ros.training.distributed import own_part


class OptimiserError(RuntimeError):
    """An optimiser that this torch has not."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to the final rate."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * cosine


def set_rates(optimisers: list[torch.optim.Optimizer], step: int, config: TrainConfig) -> None:
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = learning_rate(step, config) * group["rate"]


def optimisers_of(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov and Hutter 2019), and, if configured, Muon (Jordan et al. 2024) for matrices beneath the heads.

    Biases, norms and time tables are not decayed; the heads learn at a rate of their own. Raises OptimiserError.
    """
    matrices, others = [], {}
    for name, parameter in network.named_parameters():
        decay = config.weight_decay if parameter.dim() > 1 and ".t_" not in name else 0.0
        head = ".heads." in name
        if config.optimiser == "muon" and parameter.dim() == 2 and decay and not head:
            matrices.append(parameter)
        else:
            others.setdefault((decay, config.head_rate if head else 1.0), []).append(parameter)
    groups = [{"params": p, "weight_decay": decay, "rate": rate} for (decay, rate), p in others.items()]
    optimisers = [torch.optim.AdamW(groups, fused=True)]
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise OptimiserError(
                f"optimiser: muon needs torch 2.9 or newer, this is {torch.__version__}; use adamw"
            )
        # Its updates scaled to the size of AdamW's, so that one rate fits both.
        group = {"params": matrices, "rate": config.matrix_rate}
        optimisers.append(
            torch.optim.Muon([group], weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimisers


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, step: int, config: TrainConfig) -> None:
    """Move the averaged weights towards the network's after a step: an exponential mean, shorter at first."""
    decay = min(config.average, (1 + step) / (10 + step))
    ours, theirs = ([own_part(p) for p in module.parameters()] for module in (average, network))
    torch._foreach_lerp_(ours, theirs, 1 - decay)
