"""Which queries are asked: shares of the mix, masks, and what is asked of unknown pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.training.config import QueryMix
from d4rt_ros.training.draws import uniform
from d4rt_ros.training.queries import NUMBERS, sample_queries

FRAMES, HEIGHT, WIDTH = 5, 9, 14
COUNT = 4000


def numbers(clips=2, count=COUNT):
    return uniform(0, "test", 0, range(clips), count, NUMBERS)


def masks(clips=2):
    return (torch.zeros(clips, FRAMES, HEIGHT, WIDTH, dtype=torch.bool) for _ in range(2))


def pixels(uv):
    """Columns and rows (B, Q) of the pixels that uv lie in."""
    return (uv * torch.tensor((WIDTH - 1, HEIGHT - 1))).round().long().unbind(-1)


def at(mask, uv, times):
    x, y = pixels(uv)
    return mask[torch.arange(len(mask))[:, None], times[..., 0], y, x]


def test_the_papers_shares():
    depth = torch.ones(2, FRAMES, HEIGHT, WIDTH)
    edges, moving = masks()
    edges[:, :, 4] = True
    uv, times = sample_queries(depth, edges, moving, QueryMix(count=COUNT), numbers())
    assert at(edges, uv, times).float().mean() == pytest.approx(0.3 + 0.7 / HEIGHT, abs=0.02)
    src, tgt, cam = times.unbind(-1)
    assert (tgt == cam).float().mean() == pytest.approx(0.4 + 0.6 / FRAMES, abs=0.02)
    for time in (src, tgt, cam):
        assert torch.bincount(time.flatten(), minlength=FRAMES).float().std() < 0.1 * 2 * COUNT / FRAMES


def test_the_small_models_shares():
    depth = torch.ones(2, FRAMES, HEIGHT, WIDTH)
    edges, moving = masks()
    moving[0, 2, 3, 5] = True  # one pixel in the first clip, none in the second
    mix = QueryMix(count=COUNT, on_moving=0.35, same_all=0.25)
    uv, times = sample_queries(depth, edges, moving, mix, numbers())
    assert at(moving, uv, times).float().mean(1)[0] == pytest.approx(0.35, abs=0.01)
    src, tgt, cam = times.unbind(-1)
    assert ((src == tgt) & (tgt == cam)).float().mean() == pytest.approx(
        0.25 + 0.4 / FRAMES + 0.35 / FRAMES**2, abs=0.02
    )


@given(st.integers(0, 2**31), st.booleans())
def test_nothing_is_asked_where_nothing_is_known(seed, jitter):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(3, FRAMES, HEIGHT, WIDTH, generator=generator)
    depth[depth < torch.tensor([0.2, 0.9, 2.0]).view(3, 1, 1, 1)] = torch.nan  # all of the third clip
    edges, moving = (torch.rand(depth.shape, generator=generator) < 0.3 for _ in range(2))
    mix = QueryMix(count=60, on_moving=0.35)
    uv, times = sample_queries(
        depth, edges, moving, mix, torch.rand(3, 60, NUMBERS, generator=generator), jitter
    )
    assert uv.shape == (3, 60, 2) and times.shape == (3, 60, 3) and times.dtype == torch.int64
    assert uv.min() >= 0 and uv.max() <= 1 and times.min() >= 0 and times.max() < FRAMES
    known = at(torch.isfinite(depth), uv, times)
    assert known[:2].all() and not known[2].any()
    assert at(edges, uv, times)[0, : round(0.3 * 60)].all()


def test_uv_is_anywhere_in_the_pixel_or_at_its_centre():
    depth = torch.full((1, FRAMES, HEIGHT, WIDTH), torch.nan)
    depth[0, 1, 3, 5] = 1.0
    edges, moving = masks(1)
    for jitter in (False, True):
        uv, times = sample_queries(depth, edges, moving, QueryMix(count=500), numbers(1, 500), jitter)
        offset = uv * torch.tensor((WIDTH - 1.0, HEIGHT - 1.0)) - torch.tensor((5.0, 3.0))
        assert (times[..., 0] == 1).all()
        assert offset.abs().max() < (0.51 if jitter else 1e-5)
        assert not jitter or offset.abs().max() > 0.45


def test_a_clip_gets_the_same_numbers_whatever_the_batch():
    whole = uniform(7, "queries", 3, range(6), 4, 2)
    assert torch.equal(whole[2:5], uniform(7, "queries", 3, range(2, 5), 4, 2))
    for other in (uniform(8, "queries", 3, range(6), 4, 2), uniform(7, "queries", 4, range(6), 4, 2),
                  uniform(7, "crop", 3, range(6), 4, 2)):  # fmt: skip
        assert not torch.equal(whole, other)
