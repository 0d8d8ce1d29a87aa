"""What RViz is given to draw: finite, in few markers of fixed names, nothing that stays for ever."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("visualization_msgs.msg", reason="needs visualization_msgs")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from geometry_msgs.msg import Point  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.numpy import arrays  # noqa: E402
from ros_testing import Running, alter, info  # noqa: E402
from small_results import judged, small_result  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from d4rt_ros.geometry import Pinhole, pose_from_quaternion  # noqa: E402
from d4rt_ros.ros import messages, publishing  # noqa: E402
from d4rt_ros.ros.markers import (  # noqa: E402
    FAST,
    LIFETIME,
    MOST_KEYFRAMES,
    UNKNOWN_SPEED,
    Drawing,
    Keyframes,
    ellipsoid,
    frusta,
    marker_array,
    speed_colours,
)
from d4rt_ros.stream import StreamTracks, only  # noqa: E402

HEADER = messages.header_message(1_700_000_000_123_456_789, "world")
CAMERA = Pinhole(100.0, 110.0, 30.0, 25.0, 64, 48)


def tracks(positions, velocities=None, visible=None):
    n, t = positions.shape[:2]
    return StreamTracks(
        ids=np.arange(n, dtype=np.uint64),
        stamps=np.arange(t) * 10**8,
        positions=positions.astype(np.float32),
        visible=np.ones((n, t), bool) if visible is None else visible,
        confidence=np.ones((n, t), np.float32),
        pixels=np.zeros((n, t, 2), np.float32),
        velocities=np.zeros((n, 3), np.float32) if velocities is None else velocities,
    )


def everything(rng=np.random.default_rng(0)):
    return Drawing(
        path=[Point(x=float(i)) for i in range(5)],
        keyframes=np.stack([pose_from_quaternion([0, 0, 0.1 * i, 1], [i, 0, 0]) for i in range(3)]),
        camera=CAMERA,
        tracks=tracks(rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 3)).astype(np.float32)),
        pose=np.eye(4),
        covariance=np.eye(6) * 0.01,
    )


def by_name(array):
    return {marker.ns: marker for marker in array.markers}


def places(marker):
    return np.array([[p.x, p.y, p.z] for p in marker.points])


def test_each_sort_is_one_marker_that_replaces_itself_and_goes_by_itself():
    one, other = (marker_array(HEADER, everything()) for _ in range(2))
    names = [(m.ns, m.id) for m in one.markers]
    assert names == [(m.ns, m.id) for m in other.markers] and len(set(names)) == len(names)
    assert set(by_name(one)) == {"trajectory", "keyframes", "tracks", "tails", "uncertainty"}
    for marker in one.markers:
        assert marker.action == Marker.ADD and marker.lifetime.sec == LIFETIME > 0
        assert marker.header == HEADER and marker.frame_locked
        assert min(marker.scale.x, marker.color.a or marker.colors[0].a) > 0
        orientation = marker.pose.orientation
        assert np.linalg.norm([orientation.x, orientation.y, orientation.z, orientation.w]) == pytest.approx(
            1
        )
        assert len(marker.colors) in (0, len(marker.points))
        assert marker.type != Marker.LINE_LIST or len(marker.points) % 2 == 0


def test_a_new_world_takes_away_what_was_drawn():
    assert marker_array(HEADER, everything()).markers[0].action == Marker.ADD
    first, *others = marker_array(HEADER, everything(), new_world=True).markers
    assert first.action == Marker.DELETEALL and len(others) == 5
    assert [m.action for m in marker_array(HEADER, Drawing(), new_world=True).markers] == [Marker.DELETEALL]


def test_of_nothing_nothing_is_drawn():
    assert marker_array(HEADER, Drawing()).markers == []
    empty = Drawing(
        path=[Point()], keyframes=np.empty((0, 4, 4)), camera=CAMERA, tracks=tracks(np.empty((0, 4, 3)))
    )
    assert marker_array(HEADER, empty).markers == []


numbers = st.sampled_from([0.0, 1.0, -2.5, 1e-9, np.nan, np.inf, -np.inf])


@settings(max_examples=40)
@given(
    arrays(float, (3, 4, 3), elements=numbers),
    arrays(np.float32, (3, 3), elements=numbers.map(np.float32)),
    arrays(bool, (3, 4)),
    arrays(float, (6, 6), elements=numbers),
    arrays(float, (2, 4, 4), elements=numbers),
)
def test_only_what_is_finite_is_drawn(positions, velocities, visible, covariance, keyframes):
    drawn = Drawing((), keyframes, CAMERA, tracks(positions, velocities, visible), np.eye(4), covariance)
    for marker in marker_array(HEADER, drawn).markers:
        assert marker.points or marker.type == Marker.SPHERE
        assert np.isfinite(places(marker)).all()
        assert np.isfinite([marker.scale.x, marker.scale.y, marker.scale.z]).all()
        assert all(0 <= x <= 1 for colour in marker.colors for x in (colour.r, colour.g, colour.b))


def test_a_tail_leads_from_where_a_point_was_to_where_it_is():
    """The first moves and was not known once, the second stands still, the third is hidden now."""
    positions = np.zeros((3, 5, 3))
    positions[0, :, 0] = np.arange(5)
    positions[0, 1] = np.nan
    visible = np.ones((3, 5), bool)
    visible[2, -1] = False
    velocities = np.array([[10, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    drawn = by_name(marker_array(HEADER, Drawing(tracks=tracks(positions, velocities, visible))))
    assert places(drawn["tracks"]).tolist() == [[4, 0, 0], [0, 0, 0]]
    assert places(drawn["tails"])[:, 0].tolist() == [0, 2, 2, 3, 3, 4]
    fast, slow = drawn["tracks"].colors
    assert fast.r > fast.b and slow.b > slow.r
    assert all(colour == fast for colour in drawn["tails"].colors)


def test_colours_go_by_speed_and_what_is_not_known_is_grey():
    velocities = np.array([[0, 0, 0], [0, FAST / 2, 0], [FAST, 0, 0], [0, 0, 9 * FAST], [np.nan, 0, 0]])
    colours = speed_colours(velocities, FAST)
    np.testing.assert_array_equal(colours[2], colours[3])
    np.testing.assert_array_equal(colours[4], UNKNOWN_SPEED)
    assert len(np.unique(colours, axis=0)) == 4 and speed_colours(np.empty((0, 3)), FAST).shape == (0, 3)


def test_a_frustum_is_what_the_camera_sees():
    pose = pose_from_quaternion([0.1, -0.2, 0.3, 0.9], [1.0, 2.0, 3.0])
    [[tip, *corners]] = frusta(pose[None], CAMERA, 0.5)
    np.testing.assert_allclose(tip, [1, 2, 3])
    here = (np.array(corners) - pose[:3, 3]) @ pose[:3, :3]
    np.testing.assert_allclose(here[:, 2], 0.5)
    np.testing.assert_allclose(CAMERA.project(here), [[-0.5, -0.5], [63.5, -0.5], [63.5, 47.5], [-0.5, 47.5]])


@given(arrays(float, (3, 3), elements=st.floats(-2, 2)))
def test_the_ellipsoid_is_that_of_the_covariance(root):
    covariance = root @ root.T
    axes, diameters = ellipsoid(covariance, 2.0)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(axes @ np.diag((diameters / 4) ** 2) @ axes.T, covariance, atol=1e-7)


def test_a_keyframe_is_drawn_once_poses_are_measured_from_it():
    keyframes, moved = Keyframes(), pose_from_quaternion([0, 0, 0, 1], [1, 0, 0])
    poses = [
        small_result([i], moved, of_pose=dict(keyframe=at)).pose for i, at in enumerate([None, 0, 0, 99, 2])
    ]
    for stamp, pose in enumerate(poses):
        keyframes.add(stamp, pose)
        assert len(keyframes.poses) == [0, 1, 1, 1, 2][stamp]
    np.testing.assert_array_equal(keyframes.poses[0], moved)
    for stamp in range(5, 3 * MOST_KEYFRAMES):
        keyframes.add(stamp, small_result([stamp], moved, of_pose=dict(keyframe=stamp - 1)).pose)
    assert keyframes.poses.shape == (MOST_KEYFRAMES, 4, 4)


# Through the node

MARKERS = "/d4rt/markers"


def test_the_node_draws_in_the_world_and_anew_in_each():
    with Running({"frames.world": "odom"}) as running:
        heard = running.active().user.heard
        running.listen(MarkerArray, MARKERS)
        running.send_info(info())
        running.stream(count=7)
        assert running.user.until(lambda: len(heard[MARKERS]) == 4)
        first, *later = heard[MARKERS]
        assert first.markers[0].action == Marker.DELETEALL
        assert all(m.action == Marker.ADD for array in later for m in array.markers)
        drawn = by_name(later[-1])
        assert {"trajectory", "keyframes", "tracks", "uncertainty"} <= set(drawn)  # nothing moves: no tails
        assert {m.header.frame_id for m in later[-1].markers} == {"odom"}
        assert {messages.nanoseconds(m.header.stamp) for m in later[-1].markers} == {100_600_000_000}
        assert len(drawn["trajectory"].points) == 4
        points = places(drawn["tracks"])
        np.testing.assert_allclose(points[:, 0], 2.0, atol=1e-4)  # the wall, ahead
        alter(running, lambda result: judged(result, lost="too few points agree"))
        running.stream(begin=7, count=2)
        alter(running, lambda result: judged(result, world=5))
        running.stream(begin=9, count=1)
        assert running.user.until(lambda: len(heard[MARKERS]) == 5)
        anew = heard[MARKERS][-1].markers
        assert anew[0].action == Marker.DELETEALL and "trajectory" not in by_name(heard[MARKERS][-1])


def test_markers_are_made_only_while_somebody_listens(monkeypatch):
    made = []
    monkeypatch.setattr(publishing, "marker_array", lambda *args: made.append(args) or marker_array(*args))
    with Running() as running:
        running.active().stream(count=6)
        assert not made and running.node._outputs.wanted() == only(pose=True)
        running.listen(MarkerArray, MARKERS)
        assert running.node._outputs.wanted() == only(tracks=True, pose=True)
        running.stream(begin=6, count=1)
        assert len(made) == 1


def test_without_tf_markers_bring_the_pose():
    with Running({"tf.publish": "none"}) as running:
        running.active().listen(MarkerArray, MARKERS)
        running.stream(count=5)
        running.user.newest(MARKERS)
