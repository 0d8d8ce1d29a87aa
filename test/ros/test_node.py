"""The node over real DDS, with a model that is exact and instant: its life, its input, its parameters."""

from array import array

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.exceptions import ParameterException  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, pose_matrix  # noqa: E402
from d4rt_ros.ros import diagnostics, messages, parameters, qos  # noqa: E402
from d4rt_ros.ros.node import D4rtNode  # noqa: E402
from d4rt_ros.ros.transforms import broadcast  # noqa: E402
from d4rt_ros.srv import Query  # noqa: E402
from d4rt_ros.stream import Outputs  # noqa: E402
from ros_testing import FlatModel, Running, image, info  # noqa: E402

FAST = {"window.stride": 1}
TIMES = [100 + i / 10 for i in range(1000)]


@pytest.fixture
def model():
    return FlatModel()


@pytest.fixture
def running(model):
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), FAST) as it:
        it.user.listen(DiagnosticArray, "/diagnostics")
        yield it


def _stream(user, begin=0, count=6, **kwargs):
    """Publish `count` images and wait until the node has had each."""
    for seconds in TIMES[begin : begin + count]:
        user.publish("image", image(seconds, **kwargs))
        user.until(lambda: False, 0.03)


def _state(user):
    return user.call(GetState, "/d4rt/get_state", GetState.Request()).current_state.label


def _change(user, transition):
    request = ChangeState.Request()
    request.transition.id = transition
    return user.call(ChangeState, "/d4rt/change_state", request).success


def test_images_become_every_topic(running):
    user = running.user
    for kind, topic in (
        (PointCloud2, "/d4rt/points"),
        (Image, "/d4rt/depth/image"),
        (CameraInfo, "/d4rt/depth/camera_info"),
        (Odometry, "/d4rt/odometry"),
        (Path, "/d4rt/path"),
        (Tracks, "/d4rt/tracks"),
        (TFMessage, "/tf"),
    ):
        user.listen(kind, topic)
    user.publish("camera_info", info())
    _stream(user, count=8)
    depth, cloud, tracks = (user.newest("/d4rt/" + t) for t in ("depth/image", "points", "tracks"))
    assert (depth.height, depth.width, depth.encoding, depth.header.frame_id) == (48, 64, "32FC1", "cam")
    np.testing.assert_array_equal(np.frombuffer(depth.data, np.float32), 2.0)
    assert (cloud.height, cloud.width, cloud.header.frame_id) == (48, 64, "cam")
    points = np.frombuffer(cloud.data, np.float32).reshape(48, 64, 5)
    assert points[0, 0, 0] == pytest.approx(-31.5 * 2 / 100) and points[0, 0, 1] == pytest.approx(
        -23.5 * 2 / 100
    )
    assert (
        tracks.header.frame_id == "world"
        and len(tracks.stamps) == 4
        and tracks.header.stamp == tracks.stamps[-1]
    )
    sent = {round(t * 1e9) for t in TIMES[:8]}
    for topic in user.heard:
        if topic.startswith("/d4rt"):
            header = user.newest(topic).header
            assert header.stamp.sec * 10**9 + header.stamp.nanosec in sent, topic
    transform = user.newest("/tf").transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", "cam")
    assert user.newest("/d4rt/odometry").child_frame_id == "cam"
    assert user.newest("/d4rt/depth/camera_info").k[0] == pytest.approx(100)
    assert user.told("camera", "ok")


# Life


def test_it_can_be_deactivated_cleaned_up_and_configured_again(running, model):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    assert user.until(lambda: running.node._phase == "active")
    assert _state(user) == "active"
    _stream(user)
    heard = len(user.heard["/d4rt/depth/image"])
    assert heard > 0
    assert _change(user, Transition.TRANSITION_DEACTIVATE) and _state(user) == "inactive"
    user.forget_publisher("image")
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    assert _change(user, Transition.TRANSITION_CLEANUP) and _state(user) == "unconfigured"
    assert "/d4rt/depth/image" not in {
        name for name, _ in running.node.get_publisher_names_and_types_by_node("d4rt", "/")
    }
    assert _change(user, Transition.TRANSITION_CONFIGURE) and _change(user, Transition.TRANSITION_ACTIVATE)
    _stream(user, begin=20)
    user.newest("/d4rt/depth/image", after=heard)
    assert _change(user, Transition.TRANSITION_ACTIVE_SHUTDOWN) and _state(user) == "finalized"


def test_without_autostart_it_waits(model):
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), {"autostart": False}) as it:
        assert _state(it.user) == "unconfigured"
        assert _change(it.user, Transition.TRANSITION_CONFIGURE) and _state(it.user) == "inactive"


