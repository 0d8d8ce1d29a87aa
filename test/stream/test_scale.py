"""What the filter makes of measurements of the scale."""

import math

import numpy as np
import pytest

from d4rt_ros.stream import scale
from d4rt_ros.stream.scale import (
    Scale,
    ScaleFilter,
    ScaleMeasurement,
    continued,
    fixed_scale,
)

SECOND = 1_000_000_000


def measured(log, at, sigma=0.05, source="depth", span=2.0):
    return ScaleMeasurement(log, sigma, round(at * SECOND), source, span)


def fed(filter, log, begin, end, rate=5.0, sigma=0.05, world=0, **kwargs):
    """Feed log(t) or a number from second to second; what was applied, [(t, Scale)], and the notes."""
    out, notes = [], []
    for at in np.arange(begin, end, 1 / rate):
        value = log(at) if callable(log) else log
        given = [] if value is None else [measured(value, at, sigma, **kwargs)]
        out.append((at, filter.update(round(at * SECOND), world, given)))
        notes += [filter.note] if filter.note else []
    return out, notes


def test_nothing_is_known_until_several_measurements_agree():
    filter = ScaleFilter()
    assert filter.update(0, 0, []) == Scale() and not Scale().metric and "not been measured" in filter.problem
    first = filter.update(SECOND, 0, [measured(0.5, 1)])
    assert not first.metric and first.metres == 1.0
    applied, notes = fed(filter, 0.5, 1.2, 5)
    assert applied[-1][1].metric and applied[-1][1].metres == pytest.approx(math.exp(0.5), rel=0.01)
    assert applied[-1][1].source == "depth" and not filter.problem
    assert len(notes) == 1 and "the scale is known: a unit is 1.65 m" in notes[0]
    assert next(at for at, s in applied if s.metric) < 4.0


def test_what_is_applied_moves_smoothly_and_corrections_are_told():
    filter = ScaleFilter()
    fed(filter, 0.0, 0, 20, sigma=0.03)
    applied, notes = fed(filter, lambda at: min(0.003 * (at - 20), 0.15), 20, 90, sigma=0.03)
    logs = np.log([s.metres for _, s in applied])
    assert np.abs(np.diff(logs)).max() <= scale.RATE / 5 + 1e-9
    assert logs[-1] == pytest.approx(0.15, abs=0.02) and applied[-1][1].metric
    # what it is behind by is in its sigma
    for at, s in applied:
        assert abs(math.log(s.metres) - min(0.003 * (at - 20), 0.15)) < 2 * s.sigma


def test_single_outliers_are_not_taken():
    filter, rng = ScaleFilter(), np.random.default_rng(0)
    fed(filter, 0.2, 0, 5)
    applied, _ = fed(filter, lambda at: 0.2 + (rng.normal(0, 2) if rng.random() < 0.35 else 0.0), 5, 30)
    assert all(s.metric for _, s in applied)
    assert np.abs(np.log([s.metres for _, s in applied]) - 0.2).max() < 0.06


def test_an_outlier_that_comes_first_is_not_waited_for():
    filter = ScaleFilter()
    filter.update(0, 0, [measured(1.5, 0)])
    applied, notes = fed(filter, 0.2, 0.2, 4)
    assert applied[-1][1].metric and math.log(applied[-1][1].metres) == pytest.approx(0.2, abs=0.01)
    assert len(notes) == 1 and "is known" in notes[0]


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_jump_is_not_believed_at_once_and_then_followed(factor):
    filter, jump = ScaleFilter(), math.log(factor)
    fed(filter, 0.0, 0, 10)
    at_once, _ = fed(filter, jump, 10, 10.8)
    assert all(abs(math.log(s.metres)) < 0.02 for _, s in at_once)
    doubted, notes = fed(filter, jump, 10.8, 12.8)
    assert not doubted[-1][1].metric and "not believed yet" in filter.problem
    assert f"{factor:.2f} times" in filter.problem and "not known any more" in " ".join(notes)
    after, notes = fed(filter, jump, 12.8, 40)
    steps = np.abs(np.diff(np.log([s.metres for _, s in after])))
    assert steps.max() <= scale.FAST_RATE / 5 + 1e-9
    assert "it is believed" in notes[0] and "corrected by" in " ".join(notes)
    assert after[-1][1].metric and math.log(after[-1][1].metres) == pytest.approx(jump, abs=0.02)
    for _, s in after:
        assert not s.metric or abs(math.log(s.metres) - jump) < 2 * scale.METRIC


def test_a_jump_that_goes_back_changes_nothing():
    filter = ScaleFilter()
    fed(filter, 0.0, 0, 10)
    fed(filter, 0.7, 10, 12)
    applied, _ = fed(filter, 0.0, 12, 20)
    assert applied[-1][1].metric and abs(math.log(applied[-1][1].metres)) < 0.01 and not filter.problem


