import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.stream import Frame, StampError, Window

SMALL, TALL = (6, 8), (8, 6)


def frame(stamp, size=SMALL):
    return Frame(np.zeros((*size, 3), np.uint8), stamp)


def stamps(window):
    return [f.stamp for f in window.clip()]


def run(window, given_stamps):
    """The clips that were due, as lists of stamps."""
    return [stamps(window) for stamp in given_stamps if window.add(frame(stamp))]


def test_a_window_of_every_frame():
    assert run(Window(3), range(1, 6)) == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]


def test_stride_keeps_every_nth_at_arrival():
    assert run(Window(3, stride=2), range(1, 10)) == [[1, 3, 5], [3, 5, 7], [5, 7, 9]]


def test_hop_counts_kept_frames():
    assert run(Window(3, hop=2), range(1, 9)) == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]
    assert run(Window(2, stride=2, hop=2), range(1, 12)) == [[1, 3], [5, 7], [9, 11]]
    # A hop beyond the window leaves frames out.
    assert run(Window(2, hop=3), range(1, 10)) == [[2, 3], [5, 6], [8, 9]]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 60))
def test_any_window_over_any_stream(frames, stride, hop, count):
    window = Window(frames, stride, hop)
    clips = run(window, range(1, count + 1))
    kept = list(range(1, count + 1, stride))
    assert len(window) == min(len(kept), frames)
    for clip in clips:
        assert len(clip) == frames and clip == kept[kept.index(clip[0]) :][:frames]
    newest = [kept.index(clip[-1]) for clip in clips]
    assert all(b - a == hop for a, b in zip(newest, newest[1:]))
    assert len(clips) == max(0, (len(kept) - max(frames, hop)) // hop + 1)


def test_the_memory_is_bounded():
    window = Window(4, stride=3, hop=2)
    for stamp in range(1, 2000):
        window.add(frame(stamp))
        assert len(window) <= 4


def test_time_that_goes_back_restarts():
    window = Window(3)
    run(window, [100, 200, 300])
    assert not window.add(frame(150))
    assert stamps(window) == [150] and window.restarts == 1
    assert "back" in window.restart_reason
    assert run(window, [160, 170]) == [[150, 160, 170]]


def test_going_back_is_seen_against_frames_that_the_stride_left_out():
    window = Window(3, stride=3)
    run(window, [100, 200, 300])
    window.add(frame(250))
    assert stamps(window) == [250] and window.restarts == 1


def test_a_restart_begins_the_stride_anew():
    window = Window(2, stride=2)
    run(window, [100, 200, 300, 400])
    assert run(window, [10, 20, 30]) == [[10, 30]]


def test_another_image_size_restarts():
    window = Window(2)
    run(window, [1, 2])
    assert not window.add(frame(3, TALL))
    assert stamps(window) == [3]
    assert window.restart_reason == "the image size changed from 8x6 to 6x8"
    assert window.add(frame(4, TALL))


@pytest.mark.parametrize("bad, words", [(300, "twice"), (0, "0 ns"), (-5, "-5 ns")])
def test_stamps_that_are_refused_leave_the_window_as_it_was(bad, words):
    window = Window(3, hop=3)
    run(window, [100, 200, 300])
    before = stamps(window)
    for _ in range(5):
        with pytest.raises(StampError, match=words):
            window.add(frame(bad, TALL))
    assert stamps(window) == before and window.restarts == 0
    # Refused frames count for neither stride nor hop.
    assert run(window, [400, 500, 600]) == [[400, 500, 600]]


def test_a_refused_stamp_is_remembered_where_the_stride_left_its_frame_out():
    window = Window(3, stride=2)
    run(window, [100, 200])
    with pytest.raises(StampError):
        window.add(frame(200))


def test_epochs_count_restarts():
    window = Window(2)
    run(window, [100, 200])
    window.reset()
    assert stamps(window) == []
    run(window, [10, 20])
    assert [f.epoch for f in window.clip()] == [1, 1]
    run(window, [5, 6])
    assert [f.epoch for f in window.clip()] == [2, 2]


def test_a_clip_is_not_changed_by_later_frames():
    window = Window(2)
    run(window, [1, 2])
    clip = window.clip()
    run(window, [3])
    assert [f.stamp for f in clip] == [1, 2]


@pytest.mark.parametrize("bad", [dict(frames=0), dict(frames=2, stride=0), dict(frames=2, hop=-1)])
def test_windows_that_cannot_be(bad):
    with pytest.raises(ValueError, match="1 or more"):
        Window(**bad)
