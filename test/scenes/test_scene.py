import math

import pytest
import torch
from safetensors.torch import save_file

from d4rt_ros.scenes import (
    SceneConfig,
    Scenes,
    camera_poses,
    concatenate,
    intrinsics,
    load_scenes,
    primitive_poses,
    sample_scenes,
    save_scenes,
)  # fmt: skip


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
    scenes = sample_scenes(400, 9, SceneConfig(still_scenes=0.35, still_cameras=0.1))
    assert 0.27 < 1 - scenes.moving.any(1).float().mean() < 0.43
    assert 0.04 < (scenes.position_swing == 0).all(-1).all(-1).float().mean() < 0.18
    fov = torch.rad2deg(2 * torch.atan(0.5 / scenes.focal))
    assert fov.max() < 101 and fov[:, 0].min() > 25
    assert scenes.aspect.min() > 0.5 and scenes.aspect.max() < 1.9
    movers = scenes.moving.sum(1)
    assert movers.max() <= 4 and not scenes.moving[:, 0].any()


def test_pixels_are_square_in_an_image_of_the_true_aspect(scenes):
    aspect = scenes.aspect[3].item()
    k = intrinsics(scenes, 401, round(400 * aspect) + 1)[3]
    assert k[0, 0] == pytest.approx(k[1, 1].item(), rel=5e-3)
    assert math.isclose(k[0, 2] / (400 * aspect), 0.5, abs_tol=0.06)
