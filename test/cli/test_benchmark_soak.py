"""A short soak with its real processes, and the schedule that a long one has."""

import argparse
import json

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")

from d4rt_ros.cli import benchmark, benchmark_soak, soak_verdict  # noqa: E402
from d4rt_ros.cli.soak_schedule import schedule  # noqa: E402
from d4rt_ros.ros.listening.faulty_camera import FAULTS  # noqa: E402


def test_every_fault_of_the_camera_is_in_the_schedule_and_it_fits_into_two_minutes():
    misfortunes = schedule(0.5, "camera")
    assert {m.fault for m in misfortunes if m.fault} == set(FAULTS)
    assert all(bool(m.fault) != bool(m.act) for m in misfortunes)
    assert sum(m.seconds + m.calm for m in misfortunes) + benchmark_soak.WARM_UP < 150
    assert {m.fault for m in misfortunes if m.lost} == {"black", "noise", "cut"}


def test_the_cameras_log_tells_when_its_faults_were():
    log = "both scenes are rendered\nfault late 100 200\n[INFO] fault of mine\nfault cut 300 333\n"
    assert list(benchmark_soak.camera_faults(log)) == [(100, 200), (300, 333)]


@pytest.fixture
def arguments(small_checkpoint):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    model = ["--checkpoint", str(small_checkpoint), "--device", "cpu"]
    return lambda *words: parser.parse_args(["soak", *model, *words])


def test_a_short_soak_records_what_happened(arguments, monkeypatch, tmp_path):
    """The command itself, with a few misfortunes of each kind, on small images."""
    names = (
        "late images",
        "damaged messages",
        "invalid queries",
        "parameters are set",
        "deactivated and activated",
    )

    def few(window, frame):
        return [m for m in schedule(window, frame) if m.name in names]

    made = []

    class SmallSoak(benchmark_soak.Soak):
        def __init__(self, args, seconds):
            super().__init__(args, seconds, warm_up=1.0, width=96, height=64, rate=15.0)
            made.append(self)

    monkeypatch.setattr(benchmark_soak, "schedule", few)
    monkeypatch.setattr(benchmark_soak, "Soak", SmallSoak)
    args = arguments("--minutes", "0.4", "--interval", "8", "--json", str(tmp_path / "out" / "soak.json"))
    printed = list(benchmark_soak.tables(args, "a machine"))
    record, verdict = made[0].record, printed[-1]
    assert {h.name for h in record.happened} <= set(names) and len(record.happened) >= 3
    assert all(h.begin <= h.end <= h.following for h in record.happened)
    late = next(h for h in record.happened if h.name == "late images")
    assert 2.9e9 < late.end - late.begin < 3.5e9, "by the camera's stamps"
    assert record.notes.results and record.notes.states and record.notes.answers and len(record.resources) > 8
    judged = {c.name: c for c in verdict.criteria}
    assert (
        judged["no process ended, no traceback"].good
        and judged["every service answers, and as it should"].good
    ), judged
    written = json.loads((tmp_path / "out" / "soak.json").read_text())
    assert written["good"] == verdict.good and written["machine"] == "a machine"
    assert len(written["criteria"]) == len(verdict.criteria) and written["intervals"]
    assert {row["misfortune"] for row in written["misfortunes"]} == {h.name for h in record.happened}
    assert soak_verdict.outcomes(record)


def test_a_node_that_cannot_start_is_a_sentence_and_nothing_is_measured(arguments, monkeypatch):
    monkeypatch.setattr(benchmark_soak, "READY_LIMIT", 60.0)
    args = arguments("--minutes", "0.1", "--set", "depth.size:=7")
    with pytest.raises(RuntimeError, match="the node ended"):
        list(benchmark_soak.tables(args, "a machine"))
