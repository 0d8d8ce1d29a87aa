"""The node's states over real DDS: what answers in each, and what happens to a transition at a bad moment."""

import os
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import GetAvailableTransitions  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from ros_testing import FlatModel, Running, image, transition  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

DEPTH = "/d4rt/depth/image"
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


class Slow:
    """A model whose loading waits until it is let go."""

    def __init__(self):
        self.loading, self.go = threading.Event(), threading.Event()

    def __call__(self, values):
        self.loading.set()
        self.go.wait(60)
        return FlatModel()


@pytest.fixture
def slow():
    slow = Slow()
    yield slow
    slow.go.set()


def test_services_answer_while_the_weights_load(slow):
    with Running(load_model=slow) as running:
        user = running.user
        assert user.until(slow.loading.is_set)
        assert running.state() == "configuring"
        request = GetAvailableTransitions.Request()
        assert user.call(GetAvailableTransitions, "/d4rt/get_available_transitions", request)
        values = user.call(GetParameters, "/d4rt/get_parameters", GetParameters.Request(names=["depth.rate"]))
        assert values.values[0].double_value == 0.0
        assert user.call(Query, "/d4rt/query", Query.Request()).status == Query.Response.NOT_READY
        assert running.user.told("geometry", "its model is being loaded")
        # another transition meanwhile is refused, and harms nothing
        for step in (CONFIGURE, ACTIVATE, CLEANUP):
            assert not transition(user, step)
        slow.go.set()
        running.active()
        assert running.state() == "active"


def test_an_end_while_the_weights_load_waits_for_nothing(slow):
    running = Running(load_model=slow)
    with running:
        assert running.user.until(slow.loading.is_set)
        begin = time.monotonic()
        running.node.close(patience=0)
        assert running.user.until(lambda: running.node._state_machine.current_state[1] == "unconfigured")
        assert time.monotonic() - begin < 5


def test_it_is_deactivated_and_cleaned_up_while_it_computes():
    with Running() as running:
        running.active().listen(Image, DEPTH)
        running.model.hold.clear()
        running.stream(count=4, computed=False)
        assert running.user.until(running.model.encoding.is_set)
        assert transition(running.user, DEACTIVATE) and running.state() == "inactive"
        threading.Timer(0.3, running.model.hold.set).start()
        assert transition(running.user, CLEANUP) and running.state() == "unconfigured"
        assert running.user.heard[DEPTH] == []  # nothing of what was forgotten


def test_what_goes_wrong_in_activating_is_told_and_can_be_tried_again(monkeypatch):
    from d4rt_ros.ros import node as module

    class Broken:
        def __init__(self, *_):
            raise RuntimeError("no such luck")

    with Running({"autostart": False}) as running:
        assert transition(running.user, CONFIGURE)
        with monkeypatch.context() as patched:
            patched.setattr(module, "Inputs", Broken)
            assert not transition(running.user, ACTIVATE)
        assert running.state() == "inactive" and running.user.told("geometry", "no such luck")
        assert transition(running.user, ACTIVATE)
        assert running.state() == "active" and running.user.told("geometry", "ok")


def test_services_after_shutdown_answer_that_nothing_is_ready():
    with Running() as running:
        user = running.active().user
        running.stream(count=4)
        assert transition(user, Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert running.state() == "finalized"
        for kind, name in ((Query, "/d4rt/query"), (TrackPoints, "/d4rt/track_points")):
            assert user.call(kind, name, kind.Request()).status == kind.Response.NOT_READY
        assert not user.call(Trigger, "/d4rt/reset", Trigger.Request()).success
        assert not transition(user, CONFIGURE)
        assert running.user.told("geometry", "finalized")


def test_full_cycles_under_images_leave_nothing_behind():
    """A few here; 50 by hand, with D4RT_CYCLES=50."""
    cycles = int(os.environ.get("D4RT_CYCLES", 5))
    with Running({"autostart": False}) as running:
        user, stop = running.user, threading.Event()
        publisher = user.node.create_publisher(Image, "image", 5)
        messages = [image(100 + i / 30) for i in range(1000)]

        def publish():
            for message in messages * 100:
                if stop.wait(1 / 60):
                    return
                publisher.publish(message)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            threads = []
            for _ in range(cycles):
                for step in (CONFIGURE, ACTIVATE):
                    assert transition(user, step)
                before = running.images
                assert user.until(lambda: running.images > before + 2)
                for step in (DEACTIVATE, CLEANUP):
                    assert transition(user, step)
                # Another thread of the executor may have joined its pool.
                threads.append(sum(t.name == "d4rt model" for t in threading.enumerate()))
                entities = [len(list(kind)) for kind in (running.node.publishers, running.node.subscriptions)]
                threads.append(tuple(entities))
            assert set(threads) == {0, threads[1]}
        finally:
            stop.set()
            thread.join()
