"""What VGGT reads off its tokens: cameras, and maps of depth or of points (DPT, Ranftl et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d4rt_ros.model.vggt.config import DptConfig, VGGTConfig
from d4rt_ros.model.vggt.layers import Block, Mlp

POSE = 9  # translation, quaternion x y z w, vertical and horizontal field of view


class CameraHead(nn.Module):
    """The cameras of all frames together, improved a few times over (adaptive layer norm, Peebles & Xie 2023)."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        width = 2 * config.width
        self.iterations = config.camera_iterations
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE))
        self.token_norm = nn.LayerNorm(width, eps=1e-5)
        self.embed_pose = nn.Linear(POSE, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.trunk = nn.ModuleList(
            Block(width, config.camera_heads, config.camera_hidden, 1e-5) for _ in range(config.camera_layers)
        )
        self.trunk_norm = nn.LayerNorm(width, eps=1e-5)
        self.pose_branch = Mlp(width, config.pose_hidden, POSE)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (S, 2C). Returns the poses after each iteration, (iterations, S, 9); the last are the answer."""
        x = self.token_norm(tokens)[None]
        so_far, poses = self.empty_pose_tokens.expand(1, len(tokens), -1), []
        for i in range(self.iterations):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(so_far)).chunk(3, -1)
            y = x + gate * (F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
            for block in self.trunk:
                y = block(y)
            change = self.pose_branch(self.trunk_norm(y))
            so_far = so_far + change if i else change
            poses.append(torch.cat((so_far[..., :7], so_far[..., 7:].relu()), -1)[0])
        return torch.stack(poses)


class DptHead(nn.Module):
    """Maps of the image's size from the image tokens of four layers."""

    def __init__(self, width: int, config: DptConfig):
        super().__init__()
        self.layers = config.layers
        self.norm = nn.LayerNorm(2 * width, eps=1e-5)
        self.projects = nn.ModuleList(nn.Conv2d(2 * width, n, 1) for n in config.channels)
        a, b, _, d = config.channels
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(a, a, 4, 4),
                nn.ConvTranspose2d(b, b, 2, 2),
                nn.Identity(),
                nn.Conv2d(d, d, 3, 2, padding=1),
            ]
        )
        self.scratch = scratch = nn.Module()
        for i, n in enumerate(config.channels, 1):
            scratch.add_module(f"layer{i}_rn", nn.Conv2d(n, config.features, 3, padding=1, bias=False))
            scratch.add_module(f"refinenet{i}", Fusion(config.features, first=i == 4))
        scratch.output_conv1 = nn.Conv2d(config.features, config.last, 3, padding=1)
        scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(config.last, config.hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.hidden, config.out, 1),
        )

    def forward(self, tokens: dict[int, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """tokens: (S, h, w, 2C) by layer; size: (H, W) of the images.

        Returns what the activations are for, (S, out - 1, H, W), and the confidence (S, H, W), 1 and above.
        """
        features = []
        for i, layer in enumerate(self.layers):
            x = self.projects[i](self.norm(tokens[layer]).movedim(-1, 1))
            x = self.resize_layers[i](x + place_embedding(x, size))
            features.append(getattr(self.scratch, f"layer{i + 1}_rn")(x))
        y = None
        for i in (4, 3, 2, 1):
            feature = features.pop()
            after = features[-1].shape[2:] if features else [2 * n for n in feature.shape[2:]]
            y = getattr(self.scratch, f"refinenet{i}")(y, feature, after)
        y = _resized(self.scratch.output_conv1(y), size)
        y = self.scratch.output_conv2(y + place_embedding(y, size))
        return y[:, :-1], 1 + y[:, -1].exp()


class Fusion(nn.Module):
    """What coarser layers say and a finer one, together at the next size."""

    def __init__(self, features: int, first: bool):
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if not first:
            self.resConfUnit1 = ResidualUnit(features)
        self.resConfUnit2 = ResidualUnit(features)

    def forward(self, coarser: Tensor | None, feature: Tensor, size) -> Tensor:
        y = feature if coarser is None else coarser + self.resConfUnit1(feature)
        return self.out_conv(_resized(self.resConfUnit2(y), size))


class ResidualUnit(nn.Module):
    """Unlike in DPT's paper the skip carries the activated input: the weights were trained so."""

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return x + self.conv2(self.conv1(x).relu())


def _resized(x: Tensor, size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def place_embedding(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What is added to maps x (S, D, h, w) of an image (H, W) to tell places apart, (1, D, h, w).

    Sine and cosine of u for half of the channels, of v for the others; the image's diagonal is 2 long.
    """
    channels, rows, columns = x.shape[1:]
    aspect = size[1] / size[0]
    diagonal = (aspect**2 + 1) ** 0.5
    u, v = (
        _waves(n, side, channels // 2, x) for n, side in ((columns, aspect / diagonal), (rows, 1 / diagonal))
    )
    u, v = u[:, None].expand(-1, rows, -1), v[:, :, None].expand(-1, -1, columns)
    return 0.1 * torch.cat((u, v))[None]


def _waves(count: int, side: float, channels: int, like: Tensor) -> Tensor:
    """(channels, count) for `count` places from -side to side, half a place within."""
    end = side * (count - 1) / count
    places = torch.linspace(-end, end, count, dtype=torch.float64)
    rates = 100.0 ** -(torch.arange(channels // 2, dtype=torch.float64) / (channels / 2))
    angles = rates[:, None] * places
    return torch.cat((angles.sin(), angles.cos())).to(like.device, like.dtype)
