"""With its plain options the network is OpenD4RT's: same tensors under other names, same answers."""

import re

import numpy as np
import pytest
import torch

from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.network import D4RT

GOLDEN = ModelConfig(
    frames=8,
    height=64,
    width=64,
    patch=(2, 16, 16),
    encoder_width=64,
    encoder_layers=4,
    encoder_heads=4,
    decoder_width=48,
    decoder_layers=3,
    decoder_heads=4,
)
RENAMED = [
    (r"^encoder\.patch_embed\.", "encoder.patch_embed.proj."),
    (r"^aspect_ratio_proj\.", "encoder.aspect_proj."),
    (r"attn\.in_proj_(\w+)$", r"qkv.\1"),
    (r"\.(?:attn|cross_attn)\.out_proj\.", ".out_proj."),
    (r"^memory_proj\.", "decoder.memory_proj."),
    (r"^query_embedder\.(t_\w+)_embed\.", r"decoder.embedding.\1."),
    (r"^query_embedder\.", "decoder.embedding."),
    (r"\.ff\.3\.", ".ff.2."),
    (r"^heads\.(\w+)_head\.", r"decoder.heads.\1."),
]


def renamed(state: dict) -> dict:
    ours = {}
    for name, tensor in state.items():
        if "cross_attn.in_proj" in name:
            block, kind = name.split(".cross_attn.in_proj_")
            third = len(tensor) // 3
            ours[f"{block}.q_proj.{kind}"], ours[f"{block}.kv_proj.{kind}"] = tensor[:third], tensor[third:]
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        ours[name] = tensor
    return ours


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "opend4rt"
    state = torch.load(folder / "opend4rt.ckpt", weights_only=True)["model"]
    network = D4RT(GOLDEN).eval()
    network.load_state_dict(renamed(state))
    return network, np.load(folder / "io.npz")


@torch.no_grad()
def test_memory_and_heads_agree(golden):
    network, io = golden
    frames = torch.from_numpy(io["video"])[None]
    aspect = torch.tensor(io["aspect"], dtype=torch.float32).reshape(1)
    memory = network.decoder.memory_proj(network.encoder(frames.movedim(-1, 2).float() / 255, aspect))
    np.testing.assert_allclose(memory[0].numpy(), io["memory"], atol=1e-5)

    scene = network.encode(frames.movedim(-1, 2).float() / 255, aspect)
    uv = torch.from_numpy(np.stack((io["u"], io["v"]), -1))[None]
    times = torch.from_numpy(np.stack([io[t] for t in ("t_src", "t_tgt", "t_cam")], -1))[None]
    answer = network.decode(scene, frames, uv, times)
    for ours, theirs in (
        ("xyz", "xyz_3d"),
        ("uv", "uv_2d"),
        ("visibility",) * 2,
        ("displacement",) * 2,
        ("normal",) * 2,
        ("confidence",) * 2,
    ):
        expected = io[f"out_{theirs}"].reshape(answer[ours][0].shape)
        np.testing.assert_allclose(answer[ours][0].numpy(), expected, atol=1e-5, err_msg=ours)
