"""`d4rt convert` and `d4rt train --init`, as the README calls them."""

import warnings

import numpy as np
import pytest
import torch

import d4rt_ros
from d4rt_ros.cli.main import main
from d4rt_ros.model.checkpoint import load_checkpoint, save_checkpoint
from d4rt_ros.model.config import PRESETS, ModelConfig
from d4rt_ros.model.network import D4RT

SMALL = ModelConfig(
    frames=4,
    height=32,
    width=32,
    patch=(2, 16, 16),
    encoder_width=48,
    encoder_layers=3,
    encoder_heads=4,
    encoder_mlp_ratio=4.0,
    decoder_width=48,
    decoder_layers=1,
    decoder_heads=4,
)


@pytest.fixture
def checkpoint(shared):
    return shared / "golden" / "opend4rt" / "opend4rt.ckpt"


def heads(model, io):
    scene = model.encode(io["video"])
    height, width = scene.size
    pixels = io["u"] * (width - 1), io["v"] * (height - 1)
    answer = scene.query(*pixels, *(io[t] for t in ("t_src", "t_tgt", "t_cam")))
    return np.concatenate((answer.xyz, answer.displacements, answer.visibility[:, None]), 1)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-6), ("fp16", 1e-2), ("bf16", 5e-2)])
def test_a_converted_checkpoint_answers_alike(checkpoint, tmp_path, capsys, precision, tolerance):
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(checkpoint), str(out), "--precision", precision]) == 0
    printed = capsys.readouterr().out
    assert "0.4 M parameters" in printed and f"MB in {precision}" in printed
    assert "8 frames of 64x64" in printed and "4 layers of width 64, 4 heads, interleaved" in printed
    io = np.load(checkpoint.with_name("io.npz"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all sizes are in the file: nothing is assumed
        converted = d4rt_ros.load(out, device="cpu", precision="fp32")
    expected = heads(d4rt_ros.load(checkpoint, device="cpu", precision="fp32"), io)
    np.testing.assert_allclose(heads(converted, io), expected, atol=tolerance * np.abs(expected).max())
    heads(d4rt_ros.load(out), io)  # by default, whatever this machine does best


def test_bf16_is_written_unless_told_otherwise(tmp_path, capsys):
    network = D4RT(SMALL)
    save_checkpoint(tmp_path / "a.safetensors", network)
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "sub" / "b.safetensors")]) == 0
    assert "MB in bf16" in capsys.readouterr().out
    weight = load_checkpoint(tmp_path / "sub" / "b.safetensors").encoder.blocks[0].qkv.weight
    assert torch.equal(weight, network.encoder.blocks[0].qkv.weight.bfloat16().float())


def test_what_was_assumed_is_said(checkpoint, tmp_path, capsys):
    alone = tmp_path / "opend4rt.ckpt"
    alone.write_bytes(checkpoint.read_bytes())
    assert main(["convert", str(alone), str(tmp_path / "out.safetensors")]) == 0
    assert "assumed, as in OpenD4RT's public models" in capsys.readouterr().err


def test_what_cannot_be_converted_is_a_sentence(tmp_path, capsys):
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 and no more")
    assert main(["convert", str(tmp_path / "cut.ckpt"), str(tmp_path / "out.safetensors")]) == 1
    assert "d4rt convert: " in capsys.readouterr().err and not (tmp_path / "out.safetensors").exists()
    save_checkpoint(tmp_path / "a.safetensors", D4RT(SMALL))
    (tmp_path / "file").touch()
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "file" / "b.safetensors")]) == 1
    assert "d4rt convert: " in capsys.readouterr().err


def test_training_starts_from_videomae(shared, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "base", SMALL)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{model: {preset: base}, batch: 1, queries: {count: 16}, steps: 1, check_clips: 1}")
    init = ["--init", str(shared / "golden" / "videomae" / "videomae.pth"), "--no-compile"]
    assert main(["train", "--out", str(tmp_path / "run"), "--config", str(recipe), *init]) == 0
    assert "the encoder takes 40 tensors of the file; 4 keep their own" in capsys.readouterr().out
    trained = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    start = torch.load(init[1], weights_only=True)["model"]["encoder.blocks.0.attn.qkv.weight"]
    assert trained.config == SMALL
    torch.testing.assert_close(trained.encoder.blocks[0].qkv.weight.detach(), start, atol=2e-3, rtol=0)


def test_an_encoder_that_does_not_fit_is_a_sentence(shared, tmp_path, capsys):
    init = shared / "golden" / "videomae" / "videomae.pth"
    assert main(["train", "--out", str(tmp_path / "run"), "--init", str(init)]) == 1
    assert "without a stem (it has 3 layers of width 48, as no preset)" in capsys.readouterr().err


def test_init_and_resume_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--out", str(tmp_path), "--resume", "--init", "some.pth"])
    assert "not allowed with" in capsys.readouterr().err
