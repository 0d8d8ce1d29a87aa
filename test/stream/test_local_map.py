"""Landmarks and keyframes, on exact pixels of points in a box."""

from dataclasses import replace

import numpy as np
import pytest

from d4rt_ros.geometry import Pinhole, invert, transform
from d4rt_ros.geometry.transforms import pose_matrix
from d4rt_ros.stream import local_map
from d4rt_ros.stream.focal import MODEL_SIGMA
from d4rt_ros.stream.local_map import LocalMap, View
from d4rt_ros.stream.scale_drift import ScaleDrift
from d4rt_ros.stream.tracker import TrackedPoints

CAMERA = Pinhole(270.0, 270.0, 159.5, 119.5, 320, 240)


def world(seed: int = 0, count: int = 200) -> np.ndarray:
    """Points (N, 3) that the first camera sees, 1 to 4 away."""
    random = np.random.default_rng(seed)
    pixels = random.uniform([20, 20], [300, 220], (count, 2))
    return CAMERA.backproject(pixels, random.uniform(1.0, 4.0, count))


def view(points: np.ndarray, pose: np.ndarray, stamp: int, wrong=0.0, noise: float = 0.0) -> View:
    """What a camera sees of points, whose log depth the model has wrong by `wrong` (N,)."""
    local = transform(invert(pose), points)
    pixels = CAMERA.project(local) + np.random.default_rng(stamp).normal(0, noise, (len(points), 2))
    ids = np.arange(1, len(points) + 1, dtype=np.uint64)
    seen = ((pixels >= 0) & (pixels <= [319, 239])).all(1)
    return View(TrackedPoints(stamp, ids, pixels, seen), pose, np.log(local[:, 2]) + wrong)


def way(count: int, step: float = 0.05) -> list[np.ndarray]:
    return [pose_matrix(translation=[step * i, 0, 0]) for i in range(count)]


def mapped(poses, points, wrong=0.0, noise: float = 0.0, calibrated: bool = True) -> LocalMap:
    result = LocalMap(CAMERA, calibrated)
    for i, pose in enumerate(poses):
        result.add_keyframe(view(points, pose, i * 200_000_000, wrong, noise), 1 + 3 * i)
    return result


def depth_errors(local: LocalMap, points: np.ndarray) -> np.ndarray:
    return local.landmarks["log_depth"] - np.log(points[local.landmarks["id"].astype(int) - 1, 2])


def test_parallax_corrects_depths():
    points, random = world(), np.random.default_rng(1)
    wrong = random.normal(0, 0.2, len(points))
    local = mapped(way(6), points, wrong, noise=0.2)
    off = depth_errors(local, points)
    assert np.std(off - np.median(off)) < 0.3 * np.std(wrong)
    assert np.median(np.sqrt(local.landmarks["variance"])) < 0.15


def test_no_parallax_leaves_the_models_depths():
    points, random = world(), np.random.default_rng(1)
    turns = [pose_matrix(np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])) for a in
             np.radians([0, 3, 6, 9, 12])]  # fmt: skip
    wrong = random.normal(0, 0.2, len(points))
    local = mapped(turns, points, wrong, noise=0.3)
    changed = local.landmarks["log_depth"] - local.landmarks["prior"]
    assert np.median(np.abs(changed)) < 0.08
    assert np.median(np.sqrt(local.landmarks["variance"])) > 0.3


def test_resection_finds_the_camera():
    points = world()
    local = mapped(way(4), points)
    pose = pose_matrix(translation=[0.18, 0.02, 0.01])
    fit, shown = local.resect(view(points, pose, 10**9).points, way(4)[-1])
    assert shown > 150
    np.testing.assert_allclose(fit.world_from_camera, pose, atol=2e-3)


def test_too_few_landmarks_give_no_pose():
    points = world()[:8]
    local = mapped(way(1), points)
    assert local.resect(view(points, np.eye(4), 1).points, np.eye(4)) == (None, 8)


def test_what_moves_is_no_landmark_at_rest():
    points = world()
    local, moving = LocalMap(CAMERA, True), np.arange(200) < 40
    for i, pose in enumerate(way(6)):
        here = points + np.where(moving[:, None], [0, 0.08 * i, 0], 0.0)
        local.add_keyframe(view(here, pose, i * 200_000_000), 1 + 3 * i)
    rest, _ = local.at_rest(np.arange(1, 201, dtype=np.uint64))
    assert rest[moving].mean() < 0.2 and rest[~moving].mean() > 0.95


def test_focal_length_of_an_uncalibrated_camera():
    points, right = world(), CAMERA
    local = LocalMap(Pinhole(300.0, 300.0, 159.5, 119.5, 320, 240), False)
    for i in range(8):
        a = 0.06 * i
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        local.add_keyframe(
            view(points, pose_matrix(turn, [-0.08 * i, 0.02 * i, 0]), i * 200_000_000), 1 + 3 * i
        )
    assert abs(local.camera.fx / right.fx - 1) < 0.04
    assert local.focal_sigma < 0.6 * MODEL_SIGMA


