"""Checkpoints: what is written comes back, in little memory, and every kind of bad file is named."""

import argparse
import gzip
import io
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from d4rt_ros.model.checkpoint import (
    EMBEDDED,
    CheckpointError,
    empty_network,
    load_checkpoint,
    save_checkpoint,
)
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT

CONFIG = replace(PRESETS["tiny"], encoder_layers=2, decoder_layers=1, encoder_width=48, decoder_width=48)


@pytest.fixture
def written(tmp_path):
    network = D4RT(CONFIG)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, network)
    return path, network


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewritten(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata(path))
    return path


def test_round_trip(written):
    path, network = written
    loaded = load_checkpoint(path)
    assert loaded.config == CONFIG and not loaded.training
    assert path.stat().st_mode & 0o444 == 0o444  # whoever runs the node may read it
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_half_precision_comes_back_as_float32(tmp_path):
    network = D4RT(CONFIG)
    save_checkpoint(tmp_path / "half.safetensors", network, torch.float16)
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    weight = loaded.encoder.blocks[0].qkv.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, network.encoder.blocks[0].qkv.weight, atol=1e-3, rtol=1e-3)


def test_the_heads_keep_float32_in_the_file_and_out_of_it(tmp_path):
    network = D4RT(CONFIG)
    save_checkpoint(tmp_path / "half.safetensors", network, torch.bfloat16)
    loaded = load_checkpoint(tmp_path / "half.safetensors", torch.bfloat16)
    assert loaded.encoder.blocks[0].qkv.weight.dtype == torch.bfloat16
    assert torch.equal(loaded.decoder.heads["xyz"].weight, network.decoder.heads["xyz"].weight)


@pytest.mark.parametrize("position", ["sinusoidal", "rotary"])
def test_tables_are_real_where_weights_are_not(position):
    config = replace(CONFIG, position=position)
    empty, real = empty_network(config), D4RT(config)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    buffers = dict(real.named_buffers())
    assert buffers.keys() == dict(empty.named_buffers()).keys()
    for name, buffer in empty.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def test_the_public_models_size_is_counted_without_its_memory():
    network = empty_network(PRESETS["giant"])
    encoder, decoder = (sum(p.numel() for p in m.parameters()) for m in (network.encoder, network.decoder))
    assert encoder == pytest.approx(1.0e9, rel=0.05) and decoder == pytest.approx(0.14e9, rel=0.1)


def test_progress_runs_to_one(written):
    seen = []
    load_checkpoint(written[0], progress=seen.append)
    assert seen == sorted(seen) and 0 < seen[0] and seen[-1] == 1


# About 290 MB in float32.
LARGE = "ModelConfig(frames=16, encoder_width=768, encoder_layers=9, encoder_heads=12, encoder_mlp_ratio=4.0, " \
    "decoder_width=384, decoder_layers=4)"  # fmt: skip
WRITE = f"""
import sys, torch
from d4rt_ros.model.checkpoint import empty_network, save_checkpoint
from d4rt_ros.model.config import ModelConfig
sys.path.insert(0, sys.argv[2])
from test_opend4rt import in_their_names
network = empty_network({LARGE}).to_empty(device="cpu")
for p in network.parameters():
    torch.nn.init.normal_(p, std=0.02)
if sys.argv[1].endswith(".ckpt"):
    torch.save({{"model": in_their_names(network)}}, sys.argv[1])
else:
    save_checkpoint(sys.argv[1], network)
"""
MEASURE = """
import re, sys, torch
from d4rt_ros.model.checkpoint import load_checkpoint
def peak():
    # Not getrusage: its peak begins with that of the process which started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
before = peak()
network = load_checkpoint(sys.argv[1], getattr(torch, sys.argv[2]))
grown = peak() - before
print(sum(p.nbytes for p in network.parameters()), grown)
"""


