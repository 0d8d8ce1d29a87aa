"""What one training step sees, whatever it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# From a step's number and the clips of its batch that are wanted (0 … batch - 1) to those clips with their queries:
# a function of these alone, so that it does not matter what was made before, or by which process.
Source = Callable[[int, range], "Examples"]


@dataclass(frozen=True)
class Examples:
    """B clips with Q queries each.

    rgb: (B, T, H, W, 3) uint8, as the encoder is to see it but for augmentation of colours.
    aspect: (B,) width / height of what was photographed, before it became H x W.
    uv: (B, Q, 2) in [0, 1]. times: (B, Q, 3) int64 t_src, t_tgt, t_cam.
    truth: xyz, displacement (B, Q, 3) in units of the clip's mean depth, normal (B, Q, 3) of unit length,
    uv (B, Q, 2) in [0, 1] and a margin around it, visibility (B, Q) float 0 or 1; and masks (B, Q) bool that say
    where each is known: knows_xyz, knows_displacement, knows_normal, knows_uv, knows_visibility. Elsewhere the
    values may be anything, NaN too.
    names: of the B clips, for people: where each comes from.
    """

    rgb: Tensor
    aspect: Tensor
    uv: Tensor
    times: Tensor
    truth: dict[str, Tensor]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, clips: slice) -> Examples:
        """Some of the clips."""
        truth = {name: value[clips] for name, value in self.truth.items()}
        return Examples(
            self.rgb[clips], self.aspect[clips], self.uv[clips], self.times[clips], truth, self.names[clips]
        )


def join(parts: list[Examples]) -> Examples:
    """One batch of several, in their order; of the truth what all of them have."""
    if len(parts) == 1:
        return parts[0]
    names = set.intersection(*(set(part.truth) for part in parts))
    truth = {name: torch.cat([part.truth[name] for part in parts]) for name in sorted(names)}
    rest = (torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "aspect", "uv", "times"))
    return Examples(*rest, truth, sum((part.names for part in parts), ()))
