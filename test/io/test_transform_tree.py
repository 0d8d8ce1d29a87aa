"""The tree of transforms gives what composing the poses by hand gives, and lets in nothing that is no transform."""

from types import SimpleNamespace as Message

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import invert, pose_from_quaternion, pose_matrix, quaternion_from_pose
from d4rt_ros.io import transform_tree
from d4rt_ros.io.transform_tree import NotHeardYet, TransformError, TransformTree, recorded_transforms

SECOND = 1_000_000_000


def tf(stamp, parent, child, pose=None, **wrong):
    """A geometry_msgs/TransformStamped, of a pose (4, 4); `wrong` replaces numbers of it."""
    pose = pose_matrix() if pose is None else pose
    numbers = dict(zip(("x", "y", "z"), pose[:3, 3])), dict(zip("xyzw", quaternion_from_pose(pose)))
    for name, value in wrong.items():
        numbers[name[0] == "q"][name[-1]] = value
    time = Message(sec=stamp // SECOND, nanosec=stamp % SECOND)
    header = Message(frame_id=parent, stamp=time)
    transform = Message(translation=Message(**numbers[0]), rotation=Message(**numbers[1]))
    return Message(header=header, child_frame_id=child, transform=transform)


def _pose(seed):
    rng = np.random.default_rng(seed)
    return pose_from_quaternion(rng.normal(size=4), rng.normal(size=3))


def _shift(x):
    return pose_matrix(None, [x, 0, 0])


def _live():
    return TransformTree(history=10 * SECOND)


def _tree():
    """map -> odom -> base -> camera, and map -> world: odom moves, the rest is static."""
    tree = _live()
    tree.insert(tf(0, "base", "camera", _pose(1)), static=True)
    tree.insert(tf(0, "odom", "base", _pose(2)), static=True)
    tree.insert(tf(0, "map", "world", _pose(3)), static=True)
    for second in range(5):
        assert tree.insert(tf(second * SECOND, "map", "odom", _shift(second))) == ""
    return tree


def test_chains_both_ways():
    tree = _tree()
    base_from_camera = _pose(1)
    np.testing.assert_allclose(tree.lookup("base", "camera"), base_from_camera, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("/camera", "base"), invert(base_from_camera), atol=1e-12)
    world_from_camera = invert(_pose(3)) @ _shift(4) @ _pose(2) @ base_from_camera
    np.testing.assert_allclose(tree.lookup("world", "camera"), world_from_camera, atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("camera", "camera"), np.eye(4))
    assert tree.knows("/camera") and tree.knows("map") and not tree.knows("earth")
    assert tree.ancestors("camera") == ["camera", "base", "odom", "map"] and tree.parent("map") is None
    assert tree.moves("camera", "world") and not tree.moves("camera", "base")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8), st.floats(0, 1))
def test_any_chain_is_the_product_of_its_interpolated_links(seed, length, share):
    from scipy.spatial.transform import Rotation, Slerp

    tree, expected = _live(), np.eye(4)
    for i in range(length):
        ends = _pose(seed + 2 * i), _pose(seed + 2 * i + 1)
        for stamp, pose in zip((SECOND, 2 * SECOND), ends):
            tree.insert(tf(stamp, f"f{i}", f"f{i + 1}", pose))
        turned = Slerp([0, 1], Rotation.from_matrix([pose[:3, :3] for pose in ends]))(share).as_matrix()
        expected = expected @ pose_matrix(turned, (1 - share) * ends[0][:3, 3] + share * ends[1][:3, 3])
    stamp = SECOND + round(share * SECOND)
    np.testing.assert_allclose(tree.lookup("f0", f"f{length}", stamp), expected, atol=1e-6)


def test_between_two_stamps():
    assert _tree().lookup("map", "odom", int(2.25 * SECOND))[0, 3] == pytest.approx(2.25)
    assert _tree().lookup("map", "odom", 4 * SECOND)[0, 3] == 4
    assert _tree().lookup("map", "odom", 0)[0, 3] == 0


@pytest.mark.parametrize("stamp, error", [(-1, TransformError), (4 * SECOND + 1, NotHeardYet)])
def test_no_guess_outside_the_known_times(stamp, error):
    with pytest.raises(TransformError, match="from 0.000 to 4.000 s") as raised:
        _tree().lookup("map", "camera", stamp)
    assert type(raised.value) is error


