from dataclasses import replace

import pytest
import torch

from d4rt_ros.scenes import SceneConfig, crop_camera, render, sample_scenes
from d4rt_ros.scenes.rendering import SAMPLES

H, W = 42, 58


@pytest.fixture(scope="module")
def rendering(scenes, times):
    return render(scenes, times, H, W, normals=True)


def test_shapes_and_types(scenes, times, rendering):
    b, t = times.shape
    assert rendering.rgb.shape == (b, t, H, W, 3) and rendering.rgb.dtype == torch.uint8
    assert rendering.depth.shape == (b, t, H, W) and rendering.depth.dtype == torch.float32
    assert rendering.moving.shape == rendering.primitive.shape == (b, t, H, W)
    assert rendering.world_from_camera.shape == (b, t, 4, 4) and rendering.intrinsics.shape == (b, 3, 3)


def test_depth_is_finite_and_plausible(rendering):
    depth = rendering.depth[rendering.primitive != -1]
    assert (depth > 0.02).all() and (depth < 50).all()
    mean = rendering.depth.nanmean((1, 2, 3))
    assert mean.min() < 1.2 and mean.max() > 3


def test_normals_are_unit_and_face_the_camera(rendering):
    n = rendering.normals
    assert torch.allclose(n.norm(dim=-1), torch.ones(n.shape[:-1]), atol=1e-4)
    fx, fy, cx, cy = (
        rendering.intrinsics[:, i, j, None, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))
    )
    x = (torch.arange(W) - cx) / fx
    y = (torch.arange(H)[:, None] - cy) / fy
    towards = n[..., 0] * x + n[..., 1] * y + n[..., 2]
    assert (towards < 1e-3).all()


def test_normals_agree_with_depth(rendering):
    """Where neighbours lie on one flat face, the normal is the cross product of their differences."""
    k = rendering.intrinsics[:, None, None, None]
    x = (torch.arange(W) - k[..., 0, 2]) / k[..., 0, 0]
    y = (torch.arange(H)[:, None] - k[..., 1, 2]) / k[..., 1, 1]
    d = rendering.depth
    points = torch.stack([x * d, y * d, d], -1)
    right = points[..., :-1, 1:, :] - points[..., :-1, :-1, :]
    down = points[..., 1:, :-1, :] - points[..., :-1, :-1, :]
    cross = torch.nn.functional.normalize(torch.cross(down, right, dim=-1), dim=-1)
    n = rendering.normals
    flat = rendering.primitive == 0
    same = flat[..., :-1, :-1] & flat[..., 1:, :-1] & flat[..., :-1, 1:]
    same &= (n[..., :-1, :-1, :] * n[..., 1:, :-1, :]).sum(-1) > 0.9999
    same &= (n[..., :-1, :-1, :] * n[..., :-1, 1:, :]).sum(-1) > 0.9999
    cosine = (cross * n[..., :-1, :-1, :]).sum(-1)[same]
    assert len(cosine) > 1000 and cosine.quantile(0.02) > 0.999


def test_moving_mask_is_of_moving_things(scenes, rendering):
    still = ~scenes.moving.any(1)
    assert not rendering.moving[still].any()
    assert rendering.moving[~still].any()


def test_the_size_only_scales_the_picture(scenes, times):
    """Outer pixel centres stay outer pixel centres, whatever the size."""
    small = render(scenes, times, 21, 29).depth
    large = render(scenes, times, 41, 57).depth
    assert torch.allclose(small, large[..., ::2, ::2], rtol=1e-3, atol=1e-4, equal_nan=True)


def test_tiles_do_not_show(scenes, times, monkeypatch):
    scenes, times = scenes[:2], times[:2, :2]
    whole = render(scenes, times, H, W, samples=4)
    monkeypatch.setattr("d4rt_ros.scenes.rendering.TILE_PIXELS", 3000)  # six bands of rows
    tiled = render(scenes, times, H, W, samples=4)
    assert torch.equal(whole.rgb, tiled.rgb)
    assert torch.equal(whole.depth.nan_to_num(-1), tiled.depth.nan_to_num(-1))


def test_batches_do_not_mix(scenes, times, rendering):
    alone = render(scenes[3], times[3:4], H, W, normals=True)
    assert torch.equal(alone.rgb[0], rendering.rgb[3]) and torch.equal(alone.normals[0], rendering.normals[3])


def test_samples_average_edges_only(scenes, times):
    """More rays a pixel change the borders of things, hardly anything within them."""
    one, four = (render(scenes[:4], times[:4, :1], 64, 64, samples=s).rgb.float() for s in (1, 4))
    difference = (one - four).abs().amax(-1)
    assert difference.median() <= 3 and difference.max() > 20


def test_a_still_camera_in_a_still_scene_repeats_its_picture():
    scenes = sample_scenes(3, 1, SceneConfig(still_cameras=1.0, still_scenes=1.0, real_sensors=0.0))
    rgb = render(scenes, torch.tensor([[0.0, 2.0, 9.0]]).expand(3, -1), 20, 30).rgb
    assert torch.equal(rgb[:, 0], rgb[:, 1]) and torch.equal(rgb[:, 0], rgb[:, 2])


def test_pictures_are_neither_black_nor_white(rendering):
    mean = rendering.rgb.float().mean((1, 2, 3, 4))
    assert (mean > 20).all() and (mean < 245).all()
    assert (rendering.rgb.float().std((2, 3)).amax((1, 2)) > 5).all()


def test_blur_averages_the_exposure_and_leaves_depth_alone():
    """Each of a pixel's rays sees the scene at its own moment."""
    base = sample_scenes(4, 6, SceneConfig(still_cameras=0.0, real_sensors=0.0, blurred=0.0))
    middle = torch.full((4, 1), 3.0)
    sharp, blurred = (render(replace(base, exposure=torch.full((4,), s)), middle, H, W) for s in (0.0, 0.2))
    assert torch.equal(sharp.depth.nan_to_num(-1), blurred.depth.nan_to_num(-1))
    assert torch.equal(sharp.primitive, blurred.primitive)
    # Two rays a pixel: one in the middle of the exposure's first half, one in that of its second.
    parts = []
    for (x, y), moment in zip(SAMPLES[2], (-0.05, 0.05)):
        u, v = x / (W - 1), y / (H - 1)
        moved = crop_camera(base, torch.tensor([u, v, 1.0 + u, 1.0 + v]).expand(4, 4))
        parts.append(render(moved, middle + moment, H, W, samples=1).rgb.float())
    expected = (parts[0] + parts[1]) / 2
    off = (blurred.rgb.float() - expected).abs().amax(-1)
    assert (off <= 1).float().mean() > 0.97
    assert (blurred.rgb.float() - sharp.rgb.float()).abs().mean() > 2 * off.mean()