def test_another_focal_length_leaves_what_was_seen_where_it_was():
    points, poses = world(), way(6)
    local = mapped(poses, points, calibrated=False)
    rest, rows = local.at_rest(np.arange(1, 201, dtype=np.uint64))
    here = local.poses[local.keyframes[-1].number]
    local._refocus(replace(local.camera, fx=1.1 * local.camera.fx, fy=1.1 * local.camera.fy), here)
    seen = CAMERA.project(transform(invert(poses[-1]), points[rest]))
    off = np.linalg.norm(local.project(rows, here)[0] - seen, axis=1)
    assert np.median(off) < 0.5 and np.median(np.abs(depth_errors(local, points))) < 0.02


def test_depths_that_contradict_the_model():
    points = world()
    local = mapped(way(5), points)
    last = view(points, way(5)[-1], 10**9)
    assert not local.contradicted(last)
    assert local.contradicted(View(last.points, last.pose, last.said - 1.0))
    local.begin_again(View(last.points, last.pose, last.said - 1.0))
    assert not np.isin(local.landmarks["id"], last.points.ids[last.points.seen]).any() and not local.keyframes


def test_the_map_forgets():
    points = world()
    local = LocalMap(CAMERA, True)
    for i in range(local_map.REMEMBERED + 30):
        some = view(points, pose_matrix(translation=[0.01 * (i % 5), 0, 0]), i * 200_000_000)
        ids = some.points.ids + np.uint64(1000 * i)  # none is followed for long
        local.add_keyframe(
            View(TrackedPoints(some.points.stamp, ids, *_rest(some)), some.pose, some.said), 1 + 3 * i
        )
    assert len(local.landmarks) <= (local_map.REMEMBERED + 1) * len(points)
    assert len(local.poses) <= local_map.REMEMBERED + local_map.KEYFRAMES + 1


def _rest(some: View):
    return some.points.pixels, some.points.seen


@pytest.mark.parametrize("sign", [-1, 1])
def test_drift_of_scale_that_thin_landmarks_carry(sign):
    """Where many carry it, a lasting change is rather the model's."""
    moved = []
    for information in (50.0, 1e6):
        drift = ScaleDrift()
        for _ in range(50):
            drift.seen(0.1, 1e6, 0.2)
        assert abs(drift.offset - 0.1) < 0.06
        moved.append(sum(drift.seen(0.1 + sign * 0.3, information, 0.2) for _ in range(20)))
    assert sign * moved[0] > 0.1
    assert abs(moved[1]) < 0.02


def test_what_was_seen_before_a_zoom_is_where_it_was():
    points, pose = world(), pose_matrix(translation=[0.18, 0.02, 0.01])
    local = mapped(way(4), points)
    zoomed = replace(CAMERA, fx=350.0, fy=350.0)
    assert not local.use(zoomed) and local.camera == local.given == zoomed
    seen = view(points, pose, 10**9).points
    pixels = zoomed.project(transform(invert(pose), points))
    fit, _ = local.resect(replace(seen, pixels=pixels), way(4)[-1])
    np.testing.assert_allclose(fit.world_from_camera, pose, atol=2e-3)
    assert not local.use(zoomed)


def test_a_camera_that_is_calibrated_later_was_always_that_one():
    points = world()
    local = LocalMap(replace(CAMERA, fx=240.0, fy=240.0), calibrated=False)
    local.add_keyframe(view(points, np.eye(4), 0), 1)
    assert local.use(CAMERA) and local.camera == CAMERA and local.focal_sigma < 0.05
    pixels, depth = local.project(np.arange(len(local.landmarks)), np.eye(4))
    np.testing.assert_allclose(pixels, CAMERA.project(points), atol=1e-6)
    np.testing.assert_allclose(depth, points[:, 2])


def test_what_moves_is_let_go():
    local = mapped(way(3), world())
    gone = local.landmarks["id"][::2].copy()
    local.forget(gone)
    assert len(local.landmarks) and not np.isin(local.landmarks["id"], gone).any()


@pytest.mark.parametrize(
    "count, sigma, share", [(200, 0.05, 1.0), (20, 0.05, 0.27), (200, 0.4, 0.2), (0, 0.05, 0.0)]
)
def test_few_and_unsure_landmarks_are_not_believed_about_the_model(count, sigma, share):
    local = LocalMap(CAMERA, True)
    values, found = local.believed(np.full(count, 0.3), np.full(count, sigma))
    assert found == pytest.approx(share, abs=0.01)
    np.testing.assert_allclose(values, 0.3 * found)


def test_few_landmarks_bear_others_with_the_models_depth():
    points = world()
    local = mapped(way(5), points)
    last = view(points, way(5)[-1], 10**9)
    errors = []
    for count in (200, 15):
        local.landmarks = local.landmarks[:count]
        errors.append(local.error_near(View(last.points, last.pose, last.said - 0.3), last.points.pixels))
    assert abs(np.median(errors[0]) - 0.3) < 0.03
    assert abs(np.median(errors[1])) < 0.12
