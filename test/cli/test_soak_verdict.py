"""What a soak's verdict makes of records whose faults are known."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy")

from d4rt_ros.cli import soak_verdict  # noqa: E402
from d4rt_ros.cli.children import Resources  # noqa: E402
from d4rt_ros.cli.soak_verdict import SECOND, Happened, Record  # noqa: E402

BEGIN, LENGTH = 1_700_000_000 * SECOND, 120
MIB = 2**20


def at(seconds: float) -> int:
    return BEGIN + round(seconds * SECOND)


def answer(seconds, good=True, told="status 0"):
    return SimpleNamespace(at=at(seconds), service="query, 1 point", seconds=0.02, good=good, told=told)


def record(**changed) -> Record:
    """Two minutes without a fault: ten results a second, black images from 50 to 52 s, lost meanwhile."""
    black = 50 <= np.arange(0, LENGTH, 0.1)
    black &= np.arange(0, LENGTH, 0.1) < 52
    notes = SimpleNamespace(
        results=[(at(t), at(t + 0.15)) for t in np.arange(0, LENGTH, 0.1)],
        poses=[(at(t), not b) for t, b in zip(np.arange(0, LENGTH, 0.1), black, strict=True)],
        transforms=[at(t) for t, b in zip(np.arange(0, LENGTH, 0.1), black, strict=True) if not b],
        states=[
            (
                at(t),
                {"tracking": "lost" if 50 <= t < 52 else "good"},
                f"the pose is not trusted: dark for {t} s; else fine",
            )
            for t in range(LENGTH)
        ],
        restarts=0,
        answers=[answer(t) for t in range(LENGTH)],
    )
    happened = [
        Happened("frozen images", at(30), at(34), at(50), None),
        Happened("black images", at(50), at(52), at(60), (at(50.6), at(52))),
        Happened("frozen images", at(60), at(64), at(LENGTH), None),
    ]
    resources = [(at(t), Resources(400 * MIB + (t % 3) * 4096, 30, 40)) for t in range(LENGTH)]
    values = dict(notes=notes, resources=resources, happened=happened, first_round=False, ended=[])
    return Record(begin=BEGIN, warm=at(40), end=at(LENGTH), **values | changed)


def bad(made: Record) -> list[str]:
    return [criterion.name for criterion in soak_verdict.verdict(made).criteria if criterion.good is not True]


def test_what_has_no_fault_is_good():
    made = record()
    assert not bad(made) and soak_verdict.verdict(made).good


def test_a_process_that_ended_is_told():
    made = record(ended=["the node ended: Segmentation fault"])
    (criterion,) = [c for c in soak_verdict.verdict(made).criteria if c.good is False]
    assert "no process ended" in criterion.name and "Segmentation fault" in criterion.found


def test_a_leak_is_bad_and_a_peak_is_not():
    grows = [(at(t), Resources(400 * MIB + t * MIB // 4, 30, 40)) for t in range(LENGTH)]
    assert bad(record(resources=grows)) == ["memory grows by less than 2% after warm-up"]
    little = [(at(t), Resources(400 * MIB + t * MIB // 8, 30, 40)) for t in range(LENGTH)]
    assert bad(record(resources=little)) and not bad(record(resources=little, first_round=True))
    peak = [(at(t), Resources((400 + 50 * (t == 90)) * MIB, 30, 40)) for t in range(LENGTH)]
    assert not bad(record(resources=peak))
    warming_up = [(at(t), Resources((300 + 100 * (t > 35)) * MIB, 30, 40)) for t in range(LENGTH)]
    assert not bad(record(resources=warming_up))


def test_files_and_threads_that_grow_are_bad():
    grows = [(at(t), Resources(400 * MIB, 30 + t // 10, 40 + t // 12)) for t in range(LENGTH)]
    assert bad(record(resources=grows)) == ["open files stay", "threads stay"]


def test_latency_that_grows_is_bad():
    made = record()
    made.notes.results[:] = [
        (s, s + round((0.1 + 0.002 * i / 10) * SECOND)) for i, (s, _) in enumerate(made.notes.results)
    ]
    assert bad(made) == ["latency grows by less than 25%"]


def test_results_that_do_not_come_back_are_bad():
    made = record()
    made.notes.results[:] = [r for r in made.notes.results if not at(34) <= r[0] < at(41)]
    assert bad(made) == ["results within 5 s after every misfortune"]
    never = record()
    never.notes.results[:] = [r for r in never.notes.results if r[0] < at(60)]
    assert "results within 5 s after every misfortune" in bad(never)


def test_a_result_of_before_the_end_does_not_count_as_back():
    """An image of before, whose result comes late."""
    made = record()
    made.notes.results[:] = [r for r in made.notes.results if not at(34) <= r[0] < at(41)]
    made.notes.results.append((at(33.9), at(35)))
    assert "results within 5 s after every misfortune" in bad(made)


@pytest.mark.parametrize("what", ["pose", "transform"])
def test_a_pose_or_a_transform_while_nothing_is_seen_is_bad(what):
    made = record()
    if what == "pose":
        made.notes.poses.append((at(51), True))
    else:
        made.notes.transforms.append(at(51))
    (criterion,) = [c for c in soak_verdict.verdict(made).criteria if c.good is False]
    assert criterion.name.startswith("no pose and no TF") and "black images" in criterion.found
    early = record()
    early.notes.poses.append((at(50.3), True))
    assert not bad(early), "a window may still be half of the time before"


def test_a_service_that_does_not_answer_is_bad_and_said_how_often():
    made = record()
    made.notes.answers += [answer(70, False, "no answer")] * 3
    (criterion,) = [c for c in soak_verdict.verdict(made).criteria if c.good is False]
    assert "3 times query, 1 point: no answer" in criterion.found


def test_what_is_too_short_is_not_judged():
    made = record(happened=[], resources=[])
    made.notes.answers.clear()
    assert len(bad(made)) == 6 and soak_verdict.verdict(made).good


def test_a_row_of_an_interval_and_what_each_misfortune_did():
    made = record()
    row = soak_verdict.interval_row(made, at(45), at(55))
    assert row[1] == "10.0" and row[2] == "150 / 150" and row[3:6] == ["400", "30", "40"]
    assert row[7] == "20%" and row[8] == "0" and row[9] == "2 s dark for … s"
    rows = soak_verdict.outcomes(made)
    assert [r[:2] for r in rows] == [("frozen images", "2"), ("black images", "1")]
    assert rows[1][2].startswith("0.1 s") or rows[1][2].startswith("0.2 s")
    assert soak_verdict.lost_shares(made.notes) == {"dark for … s": pytest.approx(2 / 120)}
