"""The network's parts against straightforward versions of themselves."""

import math
from dataclasses import replace

import pytest
import torch
from small_models import PLAIN
from torch.nn import functional as F

from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.decoder import fourier_features, sample_patches
from d4rt_ros.model.encoder import PatchEmbedding, _pooling
from d4rt_ros.model.layers import Linear, Rotary, attention, rotate, sinusoidal_table
from d4rt_ros.model.network import D4RT

SMALL = replace(PLAIN, position="rotary", stem=4, uv_offset=True, initialisation="xavier")


def inputs(config, batch=2, queries=11, seed=0):
    g = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, config.frames, config.height, config.width, 3), generator=g).to(
        torch.uint8
    )
    uv = torch.rand(batch, queries, 2, generator=g)
    times = torch.randint(0, config.frames, (batch, queries, 3), generator=g)
    return frames, frames.movedim(-1, 2) / 255, torch.rand(batch, generator=g) + 0.5, uv, times


def test_patches_agree_with_grid_sample():
    frames, video, _, uv, times = inputs(PLAIN)
    uv = torch.cat((uv, torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.999, 0.0]]]).expand(2, -1, -1)), 1)
    t = torch.cat((times[..., 0], times[:, :3, 0]), 1)
    ours = sample_patches(frames, uv, t, 9)
    size = torch.tensor((PLAIN.width - 1, PLAIN.height - 1))
    reach = torch.arange(-4, 5)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), -1)
    for b in range(2):
        for q in range(uv.shape[1]):
            pixels = uv[b, q] * size + offsets
            grid = (2 * pixels / size - 1)[None].float()
            naive = F.grid_sample(video[b, t[b, q]][None], grid, padding_mode="border", align_corners=True)[0]
            torch.testing.assert_close(ours[b, q], naive, atol=2e-5, rtol=0)


def test_patch_embedding_is_the_convolution():
    embedding = PatchEmbedding(3, 20, (2, 4, 8))
    video = torch.rand(2, 4, 3, 16, 24)
    expected = embedding.proj(video.transpose(1, 2)).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(embedding(video), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count, fewer", [(16, 16), (16, 11), (7, 3), (5, 1)])
def test_pooling_is_adaptive_average_pooling(count, fewer):
    x = torch.rand(1, 4, count)
    torch.testing.assert_close(x @ _pooling(count, fewer).T, F.adaptive_avg_pool1d(x, fewer))


def test_plain_attention_is_softmax_attention():
    q, k, v = torch.rand(2, 3, 5, 8), torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 8)
    torch.testing.assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("shape", [(34,), (1, 34), (1, 1, 34)])
def test_one_row_is_the_ordinary_product(shape):
    torch.manual_seed(0)
    layer, x = Linear(34, 19), torch.randn(shape)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)  # with gradients
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(layer(x), expected)
            torch.testing.assert_close(layer(x.expand(2, *shape))[1], expected)


def test_one_query_attends_like_many():
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 33, 8), torch.randn(1, 2, 33, 8)
    with torch.no_grad():
        torch.testing.assert_close(attention(q[..., :1, :], k, v), attention(q, k, v)[..., :1, :])


def test_fourier_features_layout():
    u, v = 0.3, 0.8
    features = fourier_features(torch.tensor([u, v]), 2)
    angles = [math.pi, 2 * math.pi]
    expected = [
        x for c in (u, v) for x in (c, *(math.sin(a * c) for a in angles), *(math.cos(a * c) for a in angles))
    ]
    torch.testing.assert_close(features, torch.tensor(expected), atol=1e-6, rtol=0)


def test_sinusoidal_table_by_hand():
    table = sinusoidal_table(3, 4)
    expected = [math.sin(2), math.cos(2), math.sin(2 / 100), math.cos(2 / 100)]
    torch.testing.assert_close(table[2], torch.tensor(expected))


def test_rotary_products_depend_on_differences_alone():
    rotary = Rotary(24, (2, 4, 6), 4)
    q, k = torch.rand(24), torch.rand(24)
    a, b, shift = torch.tensor([1.0, 0.2, 0.7]), torch.tensor([3.0, 0.9, 0.1]), torch.tensor([0.5, 0.05, 0.1])

    def product(p, r):
        return rotate(q, *rotary.angles(p)) @ rotate(k, *rotary.angles(r))

    torch.testing.assert_close(product(a, b), product(a + shift, b + shift), atol=1e-4, rtol=1e-4)
    assert abs(product(a, b) - product(a + shift, b)) > 1e-3


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        SMALL,
        replace(PLAIN, attention="global"),
        replace(PLAIN, aspect_token=False),
        replace(SMALL, rgb_patch=0),
        replace(PLAIN, max_tokens=24),
    ],
)
@torch.no_grad()
def test_queries_are_independent_and_a_scene_is_encoded_once(config):
    network = D4RT(config).eval()
    frames, video, aspect, uv, times = inputs(config)
    scene = network.encode(video, aspect)
    whole = network.decode(scene, frames, uv, times)
    assert {name: x.shape[-1] for name, x in whole.items()} == {
        "xyz": 3,
        "uv": 2,
        "visibility": 1,
        "displacement": 3,
        "normal": 3,
        "confidence": 1,
    }
    for q in (0, 7):
        alone = network.decode(scene, frames, uv[:, q : q + 1], times[:, q : q + 1])
        for name in whole:
            torch.testing.assert_close(whole[name][:, q : q + 1], alone[name], atol=1e-5, rtol=1e-4)
    # A batch of two clips is two clips.
    second = network.encode(video[1:], aspect[1:])
    alone = network.decode(second, frames[1:], uv[1:], times[1:])
    torch.testing.assert_close(whole["xyz"][1:], alone["xyz"], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_input_matters():
    network = D4RT(SMALL).eval()
    frames, video, aspect, uv, times = inputs(SMALL, batch=1)

    def answer(video=video, aspect=aspect, frames=frames, uv=uv, times=times):
        return network.decode(network.encode(video, aspect), frames, uv, times)["xyz"]

    reference = answer()
    changes = {
        "video": {"video": video.flip(1)},
        "aspect": {"aspect": 2 * aspect},
        "patches": {"frames": 255 - frames},
        "uv": {"uv": uv.flip(-1)},
        **{f"time {k}": {"times": _other_time(times, k)} for k in range(3)},
    }
    for name, change in changes.items():
        assert (answer(**change) - reference).abs().max() > 1e-4, name


def _other_time(times, k):
    changed = times.clone()
    changed[..., k] = (changed[..., k] + 1) % SMALL.frames
    return changed


def test_uv_offset_starts_from_the_query():
    network = D4RT(SMALL).eval()
    torch.nn.init.zeros_(network.decoder.heads["uv"].weight)
    frames, video, aspect, uv, times = inputs(SMALL)
    torch.testing.assert_close(network.decode(network.encode(video, aspect), frames, uv, times)["uv"], uv)


def test_gradients_reach_every_parameter():
    network = D4RT(SMALL)
    frames, video, aspect, uv, times = inputs(SMALL)
    answer = network.decode(network.encode(video, aspect), frames, uv, times)
    sum(x.square().sum() for x in answer.values()).backward()
    assert [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ] == []


def test_giant_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = D4RT(PRESETS["giant"])
    encoder = sum(p.numel() for p in network.encoder.parameters()) / 1e9
    decoder = sum(p.numel() for p in network.decoder.parameters()) / 1e9
    assert encoder == pytest.approx(1.0, abs=0.02) and decoder == pytest.approx(0.14, abs=0.01)
