"""Augmentations: alike in all frames, and geometry and pixels still agree."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from d4rt_ros.scenes import crop_camera, render, sample_scenes, sample_times
from d4rt_ros.training.augment import GREY, augment, sample_windows
from d4rt_ros.training.config import Colours, Crops

NOTHING = Colours(
    brightness=0, contrast=0, saturation=0, hue=0, drop_colour=0, blur=0, white_balance=0, gamma=0, noise=0
)
EVERYTHING = Colours(white_balance=0.12, gamma=0.25)
CLIPS = range(5)


@pytest.fixture
def still():
    """Five clips in which nothing moves, (5, 4, 3, 8, 12)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, 1, 3, 8, 12, generator=generator).expand(-1, 4, -1, -1, -1).contiguous()


def changed(video, seed=0, step=0, clips=CLIPS, **changes):
    return augment(video, replace(NOTHING, **changes), seed, step, clips)


def test_nothing_asked_nothing_changed(still):
    torch.testing.assert_close(changed(still), still, atol=1e-6, rtol=0)


def test_all_frames_of_a_clip_change_alike_and_clips_differently(still):
    result = augment(still, EVERYTHING, 0, 0, CLIPS)
    assert result.min() >= 0 and result.max() <= 1
    torch.testing.assert_close(result, result[:, :1].expand_as(result))
    assert (result - still).abs().mean((1, 2, 3, 4)).min() > 0.005
    same = still[:1].expand_as(still).contiguous()
    result = augment(same, EVERYTHING, 0, 0, CLIPS)
    assert all((result[0] - other).abs().mean() > 0.01 for other in result[1:])


def test_a_clip_changes_alike_whatever_the_batch_and_otherwise_in_the_next_step(still):
    config = replace(EVERYTHING, noise=0.05)
    whole = augment(still, config, 0, 7, CLIPS)
    torch.testing.assert_close(whole[2:4], augment(still[2:4], config, 0, 7, range(2, 4)), atol=1e-6, rtol=0)
    assert (whole - augment(still, config, 0, 8, CLIPS)).abs().mean() > 0.01


def test_noise_is_another_one_in_each_frame_and_no_larger_than_asked(still):
    middle = torch.full_like(still, 0.5).repeat(1, 1, 1, 8, 8)
    noisy = changed(middle, noise=0.05) - middle
    assert (noisy[:, 0] - noisy[:, 1]).abs().mean() > 1e-3
    assert noisy.std((1, 2, 3, 4)).max() < 0.05


def test_brightness_scales(still):
    ratio = changed(still / 2, brightness=0.3) / (still / 2)
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1, :1].expand_as(ratio), atol=1e-3, rtol=0)
    assert 0.7 <= ratio.min() and ratio.max() <= 1.3 and ratio.std() > 0.02


def test_contrast_is_about_the_mean_grey(still):
    video = 0.4 + 0.2 * still
    result = changed(video, contrast=0.3)
    grey = torch.tensor(GREY).view(3, 1, 1)
    before, after = ((v * grey).sum(2).mean((1, 2, 3)) for v in (video, result))
    torch.testing.assert_close(after, before)
    ratio = result.std((1, 2, 3, 4)) / video.std((1, 2, 3, 4))
    assert 0.7 <= ratio.min() and ratio.max() <= 1.3 and ratio.std() > 0.02


@pytest.mark.parametrize("what", [{"saturation": 0.4}, {"hue": 0.1}])
def test_saturation_and_hue_leave_the_luma(still, what):
    video = 0.4 + 0.2 * still
    result = changed(video, **what)
    grey = torch.tensor(GREY).view(3, 1, 1)
    torch.testing.assert_close((result * grey).sum(2), (video * grey).sum(2), atol=1e-3, rtol=0)
    assert (result - video).abs().mean((1, 2, 3, 4)).min() > 1e-4


def test_hue_turns_all_the_way_round():
    red = torch.tensor([0.6, 0.4, 0.4]).view(1, 1, 3, 1, 1).expand(400, 1, 3, 1, 1)
    result = changed(red, clips=range(400), hue=0.5).flatten(1)
    assert (result.argmax(1).bincount(minlength=3) > 60).all()  # all colours come up


