"""Metrics, each beside a trivial baseline, and benchmarks."""
