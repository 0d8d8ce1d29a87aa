"""What leaves the node as geometry: nothing while it is lost, nothing that gives a frame a second parent."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.srv import Query  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from ros_testing import Running, alter, image, info, set_parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from small_results import judged  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, pose_from_quaternion, pose_matrix, rotation_angle  # noqa: E402
from d4rt_ros.ros import messages, qos  # noqa: E402
from d4rt_ros.ros.odometry import UNKNOWN_VARIANCE  # noqa: E402
from d4rt_ros.ros.transforms import broadcast  # noqa: E402
from d4rt_ros.stream import Scale  # noqa: E402

POINTS, DEPTH, INFO = "/d4rt/points", "/d4rt/depth/image", "/d4rt/depth/camera_info"
TRACKS, ODOMETRY, PATH = "/d4rt/tracks", "/d4rt/odometry", "/d4rt/path"
EVERYTHING = {
    POINTS: PointCloud2, DEPTH: Image, INFO: CameraInfo, TRACKS: Tracks, ODOMETRY: Odometry, PATH: Path,
    "/tf": TFMessage,
}  # fmt: skip
LOST = {"lost": "too few points agree"}
DARK = {"problem": "the images are black"}
ALL_SIX = np.eye(6) * UNKNOWN_VARIANCE


class Altered:
    """The node's results, judged otherwise (see `judged`), with these of their fields replaced; they are as they are to
    begin with."""

    def __init__(self, running):
        self.judgement, self.fields = None, {}
        alter(running, self._changed)

    def _changed(self, result):
        result = result if self.judgement is None else judged(result, **self.judgement)
        return replace(result, **self.fields)


def _listen_to_everything(running):
    for topic, kind in EVERYTHING.items():
        running.listen(kind, topic)
    running.send_info(info())


def _counts(running):
    return {topic: len(running.user.heard[topic]) for topic in EVERYTHING}


def _arrived(running, **expected):
    """Wait until as many messages as expected (all others: `rest`) have come, and see that no more do."""
    rest = expected.pop("rest")
    wanted = {topic: rest for topic in EVERYTHING} | {
        "/" + k.replace("__", "/"): n for k, n in expected.items()
    }
    running.user.until(lambda: all(_counts(running)[t] >= n for t, n in wanted.items()))
    # What would come besides was published before this was.
    seen = len(running.user.heard["/diagnostics"])
    running.user.newest("/diagnostics", seen)
    assert _counts(running) == wanted


# Trust


@pytest.mark.parametrize("judgement, cloud", [(LOST, 2), (DARK, 1)])
def test_lost_means_silent(judgement, cloud):
    """A good result, a bad one. Of the bad one the odometry remains, with a covariance that a filter rejects."""
    with Running() as running:
        altered = Altered(running.active())
        _listen_to_everything(running)
        running.stream(count=4)
        altered.judgement = judgement
        running.stream(begin=4, count=1)
        _arrived(running, d4rt__odometry=2, d4rt__points=cloud, d4rt__depth__image=cloud,
                 d4rt__depth__camera_info=cloud, rest=1)  # fmt: skip
        good, bad = running.user.heard[ODOMETRY]
        assert np.diag(np.reshape(good.pose.covariance, (6, 6))).max() < 1
        for covariance in (bad.pose.covariance, bad.twist.covariance):
            np.testing.assert_array_equal(np.reshape(covariance, (6, 6)), ALL_SIX)
        for axis in "xyz":
            assert getattr(bad.pose.pose.position, axis) == pytest.approx(
                getattr(good.pose.pose.position, axis), abs=1e-9
            )
        assert bad.twist.twist.linear.x == 0.0 and bad.header.stamp == image(100.4).header.stamp
        tracks = running.user.heard[TRACKS][0]
        assert tracks.trusted and tracks.reason == ""

        # It comes back: everything again, and no velocity across what was lost.
        altered.judgement = None
        running.stream(begin=5, count=1)
        _arrived(running, d4rt__odometry=3, d4rt__points=cloud + 1, d4rt__depth__image=cloud + 1,
                 d4rt__depth__camera_info=cloud + 1, rest=2)  # fmt: skip
        again = running.user.heard[ODOMETRY][-1]
        np.testing.assert_array_equal(np.reshape(again.twist.covariance, (6, 6)), ALL_SIX)


def test_lost_odometry_is_silent_where_it_shall_be_while_the_node_runs():
    with Running({"odometry.when_lost": "silent"}) as running:
        altered = Altered(running.active())
        altered.judgement = LOST
        running.listen(Odometry, ODOMETRY)
        running.stream(count=4)
        assert set_parameter(running.user, "odometry.when_lost", "inflate").successful
        running.stream(begin=4, count=1)
        odometry = running.user.newest(ODOMETRY)
        assert len(running.user.heard[ODOMETRY]) == 1 and odometry.header.stamp == image(100.4).header.stamp


@pytest.mark.parametrize("judgement", [LOST, DARK])
def test_lost_the_services_say_why(judgement):
    with Running() as running:
        Altered(running.active()).judgement = judgement
        [reason] = judgement.values()
        running.stream(count=4)
        request = Query.Request(u=[1.0], v=[1.0], t_src=[0], t_tgt=[0], t_cam=[0])
        in_camera = running.user.call(Query, "/d4rt/query", request)
        request.frame_id = "world"
        in_world = running.user.call(Query, "/d4rt/query", request)
        assert in_camera.status == (Query.Response.OK if judgement is LOST else Query.Response.NOT_READY)
        assert in_world.status == Query.Response.NOT_READY and reason in in_world.message
        for response in (in_camera, in_world):
            assert not response.trusted and response.reason == reason


def test_metric_follows_the_scale():
    with Running() as running:
        altered = Altered(running.active())
        running.listen(Tracks, TRACKS)
        running.stream(count=4)
        altered.fields = {"scale": Scale(3.0, 0.0, "fixed"), "unit": 3.0}
        running.stream(begin=4, count=1)
        assert running.user.until(lambda: [m.metric for m in running.user.heard[TRACKS]] == [False, True])
        request = Query.Request(u=[31.5], v=[23.5], t_src=[0], t_tgt=[0], t_cam=[0])
        response = running.user.call(Query, "/d4rt/query", request)
        assert response.metric and response.points[2] == pytest.approx(6.0)


def test_the_path_begins_anew_with_a_new_world():
    with Running() as running:
        altered = Altered(running.active())
        running.listen(Path, PATH)
        running.listen(Odometry, ODOMETRY)
        running.stream(count=6)
        altered.judgement = {"world": 7}
        running.stream(begin=6, count=2)
        assert running.user.until(lambda: [len(m.poses) for m in running.user.heard[PATH]] == [1, 2, 3, 1, 2])
        assert running.user.until(lambda: len(running.user.heard[ODOMETRY]) == 5)
        known = [m.twist.covariance[0] < UNKNOWN_VARIANCE for m in running.user.heard[ODOMETRY]]
        assert known == [False, True, True, False, True]


def test_the_path_begins_anew_though_the_new_worlds_first_result_is_lost():
    with Running() as running:
        altered = Altered(running.active())
        running.listen(Path, PATH)
        running.stream(count=6)
        altered.judgement = LOST | {"world": 7}
        running.stream(begin=6, count=1)
        altered.judgement = {"world": 7}
        running.stream(begin=7, count=1)
        assert running.user.until(lambda: [len(m.poses) for m in running.user.heard[PATH]] == [1, 2, 3, 1])


# Which transform


PITCHED = pose_matrix(
    pose_from_quaternion([0, np.sin(np.radians(10)), 0, np.cos(np.radians(10))])[:3, :3]
    @ BODY_FROM_OPTICAL[:3, :3],
    [0.3, 0.1, 1.2],
)  # a camera that looks down by 20 degrees


def _know(running, parent, child, pose=None, static=True):
    """Have the robot's TF say a transform; return when the node has it."""
    topic, profile = ("/tf_static", qos.TF_STATIC) if static else ("/tf", qos.TF)
    pose = pose_matrix() if pose is None else pose
    running.user.publish(topic, broadcast(int(100e9), parent, child, pose), profile)
    assert running.user.until(lambda: running.node._transforms.tree.parent(child) == parent)


