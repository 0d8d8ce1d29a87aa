import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from d4rt_ros.scenes import (
    SceneConfig,
    Scenes,
    camera_poses,
    concatenate,
    crop_camera,
    ground_truth,
    has_clear_view,
    intrinsics,
    load_scenes,
    primitive_poses,
    render,
    sample_scenes,
    save_scenes,
)  # fmt: skip
from d4rt_ros.scenes.scene import TEXTURE_COLUMNS


def same(a: Scenes, b: Scenes) -> bool:
    return all(torch.equal(t, b.tensors()[n]) for n, t in a.tensors().items()) and a.shapes == b.shapes


def test_a_seed_means_the_same_scenes():
    assert same(sample_scenes(5, 3), sample_scenes(5, 3))
    assert not same(sample_scenes(5, 3), sample_scenes(5, 4))


def test_a_generator_moves_on():
    generator = torch.Generator().manual_seed(1)
    assert not same(sample_scenes(3, generator), sample_scenes(3, generator))


def test_saved_scenes_come_back(scenes, tmp_path):
    save_scenes(scenes, tmp_path / "s.safetensors")
    assert same(scenes, load_scenes(tmp_path / "s.safetensors"))


def test_another_file_is_refused(tmp_path):
    save_file({"weights": torch.zeros(3)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match="not a file of scenes"):
        load_scenes(tmp_path / "w.safetensors")


def test_indexing_and_joining(scenes):
    parts = [scenes[0], scenes[1:4], scenes[[4, 5]], scenes[torch.arange(6, len(scenes))]]
    assert [len(p) for p in parts] == [1, 3, 2, len(scenes) - 6]
    assert same(concatenate(parts), scenes)


def test_poses_are_rigid(scenes, times):
    rotations = [camera_poses(scenes, times)[..., :3, :3], primitive_poses(scenes, times)[0]]
    for r in rotations:
        assert torch.allclose(r @ r.transpose(-1, -2), torch.eye(3).expand_as(r), atol=1e-5)
        assert torch.allclose(torch.linalg.det(r), torch.ones(r.shape[:-2]), atol=1e-5)


def test_cameras_stand_upright(scenes, times):
    """The optical y axis points down in the z-up world, but for a little roll."""
    assert (camera_poses(scenes, times)[..., 2, 1] < -0.3).all()


def test_everything_repeats_after_the_period():
    scenes = sample_scenes(8, 1, SceneConfig(period=5.0))
    times = torch.linspace(0, 4, 9).expand(8, -1)
    for pose in (camera_poses, lambda s, t: primitive_poses(s, t)[0], lambda s, t: primitive_poses(s, t)[1]):
        now, later = pose(scenes, times), pose(scenes, times + 5.0)
        assert torch.allclose(now, later, atol=1e-3)
        assert not torch.allclose(now, pose(scenes, times + 1.3), atol=1e-3)


def test_still_cameras_and_still_scenes_stand_still():
    scenes = sample_scenes(8, 1, SceneConfig(still_cameras=1.0, still_scenes=1.0))
    times = torch.tensor([[0.0, 3.7, 11.0]]).expand(8, -1)
    pose, (rotation, translation) = camera_poses(scenes, times), primitive_poses(scenes, times)
    for value in (pose, rotation, translation):
        assert torch.equal(value[:, 0], value[:, 1]) and torch.equal(value[:, 0], value[:, 2])
    assert not scenes.moving.any()


def test_shares_and_ranges_are_as_configured():
    scenes = sample_scenes(400, 9, SceneConfig(still_scenes=0.35, still_cameras=0.1, panning_cameras=0.05))
    assert 0.27 < 1 - scenes.moving.any(1).float().mean() < 0.43
    assert 0.04 < (scenes.position_amplitude == 0).all(-1).all(-1).float().mean() < 0.28
    fov = torch.rad2deg(2 * torch.atan(0.5 / scenes.focal))
    assert fov.max() < 111 and fov[:, 0].min() > 25
    assert scenes.aspect.min() > 0.5 and scenes.aspect.max() < 1.9
    movers = scenes.moving.sum(1)
    assert movers.max() <= 16 and not scenes.moving[:, 0].any()


def test_every_field_is_in_its_range():
    scenes = sample_scenes(300, 4, SceneConfig(photographs=0.5))
    for name, value in scenes.tensors().items():
        assert value.isfinite().all(), name
    assert (scenes.half_size > 0).all() and (scenes.focal > 0).all()
    assert (scenes.stretch.abs() < 0.9).all() and ((scenes.taper >= 0) & (scenes.taper <= 1)).all()
    for axis in (scenes.spin_axis, scenes.hinge_axis, scenes.light_direction, scenes.rotation):
        assert torch.allclose(axis.norm(dim=-1), torch.ones(()), atol=1e-4)
    assert ((scenes.shadow >= 0) & (scenes.shadow <= 1)).all() and (scenes.light >= 0).all()
    exposed = scenes.exposure[scenes.exposure > 0]
    assert 0.4 < len(exposed) / 300 < 0.6 and exposed.min() >= 0.002 and exposed.max() <= 0.03
    assert 0.1 < scenes.sky.float().mean() < 0.3
    jointed = (scenes.hinge[..., 1] != 0).any(-1).any(-1).float().mean()
    stretching = (scenes.stretch != 0).any(-1).any(-1).float().mean()
    assert 0.15 < jointed < 0.5 and 0.02 < stretching < 0.2
    photo = scenes.texture[..., TEXTURE_COLUMNS.index("photo")]
    assert 0.2 < (photo >= 0).float().mean() < 0.5 and photo.min() == -1


def test_lengths_are_within_reach_of_sensors():
    scenes = sample_scenes(60, 6)
    times = torch.linspace(0.0, 40.0, 6).expand(60, -1)  # where the nearest thing is looked for
    depth = render(scenes, times, 21, 27, samples=1).depth
    assert (
        depth.nan_to_num(100.0).flatten(1).amin(1).quantile(0.05) > 0.15
        and depth.nan_to_num(0.0).max() < 50.0
    )


def test_a_view_from_behind_a_wall_or_past_something_at_the_lens_is_not_clear(scenes, times):
    assert has_clear_view(scenes, times).float().mean() > 0.9
    outside = replace(scenes, camera_position=scenes.camera_position + torch.tensor([100.0, 0.0, 0.0]))
    assert not has_clear_view(outside, times).any()
    covered = replace(scenes, **{name: value.clone() for name, value in scenes.tensors().items()})
    ball = scenes.shapes.first_ellipsoid
    for name in ("offset", "amplitude", "pivot", "stretch", "hinge"):
        getattr(covered, name)[:, ball] = 0.0
    pose = camera_poses(scenes, times)[:, 2, :3]
    covered.center[:, ball], covered.half_size[:, ball] = pose[..., 3] + 0.003 * pose[..., 2], 0.0029
    moves = (scenes.position_amplitude != 0).flatten(1).any(1)  # else nothing is seen that is farther
    assert moves.sum() > 10 and not has_clear_view(covered, times)[moves].any()


def test_scenes_of_an_older_file_are_refused(scenes, tmp_path):
    path = tmp_path / "old.safetensors"
    save_file(scenes.tensors(), str(path), metadata={"d4rt_scenes": "1", "shapes": "{}"})
    with pytest.raises(ValueError, match="version 1, this program reads version 3"):
        load_scenes(path)


def test_pixels_are_square_in_an_image_of_the_true_aspect(scenes):
    aspect = scenes.aspect[3].item()
    k = intrinsics(scenes, 401, round(400 * aspect) + 1)[3]
    assert k[0, 0] == pytest.approx(k[1, 1].item(), rel=5e-3)
    assert math.isclose(k[0, 2] / (400 * aspect), 0.5, abs_tol=0.06)


def test_what_a_cropped_camera_renders_is_the_crop(scenes, times):
    """The window's corners are pixel centres of the large image: geometry must agree exactly."""
    h, w, top, left, bottom, right = 31, 41, 6, 10, 25, 33
    window = torch.tensor([left / (w - 1), top / (h - 1), right / (w - 1), bottom / (h - 1)])
    scenes = replace(scenes, sensor=0 * scenes.sensor)
    crops = crop_camera(scenes, window.expand(len(scenes), 4))
    whole = render(scenes, times, h, w)
    part = render(crops, times, bottom - top + 1, right - left + 1)
    rows, columns = slice(top, bottom + 1), slice(left, right + 1)
    same_surface = part.primitive == whole.primitive[..., rows, columns]
    assert same_surface.float().mean() > 0.999
    depth = whole.depth[..., rows, columns]
    close = torch.isclose(part.depth, depth, rtol=1e-4, equal_nan=True)
    assert close[same_surface].float().mean() > 0.999
    off = (part.rgb.int() - whole.rgb[..., rows, columns, :].int()).abs().amax(-1)
    assert (off <= 2)[same_surface].float().mean() > 0.99
    scale = torch.tensor([right - left, bottom - top])
    ratio = intrinsics(crops, bottom - top + 1, right - left + 1) / intrinsics(scenes, h, w)
    assert torch.allclose(ratio[:, [0, 1], [0, 1]], torch.ones(2), rtol=1e-5)
    assert torch.allclose(crops.aspect * scale[1] / (h - 1) * (w - 1) / scale[0], scenes.aspect, rtol=1e-5)


def test_truth_through_a_cropped_camera_is_the_truth(scenes, times):
    generator = torch.Generator().manual_seed(3)
    low = 0.4 * torch.rand(len(scenes), 2, generator=generator)
    size = 0.3 + 0.3 * torch.rand(len(scenes), 2, generator=generator)
    crops = crop_camera(scenes, torch.cat([low, low + size], -1))
    inner = torch.rand(len(scenes), 50, 2, generator=generator)
    t = torch.randint(times.shape[1], (3, len(scenes), 50), generator=generator)
    part = ground_truth(crops, times, inner, *t)
    whole = ground_truth(scenes, times, low[:, None] + inner * size[:, None], *t)
    agree = part.primitive == whole.primitive
    assert agree.float().mean() > 0.995
    assert torch.allclose(part.xyz[agree], whole.xyz[agree], rtol=1e-3, atol=1e-3, equal_nan=True)
    inside = (whole.uv - low[:, None]) / size[:, None]
    near = agree & (inside.abs().amax(-1) < 3)
    assert torch.allclose(part.uv[near], inside[near], atol=2e-3)


def test_an_empty_window_is_refused(scenes):
    with pytest.raises(ValueError, match="u0 < u1"):
        crop_camera(scenes[:1], torch.tensor([[0.5, 0.2, 0.5, 0.9]]))
