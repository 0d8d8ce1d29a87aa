"""Training examples: shares of the query mix, ranges, and truth in the model's unit."""

import pytest
import torch

from d4rt_ros.scenes import boundary_mask
from d4rt_ros.training.augment import augment
from d4rt_ros.training.config import Augmentation, QueryMix
from d4rt_ros.training.sampling import clips, sample_queries, truth_of

MIX = QueryMix(count=400)


@pytest.fixture(scope="module")
def batch():
    return next(clips(6, 4, 24, 40, (0.05, 0.4), torch.Generator().manual_seed(3)))


@pytest.fixture(scope="module")
def queries(batch):
    return sample_queries(batch, MIX, torch.Generator().manual_seed(4))


def at(mask, uv, t_src):
    """The mask's value at each query's pixel, (B, Q)."""
    height, width = mask.shape[-2:]
    x, y = (uv * torch.tensor((width - 1, height - 1))).round().long().unbind(-1)
    return torch.stack([m[t, j, i] for m, t, j, i in zip(mask, t_src, y, x)])


def test_batches_follow_each_other_without_repeating(batch):
    stream = clips(2, 4, 24, 40, (0.05, 0.4), torch.Generator().manual_seed(3))
    a, b = next(stream), next(stream)
    assert not torch.equal(a.rendering.rgb, b.rendering.rgb)
    assert batch.rendering.rgb.shape == (6, 4, 24, 40, 3)


def test_ranges(queries):
    uv, times = queries
    assert uv.shape == (6, 400, 2) and times.shape == (6, 400, 3)
    assert uv.min() >= 0 and uv.max() <= 1
    assert times.min() == 0 and times.max() == 3


def test_shares_of_the_mix(batch, queries):
    uv, times = queries
    src, tgt, cam = times.unbind(-1)
    both = (tgt == cam).float().mean()
    alike = MIX.same_all + MIX.same_target_and_camera
    assert both == pytest.approx(alike + (1 - alike) / 4, abs=0.05)
    assert ((src == tgt) & (tgt == cam)).float().mean() == pytest.approx(0.15 + 0.4 / 4 + 0.45 / 16, abs=0.05)
    moving = batch.rendering.moving
    has_movers = moving.flatten(1).float().mean(1) > 0.02
    assert has_movers.any()
    assert at(moving, uv, times[..., 0])[has_movers].float().mean() > 0.3
    edges = boundary_mask(batch.rendering.depth, batch.rendering.primitive)
    assert at(edges, uv, times[..., 0]).float().mean() > edges.float().mean() + 0.1


def test_truth_is_in_units_of_the_mean_depth(batch, queries):
    uv, times = queries
    truth = truth_of(batch, uv, times)
    depth_query = (times[..., 0] == times[..., 1]) & (times[..., 1] == times[..., 2])
    unit = batch.rendering.depth.mean((1, 2, 3))
    assert truth["valid"].all()
    # At the query's own time and camera the pixel is the query's, and nothing has moved.
    torch.testing.assert_close(truth["uv"][depth_query], uv[depth_query], atol=1e-4, rtol=0)
    assert truth["displacement"][depth_query].abs().max() < 1e-5
    z = truth["xyz"][..., 2] * unit[:, None]
    nearest, farthest = batch.rendering.depth.flatten(1).min(1)[0], batch.rendering.depth.flatten(1).max(1)[0]
    inside = (z > 0.9 * nearest[:, None]) & (z < 1.1 * farthest[:, None])
    assert inside[depth_query].all()


def test_still_points_do_not_move(batch, queries):
    truth = truth_of(batch, *queries)
    assert truth["displacement"][~truth["moving"]].abs().max() < 1e-5


def test_augmentation_changes_colours_alike_in_all_frames():
    video = torch.rand(5, 4, 3, 8, 12)
    video[:] = video[:, :1]  # a still clip stays still but for noise
    generator = torch.Generator().manual_seed(0)
    changed = augment(video, Augmentation(noise=0.0), generator)
    assert changed.min() >= 0 and changed.max() <= 1
    torch.testing.assert_close(changed, changed[:, :1].expand_as(changed))
    assert (changed - video).abs().mean((1, 2, 3, 4)).min() > 0.005
    noisy = augment(video, Augmentation(noise=0.05), torch.Generator().manual_seed(0))
    assert (noisy - noisy[:, :1]).abs().mean() > 1e-3


def test_nothing_asked_nothing_changed():
    video = torch.rand(2, 3, 3, 8, 12)
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0)
    torch.testing.assert_close(augment(video, still, torch.Generator()), video)


def test_geometry_stays_where_it_is():
    video = torch.zeros(1, 2, 3, 9, 13)
    video[..., 4, 7] = 1.0
    changed = augment(video, Augmentation(noise=0.0, blur=1.0), torch.Generator().manual_seed(1))
    assert changed[0, 0].sum(0).argmax() == 4 * 13 + 7