def test_a_recording_is_asked_with_the_gap_that_may_be_bridged():
    tree = recorded_transforms([(tf(s * SECOND, "a", "b", _shift(s)), False) for s in (0, 1, 3)])
    assert tree.lookup("a", "b", SECOND // 2, SECOND, SECOND)[0, 3] == 0.5
    assert tree.lookup("a", "b", 3 * SECOND + SECOND // 2, SECOND, SECOND)[0, 3] == 3
    for stamp in (2 * SECOND, 5 * SECOND):
        with pytest.raises(TransformError):
            tree.lookup("a", "b", stamp, SECOND, SECOND)
    assert tree.times() == {"b": (0, 3 * SECOND)}


def test_unknown_frames_are_named_but_not_thousands():
    with pytest.raises(TransformError, match="'camera' and 'nowhere'.*base"):
        _tree().lookup("nowhere", "camera")
    with pytest.raises(TransformError, match="none"):
        TransformTree().lookup("a", "b")
    tree = _live()
    for i in range(500):
        tree.insert(tf(SECOND, "root", f"f{i:03}"))
    with pytest.raises(TransformError, match="and 481 more") as raised:
        tree.lookup("a", "b")
    assert len(str(raised.value)) < 400


def test_stamps_out_of_order_are_sorted_in_and_of_one_stamp_the_last_counts():
    tree = _live()
    for stamp, x in ((0.0, 0), (0.6, 6), (0.2, 99), (0.4, 4), (0.2, 2)):
        tree.insert(tf(int(stamp * SECOND), "a", "b", _shift(x)))
    assert tree.lookup("a", "b", int(0.3 * SECOND))[0, 3] == pytest.approx(3)
    assert len(tree._links["b"].track.stamps) == 4


def test_old_transforms_are_forgotten_and_a_looping_bag_starts_again():
    tree = _live()
    for second in range(30):
        tree.insert(tf(second * SECOND, "a", "b", _shift(second)))
    with pytest.raises(TransformError):
        tree.lookup("a", "b", 5 * SECOND)
    tree.insert(tf(SECOND, "a", "b", _shift(77)))
    assert tree.lookup("a", "b")[0, 3] == 77 and tree.clock_steps == 1


@pytest.mark.parametrize("length", [1.5, 3.0, 8.0])
def test_a_bag_that_loops_leaves_nothing_of_the_round_before(length):
    """Each round moves otherwise, and its stamps lie between those of the round before."""
    tree = _live()
    for turn in range(20):
        for i in range(int(length * 10)):
            tree.insert(tf(int((i / 10 + turn * 1e-3) * SECOND), "a", "b", _shift(100 * turn + i)))
            now = tree.lookup("a", "b", int(((i - 0.5) / 10 + turn * 1e-3) * SECOND)) if i else None
            assert now is None or now[0, 3] == pytest.approx(100 * turn + i - 0.5, abs=1e-6)
        assert len(tree._links["b"].track.stamps) <= length * 10


def test_frames_without_end_do_not_fill_the_memory():
    tree = _live()
    tree.insert(tf(0, "base", "camera"), static=True)
    for i in range(transform_tree.MOST_FRAMES + 300):
        tree.insert(tf(i, "map", f"thing_{i}"))
        tree.insert(tf(i, "map", "odom"))
    assert len(tree.frames()) <= transform_tree.MOST_FRAMES + 3
    assert tree.parent("camera") == "base" and tree.parent("odom") == "map"
    assert tree.parent("thing_0") is None and tree.parent(f"thing_{i}") == "map"


@pytest.mark.parametrize(
    "message, says",
    [
        (tf(0, "a", "b", qx=0.0, qy=0.0, qz=0.0, qw=0.0), "length 0"),
        (tf(0, "a", "b", qw=1.1), "length 1.1"),
        (tf(0, "a", "b", qw=np.nan), "not finite"),
        (tf(0, "a", "b", tz=np.inf), "not finite"),
        (tf(0, "a", "a"), "of a frame to itself"),
        (tf(0, "/a", "a"), "of a frame to itself"),
        (tf(0, "", "b"), "no name"),
        (tf(0, "a", "/"), "no name"),
        (tf(0, "", ""), "no frame names"),
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_what_is_no_transform_is_left_out_with_a_sentence(message, says, static):
    tree = _live()
    sentence = tree.insert(message, static)
    assert says in sentence and "left out" in sentence
    assert tree.frames() == []


def test_a_quaternion_within_tf2s_tolerance_is_taken_and_made_unit():
    tree = _live()
    assert tree.insert(tf(0, "a", "b", qw=1.004)) == ""
    np.testing.assert_array_equal(tree.lookup("a", "b"), np.eye(4))


@pytest.mark.parametrize("static", [False, True])
def test_what_closes_a_circle_is_left_out(static):
    tree = _live()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "d")):
        tree.insert(tf(0, parent, child), static)
    assert "closes a circle, a -> b -> c -> d -> a" in tree.insert(tf(1, "d", "a"), static)
    assert "circle" in tree.insert(tf(1, "b", "a"), static)
    assert tree.ancestors("d") == ["d", "c", "b", "a"]
    with pytest.raises(TransformError):
        tree.lookup("e", "a")
    # A frame that would change its parent so keeps what it has.
    assert "circle" in tree.insert(tf(1, "d", "b"), static) and tree.parent("b") == "a"


def test_a_tree_that_turned_round_is_taken_once_the_old_way_is_out_of_date():
    tree = _live()
    tree.insert(tf(0, "a", "b"))
    assert "circle" in tree.insert(tf(9 * SECOND, "b", "a"))
    assert tree.insert(tf(11 * SECOND, "b", "a")) == ""
    assert tree.parent("a") == "b" and tree.parent("b") is None


def test_a_frame_that_changes_its_parent_has_the_last_one():
    for tree in (_live(), TransformTree()):
        tree.insert(tf(0, "a", "c", _shift(1)))
        tree.insert(tf(1, "b", "c", _shift(2)))
        assert tree.parent("c") == "b" and tree.lookup("b", "c")[0, 3] == 2
        with pytest.raises(TransformError):
            tree.lookup("b", "c", 0)
