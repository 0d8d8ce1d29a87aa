"""The rows of `d4rt benchmark node` from arrivals that are known."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from d4rt_ros.cli import benchmark_node  # noqa: E402
from d4rt_ros.ros.listening.probe import Arrivals  # noqa: E402


def test_both_starts_are_told_first_image_and_first_result():
    assert benchmark_node.start_rows([(4.04, 9.0), (3.0, 7.26)]) == [
        ("first image after start, first time / again", "4.0 s / 3.0 s"),
        ("first result after start, first time / again", "9.0 s / 7.3 s"),
    ]


def test_rates_latencies_and_memory(monkeypatch):
    arrivals, memory = Arrivals(), iter([100 * 2**20, 101 * 2**20])
    for topic in ("points", "/camera_info"):
        arrivals.topics[topic] = [(i * 10**8, i * 10**8 + 2 * 10**7) for i in range(20)]
    monkeypatch.setattr(benchmark_node, "pause", lambda *_: None)
    rows = dict(benchmark_node.everything(arrivals, 3, lambda: next(memory)))
    assert rows["everything subscribed: results a second"] == "10.0"
    assert rows["  ~/points: latency from stamp, median / 95 %"] == "20 / 20 ms"
    assert rows["memory (RSS), growth over 3 s"] == "101 MiB, +1.00 %"
    assert not any("camera_info" in row for row in rows)