def _heard_for_a_second(running):
    assert running.user.until(lambda: running.node._transforms.seconds > 1.0)


def _ours(running):
    """(parent, child) of the transforms that the node broadcast."""
    node_says = [
        m.transforms[0] for m in running.user.heard["/tf"] if m.transforms[0].header.stamp.sec >= 100
    ]
    return [(t.header.frame_id, t.child_frame_id) for t in node_says if "world" in t.header.frame_id]


def test_auto_without_a_robot_is_world_to_camera_once_tf_was_heard():
    with Running({"tf.publish": "auto"}) as running:
        running.active().listen(TFMessage, "/tf")
        _heard_for_a_second(running)
        running.stream(count=4)
        assert running.user.until(lambda: _ours(running) == [("world", "cam")])
        running.stream(begin=4, count=3)  # what was heard back is no parent of the camera's
        assert running.user.until(lambda: _ours(running) == [("world", "cam")] * 4)
        assert running.node._transforms.tree.frames() == []
        assert running.user.told("geometry", "ok")


def test_auto_on_a_robot_is_world_to_base_and_level():
    """The camera looks down by 20 degrees: the robot stands upright where it begins, in each world."""
    with Running({"tf.publish": "auto"}) as running:
        user = running.active().user
        running.listen(TFMessage, "/tf")
        running.listen(Odometry, ODOMETRY)
        _know(running, "base_link", "mast")
        _know(running, "mast", "cam", PITCHED)
        for begin in (0, 10):
            running.stream(begin=begin, count=4)
            assert user.until(lambda: len(_ours(running)) == 1 + begin // 10)
            transform = user.heard["/tf"][-1].transforms[0]
            assert (transform.header.frame_id, transform.child_frame_id) == ("world", "base_link")
            np.testing.assert_allclose(
                messages.pose_from_transform(transform.transform), np.eye(4), atol=1e-6
            )
            running.node._streaming.reset("once more")
        odometry = user.newest(ODOMETRY)
        assert odometry.child_frame_id == "base_link" and odometry.pose.pose.orientation.w == pytest.approx(1)


def test_auto_leaves_a_robot_that_has_odometry_alone_and_says_so():
    with Running({"tf.publish": "auto"}) as running:
        user = running.active().user
        running.listen(TFMessage, "/tf")
        running.listen(Odometry, ODOMETRY)
        _know(running, "base_link", "cam", PITCHED)
        _know(running, "odom", "base_link", static=False)
        running.stream(count=4)
        assert user.newest(ODOMETRY).child_frame_id == "base_link"
        assert user.told(
            "geometry", "nothing is broadcast on /tf: where 'base_link' is in 'odom' is on TF already"
        )
        assert user.status("geometry").level == DiagnosticStatus.OK and _ours(running) == []


def test_auto_stops_when_a_driver_starts_later_and_goes_on_with_the_base_when_that_is_known():
    with Running({"tf.publish": "auto"}) as running:
        user = running.active().user
        running.listen(TFMessage, "/tf")
        _heard_for_a_second(running)
        running.stream(count=5)
        assert user.until(lambda: _ours(running) == [("world", "cam")] * 2)
        _know(running, "camera_link", "cam", PITCHED)
        running.stream(begin=5, count=3)
        assert user.told("geometry", "'cam' has the parent 'camera_link' on TF")
        assert _ours(running) == [("world", "cam")] * 2
        _know(running, "base_link", "camera_link")
        running.stream(begin=8, count=5)  # the world begins anew, at the base
        assert user.until(lambda: _ours(running)[2:] == [("world", "base_link")])
        pose = messages.pose_from_transform(user.heard["/tf"][-1].transforms[0].transform)
        np.testing.assert_allclose(pose, np.eye(4), atol=1e-6)


@pytest.mark.parametrize(
    "mode, link", [("world_to_camera", ("mast", "cam")), ("world_to_base", ("odom", "base_link"))]
)
def test_two_parents_are_an_error(mode, link):
    with Running({"tf.publish": mode}) as running:
        running.active().listen(TFMessage, "/tf")
        _know(
            running,
            "base_link" if mode == "world_to_base" else "x",
            "cam" if mode == "world_to_base" else "y",
        )
        _know(running, *link)
        running.stream(count=4)
        assert running.user.told("geometry", f"'{link[1]}' has two parents on TF, '{link[0]}'")
        assert running.user.status("geometry").level == DiagnosticStatus.ERROR
        assert running.user.until(lambda: _ours(running) == [("world", link[1])])


def test_without_the_base_in_tf_no_pose_is_made_up_and_it_is_an_error():
    with Running({"tf.publish": "world_to_base"}) as running:
        user = running.active().user
        _listen_to_everything(running)
        _heard_for_a_second(running)
        running.stream(count=5)
        assert user.told("geometry", "the pose of 'base_link' is not published: TF")
        assert user.status("geometry").level == DiagnosticStatus.ERROR
        _arrived(running, d4rt__points=2, d4rt__depth__image=2, d4rt__depth__camera_info=2, rest=0)
        _know(running, "base_link", "cam", PITCHED)
        running.stream(begin=5, count=1)
        assert user.until(lambda: _ours(running) == [("world", "base_link")])
        pose = messages.pose_from_transform(user.heard["/tf"][-1].transforms[0].transform)
        np.testing.assert_allclose(pose, np.eye(4), atol=1e-6)
        assert user.told("geometry", "ok")


def test_a_pan_tilts_mounting_is_that_of_each_images_own_time():
    """The camera's images stand still while the mounting turns: it is the base that moves."""
    with Running({"tf.publish": "world_to_base"}) as running:
        user = running.active().user
        running.listen(Odometry, ODOMETRY)
        for i in range(10):
            turned = pose_from_quaternion([0, 0, np.sin(0.05 * i), np.cos(0.05 * i)])
            mount = turned @ pose_matrix(BODY_FROM_OPTICAL[:3, :3], [0.5, 0, 0])
            user.publish("/tf", broadcast(int(100e9 + i * 1e8), "base_link", "cam", mount), qos.TF)
        assert user.until(
            lambda: running.node._transforms.tree.times().get("cam", (0, 0))[1] == 100_900_000_000
        )
        running.stream(count=8)
        assert user.until(lambda: len(user.heard[ODOMETRY]) == 5)
        twist = user.heard[ODOMETRY][-1].twist.twist
        assert twist.angular.z == pytest.approx(-1.0, abs=1e-4)
        pose = user.heard[ODOMETRY][-1].pose.pose
        moved = pose_from_quaternion([getattr(pose.orientation, a) for a in "xyzw"])
        assert rotation_angle(moved) == pytest.approx(0.4, abs=1e-4)


# Names


@pytest.mark.parametrize(
    "frame_id, named, says", [("/cam", "cam", "begins with a slash"), ("", "camera", "names no frame")]
)
def test_a_camera_that_tf_would_refuse_is_mended(frame_id, named, says):
    with Running() as running:
        running.active().listen(TFMessage, "/tf")
        running.listen(Image, DEPTH)
        running.stream(count=4, frame_id=frame_id)
        assert running.user.newest("/tf").transforms[0].child_frame_id == named
        assert running.user.newest(DEPTH).header.frame_id == named
        assert running.user.told("geometry", says)


def test_a_camera_that_is_named_as_the_world_has_no_pose():
    with Running() as running:
        _listen_to_everything(running.active())
        running.stream(count=4, frame_id="world")
        assert running.user.told("geometry", "the images' frame_id 'world' is the name of frames.world too")
        assert running.user.status("geometry").level == DiagnosticStatus.ERROR
        _arrived(running, d4rt__points=1, d4rt__depth__image=1, d4rt__depth__camera_info=1, rest=0)


@pytest.mark.parametrize(
    "parameters, says",
    [
        ({"frames.world": "base_link"}, "frames.world and frames.base are both 'base_link'"),
        ({"frames.world": "/"}, "frames.world is '/'; it must name a frame"),
    ],
)
def test_names_that_cannot_be_are_refused_with_a_sentence(parameters, says):
    with Running(parameters) as running:
        assert running.user.told("geometry", says)
        assert running.becomes("unconfigured")


def test_in_a_namespace_the_world_is_the_namespaces():
    with Running(namespace="/fleet/robot") as running:
        running.active().listen(TFMessage, "/tf")
        for i in range(4):
            running.send("/fleet/robot/image", image(100 + i / 10))
        transform = running.user.newest("/tf").transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("fleet/robot/world", "cam")


def test_a_world_with_a_slash_is_mended():
    with Running({"frames.world": "/map"}) as running:
        running.active().listen(TFMessage, "/tf")
        running.stream(count=4)
        assert running.user.newest("/tf").transforms[0].header.frame_id == "map"
        assert running.user.told("geometry", "frames.world is '/map': it begins with a slash")


def test_the_inverse_is_the_inverse():
    with Running({"tf.publish": "camera_to_world"}) as running:
        running.active().listen(TFMessage, "/tf")
        running.stream(count=4)
        transform = running.user.newest("/tf").transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("cam", "world")
        pose = messages.pose_from_transform(transform.transform)
        np.testing.assert_allclose(invert(pose), BODY_FROM_OPTICAL, atol=1e-6)


def test_a_covered_lens_ends_tf_tracks_and_path_within_a_window():
    """Nothing altered: a view, then a hand before the lens."""
    with Running() as running:
        user = running.active().user
        _listen_to_everything(running)
        running.stream(count=8)
        assert user.until(lambda: len(user.heard["/tf"]) == 5)
        running.model.encoding.clear()
        running.stream(begin=8, count=8, rgb=np.full((48, 64, 3), 3, np.uint8))
        assert user.until(lambda: len(user.heard[ODOMETRY]) == 13)
        assert not running.model.encoding.is_set()  # there is nothing to compute
        assert user.told("geometry", "not trusted")
        assert user.until(lambda: len(user.heard["/tf"]) == len(user.heard[TRACKS]) == len(user.heard[PATH]))
        assert len(user.heard["/tf"]) < 5 + 4
        np.testing.assert_array_equal(np.reshape(user.heard[ODOMETRY][-1].pose.covariance, (6, 6)), ALL_SIX)
        request = Query.Request(u=[1.0], v=[1.0], t_src=[-1], t_tgt=[-1], t_cam=[-1], frame_id="world")
        response = user.call(Query, "/d4rt/query", request)
        assert response.status == Query.Response.NOT_READY and response.reason in response.message
        assert not response.trusted and "covered" in response.reason and running.node._streaming.history
