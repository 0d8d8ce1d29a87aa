"""Sequences with true masks of what moves."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from d4rt_ros.evaluation.mask_scenes import (
    HELD_OUT_SEED,
    LARGE,
    LEAST,
    MOVED,
    TUNING_SEED,
    WITHIN,
    MaskScene,
    dynamic_masks,
    mask_scenes,
)
from d4rt_ros.geometry import transform
from d4rt_ros.scenes import ground_truth, render

SIZE = 48, 64


def small(scene: MaskScene) -> MaskScene:
    """The same view in few pixels, about square."""
    return replace(scene, size=SIZE)


@pytest.fixture(scope="module")
def scene():
    return small(next(mask_scenes("moving", 1)))


def test_a_pixel_moves_where_the_truth_of_its_point_says_so(scene):
    """By `ground_truth`, whose points are followed by other code, in camera frames and one moment after the other."""
    frame, mask = scene.frame(20)
    height, width = SIZE
    back = torch.arange(6) * WITHIN / 5
    times = torch.tensor([[scene.times[20]]], dtype=torch.float32) - back
    v, u = (torch.from_numpy(x.ravel()) for x in np.mgrid[:height, :width])
    uv = torch.stack([u / (width - 1), v / (height - 1)], -1)[None].float()
    zero, farthest = torch.zeros(1, len(u), dtype=torch.long), 0.0
    for k in range(1, 6):
        truth = ground_truth(scene.scenes, times, uv, zero, zero + k, zero)
        farthest = np.maximum(farthest, truth.displacement[0].norm(dim=-1).nan_to_num(0.0).numpy())
    ratio = (farthest / (MOVED * truth.depth[0].nan_to_num(1.0).numpy())).reshape(SIZE)
    sure = np.abs(np.log(np.maximum(ratio, 1e-9))) > 1e-3
    assert np.array_equal(mask[sure], (ratio > 1)[sure]) and sure.mean() > 0.99
    assert mask.any() and not mask.all()


def test_what_moves_too_little_rests(scene):
    slow = replace(
        scene.scenes,
        **{n: 0 * getattr(scene.scenes, n) for n in ("amplitude", "spin_rate", "spin_amplitude", "stretch")},
        hinge=scene.scenes.hinge * torch.tensor([1.0, 0.0, 1.0, 1.0]),
    )
    times = torch.tensor([[1.0]])
    picture = render(slow, times, *SIZE, samples=1)
    assert picture.moving.any()  # they still count as what may move
    assert not dynamic_masks(slow, times, picture.depth, picture.primitive).any()


def test_what_swings_back_has_moved():
    scene = small(next(mask_scenes("moving", 1)))
    moving = scene.scenes.moving[..., None]
    # To and fro in exactly half a second, along x, everything that moves.
    frequency = torch.where(moving, 2 * np.pi / WITHIN, scene.scenes.frequency)
    amplitude = torch.zeros_like(scene.scenes.amplitude)
    amplitude[:, :, 0, 0] = 0.2 * moving[..., 0]
    swinging = replace(
        scene.scenes,
        frequency=frequency,
        amplitude=amplitude,
        spin_rate=0 * scene.scenes.spin_rate,
        spin_amplitude=0 * scene.scenes.spin_amplitude,
        stretch=0 * scene.scenes.stretch,
    )
    times = torch.tensor([[1.0]])
    picture = render(swinging, times, *SIZE, samples=1)
    mask = dynamic_masks(swinging, times, picture.depth, picture.primitive)
    assert mask.sum() > 0.9 * picture.moving.sum() > 0


def test_frames_come_in_order_with_what_is_known_of_them(scene):
    frames = [frame for frame, _ in islice(scene.frames(), 6)]
    assert [frame.stamp for frame in frames] == [round(k * 1e9 / scene.rate) for k in range(6)]
    one, mask = scene.frame(3)
    assert np.array_equal(one.image, frames[3].image) and one.image.shape == (*SIZE, 3) == (*mask.shape, 3)
    # The camera moves, and its depth and pose fit each other: a point of the room stays where it is.
    assert np.abs(frames[5].world_from_camera - frames[0].world_from_camera).max() > 1e-3
    point = one.camera.backproject(np.array([[30.0, 20.0]]), one.depth[20, 30][None].astype(float))
    assert np.isfinite(transform(one.world_from_camera, point)).all()


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("moving", LEAST, 1), ("static", 0, 0), ("large", LARGE, 1)]
)
def test_each_kind_is_what_it_is_called(kind, low, high):
    for scene in map(small, mask_scenes(kind, 2)):
        shares = [scene.frame(k)[1].mean() for k in range(8, 30, 7)]
        assert 0.8 * low <= np.median(shares) <= high, scene.name


def test_the_same_sequences_every_time_and_others_to_tune():
    first, second = (list(mask_scenes("moving", n)) for n in (1, 3))
    for a, b in zip(first, second):
        assert a.name == b.name and all(
            torch.equal(x, y) for x, y in zip(a.scenes.tensors().values(), b.scenes.tensors().values())
        )
    other = next(mask_scenes("moving", 1, TUNING_SEED))
    assert not torch.equal(other.scenes.center, first[0].scenes.center)
    assert abs(HELD_OUT_SEED - TUNING_SEED) > 1e6
