"""The small transform tree gives what composing the poses by hand gives."""

import numpy as np
import pytest

pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of the distribution or built by us")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st

from d4rt_ros.geometry import invert, pose_from_quaternion, pose_matrix, rotation_angle  # noqa: E402
from d4rt_ros.ros.transforms import TransformError, TransformTree, broadcast, interpolate  # noqa: E402

SECOND = 1_000_000_000


def _pose(seed):
    rng = np.random.default_rng(seed)
    return pose_from_quaternion(rng.normal(size=4), rng.normal(size=3))


def _tree():
    """map -> odom -> base -> camera, and map -> world: odom moves, the rest is static."""
    tree = TransformTree()
    tree.insert(broadcast(0, "base", "camera", _pose(1)), static=True)
    tree.insert(broadcast(0, "odom", "base", _pose(2)), static=True)
    tree.insert(broadcast(0, "map", "world", _pose(3)), static=True)
    for second in range(5):
        tree.insert(broadcast(second * SECOND, "map", "odom", pose_matrix(None, [second, 0, 0])))
    return tree


def test_chains_both_ways():
    tree = _tree()
    base_from_camera = _pose(1)
    np.testing.assert_allclose(tree.lookup("base", "camera"), base_from_camera, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "base"), invert(base_from_camera), atol=1e-12)
    world_from_camera = invert(_pose(3)) @ pose_matrix(None, [4, 0, 0]) @ _pose(2) @ base_from_camera
    np.testing.assert_allclose(tree.lookup("world", "camera"), world_from_camera, atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("camera", "camera"), np.eye(4))


def test_between_two_stamps():
    assert _tree().lookup("map", "odom", int(2.25 * SECOND))[0, 3] == pytest.approx(2.25)
    assert _tree().lookup("map", "odom", 4 * SECOND)[0, 3] == 4
    assert _tree().lookup("map", "odom", 0)[0, 3] == 0


@pytest.mark.parametrize("stamp", [-1, 4 * SECOND + 1])
def test_no_guess_outside_the_known_times(stamp):
    with pytest.raises(TransformError, match="from 0.000 to 4.000 s"):
        _tree().lookup("map", "camera", stamp)


def test_unknown_frames_are_named():
    with pytest.raises(TransformError, match="'camera' and 'nowhere'.*base"):
        _tree().lookup("nowhere", "camera")
    with pytest.raises(TransformError, match="none"):
        TransformTree().lookup("a", "b")


def test_stamps_out_of_order_are_sorted_in():
    tree = TransformTree()
    for second in (0, 3, 1, 2):
        tree.insert(broadcast(second * SECOND, "a", "b", pose_matrix(None, [second, 0, 0])))
    assert tree.lookup("a", "b", int(1.5 * SECOND))[0, 3] == pytest.approx(1.5)


def test_old_transforms_are_forgotten_and_a_looping_bag_starts_again():
    tree = TransformTree()
    for second in range(30):
        tree.insert(broadcast(second * SECOND, "a", "b", pose_matrix(None, [second, 0, 0])))
    with pytest.raises(TransformError):
        tree.lookup("a", "b", 5 * SECOND)
    tree.insert(broadcast(SECOND, "a", "b", pose_matrix(None, [77, 0, 0])))
    assert tree.lookup("a", "b")[0, 3] == 77


def test_rubbish_is_ignored():
    tree, message = TransformTree(), broadcast(0, "a", "b", pose_matrix())
    message.transforms[0].transform.rotation.w = 0.0
    tree.insert(message)
    with pytest.raises(TransformError):
        tree.lookup("a", "b")


def test_a_circle_does_not_hang():
    tree = TransformTree()
    tree.insert(broadcast(0, "a", "b", pose_matrix()))
    tree.insert(broadcast(0, "b", "a", pose_matrix()))
    with pytest.raises(TransformError):
        tree.lookup("c", "a")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_interpolation_turns_evenly(seed, fraction):
    a, b = _pose(seed), _pose(seed + 1)
    whole = rotation_angle(invert(a) @ b)
    part = rotation_angle(invert(a) @ interpolate(a, b, fraction))
    assert part == pytest.approx(fraction * whole, abs=1e-6)
    np.testing.assert_allclose(
        interpolate(a, b, fraction)[:3, 3], (1 - fraction) * a[:3, 3] + fraction * b[:3, 3]
    )
