"""What tracking costs, with answers that are known."""

import pytest
import torch

from d4rt_ros.cli.main import main
from d4rt_ros.evaluation import tracking
from d4rt_ros.evaluation.tracking import evaluate_tracking, tracking_table
from d4rt_ros.scenes import OracleScene, sample_scenes


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tracking, "PIXELS", 12 * 16)
    monkeypatch.setattr(tracking, "FRAMES", 6)


def test_both_kinds_of_scenes_by_model_and_truth(small, still_scene):
    scenes = sample_scenes(12, 3)
    times = 0.1 * torch.arange(4).expand(12, 4)
    figures = evaluate_tracking(still_scene, scenes, times, 4, count=2)
    assert [(f.answers, f.kind, f.frames, f.count) for f in figures] == [
        ("ground truth", "dynamic", 6, 2),
        ("ground truth", "static", 6, 2),
        ("model", "dynamic", 4, 2),
        ("model", "static", 4, 2),
    ]
    # One that says that nothing ever moves asks for one frame's pixels.
    assert figures[2].times_fewer == figures[3].times_fewer == 4
    assert all(1 < f.times_fewer < 6 for f in figures[:2])
    assert all(f.queries < f.every_pixel for f in figures)
    table = tracking_table(figures, "six frames")
    assert table.row_count == 4 and "six frames" in table.title


def test_the_truth_as_a_model_agrees_with_the_truth(small):
    scenes, times = sample_scenes(12, 3), torch.arange(6).expand(12, 6) / tracking.RATE

    def encode(images):
        n = next(remaining)
        return OracleScene(scenes[n], times[n], *images.shape[1:3], frames=images)

    some = scenes.moving.any(1)
    remaining = iter([*torch.nonzero(~some)[:1, 0].tolist(), *torch.nonzero(some)[:1, 0].tolist()])
    dynamic, static, *ours = evaluate_tracking(encode, scenes, times, 6, count=1)
    assert [f.queries for f in ours] == [dynamic.queries, static.queries]


def test_the_command(small, capsys):
    assert main(["evaluate", "tracking", "--clips", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "dense tracking, held-out procedural scenes" in printed and "ground truth" in printed
