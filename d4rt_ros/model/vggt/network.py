"""VGGT as one module."""

from __future__ import annotations

from torch import Tensor, nn

from d4rt_ros.model.vggt.aggregator import Aggregator
from d4rt_ros.model.vggt.config import VGGTConfig
from d4rt_ros.model.vggt.heads import CameraHead, DptHead


class VGGT(nn.Module):
    """`aggregator` makes tokens of frames; the heads, in float32, read cameras, depth and points off them.

    The names of its parameters are those of the published checkpoints. point_head may be None. The track head, which
    needs points to follow and not pixels to tell of, is left out.
    """

    def __init__(self, config: VGGTConfig):
        super().__init__()
        self.config = config
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.depth_head = DptHead(config.width, config.depth)
        self.point_head = None if config.points is None else DptHead(config.width, config.points)

    @property
    def layers(self) -> set[int]:
        """Those whose tokens the heads take."""
        return {i for head in (self.depth_head, self.point_head) if head for i in head.layers}

    def depths(self, tokens: dict[int, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Depth along z and its confidence, 1 and above, (S, H, W) each; arguments: see DptHead."""
        raw, confidence = self.depth_head(tokens, size)
        return raw[:, 0].exp(), confidence

    def points(self, tokens: dict[int, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points in the world (S, H, W, 3) and their confidence (S, H, W), 1 and above."""
        raw, confidence = self.point_head(tokens, size)
        return (raw.sign() * raw.abs().expm1()).movedim(1, -1), confidence
