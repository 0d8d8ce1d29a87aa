"""Starting from VideoMAE: the reference tokens, the names, the kernels' sizes, and what is refused."""

import argparse
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d4rt_ros.model.config import PRESETS, ModelConfig
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.tensor_files import CheckpointError
from d4rt_ros.model.videomae import start_from_videomae

CONFIG = ModelConfig(
    frames=4,
    height=64,
    width=64,
    encoder_width=48,
    encoder_layers=3,
    encoder_heads=4,
    encoder_mlp_ratio=4.0,
    decoder_width=48,
    decoder_layers=1,
    decoder_heads=4,
)


def videomae(layers=3, width=48, patch=(2, 16, 16), prefix="encoder.") -> dict:
    """Random weights under VideoMAE's names."""
    random = torch.Generator().manual_seed(1)
    shapes = {"patch_embed.proj.weight": (width, 3, *patch), "patch_embed.proj.bias": (width,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    for i in range(layers):
        block = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.q_bias": (width,),
            "attn.v_bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    return {prefix + name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}


def saved(folder, tensors, key="model"):
    path = folder / "videomae.pth"
    torch.save(
        {key: tensors, "epoch": 3, "args": argparse.Namespace(batch_size=16)}, path
    )  # as public ones are
    return path


@torch.no_grad()
def test_the_reference_tokens(shared):
    """The reference's encoder ran without the aspect token, which VideoMAE has not."""
    folder = shared / "golden" / "videomae"
    io = np.load(folder / "io.npz")
    network = D4RT(replace(CONFIG, aspect_token=False)).eval()
    report = start_from_videomae(network, folder / "videomae.pth")
    tokens = network.encoder(torch.from_numpy(io["video"])[None], torch.ones(1))[0]
    np.testing.assert_allclose(tokens.numpy(), io["encoder_tokens"], atol=1e-5)
    assert report.kept == [] and report.resized is None and len(report.taken) == 40
    assert report.unused == ["decoder.blocks.0.norm1.weight", "encoder_to_decoder.weight", "mask_token"]


@pytest.mark.parametrize(
    "prefix, key", [("encoder.", "model"), ("", "module"), ("module.encoder.", "state_dict")]
)
def test_names_and_biases(tmp_path, prefix, key):
    theirs = videomae(prefix=prefix)
    network = D4RT(CONFIG)
    aspect = network.encoder.aspect_proj[0].weight.clone()
    report = start_from_videomae(network, saved(tmp_path, theirs, key))
    block, own = f"{prefix}blocks.1.", network.encoder.blocks[1]
    q, k, v = own.qkv.bias.chunk(3)
    assert torch.equal(q, theirs[block + "attn.q_bias"]) and torch.equal(v, theirs[block + "attn.v_bias"])
    assert not k.any()
    assert torch.equal(own.qkv.weight, theirs[block + "attn.qkv.weight"])
    assert torch.equal(own.out_proj.weight, theirs[block + "attn.proj.weight"])
    assert torch.equal(own.ff[2].bias, theirs[block + "mlp.fc2.bias"])
    assert torch.equal(network.encoder.final_norm.bias, theirs[prefix + "norm.bias"])
    assert torch.equal(network.encoder.aspect_proj[0].weight, aspect)
    assert report.kept == [f"aspect_proj.{i}.{kind}" for i in (0, 2) for kind in ("bias", "weight")]
    assert "takes 40 tensors" in str(report) and "4 keep their own start: aspect_proj;" in str(report)


def test_kernels_of_another_size_are_resized(tmp_path):
    theirs = videomae(patch=(4, 14, 14))
    network = D4RT(CONFIG)
    report = start_from_videomae(network, saved(tmp_path, theirs))
    kernel = theirs["encoder.patch_embed.proj.weight"]
    expected = F.interpolate(kernel, (2, 16, 16), mode="trilinear", align_corners=False)
    assert torch.equal(network.encoder.patch_embed.proj.weight, expected)
    assert report.resized == (4, 14, 14) and "resized from 4x14x14" in str(report)


def test_a_constant_kernel_stays_constant(tmp_path):
    theirs = videomae(patch=(1, 7, 14))
    theirs["encoder.patch_embed.proj.weight"].fill_(0.5)
    network = D4RT(CONFIG)
    start_from_videomae(network, saved(tmp_path, theirs))
    torch.testing.assert_close(
        network.encoder.patch_embed.proj.weight, torch.full((48, 3, 2, 16, 16), 0.5), atol=1e-6, rtol=0
    )


def test_another_number_of_layers(tmp_path):
    deep, shallow = saved(tmp_path, videomae(layers=4)), D4RT(CONFIG)
    assert {name.split(".")[2] for name in start_from_videomae(shallow, deep).unused} == {"3"}
    before = shallow.encoder.blocks[2].qkv.weight.clone()
    report = start_from_videomae(shallow, saved(tmp_path, videomae(layers=2)))
    assert torch.equal(shallow.encoder.blocks[2].qkv.weight, before)
    assert "blocks.2.qkv.weight" in report.kept and "blocks.1.qkv.weight" in report.taken


def test_a_fine_tuned_ones_own_norm_and_head_are_left_out(tmp_path):
    theirs = videomae(prefix="")
    for name in ("weight", "bias"):
        theirs[f"fc_norm.{name}"] = theirs.pop(f"norm.{name}")
    theirs["head.weight"] = torch.zeros(400, 48)
    report = start_from_videomae(D4RT(CONFIG), saved(tmp_path, theirs, "module"))
    assert report.unused == ["fc_norm.bias", "fc_norm.weight", "head.weight"]
    assert {"final_norm.weight", "final_norm.bias"} <= set(report.kept)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("encoder.blocks.1.norm2.weight"), "tensor blocks.1.norm2.weight is missing"),
        (lambda t: t.pop("encoder.blocks.1.attn.q_bias"), "tensor blocks.1.attn.qkv.bias is missing"),
        (
            lambda t: t["encoder.blocks.2.mlp.fc1.bias"].fill_(float("inf")),
            "blocks.2.ff.0.bias holds NaN or inf",
        ),
        (lambda t: t.update({"encoder.norm.bias": torch.zeros(7)}), r"final_norm.bias has shape \(7,\)"),
        (lambda t: [t.pop(name) for name in list(t) if "blocks.0" in name], "no VideoMAE"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_taken(tmp_path, change, words):
    theirs = videomae()
    change(theirs)
    network = D4RT(CONFIG)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"videomae.pth.*{words}"):
        start_from_videomae(network, saved(tmp_path, theirs))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_another_width_names_the_preset_that_fits(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "base", replace(PRESETS["base"], encoder_width=96, encoder_layers=3))
    path = saved(tmp_path, videomae(width=96))
    with pytest.raises(CheckpointError, match="instead of .*--preset base fits it"):
        start_from_videomae(D4RT(CONFIG), path)
    with pytest.raises(CheckpointError, match="stem.*--preset base fits it"):
        start_from_videomae(D4RT(replace(CONFIG, stem=4)), path)
