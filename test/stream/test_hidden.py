from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, pose_matrix, transform
from d4rt_ros.model.query import Answer
from d4rt_ros.stream import Frame, WindowFrame
from d4rt_ros.stream.hidden import Gone, HiddenPoints, hidden_points, hidden_task
from d4rt_ros.stream.tracker import Tracker
from d4rt_ros.tasks.batch import answered

CAMERA = Pinhole(150.0, 140.0, 101.0, 77.0, 208, 152)
STEP = 100_000_000


def clip_with_a_cover(shown: int, covered: int):
    """A window of a view that stands still, of which something hides the left half in the last images; its tracker."""
    rng = np.random.default_rng(3)
    view = np.kron(rng.integers(0, 256, (19, 26, 1), dtype=np.uint8), np.ones((8, 8, 3), np.uint8))
    tracker, clip = Tracker(100), []
    for i in range(shown + covered):
        image = view.copy()
        if i >= shown:
            image[:, :104] = 128
        clip.append(WindowFrame(Frame(image, (i + 1) * STEP)))
        tracker.follow(image, clip[-1].stamp)
    return clip, tracker


def test_hidden_points_are_asked_from_where_they_were_seen_last():
    clip, tracker = clip_with_a_cover(shown=3, covered=2)
    found, last = hidden_points(clip, tracker), tracker.at(clip[2].stamp)
    assert len(found.ids) > 10 and (found.frames == 2).all()
    np.testing.assert_allclose(found.seconds, 0.2)
    assert not tracker.seen[np.isin(tracker.ids, found.ids)].any()
    np.testing.assert_array_equal(found.pixels, last.pixels[np.searchsorted(last.ids, found.ids)])
    assert found.pixels[:, 0].max() < 110
    assert hidden_points(clip[:3], tracker) is None  # nothing is hidden
    assert hidden_points(clip[3:], tracker) is None  # none of these images showed them


class Shifting:
    """A scene in which all moves along x by 0.1 a frame, at depth 2 in every camera; some answers are nonsense."""

    num_frames, size = 5, (152, 208)

    def query(self, u, v, t_src, t_tgt, t_cam):
        by = np.stack([0.1 * (t_tgt - t_src), 0.0 * u, 0.0 * u], -1)
        xyz = np.stack([(u - 101) / 150 * 2, (v - 77) / 140 * 2, np.full(len(u), 2.0)], -1) + by
        xyz[0], by[1, 0] = np.nan, np.inf
        one = np.ones(len(u), np.float32)
        return Answer(xyz, np.stack([u, v], -1), one, one, xyz, by)


def test_the_model_says_where_they_are_and_how_they_move():
    points = HiddenPoints(
        np.array([4, 7, 9], np.uint64),
        np.array([[20.0, 30], [60, 70], [-3, 90]]),
        np.array([1, 2, 3]),
        np.array([0.3, 0.2, 0.1]),
    )
    gone = answered(Shifting(), hidden_task(Shifting(), 9, points))
    assert gone.stamp == 9 and list(gone.ids) == [4, 7, 9]
    assert np.isnan(gone.positions[0]).all() and gone.confidence[0] == 0  # the model does not know
    np.testing.assert_allclose(gone.positions[1], [(60 - 101) / 75 + 0.2, -0.1, 2])
    np.testing.assert_allclose(gone.velocities, [[1, 0, 0], [0, 0, 0], [1, 0, 0]])


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5.0))
def test_they_are_expected_where_they_go(seed, scale):
    rng = np.random.default_rng(seed)
    first = pose_matrix(Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), rng.normal(size=3))
    positions, velocities = rng.uniform([-1, -1, 2], [1, 1, 5], (6, 3)), 0.1 * rng.normal(size=(6, 3))
    positions[2] = np.nan
    gone = Gone(STEP, np.arange(6, dtype=np.uint64), positions, velocities, np.ones(6)).moved(first, scale)
    then = first.copy()
    then[:3, 3] += [0.1, -0.1, 0.05]
    ids = np.array([5, 3, 11, 2], np.uint64)
    pixels = gone.expected(ids, 3 * STEP, then, CAMERA)
    truth = transform(first, scale * (positions + 0.2 * velocities))[[5, 3]]
    np.testing.assert_allclose(pixels[:2], CAMERA.project(transform(invert(then), truth)), rtol=1e-6)
    assert np.isnan(pixels[2:]).all()  # of one nobody asked, and the model does not know the other


@pytest.mark.parametrize("stamps", [[], [1, 2]])
def test_of_images_that_are_remembered_no_more_nothing_is_known(stamps):
    clip = [SimpleNamespace(stamp=stamp) for stamp in (*stamps, 3)]
    assert hidden_points(clip, Tracker(20)) is None
