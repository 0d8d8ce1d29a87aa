"""What diagnostics find, and what of it is said on the terminal, when, and how often."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from ros_testing import Running, info  # noqa: E402
from small_results import judged, small_result  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from d4rt_ros.ros.diagnostics import ERROR, OK, WARN, Problem, Reporter, Statistics, node_state  # noqa: E402
from d4rt_ros.ros.terminal import PATIENCE, QUIET, Terminal  # noqa: E402
from d4rt_ros.stream import Scale  # noqa: E402
from d4rt_ros.stream.window import Window  # noqa: E402


class Log(list):
    def __getattr__(self, level):
        return lambda sentence: self.append((level, sentence))


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def terminal(log):
    return Terminal(log, lambda: True)


LOST = Problem(WARN, "trust", "the pose is not trusted: 10 % of the points agree")


def test_a_problem_is_said_when_it_begins_and_when_it_is_over(terminal, log):
    for now in range(5):
        terminal.tell([LOST], now)
    terminal.tell([], 6)
    terminal.tell([], 7)
    assert log == [("warning", LOST.sentence), ("info", "the pose is trusted again")]


def test_what_comes_and_goes_does_not_fill_the_terminal(terminal, log):
    for now in range(100):
        terminal.tell([LOST] if now % 2 else [], now)
    assert 2 <= len([said for said in log if said[0] == "warning"]) <= 100 / QUIET + 1


def test_some_problems_are_said_only_when_they_last(terminal, log):
    silent = Problem(WARN, "silence", "no images")
    terminal.tell([silent], 0)
    terminal.tell([silent], PATIENCE["silence"] - 1)
    terminal.tell([], PATIENCE["silence"])
    terminal.tell([silent], 20)
    assert log == []
    terminal.tell([silent], 20 + PATIENCE["silence"])
    assert log == [("warning", "no images")]


def test_levels_are_those_of_diagnostics(terminal, log):
    terminal.tell([Problem(ERROR, "a", "bad"), Problem(OK, "b", "so it is")], 0)
    assert log == [("error", "bad"), ("info", "so it is")]


def test_nothing_is_said_when_the_log_is_closed(log):
    terminal = Terminal(log, lambda: False)
    terminal.warn("restart", "everything restarts")
    assert log == []


# Diagnostics


def state_of(streaming):
    calibration = SimpleNamespace(problem="")
    return node_state("active", "", None, calibration, streaming, 0.0)


def streaming_of(pose=np.eye(4), judgement={}, **parts):
    window = Window(frames=4)
    window.gaps, window.gap_reason = 2, "nothing came for 2 s"
    return SimpleNamespace(
        result=judged(small_result([0], pose, **parts), **judgement),
        window=window,
        device="",
        problems=[],
        history="",
        depth_queries=None,
    )


def told(state, part, statistics=None):
    statistics = statistics or Statistics(last_image=0.0)
    array, problems = Reporter("d4rt", -1.0).report(Header(), state, statistics, 0.5)
    status = next(s for s in array.status if s.name.endswith(part))
    return status, {v.key: v.value for v in status.values}, problems


def test_what_is_not_trusted_is_told_with_its_reason():
    lost = streaming_of(judgement={"lost": "the images contradict it"})
    status, figures, problems = told(state_of(lost), "geometry")
    assert status.level == WARN and "the pose is not trusted: the images contradict it" in status.message
    assert figures["tracking"] == "lost" and figures["reason"] == "the images contradict it"
    assert [p.kind for p in problems] == ["trust"]


def test_a_pose_that_nobody_asked_for_is_not_lost_but_black_images_are():
    status, figures, _ = told(state_of(streaming_of(pose=None)), "geometry")
    assert status.level == OK and figures["tracking"] == "not computed"
    black = streaming_of(pose=None, judgement={"problem": "the images are black"})
    status, _, _ = told(state_of(black), "geometry")
    assert "what the images show is not trusted: the images are black" in status.message


def test_a_frozen_image_is_a_warning_and_no_error():
    status, _, _ = told(state_of(streaming_of(frozen_seconds=3.0)), "camera")
    assert status.level == WARN and "has not changed for 3 s" in status.message
    status, figures, _ = told(state_of(streaming_of(frozen_seconds=1.0)), "camera")
    assert status.level == OK and figures["gaps"] == "2" and figures["last gap"] == "nothing came for 2 s"


def test_problems_of_publishing_have_their_own_level_and_one_kind_whatever_their_figures():
    kinds = set()
    for seconds in (1.5, 2.5):
        streaming = streaming_of()
        streaming.problems = [(ERROR, f"no transform at {seconds} s")]
        status, _, problems = told(state_of(streaming), "geometry")
        assert status.level == ERROR and f"no transform at {seconds} s" in status.message
        kinds.add(problems[0].kind)
    assert len(kinds) == 1


def test_scale_and_what_is_kept_are_told():
    streaming = streaming_of(scale=Scale(2.5, 0.0, "fixed"))
    streaming.history = "3 windows, 12 MB"
    _, figures, _ = told(state_of(streaming), "geometry")
    assert figures["metric"] == "True" and figures["metres in a unit"] == "2.5"
    assert told(state_of(streaming), "queries")[1]["kept"] == "3 windows, 12 MB"


def test_the_node_says_once_that_it_is_uncalibrated_and_when_it_is_not_any_more(monkeypatch, capfd):
    from d4rt_ros.ros import terminal

    monkeypatch.setitem(terminal.PATIENCE, "uncalibrated", 0.0)
    with Running() as running:
        running.active().stream()
        said = []
        assert running.user.until(
            lambda: said.append(capfd.readouterr().err) or "not calibrated" in "".join(said)
        )
        running.send_info(info())
        running.stream(6, 1)
        assert running.user.until(
            lambda: said.append(capfd.readouterr().err) or "the camera is calibrated" in "".join(said)
        )
        assert "".join(said).count("not calibrated") == 1


def test_the_node_says_when_it_is_lost_and_when_it_finds_itself(capfd):
    with Running() as running:
        running.active().stream()
        streaming, said = running.node._streaming, []

        def becomes(lost, words):
            streaming.result = judged(streaming.result, lost=lost)
            heard = running.user.until(lambda: said.append(capfd.readouterr().err) or words in "".join(said))
            assert heard, "".join(said)

        becomes("a hand is before the lens", "a hand is before the lens")
        becomes("", "the pose is trusted again")
