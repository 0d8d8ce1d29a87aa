import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, pose_matrix, transform
from d4rt_ros.stream.flow_check import explained
from d4rt_ros.stream.tracker import TrackedPoints

CAMERA = Pinhole(300.0, 310.0, 155.0, 121.0, 320, 240)
NONE = np.zeros(0, np.uint64)


def two_views(rng, turn, way, count=80):
    """What two images show of points from 2 m on, after a motion; before_from_now of it."""
    pixels = rng.uniform([0, 0], [320, 240], (count, 2))
    step = pose_matrix(Rotation.from_rotvec(turn).as_matrix(), way)
    points = transform(invert(step), CAMERA.backproject(pixels, rng.uniform(2, 9, count)))
    ids, seen = np.arange(1, count + 1, dtype=np.uint64), np.ones(count, bool)
    before = TrackedPoints(0, ids, pixels, seen)
    return (
        before,
        TrackedPoints(1, ids, CAMERA.project(points) + rng.normal(0, 0.3, pixels.shape), seen),
        step,
    )


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(-0.1, 0.1)] * 3),
    st.tuples(*[st.floats(-0.3, 0.3)] * 3),
)
def test_the_right_motion_explains_all_and_a_turn_beside_it_little(seed, turn, way):
    before, now, step = two_views(np.random.default_rng(seed), turn, way)
    assert explained(CAMERA, before, now, invert(step), 1.0, 3.0, NONE).all()
    # After a short way: along a long one a turn may look like other depths.
    before, now, step = two_views(np.random.default_rng(seed), turn, np.array(way) / 8)
    wrong = invert(step) @ pose_matrix(Rotation.from_rotvec([0.06, 0.1, 0.03]).as_matrix())
    assert explained(CAMERA, before, now, wrong, 1.0, 3.0, NONE).mean() < 0.6


def test_only_what_both_show_and_what_does_not_move_by_itself_counts():
    before, now, step = two_views(np.random.default_rng(0), (0, 0.02, 0), (0.1, 0, 0))
    now.pixels[:40] += [25, 14]
    now.seen[70:] = False
    found = explained(CAMERA, before, now, invert(step), 1.0, 3.0, NONE)
    assert len(found) == 70 and found.sum() < 35
    found = explained(CAMERA, before, now, invert(step), 1.0, 3.0, before.ids[:40])
    assert len(found) == 30 and found.all()


@pytest.mark.parametrize("angle", [np.pi, 2.0])
def test_what_would_be_behind_the_camera_is_not_explained(angle):
    before, now, step = two_views(np.random.default_rng(0), (0, 0, 0), (0, 0, 0))
    turned = pose_matrix(Rotation.from_rotvec([0, angle, 0]).as_matrix())
    assert not explained(CAMERA, before, now, turned, 1.0, 3.0, NONE).any()
