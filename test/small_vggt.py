"""A VGGT of a few thousand parameters, and its tensors as a published checkpoint would hold them."""

from dataclasses import replace

import torch

from d4rt_ros.model.vggt.checkpoint import empty_vggt
from d4rt_ros.model.vggt.config import DptConfig, VGGTConfig
from d4rt_ros.model.vggt.network import VGGT

DPT = DptConfig((0, 1, 2, 4), (8, 12, 16, 20), 16, 8, 32, 2)
SMALL = VGGTConfig(
    patch=14, grid=6, width=32,
    patch_layers=2, patch_heads=4, patch_hidden=128, patch_registers=3,
    layers=5, heads=2, hidden=128, registers=2, rope=50.0,
    camera_layers=2, camera_heads=8, camera_hidden=256, pose_hidden=32, camera_iterations=3,
    depth=DPT, points=replace(DPT, layers=(0, 1, 3, 4), out=4),
)  # fmt: skip
CONFIG_YAML = """
patch_embed: {num_heads: 4, norm_eps: 1e-6}
aggregator: {rope_freq: 50, num_heads: 2}
camera_head: {num_heads: 8, num_iterations: 3}
depth_head: {intermediate_layer_idx: [0, 1, 2, 4]}
point_head: {intermediate_layer_idx: [0, 1, 3, 4], activation: inv_log}
track_head: {anything: 1}
"""


def random_vggt(config: VGGTConfig = SMALL, seed: int = 0) -> VGGT:
    """Weights so large that every part of the network is heard in its answers."""
    network = empty_vggt(config).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, p in network.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        scale = p[0].numel() ** -0.5 if p.dim() > 1 and "token" not in name else 0.2
        norm = p.dim() == 1 and ("norm" in name or "gamma" in name) and not name.endswith("bias")
        p.data = scale * noise + norm
    # Fields of view as cameras have them.
    network.camera_head.pose_branch.fc2.weight.data[-2:] *= 0.1
    network.camera_head.pose_branch.fc2.bias.data[-2:] = 0.4
    return network


def published(network: VGGT) -> dict[str, torch.Tensor]:
    """With the tensors that are in a published file and of no use here."""
    extra = {
        "track_head.feature_extractor.norm.weight": torch.ones(64),
        "track_head.tracker.query_ref_token": torch.zeros(1, 2, 8),
        "aggregator.patch_embed.mask_token": torch.zeros(1, network.config.width),
    }
    return {**network.state_dict(), **extra}


def write(folder, tensors=None, config_yaml: str | None = CONFIG_YAML, name: str = "model.pt"):
    """The path of a checkpoint, with its config.yaml beside it."""
    path = folder / name
    torch.save(published(random_vggt()) if tensors is None else tensors, path)
    if config_yaml is not None:
        (folder / "config.yaml").write_text(config_yaml)
    return path
