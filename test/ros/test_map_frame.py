"""REP 105: the world is continuous; the map, which corrects it, is its parent where the robot has none itself."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from ros_testing import Running, alter, image  # noqa: E402
from small_results import judged  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.geometry import pose_from_quaternion, pose_matrix, transform  # noqa: E402
from d4rt_ros.ros import messages, qos  # noqa: E402
from d4rt_ros.ros.transforms import broadcast  # noqa: E402

CORRECTION = pose_from_quaternion([0, 0, np.sin(0.1), np.cos(0.1)], [0.3, -0.2, 0.1])


def corrected(running, **of_pose):
    """Have the node's results come with this correction of the world, and what else is given of the pose."""
    of_pose = {"map_from_world": CORRECTION} | of_pose
    alter(running, lambda result: judged(result, **of_pose))


def links(running):
    """(parent, child) of each message on /tf whose stamps are the images'."""
    return [
        [(t.header.frame_id, t.child_frame_id) for t in message.transforms]
        for message in running.user.heard["/tf"]
        if message.transforms[0].header.stamp.sec >= 100
    ]


def heard_for_a_second(running):
    assert running.user.until(lambda: running.node._transforms.seconds > 1.0)


def know(running, parent, child):
    """Have the robot's TF say a transform; return when the node has it."""
    running.user.publish("/tf_static", broadcast(int(90e9), parent, child, pose_matrix()), qos.TF_STATIC)
    assert running.user.until(lambda: running.node._transforms.tree.parent(child) == parent)


BOTH, ALONE = [("world", "cam"), ("map", "world")], [("world", "cam")]


def test_the_map_is_the_worlds_parent_and_holds_the_correction():
    with Running() as running:
        corrected(running.active())
        running.listen(TFMessage, "/tf")
        running.listen(Odometry, "/d4rt/odometry")
        running.listen(Path, "/d4rt/path")
        heard_for_a_second(running)
        running.stream(count=4)
        assert running.user.until(lambda: links(running) == [BOTH])
        world, corrects = running.user.heard["/tf"][-1].transforms
        np.testing.assert_allclose(messages.pose_from_transform(corrects.transform), CORRECTION, atol=1e-9)
        assert corrects.header.stamp == world.header.stamp == image(100.3).header.stamp
        # What is continuous stays so: it is not corrected.
        assert running.user.newest("/d4rt/odometry").header.frame_id == "world"
        assert running.user.newest("/d4rt/path").header.frame_id == "world"
        position = running.user.newest("/d4rt/odometry").pose.pose.position
        assert (position.x, position.y, position.z) == pytest.approx((0, 0, 0), abs=1e-6)
        assert running.user.told("geometry", "ok")


def test_lost_there_is_no_map():
    with Running() as running:
        corrected(running.active())
        running.listen(TFMessage, "/tf")
        heard_for_a_second(running)
        running.stream(count=4)
        corrected(running, lost="too few points agree")
        running.stream(begin=4, count=2)
        corrected(running)
        running.stream(begin=6, count=1)
        assert running.user.until(lambda: len(links(running)) == 2)
        stamps = [m.transforms[-1].header.stamp for m in running.user.heard["/tf"]]
        assert stamps == [image(100.3).header.stamp, image(100.6).header.stamp]


def test_a_robot_with_a_map_of_its_own_keeps_it_and_is_told(capfd):
    with Running() as running:
        corrected(running.active())
        running.listen(TFMessage, "/tf")
        know(running, "map", "odom")
        heard_for_a_second(running)
        running.stream(count=6)
        assert running.user.until(lambda: links(running) == [ALONE] * 3)
        says = "'map' -> 'world' is not broadcast on /tf: the robot's TF has a 'map'"
        assert running.user.told("geometry", says)
        assert running.user.status("geometry").level == DiagnosticStatus.OK
        seen = len(running.user.heard["/diagnostics"])
        assert running.user.until(lambda: len(running.user.heard["/diagnostics"]) > seen + 2)
        # Nobody who asks for the map gets ours.
        request = Query.Request(u=[1.0], v=[1.0], t_src=[-1], t_tgt=[-1], t_cam=[-1], frame_id="map")
        response = running.user.call(Query, "/d4rt/query", request)
        assert response.status == Query.Response.INVALID and "'map'" in response.message
    assert capfd.readouterr().err.count("the robot's TF has a 'map'") == 1


def test_a_map_that_comes_later_ends_ours():
    with Running() as running:
        corrected(running.active())
        running.listen(TFMessage, "/tf")
        heard_for_a_second(running)
        running.stream(count=5)
        assert running.user.until(lambda: links(running) == [BOTH] * 2)
        know(running, "map", "odom")
        running.stream(begin=5, count=2)
        assert running.user.until(lambda: links(running)[2:] == [ALONE] * 2)


