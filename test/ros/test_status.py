"""~/status: one message that says whether the rest may be acted on, at once for whoever comes later too."""

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
msg = pytest.importorskip("d4rt_ros.msg", reason="needs our built interfaces")
if not hasattr(msg, "Status"):
    pytest.skip(
        "d4rt_ros/Status was not there when the interfaces were built: make setup", allow_module_level=True
    )
from d4rt_ros.msg import Status  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from ros_testing import Running, alter, image, info, transition  # noqa: E402
from small_results import judged, small_result  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d4rt_ros.ros import qos, status  # noqa: E402
from d4rt_ros.ros.status import sigmas, standing  # noqa: E402
from d4rt_ros.stream import Scale  # noqa: E402

STATUS = "/d4rt/status"
GREY = np.full((48, 64, 3), 90, np.uint8)


def test_the_states_are_the_messages():
    for name in ("STARTING", "TRACKING", "LOST", "BLIND", "IDLE", "STOPPED"):
        assert getattr(Status, name) == getattr(status, name)
    assert set(vars(standing(small_result([1]), 0.1))) | {"header"} == set(
        Status.get_fields_and_field_types()
    )


@pytest.mark.parametrize(
    "result, state, reason",
    [
        (small_result([1, 2], np.eye(4)), Status.TRACKING, ""),
        (
            judged(small_result([1, 2], np.eye(4)), lost="too few points agree"),
            Status.LOST,
            "too few points agree",
        ),
        (judged(small_result([1, 2], np.eye(4)), problem="it is dark"), Status.BLIND, "it is dark"),
        (judged(small_result([1, 2]), problem="it is dark"), Status.BLIND, "it is dark"),
        (small_result([1, 2]), Status.IDLE, "not asked for"),
    ],
)
def test_of_a_result(result, state, reason):
    now = standing(result, 0.25, 9.0)
    assert now.state == state and reason in now.reason and (now.latency, now.rate) == (0.25, 9.0)
    assert math.isnan(now.position_sigma) == math.isnan(now.rotation_sigma) == (state != Status.TRACKING)


def test_sigmas_are_along_the_worst_axis():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = turn @ np.diag([0.01, 0.04, 0.0]) @ turn.T
    covariance[3:, 3:] = turn @ np.diag([1e-4, 0.0, 9e-4]) @ turn.T
    assert sigmas(covariance) == pytest.approx((0.2, 0.03))


def test_the_scale_and_what_says_so():
    known = standing(small_result([1], np.eye(4), scale=Scale(1.7, 0.02, "height")), 0.1)
    assert (known.metric, known.metres, known.scale_sigma, known.scale_source) == (True, 1.7, 0.02, "height")
    unknown = standing(small_result([1], np.eye(4)), 0.1)
    assert (unknown.metric, unknown.metres, unknown.scale_source) == (False, 1.0, "")
    assert math.isnan(unknown.scale_sigma)


# Through the node


def listening(running):
    running.user.listen(Status, STATUS, qos.LATCHED)
    return running.user.heard[STATUS]


def becomes(running, state):
    heard = running.user.heard[STATUS]
    assert running.user.until(lambda: heard and heard[-1].state == state), heard[-1:]
    return heard[-1]


def test_from_loading_to_tracking_to_blind_and_back():
    with Running() as running:
        heard = listening(running.active())
        assert running.user.until(lambda: heard)  # latched: it was published before
        assert heard[0].state == Status.STARTING and heard[0].reason and heard[0].header.frame_id == "world"
        running.send_info(info())
        running.stream(count=5)
        now = becomes(running, Status.TRACKING)
        assert running.user.until(lambda: heard[-1].header.stamp == image(100.4).header.stamp)
        now = heard[-1]
        assert now.reason == "" and not now.metric and now.metres == 1.0 and math.isnan(now.scale_sigma)
        assert 0 < now.latency < 10 and now.rate > 0 and 0 < now.inliers <= 1
        assert 0 < now.position_sigma < 1 and 0 < now.rotation_sigma < 1
        running.stream(begin=5, count=6, rgb=GREY)
        now = becomes(running, Status.BLIND)
        assert now.reason and math.isnan(now.position_sigma) and math.isnan(now.inliers)
        running.stream(begin=11, count=8)
        becomes(running, Status.TRACKING)


