import numpy as np
import pytest
from hypothesis import given, settings
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


def gone_on(window, given_stamps):
    """Add frames, whatever is refused; the refusals' sentences."""
    refused = []
    for stamp in given_stamps:
        try:
            window.add(frame(stamp))
        except StampError as error:
            refused.append(str(error))
    return refused


def test_a_large_step_back_restarts():
    window = Window(3)
    run(window, range(1000, 4001, 100))
    assert len(gone_on(window, [150, 160])) == 2 and window.restarts == 0
    assert window.add(frame(170))
    assert stamps(window) == [150, 160, 170] and window.restarts == 1
    assert "back" in window.restart_reason
    assert window.late == window.outliers == 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "late",
    [
        # One in ten is stamped a period and a bit early.
        [100 * i - (110 if i % 10 == 9 else 0) for i in range(10, 60)],
        # Two in a row.
        [100 * i - (450 if i % 10 in (8, 9) else 0) for i in range(10, 60)],
        # Swapped pairs.
        [100 * (i + 1 - 2 * (i % 2)) for i in range(10, 60)],
    ],
)
def test_late_frames_are_dropped_and_counted(late, stride):
    window = Window(4, stride)
    refused = gone_on(window, late)
    assert len(refused) == window.late > 3 and all("came too late" in sentence for sentence in refused)
    assert window.restarts == window.gaps == 0 and len(window) == 4
    assert stamps(window) == sorted(stamps(window))


@pytest.mark.parametrize("begin", [0, 1, 10**9])
@pytest.mark.parametrize("period, count", [(33, 15), (50, 10), (100, 5), (33, 4), (33, 300)])
def test_a_recording_that_loops_restarts_once_a_loop(period, count, begin):
    window = Window(4)
    for _ in range(4):
        gone_on(window, range(begin, begin + period * count, period))
        assert len(window) == 4 and window.clip()[-1].stamp == begin + period * (count - 1)
    # Also the frames that were first taken for late ones are used.
    assert window.restarts == 3 and window.late == window.outliers == 0


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 60), st.floats(0, 0.2))
def test_a_recording_with_jitter_and_lost_frames_restarts_once_a_loop(seed, count, lost):
    rng = np.random.default_rng(seed)
    recorded = 33_000 * np.arange(3 * count) + rng.integers(0, 20_000, 3 * count)
    recorded = recorded[rng.random(3 * count) >= lost][:count].tolist()
    window = Window(3)
    for loop in range(4):
        gone_on(window, recorded)
        assert window.restarts == loop
    assert window.late == window.outliers == 0


@pytest.mark.parametrize("periods", [3, 4, 6, 9])
def test_a_step_back_by_a_few_periods_that_lasts_restarts_once(periods):
    window = Window(4)
    run(window, range(0, 1000, 10))
    begin = 990 - 10 * periods
    gone_on(window, range(begin, begin + 30, 10))
    assert window.restarts == 1
    assert run(window, [begin + 30]) == [[*range(begin, begin + 40, 10)]]
    gone_on(window, range(begin + 40, begin + 1000, 10))
    assert window.restarts == 1


def test_a_step_back_into_a_slower_stream_is_believed_too():
    window = Window(4)
    run(window, range(10**6, 10**6 + 1000, 10))
    gone_on(window, range(0, 10_000, 500))
    assert window.restarts == 1 and len(window) == 4