def run(code, *arguments):
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_loading_takes_little_more_memory_than_the_weights(tmp_path, suffix):
    path = tmp_path / f"large.{suffix}"
    run(WRITE, path, Path(__file__).parent)
    assert path.stat().st_size > 250e6
    for dtype in ("float32", "bfloat16"):
        weights, peak = map(int, run(MEASURE, path, dtype).split())
        assert peak < 1.2 * weights, f"{dtype}: {peak / weights:.2f} times the weights"


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_truncated_file(written):
    path, _ = written
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="model.safetensors: not a whole safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_torch_file(tmp_path, zipped):
    path = tmp_path / "opend4rt.ckpt"
    torch.save({"model": {"a": torch.zeros(5000)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="opend4rt.ckpt: not a whole torch checkpoint.*truncated"):
        load_checkpoint(path)


def _zip(name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "content")
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pth", ".json", ""])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html><head>", "an HTML page: a download page"),
        (b"\xef\xbb\xbf\n  <HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code>", "an XML or HTML document"),
        (gzip.compress(b"tensors" * 99), "a gzip archive; unpack it first"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(512), "a tar archive; unpack it first"),
        (_zip("model.safetensors"), "a zip archive with model.safetensors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (bytes(10_000), "nothing but zeros at its beginning"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_named(tmp_path, suffix, content, words):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=f"not a whole safetensors file, but {words}.*; give the path of"
    ):
        load_checkpoint(path)


def test_json_is_named_where_it_is_no_index(tmp_path):
    (tmp_path / "model.ckpt").write_text('{"error": "not found"}')
    with pytest.raises(CheckpointError, match="JSON text, such as a server's error message"):
        load_checkpoint(tmp_path / "model.ckpt")
    (tmp_path / "model.safetensors").write_text("hello, I am text")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_a_folder_is_named_with_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder; give the path of .*ckpt$"):
        load_checkpoint(tmp_path)
    (tmp_path / "opend4rt.ckpt").touch()
    with pytest.raises(CheckpointError, match="is a folder; .*: it holds opend4rt.ckpt"):
        load_checkpoint(tmp_path)


def test_home_and_variables_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WEIGHTS", "~/weights")
    network = D4RT(CONFIG)
    save_checkpoint("$WEIGHTS/model.safetensors", network)
    assert load_checkpoint("~/weights/model.safetensors").config == CONFIG
    with pytest.raises(CheckpointError, match=r"no such file \(\$UNDEFINED is not defined here\)"):
        load_checkpoint("$UNDEFINED/model.safetensors")


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu124", "2.6.0a0+df5bbc09d1.nv24.12"])
def test_torch_files_are_refused_by_a_torch_that_would_execute_them(written, monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    for zipped in (True, False):
        path = written[0].with_suffix(f".{zipped}.ckpt")
        torch.save({"model": {"a": torch.zeros(1)}}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            CheckpointError, match=r"refused, since torch \S+ can be made to execute code.*2.6.0 or later"
        ):
            load_checkpoint(path)
    load_checkpoint(written[0])


def test_what_a_torch_file_may_hold_is_widened_for_it_alone(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "args.ckpt")
    with pytest.raises(CheckpointError, match="no D4RT's tensors"):
        load_checkpoint(tmp_path / "args.ckpt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize(
    "config",
    [
        '{"frames": 1e999}', '{"frames": 2000000000, "patch": [2, 16, 16]}', '{"frames": "48"}', '{"frames": true}',
        '{"encoder_heads": 0}', '{"patch": [2, 16]}', '{"patch": 3}', '{"encoder_mlp_ratio": NaN}', '{"stem": -4}',
        '{"attention": 7}', '{"max_tokens": -1}', "[]", "null", "{", "[" * 100_000, '{"frames": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_configurations_that_no_network_has(written, config):
    path, _ = written
    save_file(load_file(path), path, {"format": "d4rt_ros", "config": config})
    with pytest.raises(CheckpointError, match="configuration cannot be used"):
        load_checkpoint(path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", ["torch", "torch of old", "pickle"])
@pytest.mark.parametrize(
    "name, words",
    [
        ("bomb.ckpt", "refused, nothing of it was executed: it asks for"),
        ("bomb.safetensors", "not a whole safetensors file"),
    ],
)
def test_pickle_is_not_executed(tmp_path, write, name, words):
    path, payload = tmp_path / name, {"model": {"a": torch.zeros(1)}, "extra": Bomb(tmp_path / "executed")}
    if write == "pickle":
        path.write_bytes(pickle.dumps(payload["extra"], protocol=4))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_what_is_refused_is_named(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "extra": Bomb("executed")}, tmp_path / "bomb.ckpt")
    with pytest.raises(CheckpointError, match=r"it asks for \S*open, and what"):
        load_checkpoint(tmp_path / "bomb.ckpt")


@pytest.mark.parametrize(
    "names, words",
    [
        (["weight"], "not written by d4rt_ros.*weight"),
        (["aggregator.frame_blocks.0.attn.qkv.weight", "aggregator.global_blocks.0.x"], "VGGT"),
        (["enc_blocks.0.attn.qkv.weight", "dec_blocks2.0.x", "downstream_head1.dpt.x"], "DUSt3R"),
        (["encoder.blocks.0.attn.q_bias", "encoder.patch_embed.proj.bias"], "VideoMAE.*train --init"),
        (["blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma", "cls_token"], "DINOv2"),
        (["decoder.embedding.uv_proj.weight"], "without their configuration.*weights.safetensors"),
    ],
)
def test_another_models_weights_are_recognised(tmp_path, names, words):
    tensors = {name: torch.zeros(3) for name in names}
    save_file(tensors, tmp_path / "other.safetensors")
    torch.save({"model": tensors}, tmp_path / "other.pth")
    for path in (tmp_path / "other.safetensors", tmp_path / "other.pth"):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "payload, words",
    [
        ({"epoch": 3}, "holds no weights but a dict with epoch"),
        ([1, 2], "holds no weights but a list"),
        ({"model": {"a": torch.zeros(1), "b": "text"}}, "b is of type str"),
    ],
)
def test_a_torch_file_without_weights(tmp_path, payload, words):
    torch.save(payload, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("encoder.final_norm.weight"), "1 tensor missing: encoder.final_norm.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "1 tensor extra: extra"),
        (
            lambda t: [t.pop(name) for name in sorted(t) if ".blocks.0." in name],
            r"tensors missing: decoder\.blocks\.0\.\S+, .* and \d+ more",
        ),
        (
            lambda t: t.update({"encoder.final_norm.bias": torch.zeros(7)}),
            r"of another shape: encoder.final_norm.bias \(7,\) instead of \(48,\)",
        ),
        (lambda t: t["decoder.out_norm.bias"].fill_(float("nan")), "decoder.out_norm.bias holds NaN"),
    ],
)
def test_bad_tensors_are_named(written, change, words):
    path = rewritten(written[0], change)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)


def test_values_beyond_half_precision_are_named(written):
    path = rewritten(written[0], lambda t: t["decoder.out_norm.weight"].fill_(1e6))
    load_checkpoint(path, torch.bfloat16)
    with pytest.raises(CheckpointError, match="decoder.out_norm.weight holds values beyond.*bf16"):
        load_checkpoint(path, torch.float16)


def test_unknown_configuration(written):
    path, _ = written
    save_file(load_file(path), path, {"format": "d4rt_ros", "config": '{"wings": 2}'})
    with pytest.raises(CheckpointError, match="configuration cannot be used.*wings"):
        load_checkpoint(path)


def test_embedded_weights_are_there_small_and_whole():
    network = load_checkpoint()
    assert network.config == PRESETS["tiny"]
    assert EMBEDDED.stat().st_size <= 16 * 2**20
