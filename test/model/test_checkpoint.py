"""Checkpoints: what is written comes back, and every kind of bad file is named."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from d4rt_ros.model.checkpoint import EMBEDDED, CheckpointError, load_checkpoint, save_checkpoint
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
    from safetensors import safe_open

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
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_half_precision_comes_back_as_float32(tmp_path):
    network = D4RT(CONFIG)
    save_checkpoint(tmp_path / "half.safetensors", network, torch.float16)
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    weight = loaded.encoder.blocks[0].qkv.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, network.encoder.blocks[0].qkv.weight, atol=1e-3, rtol=1e-3)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_truncated_file(written):
    path, _ = written
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="model.safetensors: not a whole safetensors file"):
        load_checkpoint(path)


def test_pickle_is_not_executed(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps({"model": Bomb()}))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_foreign_file(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not written by d4rt_ros"):
        load_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("encoder.final_norm.weight"), "tensor encoder.final_norm.weight is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor extra is extra"),
        (
            lambda t: t.update({"encoder.final_norm.bias": torch.zeros(7)}),
            r"has shape \(7,\) instead of \(48,\)",
        ),
        (lambda t: t["decoder.out_norm.bias"].fill_(float("nan")), "decoder.out_norm.bias holds NaN"),
    ],
)
def test_bad_tensors_are_named(written, change, words):
    path = rewritten(written[0], change)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)


def test_unknown_configuration(written):
    path, _ = written
    save_file(load_file(path), path, {"format": "d4rt_ros", "config": '{"wings": 2}'})
    with pytest.raises(CheckpointError, match="configuration cannot be used.*wings"):
        load_checkpoint(path)


def test_embedded_weights_are_there_small_and_whole():
    network = load_checkpoint()
    assert network.config == PRESETS["tiny"]
    assert EMBEDDED.stat().st_size <= 16 * 2**20
