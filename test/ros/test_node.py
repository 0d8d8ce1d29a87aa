"""The node's life, outputs and parameters over real DDS, with a model that is exact and instant."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.srv import Query  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from rclpy.exceptions import ParameterException  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_testing import FlatModel, Running, image, info, set_parameter, transition  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, pose_matrix  # noqa: E402
from d4rt_ros.ros import messages, parameters, qos  # noqa: E402
from d4rt_ros.ros.node import D4rtNode  # noqa: E402
from d4rt_ros.ros.transforms import broadcast  # noqa: E402
from d4rt_ros.stream import only  # noqa: E402

DEPTH = "/d4rt/depth/image"
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE


@pytest.fixture
def running():
    with Running() as it:
        yield it.active()


# Outputs


def test_images_become_every_topic(running):
    user = running.user
    for kind, topic in (
        (PointCloud2, "/d4rt/points"),
        (Image, DEPTH),
        (CameraInfo, "/d4rt/depth/camera_info"),
        (Odometry, "/d4rt/odometry"),
        (Path, "/d4rt/path"),
        (Tracks, "/d4rt/tracks"),
        (TFMessage, "/tf"),
    ):
        running.listen(kind, topic)
    running.send_info(info())
    running.stream(count=4)
    stamp = image(100.3).header.stamp
    for topic in user.heard:
        if topic.startswith("/d4rt"):
            assert user.newest(topic).header.stamp == stamp, topic
    depth, cloud, tracks = (user.newest(topic) for topic in (DEPTH, "/d4rt/points", "/d4rt/tracks"))
    assert (depth.height, depth.width, depth.encoding, depth.header.frame_id) == (36, 48, "32FC1", "cam")
    np.testing.assert_array_equal(np.frombuffer(depth.data, np.float32), 2.0)
    assert (cloud.height, cloud.width, cloud.header.frame_id) == (36, 48, "cam")
    points = np.frombuffer(cloud.data, np.float32).reshape(36, 48, 5)
    np.testing.assert_allclose(points[0, 0, :3], [-31.5 * 2 / 100, -23.5 * 2 / 100, 2], rtol=1e-5)
    assert tracks.header.frame_id == "world" and tracks.header.stamp == tracks.stamps[-1]
    assert len(tracks.stamps) == 4 and len(tracks.ids) == 9 * 12
    transform = user.newest("/tf").transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", "cam")
    assert user.newest("/d4rt/odometry").child_frame_id == "cam"
    assert user.newest("/d4rt/depth/camera_info").k[0] == pytest.approx(100 * 47 / 63)
    assert user.told("camera", "ok")


def test_nothing_is_computed_that_nobody_hears(running, monkeypatch):
    pipeline, asked = running.node._streaming.pipeline, []
    encode = pipeline.encode
    monkeypatch.setattr(pipeline, "encode", lambda seen, wanted: asked.append(wanted) or encode(seen, wanted))
    running.stream(count=4)
    assert asked == [only(pose=True)]  # TF is on
    hearing = running.listen(Image, DEPTH)
    running.stream(begin=4, count=1)
    assert asked[1:] == [only(points=True, pose=True)]
    running.user.node.destroy_subscription(hearing)
    running.listen(Tracks, "/d4rt/tracks")
    assert running.user.until(lambda: running.node._outputs.wanted() == only(tracks=True, pose=True))


def test_without_tf_the_pose_is_computed_once_it_is_asked_for():
    with Running({"tf.publish": "none"}) as running:
        running.active().stream(count=4)
        assert not running.node._outputs.wanted().pose
        assert not [p for p in running.node.publishers if p.topic_name == "/tf"]
        request = Query.Request(u=[1.0], v=[1.0], t_src=[0], t_tgt=[0], t_cam=[0], frame_id="world")
        assert running.user.call(Query, "/d4rt/query", request).status == Query.Response.NOT_READY
        running.stream(begin=4, count=1)
        assert running.user.call(Query, "/d4rt/query", request).status == Query.Response.OK


def test_transforms_the_other_way_round():
    with Running({"tf.publish": "camera_to_world"}) as running:
        running.active().listen(TFMessage, "/tf")
        running.stream(count=4)
        transform = running.user.newest("/tf").transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("cam", "world")
        pose = messages.pose_from_transform(transform.transform)
        np.testing.assert_allclose(pose, invert(BODY_FROM_OPTICAL), atol=1e-6)


def test_the_pose_of_the_base_through_the_robots_own_transform():
    base_from_camera = pose_matrix(BODY_FROM_OPTICAL[:3, :3], [0.3, 0.0, 1.2])
    with Running({"tf.publish": "world_to_base"}) as running:
        user = running.active().user
        running.listen(TFMessage, "/tf")
        running.listen(Odometry, "/d4rt/odometry")
        running.stream(count=4)  # the robot has not said where its camera is
        user.publish("/tf_static", broadcast(0, "base_link", "cam", base_from_camera), qos.TF_STATIC)
        assert user.until(lambda: _known(running.node._transforms, "base_link", "cam"))
        running.stream(begin=4, count=1)
        transform = user.newest("/tf").transforms[0]
        assert len(user.heard["/tf"]) == 1 and transform.header.stamp == image(100.4).header.stamp
        assert (transform.header.frame_id, transform.child_frame_id) == ("world", "base_link")
        # The world begins at the base's first pose.
        np.testing.assert_allclose(messages.pose_from_transform(transform.transform), np.eye(4), atol=1e-6)
        assert user.newest("/d4rt/odometry").child_frame_id == "base_link"


def _known(listener, *frames):
    try:
        return listener.lookup(*frames) is not None
    except LookupError:
        return False


def test_reset(running):
    user = running.user
    running.listen(Path, "/d4rt/path")
    running.stream(count=8)
    assert user.until(lambda: user.heard["/d4rt/path"] and len(user.heard["/d4rt/path"][-1].poses) == 5)
    assert user.call(Trigger, "/d4rt/reset", Trigger.Request()).success
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    running.stream(begin=8, count=4)
    assert user.until(lambda: len(user.heard["/d4rt/path"][-1].poses) == 1)


def test_namespace_and_remapping():
    with Running(arguments=["-r", "image:=camera/image_rect"], namespace="/robot") as running:
        running.active().listen(Image, "/robot/d4rt/depth/image")
        for i in range(4):
            running.send("/robot/camera/image_rect", image(100 + i / 10))
        running.user.newest("/robot/d4rt/depth/image")


def test_simulated_time():
    with Running({"use_sim_time": True}) as running:
        user = running.active().user
        running.listen(Image, DEPTH)
        user.publish("/clock", Clock(clock=image(55.5).header.stamp))
        running.stream(count=4)
        user.newest(DEPTH)
        assert user.until(lambda: user.newest("/diagnostics").header.stamp.sec == 55)


# Life


def test_it_can_be_deactivated_cleaned_up_and_configured_again(running):
    user = running.user
    running.listen(Image, DEPTH)
    assert running.state() == "active"
    running.stream(count=4)
    user.newest(DEPTH)
    assert transition(running.user, Transition.TRANSITION_DEACTIVATE) and running.state() == "inactive"
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    assert not user.call(Trigger, "/d4rt/reset", Trigger.Request()).success
    assert transition(running.user, Transition.TRANSITION_CLEANUP) and running.state() == "unconfigured"
    assert not [p for p in running.node.publishers if p.topic_name == DEPTH]
    user.forget_publisher("image")
    assert transition(running.user, CONFIGURE) and transition(running.user, ACTIVATE)
    running.listen(Image, DEPTH)
    running.stream(begin=20, count=4)
    assert user.newest(DEPTH).header.stamp == image(102.3).header.stamp
    assert transition(running.user, Transition.TRANSITION_ACTIVE_SHUTDOWN) and running.state() == "finalized"


def test_it_bears_being_switched_while_images_come(running):
    for i in range(5):
        running.stream(begin=10 * i, count=2, computed=False)
        running.user.publish("image", image(100 + i + 0.5))
        assert transition(running.user, Transition.TRANSITION_DEACTIVATE)
        running.user.forget_publisher("image")
        assert transition(running.user, ACTIVATE)
    running.listen(Image, DEPTH)
    running.stream(begin=90, count=4)
    running.user.newest(DEPTH)


def test_without_autostart_it_waits():
    with Running({"autostart": False}) as running:
        assert running.state() == "unconfigured"
        assert transition(running.user, CONFIGURE) and running.state() == "inactive"
        assert running.user.told("geometry", "the node is inactive")


def test_a_model_that_cannot_be_loaded_is_told_and_the_node_stays_for_another_try():
    def load(values):
        if values["model.checkpoint"] != "there.safetensors":
            raise ValueError(f"{values['model.checkpoint']}: no such file")
        return FlatModel()

    with Running({"model.checkpoint": "gone.safetensors"}, load_model=load) as running:
        assert running.user.told("geometry", "gone.safetensors: no such file")
        assert running.user.status("geometry").level == DiagnosticStatus.ERROR
        assert running.becomes("unconfigured")
        assert not transition(running.user, CONFIGURE)
        assert set_parameter(running.user, "model.checkpoint", "there.safetensors").successful
        assert transition(running.user, CONFIGURE) and transition(running.user, ACTIVATE)
        running.listen(Image, DEPTH)
        running.stream(count=4)
        running.user.newest(DEPTH)


def test_a_window_that_the_model_does_not_take_is_refused():
    with Running({"window.frames": 9}) as running:
        assert running.user.told("geometry", "this model takes 4")


# Parameters


def test_live_parameters_take_effect(running):
    user = running.user
    running.listen(Image, DEPTH)
    running.listen(Tracks, "/d4rt/tracks")
    running.stream(count=4)
    for name, value in (("depth.size", [12, 20]), ("tracks.rows", 3), ("tracks.cols", 5), ("window.hop", 2)):
        assert set_parameter(running.user, name, value).successful
    running.listen(Path, "/d4rt/path")
    assert set_parameter(user, "path.length", 1).successful
    running.stream(begin=4, count=4)
    assert user.until(lambda: [len(m.poses) for m in user.heard["/d4rt/path"]] == [1, 1])
    assert user.until(lambda: len(user.heard[DEPTH]) == 3)
    assert [(m.height, m.width) for m in user.heard[DEPTH]] == [(36, 48), (12, 20), (12, 20)]
    assert user.until(lambda: len(user.heard["/d4rt/tracks"]) == 3)
    assert len(user.heard["/d4rt/tracks"][-1].ids) == 15


def test_a_rate_for_depth_has_fewer_points_asked_and_the_grid_filled(running):
    user = running.user
    user.listen(DiagnosticArray, "/diagnostics")
    running.listen(Image, DEPTH)
    assert set_parameter(user, "depth.rate", 1000.0).successful
    running.stream(count=24)

    def asked():
        return user.figure("geometry", "depth queries")

    assert user.until(lambda: asked() not in (None, "all"))
    assert 4 <= float(asked()) < 36 * 48
    depth = user.newest(DEPTH)
    assert (depth.height, depth.width) == (36, 48)
    np.testing.assert_allclose(np.frombuffer(depth.data, np.float32), 2.0, rtol=1e-5)
    assert set_parameter(user, "depth.rate", 0.0).successful
    running.stream(begin=24, count=4)
    assert user.until(lambda: asked() == "all")


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("depth.rate", -1.0, "out of range"),
        ("model.backend", "onnx", "when the node is configured"),
        ("depth.size", [48], "must be 2 numbers"),
        ("depth.size", [48, 1], "2 to 2160"),
        ("tracks.rows", 1, "out of range"),
        ("window.hop", 0, "out of range"),
        ("pose.method", "guess", "one of pnp, rigid"),
        ("model.device", "cpu", "when the node is configured"),
        ("image_transport", "compressed", "when the node is configured"),
        ("tracks.rows", "many", "a whole number"),
    ],
)
def test_wrong_parameters_are_refused_with_a_sentence(running, name, value, says):
    result = set_parameter(running.user, name, value)
    assert not result.successful and says in result.reason


def test_a_parameter_that_does_not_exist_is_told(capfd):
    with Running({"depth.rows": 3}) as running:
        running.active()
    assert "no parameter depth.rows" in capfd.readouterr().err


def test_every_parameter_is_described(running):
    for name, setting in parameters.SETTINGS.items():
        described = running.node.describe_parameter(name)
        assert described.description == setting.description and described.description.endswith(".")
        assert not setting.bounds or described.integer_range or described.additional_constraints


@pytest.mark.parametrize(
    "wrong", [{"depth.size": [48]}, {"window.hop": 0}, {"tf.publish": "up"}, {"frames.base": ""}]
)
def test_wrong_parameters_at_start_are_refused(wrong):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        with pytest.raises(ParameterException, match=next(iter(wrong))):
            D4rtNode(context=context, parameter_overrides=[Parameter(n, value=v) for n, v in wrong.items()])
    finally:
        rclpy.shutdown(context=context)