def test_a_model_that_cannot_be_loaded_is_told_and_the_node_stays_for_another_try(model):
    found = []

    def load(values):
        if values["model.checkpoint"] != "there.safetensors":
            raise ValueError(f"{values['model.checkpoint']}: no such file")
        found.append(values["model.checkpoint"])
        return model

    with Running(lambda **kw: D4rtNode(load, **kw), FAST | {"model.checkpoint": "gone.safetensors"}) as it:
        user = it.user
        user.listen(DiagnosticArray, "/diagnostics")
        assert user.told("geometry", "gone.safetensors: no such file")
        assert user.status("geometry").level == DiagnosticStatus.ERROR
        assert _state(user) == "unconfigured"
        assert not _change(user, Transition.TRANSITION_CONFIGURE)
        assert _set(user, "model.checkpoint", "there.safetensors").successful
        assert _change(user, Transition.TRANSITION_CONFIGURE) and _change(
            user, Transition.TRANSITION_ACTIVATE
        )
        user.listen(Image, "/d4rt/depth/image")
        _stream(user)
        user.newest("/d4rt/depth/image")
    assert found == ["there.safetensors"]


def test_a_window_longer_than_the_model_takes_is_refused(model):
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), {"window.frames": 9}) as it:
        it.user.listen(DiagnosticArray, "/diagnostics")
        assert it.user.told("geometry", "takes 4 at most")


# Images


def _broken(**changes):
    msg = image(99)
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    "msg, says",
    [
        (_broken(encoding="32FC7"), "32FC7"),
        (_broken(data=array("B", bytes(17))), "17 bytes"),
        (_broken(step=7), "step is 7"),
        (_broken(width=0, height=0, step=0, data=array("B")), "0 x 0"),
    ],
)
def test_a_broken_image_is_dropped_counted_and_the_node_goes_on(running, msg, says):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    _stream(user, count=3)
    user.publish("image", msg)
    assert user.until(lambda: says in running.node._figures.last_problem)
    _stream(user, begin=3, count=3)
    user.newest("/d4rt/depth/image")
    assert user.until(lambda: user.figure("camera", "dropped: image") == "1")


def test_stamps_that_say_nothing_are_refused(running):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    for seconds in (0, 100, 100, 100, 100.1, 100.2):
        user.publish("image", image(seconds))
        user.until(lambda: False, 0.03)
    assert user.heard["/d4rt/depth/image"] == []  # three frames are no window of four
    user.publish("image", image(100.3))
    user.newest("/d4rt/depth/image")
    assert user.until(lambda: user.figure("camera", "dropped: stamp") == "3")


def test_time_going_back_restarts(running):
    user = running.user
    user.listen(Path, "/d4rt/path")
    user.listen(Image, "/d4rt/depth/image")
    user.publish("camera_info", info())
    _stream(user, begin=50, count=8)
    assert len(user.newest("/d4rt/path").poses) == 5
    _stream(user, begin=0, count=3)
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    _stream(user, begin=3, count=1)
    assert user.until(lambda: len(user.newest("/d4rt/path").poses) == 1)
    assert user.until(lambda: "went back" in (user.figure("camera", "last restart") or ""))
    assert user.figure("camera", "restarts") == "1"


def test_another_image_size_restarts(running):
    user = running.user
    user.listen(CameraInfo, "/d4rt/depth/camera_info")
    user.listen(Image, "/d4rt/depth/image")
    _stream(user, count=5)
    before = len(user.heard["/d4rt/depth/image"])
    _stream(user, begin=5, count=3, height=30, width=90)
    assert len(user.heard["/d4rt/depth/image"]) == before
    _stream(user, begin=8, count=2, height=30, width=90)
    user.newest("/d4rt/depth/image", after=before)
    assert user.until(lambda: "size changed" in (user.figure("camera", "last restart") or ""))


def test_a_model_that_breaks_is_told_and_the_node_goes_on(running, model):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    model.fail = True
    _stream(user)
    assert user.heard["/d4rt/depth/image"] == []
    assert user.told("geometry", "failed")
    model.fail = False
    _stream(user, begin=6, count=3)
    user.newest("/d4rt/depth/image")


def test_the_newest_window_wins_and_what_is_skipped_is_counted(running, model):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    model.hold.clear()
    _stream(user, count=4)
    assert user.until(model.encoding.is_set)
    _stream(user, begin=4, count=10)
    model.hold.set()
    _stream(user, begin=14, count=0)
    assert user.until(lambda: len(user.heard["/d4rt/depth/image"]) == 2)
    stamps = [
        m.header.stamp.sec * 10 + m.header.stamp.nanosec // 10**8 for m in user.heard["/d4rt/depth/image"]
    ]
    assert stamps == [1003, 1013]
    assert user.until(lambda: user.figure("geometry", "windows skipped") == "9")