@settings(deadline=None, max_examples=400, derandomize=True)
@given(
    st.integers(0, 10_000),
    st.floats(0, 0.1),
    st.integers(0, 59),
    st.integers(1, 2),
    st.lists(
        st.one_of(
            st.integers(-20 * 33_000, 20 * 33_000),
            st.sampled_from([-(10**13), -(10**7), 200_000, 10**7, 3_600_000_000, 10**13]),
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_wrong_stamps_never_restart_the_world(seed, lost, where, apart, offsets):
    """Stamps in microseconds of 30 Hz; the second wrong one is the next or the one after it."""
    rng = np.random.default_rng(seed)
    right = 3_700_000_000 + 33_000 * np.arange(100) + rng.integers(0, 20_000, 100)
    right = right[rng.random(100) >= lost].tolist()
    wrong = list(right)
    for i, offset in enumerate(offsets):
        at = where + i * apart
        wrong[at] = max(1, right[at] + offset)
    window, due, newest = Window(5), [], 0
    for i, stamp in enumerate(wrong):
        try:
            if window.add(frame(stamp)):
                due.append(i)
                clip = stamps(window)
                assert clip == sorted(set(clip)) and clip[-1] > newest
                newest = clip[-1]
        except StampError:
            pass
    last = where + (len(offsets) - 1) * apart
    assert window.restarts == 0
    assert any(last < i <= last + window.frames + 5 for i in due)
    assert window._now.total + window.late + window.outliers == len(wrong)


@pytest.mark.parametrize("ahead", range(3, 10))
def test_a_frame_stamped_a_little_ahead_is_dropped_and_nothing_is_due_with_it(ahead):
    window = Window(4)
    given_stamps = list(range(0, 300, 10))
    given_stamps[15] += 10 * ahead
    clips = run(window, [*given_stamps[:15]])
    assert not window.add(frame(given_stamps[15]))
    assert run(window, given_stamps[16:18]) == [[120, 130, 140, 160], [130, 140, 160, 170]]
    assert clips and window.outliers == 1 and window.restarts == window.gaps == 0


def test_a_recording_may_begin_at_zero_and_a_driver_must_stamp():
    window = Window(2)
    assert run(window, [0, 10]) == [[0, 10]]
    with pytest.raises(StampError, match="driver must stamp"):
        window.add(frame(0))
    unstamped = Window(2)
    assert all("driver must stamp" in sentence for sentence in gone_on(unstamped, [0] * 5))
    with pytest.raises(StampError, match="must not be negative"):
        unstamped.add(frame(-1))


def test_a_window_never_spans_a_gap():
    window = Window(3)
    assert run(window, [0, 10, 20, 30, 10_000, 10_010]) == [[0, 10, 20], [10, 20, 30]]
    assert stamps(window) == [10_000, 10_010] and window.gaps == 1 and window.restarts == 0
    assert run(window, [10_020]) == [[10_000, 10_010, 10_020]]


def test_not_even_at_the_very_beginning():
    for first in ([0], [0, 33]):
        window = Window(4)
        clips = run(window, [*first, *range(120_000, 121_000, 33)])
        assert clips[0][0] == 120_000 and window.gaps == 1


def test_how_long_a_gap_is_may_change_at_any_time():
    window = Window(4, max_gap=3)
    run(window, range(0, 100, 10))
    window.change(1, 1, 20)
    assert run(window, [250, 260, 270]) == [[90, 250, 260, 270]]
    window.change(1, 1, 3)
    assert run(window, [430, 440, 450]) == []
    with pytest.raises(ValueError, match="max_gap"):
        Window(2, max_gap=1)


@pytest.mark.parametrize("wild", [[10**6], [10**6, 10**6 + 10], [10**6, 10**9], [10**9, 10**6]])
def test_frames_stamped_far_ahead_are_dropped_in_hindsight(wild):
    window = Window(4)
    run(window, range(0, 100, 10))
    assert run(window, [*wild, 100, 110]) == [[70, 80, 90, 100], [80, 90, 100, 110]]
    assert window.outliers == len(wild) and window.restarts == 0
    assert run(window, [120]) == [[90, 100, 110, 120]]


def test_a_jump_ahead_that_lasts_is_believed():
    window = Window(3)
    run(window, [*range(0, 100, 10), *range(10**6, 10**6 + 100, 10)])
    gone_on(window, [100, 110, 120])
    assert window.restarts == 1 and stamps(window) == [100, 110, 120]


@pytest.mark.parametrize(
    "periods", [[33, 100], [100, 33], [33, 1000], [1000, 33]], ids=["slower", "faster", "30 to 1", "1 to 30"]
)
def test_a_stream_may_change_its_rate(periods):
    window, now, due = Window(4), 0, []
    for period in periods:
        for _ in range(40):
            now += period
            due.append(window.add(frame(now)))
    assert sum(due[-20:]) == 20 and window.restarts == 0 and sum(due) > 60


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_neither_jitter_nor_frames_dropped_at_random_restart_anything(seed):
    rng = np.random.default_rng(seed)
    given_stamps = 100 + 33 * np.arange(300) + rng.integers(-15, 16, 300)
    window = Window(4)
    run(window, given_stamps[rng.random(300) > 0.4].tolist())
    assert window.restarts == 0 and window.gaps <= 1


def test_frames_may_come_in_bursts():
    window = Window(4)
    run(window, [100 * i + j for i in range(1, 10) for j in range(3)])
    before = window.gaps
    run(window, [100 * i + j for i in range(10, 50) for j in range(3)])
    assert window.gaps == before


def test_a_restart_begins_the_stride_anew():
    window = Window(2, stride=2)
    run(window, [1000, 1010, 1020, 1030])
    gone_on(window, [10, 20])
    assert run(window, [30]) == [[10, 30]]


def test_another_image_size_restarts():
    window = Window(2)
    run(window, [1, 2])
    assert not window.add(frame(3, TALL))
    assert stamps(window) == [3]
    assert window.restart_reason == "the image size changed from 8x6 to 6x8"
    assert window.add(frame(4, TALL))


@pytest.mark.parametrize("bad, words", [(300, "twice"), (0, "stamped 0"), (-5, "-5 ns")])
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
    run(window, [1000, 1010])
    assert [f.epoch for f in window.clip()] == [1, 1]
    gone_on(window, [5, 6, 7])
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


def test_a_change_that_cannot_be_changes_nothing():
    window = Window(2, stride=3, hop=4, max_gap=5)
    for bad, words in (((0, 1, 10), "stride = 0"), ((1, 0, 10), "hop = 0"), ((1, 1, 1.0), "max_gap = 1.0")):
        with pytest.raises(ValueError, match=words):
            window.change(*bad)
    assert (window.stride, window.hop, window.max_gap) == (3, 4, 5)
