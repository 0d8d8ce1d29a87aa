"""The focal length of a camera that nobody calibrated, on pixels of points in a box."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, transform
from d4rt_ros.geometry.transforms import pose_matrix
from d4rt_ros.stream.focal import KEYFRAMES, MODEL_SIGMA, FocalLength, Sighting, shown_by
from d4rt_ros.stream.tracker import TrackedPoints

CAMERA = Pinhole(270.0, 260.0, 159.5, 119.5, 320, 240)


def sightings(turn: float, shift: float, count: int = KEYFRAMES, noise: float = 0.2, moving: float = 0.0):
    """Of a camera that turns by so many radians and goes so far from one to the next; a share of the points moves."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform([5, 5], [315, 235], (200, 2))
    points = CAMERA.backproject(pixels, rng.uniform(1.0, 4.0, 200))
    wrong, ids = rng.normal(0, 0.15, 200), np.arange(1, 201, dtype=np.uint64)
    found = []
    for i in range(count):
        pose = pose_matrix(
            Rotation.from_rotvec([0.3 * i * turn, i * turn, 0]).as_matrix(), [i * shift, 0, 0.3 * i * shift]
        )
        here = points + np.where(np.arange(200) < moving * 200, 0.1 * i, 0.0)[:, None] * [0, 1, 0]
        local = transform(invert(pose), here)
        seen = CAMERA.project(local) + rng.normal(0, noise, (200, 2))
        inside = ((seen >= 0) & (seen <= [319, 239])).all(1) & (local[:, 2] > 0)
        found.append(Sighting(TrackedPoints(i, ids, seen, inside), pose, np.log(np.abs(local[:, 2])) + wrong))
    return found


def wrong_by(factor: float) -> Pinhole:
    return replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.2])
@pytest.mark.parametrize("moving", [0.0, 0.2])
def test_a_camera_that_turns_and_moves_shows_it(factor, moving):
    log, variance = shown_by(sightings(0.05, 0.08, moving=moving), wrong_by(factor))
    assert abs(log - np.log(CAMERA.fx)) < min(0.05, 2 * np.sqrt(variance))


def test_poses_that_were_found_with_a_wrong_one_do_not_hold_it():
    """As the map has them: turned and shifted by so much more, that its pixels agree."""
    found = []
    for sighting in sightings(0.05, 0.08):
        turn, shift = (
            Rotation.from_matrix(sighting.pose[:3, :3]).as_rotvec(),
            sighting.pose[:3, 3] / [0.8, 0.8, 1.0],
        )
        found.append(replace(sighting, pose=pose_matrix(Rotation.from_rotvec(turn / 0.8).as_matrix(), shift)))
    log, variance = shown_by(found, wrong_by(0.8))
    assert abs(log - np.log(CAMERA.fx)) < min(0.05, 2 * np.sqrt(variance))


def test_a_camera_that_does_not_turn_shows_little_and_one_that_stands_nothing():
    slow = shown_by(sightings(0.0, 0.05), wrong_by(0.9))
    turning = shown_by(sightings(0.05, 0.08), wrong_by(0.9))
    assert slow is None or slow[1] > 4 * turning[1]
    assert shown_by(sightings(0.0, 0.0), wrong_by(0.9)) is None


def test_what_the_model_says_and_what_is_shown_together():
    focal = FocalLength(wrong_by(0.85))
    changes = [focal.add(sighting) for sighting in sightings(0.04, 0.06, 12)]
    assert np.flatnonzero(changes).tolist() == [3, 7, 11]
    error = abs(np.log(focal.camera.fx / CAMERA.fx))
    assert error < 0.05 and error < focal.sigma < 0.6 * MODEL_SIGMA
    assert focal.camera.fx / focal.camera.fy == pytest.approx(CAMERA.fx / CAMERA.fy)


def test_what_shows_nothing_leaves_the_models_and_what_contradicts_it_makes_it_doubtful():
    standing = FocalLength(wrong_by(0.85))
    assert not any(standing.add(sighting) for sighting in sightings(0.0, 0.0, 12))
    assert standing.camera == wrong_by(0.85) and standing.sigma == MODEL_SIGMA
    far = FocalLength(wrong_by(0.4))
    for sighting in sightings(0.05, 0.08):
        far.add(sighting)
    assert far.sigma > 2 * MODEL_SIGMA and 0.5 < far.camera.fx / CAMERA.fx < 1.1


def test_keyframes_that_have_nothing_in_common_show_nothing():
    apart = [
        replace(s, points=replace(s.points, ids=s.points.ids + np.uint64(1000 * i)))
        for i, s in enumerate(sightings(0.05, 0.08))
    ]
    assert shown_by(apart, CAMERA) is None
    unseen = [replace(s, log_depth=np.full(200, np.nan)) for s in sightings(0.05, 0.08)]
    assert shown_by(unseen, CAMERA) is None
