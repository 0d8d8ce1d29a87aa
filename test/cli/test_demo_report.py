"""The demo's figures on recordings whose figures are known."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")
rich_console = pytest.importorskip("rich.console")

from d4rt_ros.cli import demo_report  # noqa: E402
from d4rt_ros.geometry import pose_matrix  # noqa: E402
from d4rt_ros.ros.listening.listener import Recording  # noqa: E402


def trajectory(count=40, seconds=4.0):
    """Poses that move and turn about two axes, by stamp."""
    poses = {}
    for t in np.linspace(0, seconds, count):
        rotation = Rotation.from_euler("yx", (20 * t, 5 * np.sin(t)), degrees=True).as_matrix()
        poses[int(t * 1e9) + 10**18] = pose_matrix(rotation, [np.sin(t), 0.3 * t, np.cos(2 * t)])
    return poses


def elsewhere(truth):
    """The same poses in another world and unit."""
    world = pose_matrix(Rotation.from_euler("xyz", (40, -20, 100), degrees=True).as_matrix(), [3, 2, 1])
    ours = {}
    for stamp, pose in truth.items():
        ours[stamp] = world @ pose
        ours[stamp][:3, 3] *= 0.2
    return ours


def test_latency_and_rate_of_a_topic():
    arrivals = [(i * 10**8, i * 10**8 + 20_000_000 + (i == 19) * 60_000_000) for i in range(20)]
    row = demo_report.topic_latency("/a", arrivals)
    assert row.count == 20 and row.median == pytest.approx(20) and 20 < row.p95 < 80
    assert row.rate == pytest.approx(19 / 1.96)
    silent = demo_report.topic_latency("/b", [])
    assert silent.count == 0 and silent.rate == 0 and np.isnan(silent.median)


def test_depth_error_is_free_of_scale_and_ignores_holes():
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 5, (30, 40)).astype(np.float32)
    holes = true.copy()
    holes[:5] = np.nan
    error = demo_report.depth_error([(true * 0.3, true), (holes, true)])
    assert error.count == 2 and error.ours == pytest.approx(0, abs=1e-6)
    assert error.baseline > 0.3
    constant = demo_report.depth_error([(np.ones_like(true), true)])
    assert constant.ours == pytest.approx(constant.baseline)
    assert demo_report.depth_error([(np.full_like(true, np.nan), true)]) is None


def test_pose_errors_are_free_of_world_and_scale():
    truth = trajectory()
    rotation, path = demo_report.pose_errors(elsewhere(truth), truth)
    assert rotation.ours == pytest.approx(0, abs=1e-4) and rotation.baseline == pytest.approx(10, rel=0.2)
    assert path.ours == pytest.approx(0, abs=1e-6) and path.baseline > 0.5
    assert path.count == 40


def test_pose_errors_of_a_pose_that_never_moves_are_the_baselines():
    truth = trajectory()
    errors = demo_report.pose_errors({stamp: np.eye(4) for stamp in truth}, truth)
    assert errors and all(e.ours == pytest.approx(e.baseline) for e in errors)


def test_few_poses_give_no_figure():
    truth = dict(list(trajectory().items())[:4])
    assert demo_report.pose_errors(truth, truth) == []


def test_the_report_of_a_recording_is_shown_and_written(tmp_path):
    recording = Recording()
    recording.arrivals["/d4rt/points"] = [
        (10**18 + i * 10**8, 10**18 + i * 10**8 + 5 * 10**7) for i in range(9)
    ]
    recording.queries[1], recording.queries[10_000] = [0.01, 0.012, 0.02], [0.2]
    recording.problems = ["camera: stopped"] * 4 + ["just once"]
    recording.told = {"images": "96", "images not followed": "3", "results": "12", "dropped: stamp": "1"}
    report = demo_report.report(recording)
    assert [q.name for q in report.queries] == ["/d4rt/query, 1 point", "/d4rt/query, 10,000 points"]
    assert report.queries[0].median == pytest.approx(12)
    assert report.errors == [] and report.warnings == ["camera: stopped (for 4 s)"]
    console = rich_console.Console(record=True, width=120)
    demo_report.show(report, console)
    shown = console.export_text()
    assert "/d4rt/points" in shown and "50.0" in shown and "camera: stopped" in shown
    assert "received 96 images, 1 dropped (stamp); too busy for 3 of them; 12 results" in shown
    demo_report.write(report, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["topics"][3]["name"] == "/d4rt/points" and read["topics"][3]["count"] == 9


def test_poses_of_another_world_are_left_out_and_it_is_said():
    truth = trajectory()
    recording = Recording(poses=elsewhere(truth), true_poses=truth)
    stamps = sorted(truth)
    recording.worlds = {stamps[0] - 5: 1, stamps[30]: 2}  # what followed began anew, from another place
    for stamp in stamps[30:]:
        recording.poses[stamp] = recording.poses[stamp] @ pose_matrix(np.eye(3), [1, 2, 3])
    report = demo_report.report(recording)
    assert report.errors[-1].ours == pytest.approx(0, abs=1e-6) and report.errors[-1].count == 30
    assert report.warnings == [
        "the camera was lost and another world began: path and cloud are of 30 of 40 poses"
    ]