def test_every_result_is_told():
    with Running() as running:
        heard = listening(running.active())
        running.stream(count=8)
        assert running.user.until(lambda: [m.state for m in heard].count(Status.TRACKING) == 5)
        assert [m.header.stamp for m in heard[-5:]] == [image(100 + i / 10).header.stamp for i in range(3, 8)]


def test_who_comes_later_hears_the_last_one_at_once():
    with Running() as running:
        running.active().stream(count=6)
        heard = listening(running)
        assert running.user.until(lambda: heard)
        assert heard[0].header.stamp == image(100.5).header.stamp and heard[0].state == Status.TRACKING
        # Volatile: from now on, once the two have met.
        running.user.node.create_subscription(Status, STATUS, lambda m: heard.append(m), 1)
        publisher = running.node._status._publisher
        assert running.user.until(lambda: publisher.get_subscription_count() == 2)
        running.stream(begin=6, count=1)
        assert running.user.until(lambda: len(heard) == 3)


def test_reset_and_lifecycle_are_told():
    with Running() as running:
        heard = listening(running.active())
        running.stream(count=5)
        becomes(running, Status.TRACKING)
        assert running.user.call(Trigger, "/d4rt/reset", Trigger.Request()).success
        assert becomes(running, Status.STARTING).reason
        assert transition(running.user, Transition.TRANSITION_DEACTIVATE)
        assert "not active" in becomes(running, Status.STOPPED).reason
        count = len(heard)
        assert transition(running.user, Transition.TRANSITION_ACTIVATE)
        becomes(running, Status.STARTING)
        assert len(heard) == count + 1  # a change of state is told once


def test_a_camera_that_stops_is_told_and_that_it_goes_on():
    with Running() as running:
        heard = listening(running.active())
        running.stream(count=5)
        becomes(running, Status.TRACKING)
        assert "no image" in becomes(running, Status.STOPPED).reason
        seen = len(running.user.heard["/diagnostics"])
        running.user.newest("/diagnostics", seen + 1)
        assert [m.state for m in heard].count(Status.STOPPED) == 1
        running.stream(begin=5, count=4)
        becomes(running, Status.TRACKING)


def test_a_window_that_fails_is_told_and_the_next_one_too():
    with Running() as running:
        listening(running.active())
        running.stream(count=5)
        becomes(running, Status.TRACKING)
        running.model.fail = True
        running.stream(begin=5, count=1)
        assert "RuntimeError: the model broke" in becomes(running, Status.STOPPED).reason
        running.model.fail = False
        running.stream(begin=6, count=1)
        becomes(running, Status.TRACKING)


def test_who_listens_to_it_wants_the_pose():
    with Running({"tf.publish": "none"}) as running:
        running.active().stream(count=5)
        heard = listening(running)
        assert running.user.until(lambda: heard) and heard[0].state == Status.IDLE
        running.stream(begin=5, count=2)
        becomes(running, Status.TRACKING)


def test_a_model_that_cannot_be_loaded_is_told():
    def load(values):
        raise ValueError("gone.safetensors: no such file")

    with Running(load_model=load) as running:
        listening(running)
        assert "gone.safetensors: no such file" in becomes(running, Status.STOPPED).reason


def test_the_frame_is_the_worlds():
    with Running({"frames.world": "/odom"}) as running:
        heard = listening(running.active())
        assert running.user.until(lambda: heard) and heard[-1].header.frame_id == "odom"


def test_a_new_world_is_counted():
    with Running() as running:
        heard = listening(running.active())
        running.stream(count=5)
        alter(running, lambda result: judged(result, world=3))
        running.stream(begin=5, count=1)
        assert running.user.until(lambda: heard[-1].world == 3)