def test_compressed_images(model):
    import cv2

    parameters = FAST | {"image_transport": "compressed"}
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), parameters) as it:
        it.user.listen(DiagnosticArray, "/diagnostics")
        it.user.listen(Image, "/d4rt/depth/image")
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        for i, data in enumerate([jpeg, jpeg[:100], b"", jpeg, jpeg, jpeg]):
            msg = CompressedImage(format="jpeg", data=array("B", data), header=image(100 + i / 10).header)
            it.user.publish("image/compressed", msg)
            it.user.until(lambda: False, 0.03)
        it.user.newest("/d4rt/depth/image")
        assert it.user.until(lambda: it.user.figure("camera", "dropped: image") == "2")


# Camera


def test_a_camera_that_is_silent_or_stops_is_told(running, monkeypatch):
    monkeypatch.setattr(diagnostics, "SILENCE", 0.5)
    user = running.user
    assert user.told("camera", "no images on /image yet")
    assert user.status("camera").level == DiagnosticStatus.WARN
    user.publish("camera_info", info())
    _stream(user)
    assert user.told("camera", "the camera has stopped")


@pytest.mark.parametrize(
    "msg, says",
    [
        (None, "no usable camera_info on /camera_info"),
        (info(focal=0), "not calibrated"),
        (info(height=90), "another shape"),
    ],
)
def test_without_a_usable_camera_info_the_intrinsics_are_estimated(running, msg, says):
    user = running.user
    user.listen(CameraInfo, "/d4rt/depth/camera_info")
    if msg is not None:
        user.publish("camera_info", msg)
    _stream(user)
    estimate = user.newest("/d4rt/depth/camera_info")
    assert estimate.k[0] == pytest.approx(100, rel=1e-3) and estimate.k[2] == pytest.approx(31.5)
    assert user.told("camera", says)
    assert user.figure("camera", "calibrated") == "False"


def test_distortion_is_told(running):
    msg = info()
    msg.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    running.user.publish("camera_info", msg)
    _stream(running.user)
    assert running.user.told("camera", "rectified")


# Outputs


def test_nothing_is_computed_that_nobody_hears(running, monkeypatch):
    user, asked = running.user, []
    assert user.until(lambda: running.node._streaming is not None)
    process = running.node._streaming.pipeline.process
    monkeypatch.setattr(
        running.node._streaming.pipeline,
        "process",
        lambda clip, wanted: asked.append(wanted) or process(clip, wanted),
    )
    _stream(user, count=5)
    assert asked[-1] == Outputs(points=False, tracks=False, pose=True)  # TF is on
    hearing = user.listen(Image, "/d4rt/depth/image")
    assert user.until(lambda: running.node._outputs.wanted().points)
    _stream(user, begin=5, count=3)
    assert asked[-1] == Outputs(points=True, tracks=False, pose=True)
    user.node.destroy_subscription(hearing)
    user.listen(Tracks, "/d4rt/tracks")
    assert user.until(lambda: running.node._outputs.wanted() == Outputs(False, True, True))


def test_without_tf_the_pose_is_computed_once_it_is_asked_for(model):
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), FAST | {"tf.publish": "none"}) as it:
        user = it.user
        _stream(user, count=5)
        assert not it.node._outputs.wanted().pose
        assert "/tf" not in {name for name, _ in it.node.get_publisher_names_and_types_by_node("d4rt", "/")}
        request = Query.Request(u=[1.0], v=[1.0], t_src=[0], t_tgt=[0], t_cam=[0], frame_id="world")
        assert user.call(Query, "/d4rt/query", request).status == Query.Response.NOT_READY
        _stream(user, begin=5, count=3)
        assert user.call(Query, "/d4rt/query", request).status == Query.Response.OK


def test_transforms_the_other_way_round(model):
    with Running(
        lambda **kw: D4rtNode(lambda values: model, **kw), FAST | {"tf.publish": "camera_to_world"}
    ) as it:
        it.user.listen(TFMessage, "/tf")
        _stream(it.user)
        transform = it.user.newest("/tf").transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("cam", "world")
        np.testing.assert_allclose(
            messages.pose_from_transform(transform.transform), invert(BODY_FROM_OPTICAL), atol=1e-6
        )