def test_a_source_that_stops_is_told_and_the_scale_goes_out_of_date():
    filter = ScaleFilter()
    known, _ = fed(filter, 0.3, 0, 20)
    silent, notes = fed(filter, None, 20, 400, rate=1.0)
    sigmas = [s.sigma for _, s in silent]
    assert np.all(np.diff(sigmas) > 0) and silent[30][1].metric and not silent[-1][1].metric
    assert silent[-1][1].metres == pytest.approx(known[-1][1].metres, rel=0.01)
    assert "depth has not measured the scale for" in filter.problem
    assert any("not known any more" in note for note in notes)
    again, _ = fed(filter, 0.32, 400, 410)
    assert again[-1][1].metric


def test_the_scale_of_a_camera_that_stands_still_does_not_drift():
    """A robot's own motion tells the scale only while it moves."""
    filter, pose = ScaleFilter(), np.eye(4)
    for i in range(100):
        pose[0, 3] += 0.05
        known = filter.update(i * SECOND // 10, 0, [measured(0.3, i / 10, 0.03)], pose)
    rng = np.random.default_rng(0)
    for i in range(100, 6000):
        trembling = pose.copy()
        trembling[:3, 3] += rng.normal(0, 0.002, 3)
        stood = filter.update(i * SECOND // 10, 0, [], trembling)
    assert stood.metric and stood.sigma < known.sigma + 0.005 and not filter.problem
    for i in range(6000, 7000):
        pose[0, 3] += 0.05
        moved = filter.update(i * SECOND // 10, 0, [], pose)
    assert not moved.metric and "in which the camera moved" in filter.problem
    turned = ScaleFilter()
    fed(turned, 0.0, 0, 10)
    for i in range(100, 1500):
        angle = 0.05 * i
        pose[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        last = turned.update(i * SECOND // 10, 0, [], pose)
    assert not last.metric


def test_a_new_world_keeps_the_value_but_must_confirm_it():
    filter = ScaleFilter()
    before, _ = fed(filter, 0.4, 0, 20)
    begun = filter.update(20 * SECOND, 1, [])
    assert begun.metres == pytest.approx(before[-1][1].metres) and not begun.metric
    assert "in this world" in filter.problem
    after, notes = fed(filter, 0.5, 20.2, 26, world=1)
    assert not after[0][1].metric and after[-1][1].metric
    assert math.log(after[-1][1].metres) == pytest.approx(0.5, abs=0.03)
    assert any("is known" in note for note in notes)


def test_a_time_that_goes_back_begins_anew_and_nonsense_is_not_taken():
    filter = ScaleFilter()
    fed(filter, 0.1, 100, 110)
    assert not filter.update(0, 0, []).metric
    applied, _ = fed(filter, 0.1, 1, 6)
    assert applied[-1][1].metric
    for log, sigma in ((np.nan, 0.1), (np.inf, 0.1), (0.1, 0.0), (0.1, np.nan), (0.1, -1.0), (0.1, np.inf)):
        filter.update(7 * SECOND, 0, [ScaleMeasurement(log, sigma, 7 * SECOND, "depth")])
    assert filter.update(8 * SECOND, 0, []).metric


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("rate", [1.0, 5.0, 15.0])
def test_sigma_is_honest_whatever_the_noise_and_the_rate(sigma, rate):
    """The world drifts, errors last for a second or so, one measurement in ten is nonsense."""
    inside, known = [], []
    for seed in range(20):
        rng, filter, drift, error = np.random.default_rng(seed), ScaleFilter(), 0.5, None
        memory = math.exp(-1 / rate)
        for i in range(int(40 * rate)):
            drift += rng.normal(0, scale.DRIFT / math.sqrt(rate))
            fresh = rng.normal(0, sigma)
            error = fresh if error is None else memory * error + math.sqrt(1 - memory**2) * fresh
            wrong = rng.normal(0, 1) if rng.random() < 0.1 else 0.0
            now = filter.update(
                round(i / rate * SECOND), 0, [measured(drift + error + wrong, i / rate, sigma)]
            )
            known.append(now.metric)
            if now.metric:
                inside.append(abs(math.log(now.metres) - drift) < 2 * now.sigma)
    assert 0.88 < np.mean(inside) <= 1.0 and np.mean(known) > 0.8


def test_better_measurements_that_overlap_count_for_what_they_add():
    """As of a robot that begins to move: each says what the one before said, and more."""
    filter = ScaleFilter()
    for i in range(40):
        sigma = max(0.3 * 0.9**i, 0.02)
        now = filter.update(i * SECOND // 5, 0, [measured(0.0, i / 5, sigma, "tf", 10.0)])
    assert now.metric and now.sigma < 0.03


def test_a_fixed_scale_is_metric_and_must_be_one():
    assert fixed_scale(1.7) == Scale(1.7, 0.0, "fixed") and fixed_scale(1.7).metric
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="more than 0"):
            fixed_scale(wrong)


def test_the_camera_stays_where_it_was_published_when_the_scale_changes():
    position = np.array([1.0, -2.0, 3.0])
    offset = continued(np.array([0.5, 0.0, 0.0]), position, 1.2, 1.5)
    np.testing.assert_allclose(1.5 * position + offset, 1.2 * position + [0.5, 0, 0])
