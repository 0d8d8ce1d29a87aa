from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.pixels import pixels_of

from d4rt_ros.scenes import (
    SceneConfig,
    ground_truth,
    primitive_half_sizes,
    primitive_poses,
    render,
    sample_scenes,
)
from d4rt_ros.scenes.joints import BODY, DOOR, HEAD, LEFT, SHAPES

STILL = SceneConfig(still_cameras=1.0, still_scenes=0.0, outdoors=0.0, real_sensors=0.0, blurred=0.0)
ARMS = replace(STILL, arms=1.0, walkers=0.0, stretching=0.0)
H, W = 48, 64


def place(scenes, times, slot, unit) -> torch.Tensor:
    """World place (B, T, 3) of a point (3,) given in unit coordinates of a primitive."""
    rotation, translation = primitive_poses(scenes, times)
    local = primitive_half_sizes(scenes, times)[:, :, slot] * torch.tensor(unit)
    return (rotation[:, :, slot] @ local[..., None])[..., 0] + translation[:, :, slot]


def test_an_arm_stays_in_one_piece():
    """The upper part's end is where the lower part begins, whatever the angles."""
    scenes = sample_scenes(16, 3, ARMS)
    times = torch.linspace(0, 9, 7).expand(16, -1)
    ends = [
        torch.stack([place(scenes, times, slot, (0.0, 0, s)) for s in (-1.0, 1.0)], 2)
        for slot in (BODY, LEFT)
    ]
    gap = (ends[0][:, :, :, None] - ends[1][:, :, None]).norm(dim=-1).amin((2, 3))
    assert gap.max() < 1e-4
    hand = (ends[1] - primitive_poses(scenes, times)[1][:, :, HEAD, None]).norm(dim=-1).amin(-1)
    assert hand.max() < 1e-4
    assert (ends[1][:, 1:] - ends[1][:, :1]).norm(dim=-1).amax((1, 2)).min() > 1e-3


def test_a_door_keeps_its_edge():
    scenes = sample_scenes(8, 3, replace(STILL, doors=1.0))
    times = torch.linspace(0, 9, 7).expand(8, -1)
    hinge, free = (place(scenes, times, DOOR, (s, s, 0.5)) for s in (1.0, -1.0))
    assert (hinge - hinge[:, :1]).norm(dim=-1).max() < 1e-4
    assert ((free - free[:, :1]).norm(dim=-1).amax(1) > 1e-2).all()


def test_what_stretches_stands_where_it_stood():
    scenes = sample_scenes(8, 4, replace(STILL, stretching=1.0, arms=0.0, walkers=0.0, doors=0.0))
    moving = scenes.stretch.abs().sum(-1) > 0
    only = replace(
        scenes,
        amplitude=0 * scenes.amplitude,
        spin_rate=0 * scenes.spin_rate,
        spin_amplitude=0 * scenes.spin_amplitude,
    )
    times = torch.linspace(0, 9, 7).expand(8, -1)
    assert moving.sum() > 8
    base, top = (
        torch.stack([place(only, times, p, (0.0, 0, s)) for p in range(len(SHAPES))], 2) for s in (-1.0, 1.0)
    )
    assert (base - base[:, :1]).norm(dim=-1).max() < 1e-3
    assert ((top - top[:, :1]).norm(dim=-1).amax(1)[moving] > 1e-4).all()
    assert (primitive_half_sizes(scenes, times) > 0).all()


@pytest.mark.parametrize(
    "change", [{"arms": 1.0, "walkers": 0.0}, {"walkers": 1.0, "arms": 0.0}, {"stretching": 1.0}]
)
def test_the_truth_of_jointed_and_stretching_things_is_what_is_drawn(change):
    """A material point, followed to another time, is drawn there: the same primitive at the same depth, and
    from there it is found back."""
    scenes = sample_scenes(12, 8, replace(STILL, **change))
    odd = (scenes.hinge[..., 1] != 0).any(-1) | (scenes.stretch != 0).any(-1)
    times = torch.tensor([[0.0, 0.3, 0.7]]).expand(12, -1)
    rendering = render(scenes, times, H, W, samples=1)
    b = torch.arange(12)[:, None]
    wanted = odd[b[..., None, None], rendering.primitive.long()]
    src, uv = pixels_of(wanted, 300)
    tgt = (src + 1) % 3
    there = ground_truth(scenes, times, uv, src, tgt, tgt)
    good = there.visibility & odd[b, there.primitive.long()]
    assert good.sum() > 300 and (there.displacement[good].norm(dim=-1) > 1e-4).float().mean() > 0.8
    back = ground_truth(scenes, times, there.uv.nan_to_num(0.5), tgt, src, src)
    same = good & (back.primitive == there.primitive)
    assert same.sum() > 0.97 * good.sum()
    assert (back.uv - uv).norm(dim=-1)[same].quantile(0.98) < 2e-3
    assert torch.isclose(back.depth, there.xyz[..., 2], rtol=2e-3)[same].float().mean() > 0.98


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-3.0, 3.0), length=st.floats(0.1, 3.0))
def test_a_hinge_turns_about_its_pivot(angle, length):
    scenes = sample_scenes(1, 1, replace(STILL, still_scenes=1.0))
    slot = 3
    pivot, axis, hinge = scenes.pivot.clone(), scenes.hinge_axis.clone(), scenes.hinge.clone()
    spot = scenes.offset[:, slot] + torch.tensor([length, 0.0, 0.0])
    pivot[:, slot, 0], axis[:, slot, 0], hinge[:, slot, 0, 0] = spot, torch.tensor([0.0, 0, 1]), angle
    times = torch.zeros(1, 1)
    before, after = (
        primitive_poses(s, times)[1][0, 0, slot]
        for s in (scenes, replace(scenes, pivot=pivot, hinge_axis=axis, hinge=hinge))
    )
    a = torch.tensor(angle)
    expected = before + torch.stack([length * (1 - torch.cos(a)), -length * torch.sin(a), torch.zeros(())])
    assert torch.allclose(after, expected, atol=1e-4)


def test_cones_are_hit_where_they_are():
    """The point seen on a tapered cylinder fulfils its equation."""
    scenes = sample_scenes(24, 6, replace(STILL, walkers=0.0, arms=0.0))
    scenes = replace(scenes, taper=torch.full_like(scenes.taper, 0.7))
    times = torch.zeros(24, 1)
    rendering = render(scenes, times, H, W, samples=1)
    round_things = rendering.primitive >= SHAPES.first_cylinder
    src, uv = pixels_of(round_things, 200)
    truth = ground_truth(scenes, times, uv, src, src, src)
    world = (rendering.world_from_camera[:, 0, None, :3, :3] @ truth.xyz[..., None])[..., 0]
    world = world + rendering.world_from_camera[:, 0, None, :3, 3]
    rotation, translation = (
        p[torch.arange(24)[:, None], 0, truth.primitive.long()] for p in primitive_poses(scenes, times)
    )
    half = scenes.half_size[torch.arange(24)[:, None], truth.primitive.long()]
    unit = (rotation.transpose(-1, -2) @ (world - translation)[..., None])[..., 0] / half
    chosen = truth.primitive >= SHAPES.first_cylinder
    side = unit[..., :2].norm(dim=-1) - (1 - 0.35 * (1 + unit[..., 2]))
    cap = unit[..., 2].abs() - 1
    assert chosen.sum() > 500
    error = torch.minimum(side.abs(), cap.abs())[chosen]  # of thin things far away: rounding
    assert error.quantile(0.9) < 2e-3 and error.quantile(0.98) < 2e-2
    assert (side[chosen] < 0.02).float().mean() > 0.98
