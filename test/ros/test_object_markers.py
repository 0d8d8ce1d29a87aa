"""Boxes for RViz: one for each body, and none of bodies that have gone."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("visualization_msgs.msg", reason="needs visualization_msgs")
from visualization_msgs.msg import Marker  # noqa: E402

from d4rt_ros.dynamics.objects import Objects  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.ros.object_markers import ObjectMarkers  # noqa: E402

HEADER = messages.header_message(1_700_000_000_123_456_789, "world")


def objects(*ids, velocity=(1.0, 0.0, 0.0), extent=(0.4, 0.2, 1.8)):
    n = len(ids)
    return Objects(
        np.array(ids, np.uint64), np.arange(3.0 * n).reshape(n, 3), np.tile(extent, (n, 1)),
        np.tile(velocity, (n, 1)), np.zeros((n, 6, 6)), tuple([np.empty(0, np.uint64)] * n),
    )  # fmt: skip


def by_name(array, action=Marker.ADD):
    return {(m.ns, m.id): m for m in array.markers if m.action == action}


def test_a_body_is_a_box_with_its_id_and_its_velocity():
    shown = by_name(ObjectMarkers().drawn(HEADER, objects(5), 0))
    assert set(shown) == {("box", 5), ("id", 5), ("velocity", 5)}
    box, text, arrow = shown["box", 5], shown["id", 5], shown["velocity", 5]
    assert (box.type, box.scale.x, box.scale.y, box.scale.z) == (Marker.CUBE, 0.4, 0.2, 1.8)
    assert (box.pose.position.x, box.pose.position.y, box.pose.position.z) == (0.0, 1.0, 2.0)
    assert text.text == "5" and text.pose.position.z > 2.0 + 0.9 and text.scale.z > 0
    assert [(p.x, p.y, p.z) for p in arrow.points] == [(0, 1, 2), (1, 1, 2)]
    for marker in shown.values():
        assert marker.header == HEADER and marker.frame_locked and marker.lifetime.sec > 0
        assert marker.color.a > 0 and marker.pose.orientation.w == 1.0


def test_a_velocity_that_is_not_known_is_no_arrow_and_a_flat_body_a_thin_box():
    shown = by_name(
        ObjectMarkers().drawn(HEADER, objects(5, velocity=[np.nan] * 3, extent=(1.0, 0.0, 0.0)), 0)
    )
    assert set(shown) == {("box", 5), ("id", 5)} and shown["box", 5].scale.z > 0
    assert ObjectMarkers().drawn(HEADER, objects(5, extent=(0.0, 0.0, 0.0)), 0).markers[1].scale.x > 0


def test_those_that_go_are_deleted_and_with_a_new_world_all():
    drawing = ObjectMarkers()
    assert drawing.drawn(HEADER, objects(1, 2), 0).markers[0].action == Marker.DELETEALL
    second = drawing.drawn(HEADER, objects(2, 3), 0)
    assert set(by_name(second, Marker.DELETE)) == {("box", 1), ("id", 1), ("velocity", 1)}
    assert {i for _, i in by_name(second)} == {2, 3}
    still = drawing.drawn(HEADER, objects(2, 3, velocity=[np.nan] * 3), 0)
    assert set(by_name(still, Marker.DELETE)) == {("velocity", 2), ("velocity", 3)}
    anew = drawing.drawn(HEADER, objects(4), 1)
    assert [m.action for m in anew.markers][:2] == [Marker.DELETEALL, Marker.ADD]


def test_what_is_not_known_is_not_drawn():
    drawing = ObjectMarkers()
    assert drawing.drawn(HEADER, None, 0) is None
    drawing.drawn(HEADER, objects(1), 0)
    gone = drawing.drawn(HEADER, None, 0)
    assert set(by_name(gone, Marker.DELETE)) == {("box", 1), ("id", 1), ("velocity", 1)} and not by_name(gone)
    assert drawing.drawn(HEADER, None, 0) is None
    assert len(drawing.drawn(HEADER, objects(), 0).markers) == 0


def test_an_id_fits_a_markers_number():
    [*markers] = ObjectMarkers().drawn(HEADER, objects(2**63 + 5), 0).markers
    assert markers[1].id == 5 and markers[2].text == str(2**63 + 5)
