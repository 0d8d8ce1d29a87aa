"""Restarts, locks and what is kept: nothing of an old world comes after it, and images wait for nobody."""

import threading
from array import array

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_testing import Running, image, set_parameter, stamp  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

TOPICS = {
    "/d4rt/points": PointCloud2,
    "/d4rt/depth/image": Image,
    "/d4rt/tracks": Tracks,
    "/d4rt/odometry": Odometry,
    "/tf": TFMessage,
}


@pytest.fixture
def running():
    with Running() as running:
        running.active()
        for topic, kind in TOPICS.items():
            running.listen(kind, topic)
        yield running


def _stamps(running):
    """Of everything that came on the node's topics."""
    heard = [m for topic in TOPICS for m in running.user.heard[topic]]
    headers = [m.transforms[0].header if isinstance(m, TFMessage) else m.header for m in heard]
    return {header.stamp.sec for header in headers}


def _reset(running):
    return running.user.call(Trigger, "/d4rt/reset", Trigger.Request())


def _query(running, frame_id="", stamps=(), **times):
    request = Query.Request(u=[5.0], v=[5.0], frame_id=frame_id, stamps=list(stamps))
    for name in ("t_src", "t_tgt", "t_cam"):
        setattr(request, name, array("i", [times.get(name, -1)]))
    return running.user.call(Query, "/d4rt/query", request)


def _later(running):
    """A stream that begins at 200 s, computed and heard."""
    for i in range(4):
        running.send("image", image(200 + i / 10))
    assert running.user.until(lambda: 200 in _stamps(running))


def test_a_result_of_the_old_world_is_never_published_after_a_reset(running):
    """The window is being computed when the reset comes."""
    running.model.hold.clear()
    running.model.encoding.clear()
    running.stream(count=4, computed=False)
    assert running.model.encoding.wait(15)
    assert _reset(running).success
    running.model.hold.set()
    assert running.user.until(lambda: running.node._worker.idle)
    assert running.node._streaming.result is None and running.node._streaming.windows == []
    assert _query(running).status == Query.Response.NOT_READY
    _later(running)
    assert _stamps(running) == {200}


def test_a_result_of_the_old_world_is_never_published_after_a_bag_loops(running):
    for i in range(3):
        running.send("image", image(300 + i / 10))
    running.model.hold.clear()
    running.model.encoding.clear()
    running.send("image", image(300.3), computed=False)
    assert running.model.encoding.wait(15)
    for i in range(4):
        running.send("image", image(200 + i / 10), computed=False)
    running.model.hold.set()
    assert running.user.until(lambda: running.node._worker.idle)
    for i in range(4, 8):
        running.send("image", image(200 + i / 10))
    assert running.user.until(lambda: 200 in _stamps(running))
    assert _stamps(running) == {200}


class SlowSubscriber:
    """Publishing blocks from the first message on `topic` until it is let go."""

    def __init__(self, running, topic):
        publisher = running.node._outputs._topics[topic]
        publish = publisher.publish
        self.reached, self.free = threading.Event(), threading.Event()

        def slow(message):
            self.reached.set()
            assert self.free.wait(30)
            publish(message)

        publisher.publish = slow


def test_images_do_not_wait_for_a_slow_subscriber(running):
    slow = SlowSubscriber(running, "~/points")
    running.stream(count=4, computed=False)
    assert slow.reached.wait(15)
    window, begin = running.node._streaming.window, running.images
    running.stream(begin=4, count=5, computed=False)  # returns when the node has taken them
    assert running.images == begin + 5 and window.clip()[-1].stamp == 100_800_000_000
    slow.free.set()
    assert running.user.until(lambda: running.node._worker.idle)


def test_a_reset_while_a_result_is_published_returns_when_that_is_out(running):
    slow = SlowSubscriber(running, "~/points")
    running.stream(count=4, computed=False)
    assert slow.reached.wait(15)
    streaming, answered = running.node._streaming, []
    thread = threading.Thread(target=lambda: answered.append(streaming.reset("now")))
    thread.start()
    assert running.user.until(lambda: streaming.epoch == 1) and not answered
    slow.free.set()
    thread.join(15)
    assert answered == [True]
    # What came after the topic that was slow is not published any more.
    assert running.user.until(lambda: running.node._worker.idle)
    _later(running)
    for topic in ("/d4rt/depth/image", "/d4rt/tracks"):
        assert running.user.until(lambda: running.user.heard[topic])
        assert {m.header.stamp.sec for m in running.user.heard[topic]} == {200}, topic


def test_a_reset_says_truly_whether_there_was_anything(running):
    answer = _reset(running)
    assert not answer.success and "nothing to reset" in answer.message
    running.stream(count=1)
    assert _reset(running).success and not _reset(running).success
    running.stream(begin=10, count=5)
    assert _query(running).status == Query.Response.OK
    assert _reset(running).success and not _reset(running).success
    assert _query(running, stamps=[stamp(101.0)]).status == Query.Response.NOT_READY


def test_an_answer_of_before_a_reset_does_not_come_after_it(running):
    """A large question is being answered, in parts, when the reset comes."""
    running.stream(count=4)
    streaming, begun, go_on = running.node._streaming, threading.Event(), threading.Event()
    run = streaming.run

    def slow(question):
        begun.set()
        assert go_on.wait(15)
        return run(question)

    streaming.run = slow
    answers = []
    client = running.user.node.create_client(Query, "/d4rt/query")
    assert running.user.until(client.service_is_ready)
    client.call_async(Query.Request(u=[1.0], v=[1.0], t_src=[0], t_tgt=[0], t_cam=[0])).add_done_callback(
        lambda future: answers.append(future.result())
    )
    assert running.user.until(begun.is_set)
    assert _reset(running).success
    go_on.set()
    assert running.user.until(lambda: answers)
    assert answers[0].status == Query.Response.NOT_READY and "anew meanwhile" in answers[0].message
    assert len(answers[0].points) == 0


def test_questions_about_the_recent_past():
    """A second ago, of a camera with ten images a second and windows of four of them; then no longer."""
    with Running({"query.history": 1.5}) as running:
        running.active().listen(Odometry, "/d4rt/odometry")
        running.stream(count=20)
        past = [stamp(100.9), stamp(101.0)]
        response = _query(running, "world", past, t_src=0, t_tgt=1, t_cam=1)
        assert response.status == Query.Response.OK, response.message
        assert response.header.stamp == response.stamps[-1] and stamp(100.9) in response.stamps
        tracks = TrackPoints.Request(u=[5.0], v=[5.0], t_src=[0], stamps=past)
        tracks = running.user.call(TrackPoints, "/d4rt/track_points", tracks)
        assert tracks.status == Query.Response.OK and stamp(101.0) in tracks.stamps
        assert _query(running).stamps[-1] == stamp(101.9)
        assert _query(running, stamps=[stamp(100.0)], t_src=0).status == Query.Response.OUT_OF_WINDOW
        assert len(running.node._streaming.windows) < 10
        assert running.user.until(lambda: " s, 0 MB" in (running.user.figure("queries", "kept") or ""))
        assert set_parameter(running.user, "query.history", 0.0).successful
        running.stream(begin=20, count=1)
        assert len(running.node._streaming.windows) == 1
        assert _query(running, stamps=past).status == Query.Response.OUT_OF_WINDOW


def test_a_pose_that_a_service_asked_for_stays_computed():
    with Running({"tf.publish": "none"}) as running:
        running.active().stream(count=4)
        assert _query(running, "world").status == Query.Response.NOT_READY
        running.stream(begin=4, count=3)
        assert _query(running, "world").status == Query.Response.OK
