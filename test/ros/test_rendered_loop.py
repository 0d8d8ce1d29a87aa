"""A loop that is played while it is rendered."""

import logging
import threading
import time

import numpy as np
import pytest

from d4rt_ros.ros.rendered_loop import LOOP_IS_CLOSED, RenderedLoop

PERIOD = 5_000_000
COUNT = 40
LOG = logging.getLogger("loop")


def slow(count=COUNT, seconds=0.02):
    for index in range(count):
        time.sleep(seconds)
        yield index


def test_it_is_played_evenly_while_it_is_rendered_and_then_at_its_own_pace(caplog):
    caplog.set_level(logging.INFO)
    stop = threading.Event()
    loop = RenderedLoop(slow(), COUNT, PERIOD, LOG)
    began = time.monotonic()
    assert loop.begun(stop) and time.monotonic() - began < 0.5 * COUNT * 0.02, "not everything first"
    due, intervals, waited = time.monotonic(), [], []
    for index in range(COUNT):
        before = time.monotonic()
        assert loop.frame(index, stop) == index
        waited.append(time.monotonic() - before)
        intervals.append(loop.interval(index) / 1e9)
        due = max(due, time.monotonic()) + intervals[-1]
        time.sleep(max(due - time.monotonic(), 0))
    middle = np.array(intervals[5:-8])
    # A frame takes 20 ms, four periods: so long apart they are, but for the lead; and no frame is waited for long.
    assert 2 * PERIOD / 1e9 < np.median(middle) and middle.std() < 0.35 * middle.mean(), intervals
    assert np.median(waited) < 0.5 * np.median(middle)
    deadline = time.monotonic() + 10
    while LOOP_IS_CLOSED not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert loop.interval(0) == PERIOD and loop.frame(COUNT - 1, stop) == COUNT - 1
    assert "the scene moves slower" in caplog.text


def test_what_is_rendered_fast_has_its_own_pace_at_once():
    loop = RenderedLoop(iter(range(COUNT)), COUNT, PERIOD, LOG)
    assert loop.begun(threading.Event()) and loop.interval(0) == PERIOD


def test_who_waits_for_a_frame_is_let_go_by_the_end():
    stop, never = threading.Event(), threading.Event()

    def stuck():
        yield 0
        never.wait(20)

    loop = RenderedLoop(stuck(), COUNT, PERIOD, LOG)
    threading.Timer(0.2, stop.set).start()
    assert not loop.begun(stop)
    never.set()


def test_what_rendering_raises_reaches_who_plays():
    def broken():
        yield 0
        raise MemoryError("too large")

    loop = RenderedLoop(broken(), COUNT, PERIOD, LOG)
    with pytest.raises(MemoryError, match="too large"):
        loop.begun(threading.Event())
