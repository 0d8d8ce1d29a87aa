"""Metrics, each beside a trivial baseline, and benchmarks."""

from d4rt_ros.evaluation.tapvid import tapvid3d

__all__ = ["tapvid3d"]
