"""The straightforward decoder gives the same answers, and takes what the issue is about: memory."""

from dataclasses import replace

import pytest
import torch
from small_models import PLAIN

from d4rt_ros.evaluation.naive import naive_decode, naive_encode, naive_patches
from d4rt_ros.evaluation.speed import allocation_peak
from d4rt_ros.model.decoder import sample_patches
from d4rt_ros.model.network import D4RT


def clip(config, batch=2, queries=37):
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (batch, config.frames, config.height, config.width, 3), generator=g)
    uv = torch.rand(batch, queries, 2, generator=g)
    times = torch.randint(0, config.frames, (batch, queries, 3), generator=g)
    return frames.to(torch.uint8), frames.movedim(-1, 2) / 255, uv, times


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        replace(PLAIN, position="rotary", uv_offset=True, stem=4, pixel_mean=0.4, pixel_std=0.2),
        replace(PLAIN, rgb_patch=0, aspect_token=False),
    ],
)
@torch.no_grad()
def test_same_answers(config):
    torch.manual_seed(0)
    network = D4RT(config).eval()
    frames, video, uv, times = clip(config)
    aspect = torch.tensor([1.5, 1.0])
    ours = network.decode(network.encode(video, aspect), frames, uv, times)
    naive = naive_decode(network, naive_encode(network, video, aspect), video, uv, times, chunk=16)
    assert naive.keys() == ours.keys()
    for name in ours:
        torch.testing.assert_close(naive[name], ours[name], atol=1e-5, rtol=0)


def test_patches_take_a_fiftieth_of_the_memory():
    """Of 256x256 frames, as the base size has them."""
    frames, video, uv, times = clip(replace(PLAIN, height=256, width=256), batch=1, queries=64)
    naive = allocation_peak(lambda: naive_patches(video, uv, times[..., 0], 9), torch.device("cpu"))
    ours = allocation_peak(lambda: sample_patches(frames, uv, times[..., 0], 9), torch.device("cpu"))
    whole_frames = 64 * 3 * 256 * 256 * 4
    assert whole_frames <= naive < 1.1 * whole_frames
    assert naive > 50 * ours
