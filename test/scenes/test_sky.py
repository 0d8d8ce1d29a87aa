from dataclasses import replace

import torch

from d4rt_ros.scenes import SceneConfig, boundary_mask, ground_truth, render, sample_scenes

H, W = 30, 44
OUTDOORS = SceneConfig(outdoors=1.0)
TIMES = torch.tensor([[0.0, 0.4]])


def test_the_sky_has_no_depth_and_no_truth():
    scenes = sample_scenes(6, 2, OUTDOORS)
    times = TIMES.expand(6, -1)
    rendering = render(scenes, times, H, W, normals=True)
    sky = rendering.primitive == -1
    assert scenes.sky.all() and 0.02 < sky.float().mean() < 0.6
    assert torch.equal(sky, rendering.depth.isnan()) and not rendering.moving[sky].any()
    assert rendering.rgb[sky].float().mean() > 90
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    uv = torch.stack([x / (W - 1), y / (H - 1)], -1).reshape(1, -1, 2).expand(6, -1, -1).float()
    zero = torch.zeros(uv.shape[:2], dtype=torch.long)
    truth = ground_truth(scenes, times, uv, zero, zero + 1, zero)
    nothing = sky[:, 0].flatten(1)
    assert torch.equal(truth.valid, ~nothing) and not truth.visibility[nothing].any()
    for value in (truth.xyz, truth.uv, truth.displacement, truth.normal, truth.depth[..., None]):
        assert value[nothing].isnan().all()
    assert truth.xyz[~nothing].isfinite().all()


def test_the_skyline_is_a_boundary():
    rendering = render(sample_scenes(6, 2, OUTDOORS), TIMES.expand(6, -1), H, W)
    edges = boundary_mask(rendering.depth, rendering.primitive)
    sky = rendering.primitive == -1
    beside = sky[..., 1:, :] != sky[..., :-1, :]
    assert beside.any() and edges[..., 1:, :][beside].all()
    inner = sky[..., 2:-2, 2:-2] & torch.stack(
        [sky.roll((i, j), (2, 3))[..., 2:-2, 2:-2] for i in (-2, 2) for j in (-2, 2)]
    ).all(0)
    assert edges[..., 2:-2, 2:-2][inner].float().mean() < 0.05


def test_clouds_do_not_come_nearer():
    """The sky is infinitely far: a camera that moves without turning sees it stand still."""
    scenes = sample_scenes(6, 2, SceneConfig(outdoors=1.0, real_sensors=0.0, blurred=0.0, still_scenes=1.0))
    step = torch.tensor([0.3, -0.2, 0.1])
    values = {"camera_position": scenes.camera_position + step, "camera_target": scenes.camera_target + step}
    moved = replace(scenes, **values)
    a, b = (render(s, TIMES.expand(6, -1), H, W, samples=1) for s in (scenes, moved))
    both = (a.primitive == -1) & (b.primitive == -1)
    assert both.any() and (a.rgb.int() - b.rgb.int())[both].abs().max() <= 1