def test_the_pose_of_the_base_through_the_robots_own_transform(model):
    base_from_camera = pose_matrix(BODY_FROM_OPTICAL[:3, :3], [0.3, 0.0, 1.2])
    with Running(
        lambda **kw: D4rtNode(lambda values: model, **kw), FAST | {"tf.publish": "world_to_base"}
    ) as it:
        user = it.user
        user.listen(TFMessage, "/tf")
        user.listen(Odometry, "/d4rt/odometry")
        _stream(user)
        assert user.heard["/tf"] == []  # the robot has not said where its camera is
        user.publish("/tf_static", broadcast(0, "base_link", "cam", base_from_camera), qos.TF_STATIC)
        user.until(lambda: False, 0.1)
        _stream(user, begin=6, count=3)
        transform = user.newest("/tf").transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("world", "base_link")
        expected = BODY_FROM_OPTICAL @ invert(base_from_camera)
        np.testing.assert_allclose(messages.pose_from_transform(transform.transform), expected, atol=1e-6)
        assert user.newest("/d4rt/odometry").child_frame_id == "base_link"


def test_reset(running):
    user = running.user
    user.listen(Path, "/d4rt/path")
    _stream(user, count=8)
    assert user.call(Trigger, "/d4rt/reset", Trigger.Request()).success
    assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
    _stream(user, begin=8, count=4)
    assert user.until(lambda: len(user.newest("/d4rt/path").poses) == 1)


def test_namespace_and_remapping(model):
    make = lambda **kw: D4rtNode(lambda values: model, **kw)  # noqa: E731
    with Running(make, FAST, ["-r", "image:=camera/image_rect"], namespace="/robot") as it:
        it.user.listen(Image, "/robot/d4rt/depth/image")
        for seconds in TIMES[:5]:
            it.user.publish("/robot/camera/image_rect", image(seconds))
            it.user.until(lambda: False, 0.03)
        it.user.newest("/robot/d4rt/depth/image")


def test_simulated_time(model):
    with Running(lambda **kw: D4rtNode(lambda values: model, **kw), FAST | {"use_sim_time": True}) as it:
        user = it.user
        user.listen(DiagnosticArray, "/diagnostics")
        user.listen(Image, "/d4rt/depth/image")
        user.publish("/clock", Clock(clock=image(55.5).header.stamp))
        _stream(user)
        user.newest("/d4rt/depth/image")
        assert user.until(
            lambda: user.heard["/diagnostics"][-1:] and user.heard["/diagnostics"][-1].header.stamp.sec == 55
        )


# Parameters


def _set(user, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return user.call(SetParameters, "/d4rt/set_parameters", request).results[0]


def test_live_parameters_take_effect(running):
    user = running.user
    user.listen(Image, "/d4rt/depth/image")
    user.listen(Tracks, "/d4rt/tracks")
    _stream(user)
    assert _set(user, "depth.size", [12, 20]).successful and _set(user, "tracks.rows", 3).successful
    assert _set(user, "window.hop", 2).successful and _set(user, "tracks.cols", 5).successful
    heard = len(user.heard["/d4rt/depth/image"])
    _stream(user, begin=6, count=4)
    depth = user.newest("/d4rt/depth/image", after=heard + 1)
    assert (depth.height, depth.width) == (12, 20) and len(user.heard["/d4rt/depth/image"]) == heard + 2
    assert len(user.newest("/d4rt/tracks").ids) == 15


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("depth.size", [48], "must be 2 numbers"),
        ("depth.size", [48, 1], "2 to 2160"),
        ("window.hop", 0, "out of range"),
        ("pose.method", "guess", "one of pnp, rigid"),
        ("model.device", "cpu", "when the node is configured"),
        ("image_transport", "compressed", "when the node is configured"),
        ("tracks.rows", "many", "type"),
    ],
)
def test_wrong_parameters_are_refused_with_a_sentence(running, name, value, says):
    assert running.user.until(lambda: running.node._phase == "active")
    result = _set(running.user, name, value)
    assert not result.successful and says in result.reason


def test_every_parameter_is_described(running):
    for name, setting in parameters.SETTINGS.items():
        described = running.node.describe_parameter(name)
        assert described.description == setting.description and described.description.endswith(".")
        assert not setting.bounds or described.integer_range or described.additional_constraints


@pytest.mark.parametrize(
    "wrong", [{"depth.size": [48]}, {"window.hop": 0}, {"tf.publish": "up"}, {"frames.world": ""}]
)
def test_wrong_parameters_at_start_are_refused(wrong):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        with pytest.raises(ParameterException, match=next(iter(wrong))):
            D4rtNode(context=context, parameter_overrides=[Parameter(n, value=v) for n, v in wrong.items()])
    finally:
        rclpy.shutdown(context=context)