def test_colour_is_dropped_as_often_as_asked():
    video = torch.rand(500, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    result = changed(video, clips=range(500), drop_colour=0.2)
    grey = (result.amax(2) - result.amin(2)).flatten(1).amax(1) < 1e-5
    assert grey.float().mean() == pytest.approx(0.2, abs=0.06)


def test_blur_is_as_often_as_asked_keeps_the_mean_and_moves_nothing():
    video = torch.zeros(300, 1, 3, 21, 25)
    video[..., 10, 14] = 1.0
    result = changed(video, clips=range(300), blur=0.4, blur_sigma=(0.5, 1.5))
    blurred = result[:, 0, 0, 10, 14] < 0.999
    assert blurred.float().mean() == pytest.approx(0.4, abs=0.08)
    torch.testing.assert_close(result.sum((3, 4)), video.sum((3, 4)), atol=2e-3, rtol=0)
    image = result[blurred, 0, 0]
    x, y = torch.arange(25.0), torch.arange(21.0)[:, None]
    torch.testing.assert_close((image * x).sum((1, 2)), torch.full((len(image),), 14.0), atol=0.03, rtol=0)
    torch.testing.assert_close((image * y).sum((1, 2)), torch.full((len(image),), 10.0), atol=0.03, rtol=0)
    sigma = (image * (x - 14) ** 2).sum((1, 2)).sqrt()
    assert 0.45 < sigma.min() < 0.7 and 1.2 < sigma.max() < 1.55


@given(st.integers(0, 2**31))
def test_windows_are_within_the_image_and_their_areas_in_range(step):
    window = sample_windows(Crops(zoom=0.0), 0, step, range(50))
    size = window[:, 2:] - window[:, :2]
    assert window.min() > -1e-6 and window.max() < 1 + 1e-6
    area = size.prod(-1)
    assert area.min() > 0.3 - 1e-4 and area.max() <= 1 + 1e-5


def test_crops_are_as_often_wide_as_tall_and_as_often_asked():
    window = sample_windows(Crops(zoom=0.0), 0, 0, range(2000))
    size = window[:, 2:] - window[:, :2]
    aspect = (size[:, 0] / size[:, 1]).log()
    assert aspect.mean() == pytest.approx(0, abs=0.03) and aspect.std() > 0.2
    assert size.prod(-1).mean() == pytest.approx(0.65, abs=0.02)
    some = sample_windows(Crops(probability=0.25), 0, 1, range(2000))
    whole = (some == torch.tensor([0.0, 0, 1, 1])).all(-1)
    assert whole.float().mean() == pytest.approx(0.75, abs=0.03)
    centre = sample_windows(Crops(centred=1.0), 0, 2, range(100)).unflatten(-1, (2, 2)).mean(1)
    torch.testing.assert_close(centre, torch.full_like(centre, 0.5))
    narrow = sample_windows(Crops(stretch=(0.8, 1.25), zoom=0.0), 0, 3, range(500))
    size = narrow[:, 2:] - narrow[:, :2]
    assert (size[:, 0] / size[:, 1]).log().abs().max() < math.log(1.25) + 1e-5


def test_zooming_in_makes_some_windows_smaller_at_the_same_aspect():
    near, far = (sample_windows(Crops(zoom=z), 0, 4, range(2000)) for z in (0.05, 0.0))
    near, far = (w[:, 2:] - w[:, :2] for w in (near, far))
    ratio = near / far
    torch.testing.assert_close(ratio[:, 0], ratio[:, 1])
    zoomed = ratio[:, 0] < 0.999
    assert zoomed.float().mean() == pytest.approx(0.05, abs=0.02) and ratio.min() >= 0.5


def test_a_cropped_camera_sees_what_the_window_shows():
    """The picture rendered by it is the window cut from a picture of the whole, and so is depth."""
    height, width = 60, 80
    scenes, times = sample_scenes(4, 1), sample_times(4, 1, torch.Generator().manual_seed(0))
    window = sample_windows(Crops(), 0, 0, range(4))
    small = render(crop_camera(scenes, window), times, height, width)
    large = render(scenes, times, 4 * height, 4 * width)
    u, v = torch.meshgrid(torch.linspace(0, 1, width), torch.linspace(0, 1, height), indexing="xy")
    uv = torch.stack((u, v), -1)
    place = window[:, None, None, :2] + uv * (window[:, None, None, 2:] - window[:, None, None, :2])
    for name, tolerance in (("rgb", 0.02), ("depth", 0.01)):
        whole, part = (getattr(r, name)[:, 0].float() for r in (large, small))
        whole, part = (x[..., None] if x.dim() == 3 else x / 255 for x in (whole, part))
        cut = F.grid_sample(whole.movedim(-1, 1), 2 * place - 1, align_corners=True).movedim(1, -1)
        known = torch.isfinite(cut) & torch.isfinite(part)
        difference = (cut - part).abs()[known] / (1 if name == "rgb" else part[known])
        assert difference.median() < tolerance, name
        assert known.float().mean() > 0.5
