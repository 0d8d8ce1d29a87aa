"""Counted floors, random models and medians."""

from dataclasses import replace

import pytest
import torch

from d4rt_ros.evaluation.speed import (
    alternating_seconds,
    decode_work,
    encode_work,
    parameters,
    peak_bytes,
    random_network,
    reset_peak,
)
from d4rt_ros.model.config import PRESETS, ModelConfig
from d4rt_ros.model.network import D4RT

CPU = torch.device("cpu")
SMALL = ModelConfig(
    frames=2,
    height=16,
    width=32,
    patch=(2, 8, 8),
    encoder_width=24,
    encoder_layers=2,
    encoder_heads=2,
    encoder_mlp_ratio=2.0,
    decoder_width=12,
    decoder_layers=1,
    decoder_heads=2,
    decoder_mlp_ratio=2.0,
    aspect_token=False,
)


def test_arithmetic_of_an_encoder_by_hand():
    tokens, width, block = 8, 24, 8 * 24 * 24  # qkv 3, out 1, feed-forward 4
    attention = 2 * tokens * tokens * width
    embedding = tokens * (3 * 2 * 8 * 8) * width
    memory = tokens * width * 12 + tokens * 12 * 24
    multiply_adds = embedding + 2 * (tokens * block + attention) + memory
    assert encode_work(SMALL, 4).flops == 2 * multiply_adds


def test_traffic_is_every_weight_and_the_scene_once_a_chunk():
    with torch.device("meta"):
        network = D4RT(SMALL)
    kv = parameters(network.decoder.blocks[0].kv_proj)
    scene = 2 * 8 * 12
    one, four = decode_work(SMALL, 10, 16, 2), decode_work(SMALL, 64, 16, 2)
    assert one.traffic == 2 * (parameters(network.decoder) - kv + scene)
    assert four.traffic == 4 * one.traffic
    assert four.flops == pytest.approx(6.4 * one.flops)


def test_giant_is_counted_without_being_built():
    work = encode_work(PRESETS["giant"], 2)
    assert work.flops == pytest.approx(17.2e12, rel=0.01)
    assert work.traffic == pytest.approx(2 * 1.04e9, rel=0.01)


@pytest.mark.parametrize("config", [SMALL, replace(PRESETS["tiny"], encoder_layers=1, decoder_layers=1)])
def test_random_network_is_whole(config):
    """Its tables are those of a network that was built in the ordinary way, its weights are finite."""
    network, ordinary = random_network(config, CPU, torch.float32), D4RT(config)
    for (name, ours), (_, theirs) in zip(network.named_buffers(), ordinary.named_buffers()):
        torch.testing.assert_close(ours, theirs, msg=name)
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter).all() and parameter.abs().max() <= 2, name
        if name.endswith("weight"):
            assert parameter.abs().sum() > 0, name


def test_random_network_at_its_precision_and_repeatable():
    network, again = (random_network(SMALL, CPU, torch.bfloat16) for _ in range(2))
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters()))


def test_works_take_turns():
    calls = []
    times = alternating_seconds([lambda: calls.append("a"), lambda: calls.append("b")], CPU, 60, most=3)
    assert calls == ["a", "b"] * 4 and len(times) == 2


def test_peak_sees_what_is_gone():
    reset_peak(CPU)
    before = peak_bytes(CPU)
    torch.ones(100_000_000)  # more than the C library keeps of what was freed before
    assert peak_bytes(CPU) - before > 300e6
