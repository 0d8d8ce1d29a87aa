"""Refinement by projection: the golden numbers, and a made room with a resting and a moving thing."""

import numpy as np
import pytest

from d4rt_ros.dynamics import projection
from d4rt_ros.dynamics.projection import ProjectionError, cluster_errors, refined_masks

H, W = 40, 56
CAMERA = np.array([[50.0, 0, 28], [0, 50, 20], [0, 0, 1]])


@pytest.fixture
def golden(shared):
    data = np.load(shared / "golden" / "vggt" / "refine.npz")
    names = "images", "depths", "cam2world", "intrinsics", "coarse_masks"
    return data, [data[name] for name in names]


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def room(count=4, moved=0.25):
    """A textured wall at depth 1.5 before a camera that goes right, and a thing at depth 1 that moves on.

    Returns images, depths, poses, intrinsics, and where the thing is. moved: by how much a frame.
    """
    random = np.random.default_rng(0)
    texture = random.integers(0, 256, (200, 400, 3), np.uint8)
    x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    images, depths, poses, things = [], [], [], []
    for t in range(count):
        pose = np.eye(4)
        pose[0, 3] = 0.03 * t
        ray_x, ray_y = (x - 28) / 50, (y - 20) / 50
        at = ray_x + pose[0, 3] - moved * t  # where the ray meets the thing's plane, along the thing
        thing = (np.abs(at + 0.2) < 0.12) & (np.abs(ray_y) < 0.2)
        depth = np.where(thing, 1.0, 1.5)
        point = ray_x * depth + pose[0, 3], ray_y * depth
        cell = [np.floor(p * 20).astype(int) + 100 for p in point]
        images.append(np.where(thing[..., None], np.uint8([250, 20, 20]), texture[cell[1], cell[0]] // 4))
        depths.append(depth)
        poses.append(pose)
        things.append(thing)
    intrinsics = np.broadcast_to(CAMERA, (count, 3, 3))
    return np.stack(images), np.stack(depths), np.stack(poses), intrinsics, np.stack(things)


def test_golden_losses(golden):
    data, inputs = golden
    frames = projection._checked(*inputs, data["labels"])
    assert abs(frames.points(0) - data["points_frame0"]).max() < 1e-5
    for t, expected in enumerate(data["cluster_losses"]):
        found = cluster_errors(frames, t, data["labels"][t])
        expected = np.where(expected >= 1e10, np.inf, expected)
        np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-6)
        known = np.isfinite(expected[:, 2])
        np.testing.assert_allclose(found[known], expected[known], atol=1e-6)


def test_golden_masks_with_given_labels(golden):
    data, inputs = golden
    np.testing.assert_array_equal(refined_masks(*inputs, data["labels"]), data["refined_masks"])


def test_golden_masks_with_own_clusters(golden):
    data, inputs = golden
    assert overlap(refined_masks(*inputs), data["refined_masks"]) >= 0.9
    frames = projection._checked(*inputs, None)
    for t, expected in enumerate(data["labels"]):
        np.testing.assert_array_equal(frames.clusters(t) == projection.OUTLIER, expected == -2)


def test_what_stands_still_goes_and_what_moves_stays():
    *frames, things = room()
    assert overlap(refined_masks(*frames, things), things) > 0.7
    *frames, things = room(moved=0.0)
    found = refined_masks(*frames, np.where(np.arange(4)[:, None, None] % 2, things, False))
    assert found.sum() < 0.1 * things.sum()


def test_nothing_and_everything_moving():
    *frames, things = room()
    assert not refined_masks(*frames, np.zeros_like(things)).any()
    # Nothing static is left that could say otherwise.
    assert refined_masks(*frames, np.ones_like(things)).mean() > 0.95


def test_a_thing_over_half_of_the_view():
    images, depths, poses, intrinsics, things = room()
    half = np.zeros_like(things)
    for t in range(4):
        half[t, :, 8 * t : 8 * t + W // 2] = True
    depths = np.where(half, 0.7, depths)
    images = np.where(half[..., None], np.uint8([250, 250, 20]), images)
    assert overlap(refined_masks(images, depths, poses, intrinsics, half), half) > 0.9


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames(count):
    frames = [x[:count] for x in room(moved=0.5)]
    assert overlap(refined_masks(*frames), frames[-1]) > 0.6


@pytest.mark.parametrize("points", [1, 2, 7, 29, 30, 31])
def test_few_masked_points(points):
    *frames, things = room()
    few = np.zeros_like(things)
    chosen = np.flatnonzero(things[2])[:points]
    few[2].flat[chosen] = True
    found = refined_masks(*frames, few)
    assert found[2].flat[chosen].all() and not found[[0, 1, 3]].any()


@pytest.mark.filterwarnings("error")
def test_points_of_one_place_are_one_cluster():
    *frames, things = room()
    depths = frames[1].copy()
    depths[1, 10:12] = 1e-12  # in the camera itself
    mask = np.zeros_like(things)
    mask[1, 10:12] = True
    assert refined_masks(frames[0], depths, *frames[2:], mask).shape == things.shape


@pytest.mark.parametrize("nowhere", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_depth_that_is_not_there(nowhere, golden):
    data, (images, depths, *rest) = golden
    holes = depths.copy()
    holes[:, ::3, ::5] = nowhere
    assert overlap(refined_masks(images, holes, *rest), data["refined_masks"]) > 0.9
    labelled = refined_masks(images, holes, *rest, data["labels"])
    assert overlap(labelled, data["refined_masks"]) > 0.9
    holes[2] = nowhere  # a whole frame
    found = refined_masks(images, holes, *rest)
    assert not found[2].any() and found[[0, 1, 3, 4, 5]].any((1, 2)).all()
    assert not refined_masks(images, np.full_like(depths, nowhere), *rest).any()


def test_one_camera_for_all():
    images, depths, poses, _, things = room()
    one, each = (refined_masks(images, depths, poses, k, things) for k in (CAMERA, np.stack([CAMERA] * 4)))
    np.testing.assert_array_equal(one, each)


@pytest.mark.parametrize(
    "which, change, sentence",
    [
        (0, lambda x: x[:, 1:], "images"),
        (0, lambda x: x / 255, "images"),
        (1, lambda x: x[0], r"\(S, H, W\)"),
        (1, lambda x: x[:3], "images"),
        (2, lambda x: x[:, :3], "world_from_camera"),
        (2, lambda x: x * np.nan, "world_from_camera"),
        (3, lambda x: x[:2], "intrinsics"),
        (4, lambda x: x * 255, "masks"),
        (5, lambda x: x[:, :-1], "labels"),
        (5, lambda x: x * 0.5, "labels"),
    ],
)
def test_what_does_not_fit_is_a_sentence(which, change, sentence):
    *frames, things = room()
    arguments = [*frames, things, np.where(things, 0, -1)]
    arguments[which] = change(arguments[which])
    with pytest.raises(ProjectionError, match=sentence):
        refined_masks(*arguments)
