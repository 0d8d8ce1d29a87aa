"""Which encoded windows are kept, and which of them answers."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st
from small_results import small_result  # noqa: E402

from d4rt_ros.ros.windows import (  # noqa: E402
    INVALID,
    MOST_WINDOWS,
    NOT_READY,
    OUT_OF_WINDOW,
    EncodedWindow,
    Refused,
    chosen,
    frames_of,
    kept,
    told,
)

SECOND = 1_000_000_000


class Scene:
    def __init__(self, frames):
        self.frames, self.nbytes = frames, 1_000_000


def _window(first, frames=8, period=0.1, dark=False):
    stamps = (np.arange(first, first + frames) * period * SECOND).astype(np.int64) + SECOND
    shown = dict(problem="dark") if dark else dict(scene=Scene([]))
    return EncodedWindow(small_result(stamps, **shown), "cam")


def _stream(count, history, frames=8, hop=1, **changes):
    windows = []
    for first in range(0, count, hop):
        windows = kept([_window(first, frames, **changes), *windows], history)
    return windows


def _holds(window, *stamps):
    return set(stamps) <= set(window.stamps.tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.floats(0, 4), st.integers(1, MOST_WINDOWS))
def test_any_two_frames_half_a_window_apart_are_found_in_one(frames, hop, history, count):
    windows = _stream(count, history, frames, hop)
    every = np.unique(np.concatenate([_window(f, frames).stamps for f in range(0, count, hop)]))
    newest = windows[0].stamps[-1]
    recent = every[every >= newest - history * SECOND]
    for stamp in recent:
        assert any(_holds(w, stamp) for w in windows) or hop > frames
    half = 0 if hop > frames // 2 else (frames + 1) // 2
    for a, b in zip(recent, recent[half:]):
        assert any(_holds(w, a, b) for w in windows) or hop > frames
    assert all(a.stamps[-1] > b.stamps[-1] for a, b in zip(windows, windows[1:]))


def test_windows_that_overlap_are_thinned_out():
    """Two seconds of a camera of 10 Hz and windows of 0.7 s: a handful, not twenty."""
    assert len(_stream(100, 2.0)) <= 2 * 2.0 / 0.35 + 2
    assert len(_stream(100, 2.0, frames=30)) <= 5


def test_without_history_the_newest_alone_is_kept():
    [window] = _stream(20, 0.0)
    assert window.stamps[0] == 19 * SECOND // 10 + SECOND


def test_their_number_is_bounded_whatever_is_asked():
    assert len(_stream(400, 60.0, frames=2, hop=2)) == MOST_WINDOWS


def test_what_shows_nothing_is_kept_only_as_the_newest():
    windows = _stream(10, 5.0)
    windows = kept([_window(10, dark=True), *windows], 5.0)
    assert [w.result.problem for w in windows[:2]] == ["dark", ""]
    windows = kept([_window(11, dark=True), *windows], 5.0)
    assert [w.result.problem for w in windows[:2]] == ["dark", ""]


def test_the_newest_window_that_holds_all_the_stamps_answers():
    windows = [_window(6), _window(3), _window(0)]
    at = lambda *frames: np.array([SECOND + f * SECOND // 10 for f in frames])  # noqa: E731
    assert chosen(windows, at()) is windows[0]
    assert chosen(windows, at(9)) is windows[0]
    assert chosen(windows, at(5, 9)) is windows[1]
    assert chosen(windows, at(1, 7)) is windows[2]
    assert chosen(windows, at(1) + 900) is windows[2]
    assert chosen(windows, at(9) + 900) is windows[0]  # no nearer in an older one
    with pytest.raises(Refused, match="no one window holds all.*ask in parts") as refused:
        chosen(windows, at(1, 9))
    assert refused.value.status == OUT_OF_WINDOW
    with pytest.raises(Refused, match="no one window holds all"):
        chosen(windows, at(1, 9) + SECOND // 30)
    with pytest.raises(Refused, match="no window has been encoded yet") as refused:
        chosen([], at())
    assert refused.value.status == NOT_READY != INVALID


LOSSY = np.array([1000, 1100, 1200, 1400, 1500, 1600]) * (SECOND // 1000)  # one frame is missing


@given(st.integers(800 * 1000, 1800 * 1000))
def test_between_frames_the_nearest_answers_where_it_is_within_half_a_period(microseconds):
    window = EncodedWindow(small_result(LOSSY, scene=Scene([])), "cam")
    asked = np.array([1000 * microseconds])
    off = np.abs(LOSSY - asked)
    if off.min() <= SECOND // 20:
        assert chosen([window], asked) is window
        assert off[frames_of("t", np.array([0]), asked, window)[0]] == off.min()
    else:
        with pytest.raises(
            Refused, match=f"half a frame period of .*is {off.min() / 1e6:.3f} ms off"
        ) as refused:
            chosen([window], asked)
        assert refused.value.status == OUT_OF_WINDOW


def test_an_exact_stamp_is_answered_by_the_window_that_has_it():
    """The stride was changed: the newest window's frames are farther apart."""
    fine, coarse = _window(0, 16, 0.05), _window(2, 4, 0.2)
    assert chosen([coarse, fine], fine.stamps[9:10]) is fine
    assert chosen([coarse, fine], coarse.stamps[1:2]) is coarse
    assert chosen([coarse], fine.stamps[9:10]) is coarse


def test_of_windows_that_hold_the_stamps_one_that_shows_something_is_preferred():
    windows = [_window(1, dark=True), _window(0)]
    assert chosen(windows, windows[0].stamps[:2]) is windows[1]
    assert chosen(windows, windows[0].stamps[-1:]) is windows[0]
    assert chosen(windows, np.array([], np.int64)) is windows[0]


def test_indices_are_of_the_given_stamps_or_of_the_window():
    window = _window(0)
    none, given_stamps = np.array([], np.int64), window.stamps[[5, 2]]
    np.testing.assert_array_equal(frames_of("t", np.array([0, -1]), none, window), [0, 7])
    np.testing.assert_array_equal(frames_of("t", np.array([0, -1]), given_stamps, window), [5, 2])
    with pytest.raises(Refused, match="t 2 is not one of the 2 given stamps"):
        frames_of("t", np.array([2]), given_stamps, window)


def test_memory_is_told_and_shared_images_count_once():
    image = np.zeros((1000, 1000, 3), np.uint8)
    a, b = _window(0), _window(1)
    a.scene.frames, b.scene.frames = [image], [image]
    assert told([]) == "none" and told([a]) == "1 window, 0.7 s, 4 MB"
    assert told([b, a]) == "2 windows, 0.8 s, 5 MB"


def test_large_scenes_are_kept_as_far_as_memory_goes():
    """A quarter of a gigabyte each, as of the largest models."""
    windows = []
    for first in range(0, 400, 8):
        window = _window(first)
        window.scene.nbytes = 250_000_000
        windows = kept([window, *windows], 60.0)
    assert len(windows) == 8 and windows[0] is window
