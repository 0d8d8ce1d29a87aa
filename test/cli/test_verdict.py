"""Criteria and growth."""

import numpy as np
import pytest

from d4rt_ros.cli.verdict import Criterion, Verdict, growth


def test_growth_is_a_share_over_all_of_the_time():
    times = np.linspace(100, 700, 50)
    assert growth(times, 200 + 0 * times) == 0
    assert growth(times, 200 * (1 + 0.1 * (times - 400) / 600)) == pytest.approx(0.1)
    assert growth(times, -times) < 0 or growth(times, 900 - times) < 0
    assert growth([1, 2], [1, 9]) == 0, "two values say nothing"


def test_growth_is_not_moved_by_peaks_nor_by_one_step_near_the_end():
    values = np.full(100, 500.0)
    values[[20, 21, 70]] = 900
    assert abs(growth(range(100), values)) < 1e-3
    assert growth(range(100), 500 + np.arange(100)) == pytest.approx(0.18, abs=0.01), "a leak is seen"


def test_a_verdict_is_bad_with_one_bad_criterion_and_says_what_was_not_judged():
    rich = pytest.importorskip("rich.console")
    unjudged = Verdict("soak", [Criterion("memory", True, "+0 %"), Criterion("files", None, "too short")])
    bad = Verdict("soak", [*unjudged.criteria, Criterion("TF", False, "3 transforms")])
    assert unjudged.good and not bad.good
    console = rich.Console(record=True, width=120)
    console.print(unjudged, bad)
    text = console.export_text()
    assert (
        "not judged" in text and "verdict: good" in text and "verdict: bad" in text and "3 transforms" in text
    )