def test_tf_is_heard_before_a_map_is_claimed():
    """The first second, in which the robot's own may still come."""
    with Running() as running:
        running.active().listen(TFMessage, "/tf")
        running.node._transforms._since += 1e3
        running.stream(count=5)
        assert running.user.until(lambda: links(running) == [ALONE] * 2)
        running.node._transforms._since -= 2e3
        running.stream(begin=5, count=1)
        assert running.user.until(lambda: links(running)[2:] == [BOTH])


@pytest.mark.parametrize(
    "parameters, expected",
    [
        ({"frames.map": ""}, ALONE),
        ({"frames.map": "site"}, [("world", "cam"), ("site", "world")]),
        ({"frames.map": "/site"}, [("world", "cam"), ("site", "world")]),
        ({"frames.world": "odom"}, [("odom", "cam"), ("map", "odom")]),
        ({"frames.world": "map"}, [("map", "cam")]),
        ({"frames.map": "cam"}, ALONE),
        ({"tf.publish": "camera_to_world"}, [("cam", "world")]),
    ],
)
def test_names(parameters, expected):
    with Running(parameters) as running:
        running.active().listen(TFMessage, "/tf")
        heard_for_a_second(running)
        running.stream(count=4)
        assert running.user.until(lambda: links(running) == [expected]), links(running)


def test_in_a_namespace_the_map_is_the_namespaces():
    with Running(namespace="/fleet/robot") as running:
        running.active().listen(TFMessage, "/tf")
        heard_for_a_second(running)
        for i in range(4):
            running.send("/fleet/robot/image", image(100 + i / 10))
        expected = [("fleet/robot/world", "cam"), ("fleet/robot/map", "fleet/robot/world")]
        assert running.user.until(lambda: links(running) == [expected])


def test_a_map_that_is_the_base_is_refused_with_a_sentence():
    with Running({"frames.map": "base_link"}) as running:
        assert running.user.told("geometry", "frames.map and frames.base are both 'base_link'")
        assert running.becomes("unconfigured")


def test_services_answer_in_the_map():
    with Running() as running:
        corrected(running.active())
        heard_for_a_second(running)
        running.stream(count=4)
        request = Query.Request(u=[10.0], v=[20.0], t_src=[-1], t_tgt=[-1], t_cam=[-1], frame_id="world")
        in_world = running.user.call(Query, "/d4rt/query", request)
        request.frame_id = "map"
        in_map = running.user.call(Query, "/d4rt/query", request)
        assert in_map.status == Query.Response.OK and in_map.header.frame_id == "map", in_map.message
        np.testing.assert_allclose(in_map.points, transform(CORRECTION, np.array(in_world.points)), atol=1e-5)
        np.testing.assert_allclose(in_map.normals, CORRECTION[:3, :3] @ np.array(in_world.normals), atol=1e-5)
        tracks = running.user.call(
            TrackPoints, "/d4rt/track_points", TrackPoints.Request(u=[1.0], v=[1.0], t_src=[0])
        )
        assert tracks.header.frame_id == "world"


def test_without_tf_the_map_can_be_asked_for_all_the_same():
    with Running({"tf.publish": "none"}) as running:
        corrected(running.active())
        running.listen(Odometry, "/d4rt/odometry")
        running.stream(count=4)
        request = Query.Request(u=[10.0], v=[20.0], t_src=[-1], t_tgt=[-1], t_cam=[-1], frame_id="map")
        first = running.user.call(Query, "/d4rt/query", request)
        assert (
            first.status == Query.Response.NOT_READY and "ask again" in first.message
        )  # TF is heard from now on
        assert running.user.call(Query, "/d4rt/query", request).status == Query.Response.OK


def test_without_tf_the_robots_own_map_is_not_ours_either():
    with Running({"tf.publish": "none"}) as running:
        corrected(running.active())
        running.listen(Odometry, "/d4rt/odometry")
        running.stream(count=4)
        request = Query.Request(u=[10.0], v=[20.0], t_src=[-1], t_tgt=[-1], t_cam=[-1], frame_id="map")
        running.user.call(Query, "/d4rt/query", request)
        know(running, "map", "odom")
        running.stream(begin=4, count=1)
        response = running.user.call(Query, "/d4rt/query", request)
        assert response.status == Query.Response.INVALID and "does not connect" in response.message
        know(running, "odom", "cam")
        running.stream(begin=5, count=1)
        response = running.user.call(Query, "/d4rt/query", request)
        assert (
            response.status == Query.Response.OK and response.points[2] == 2.0
        )  # as TF has it: the camera's own axes
