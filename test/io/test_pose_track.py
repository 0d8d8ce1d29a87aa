"""Poses between poses; that the way between two is even is interpolation's test."""

import numpy as np

from d4rt_ros.io.pose_track import PoseTrack, pose_track


def test_a_pose_track_answers_only_near_its_poses():
    track = pose_track(
        [2.0, 1.0, 1.0, 3.0], [[2, 0, 0], [9, 9, 9], [1, 0, 0], [np.nan] * 3], [[0, 0, 0, 1]] * 4
    )
    np.testing.assert_allclose(track.stamps, (1, 2))
    np.testing.assert_allclose(track.at(1.25, gap=1)[:3, 3], (1.25, 0, 0))
    np.testing.assert_allclose(track.at(2.05, gap=0.1)[:3, 3], (2, 0, 0))
    assert track.at(2.2, gap=0.1) is None and track.at(0.5, gap=0.1) is None
    assert track.at(1.5, gap=0.5) is None, "the neighbours are too far apart"
    np.testing.assert_allclose(track.at(2.0, gap=0.0)[:3, 3], (2, 0, 0))
    np.testing.assert_allclose(track.at(1.5, gap=9, beyond=0)[:3, 3], (1.5, 0, 0))
    assert track.at(2.01, gap=9, beyond=0) is None


def test_a_track_without_poses_answers_nothing():
    assert PoseTrack().at(1.0, gap=9.0) is None
    assert pose_track([], np.empty((0, 3)), np.empty((0, 4))).at(1.0, gap=9.0) is None


def test_what_is_old_is_forgotten():
    track = pose_track(range(10), np.zeros((10, 3)), [[0, 0, 0, 1]] * 10)
    track.forget_before(4)
    assert (
        track.stamps == list(range(4, 10)) and track.at(3, gap=0) is None and track.at(4, gap=0) is not None
    )
