"""A few starts and cycles with the real processes, and what is made of numbers that grow."""

import argparse

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from d4rt_ros.cli import benchmark, benchmark_lifecycle, benchmark_node  # noqa: E402
from d4rt_ros.cli.benchmark_lifecycle import growth_criteria  # noqa: E402
from d4rt_ros.cli.children import Resources  # noqa: E402


def test_starts_stops_and_cycles_end_well(small_checkpoint, monkeypatch):
    monkeypatch.setattr(benchmark_node, "WIDTH", 96)
    monkeypatch.setattr(benchmark_node, "HEIGHT", 64)
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    words = [
        "lifecycle",
        "--starts",
        "2",
        "--cycles",
        "2",
        "--checkpoint",
        str(small_checkpoint),
        "--device",
        "cpu",
    ]
    verdict = list(benchmark_lifecycle.tables(parser.parse_args(words), "a machine"))[-1]
    judged = {criterion.name: criterion for criterion in verdict.criteria}
    assert judged["every stop ends with status 0 and no traceback"].good, judged
    assert judged["2 lifecycle cycles"].good and judged["2 lifecycle cycles"].found == "2 complete"


def test_what_grows_is_bad_and_what_fills_up_at_first_is_not():
    mib = 2**20
    flat = [Resources((300 + min(i, 8) * 20) * mib, 30 + min(i, 3), 40) for i in range(50)]
    assert all(criterion.good for criterion in growth_criteria(flat))
    leak = [Resources((300 + i) * mib, 30 + i, 40 + i) for i in range(50)]
    assert not any(criterion.good for criterion in growth_criteria(leak))
    assert [c.good for c in growth_criteria(flat[:3])] == [None]
