"""The loop: the rate's course, learning, resuming, and what stops it."""

import json
from dataclasses import replace

import pytest
import torch

from d4rt_ros.model import config as model_config
from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.training import loop
from d4rt_ros.training.config import QueryMix, TrainConfig
from d4rt_ros.training.loop import TrainingError, learning_rate, train

SMALL = replace(
    model_config.PRESETS["tiny"],
    frames=4,
    height=32,
    width=32,
    encoder_width=48,
    encoder_layers=2,
    decoder_width=48,
    decoder_layers=1,
    stem=4,
)
CONFIG = TrainConfig(steps=12, batch=2, warmup=4, queries=QueryMix(count=32))


@pytest.fixture(autouse=True)
def small_model(monkeypatch):
    monkeypatch.setitem(loop.PRESETS, "tiny", SMALL)


def test_rate_warms_up_and_falls_to_its_end():
    config = TrainConfig(steps=1000, warmup=100, learning_rate=1.0, final_learning_rate=0.01)
    assert learning_rate(0, config) == pytest.approx(0.01)
    assert learning_rate(99, config) == pytest.approx(1.0)
    assert learning_rate(550, config) == pytest.approx(0.505)
    assert learning_rate(1000, config) == pytest.approx(0.01)


def test_a_run_learns_writes_and_resumes(tmp_path):
    weights = train(CONFIG, tmp_path, save_every=6)
    network = load_checkpoint(weights)
    assert network.config == SMALL
    train(replace(CONFIG, steps=16), tmp_path, resume=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [12, 16]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 16


def test_the_loss_falls_on_one_batch(monkeypatch, tmp_path):
    """Two clips over and over: the model must fit them far better than at first."""
    original = loop.clips

    def always_the_same(*args, **kwargs):
        batch = next(original(*args, **kwargs))
        while True:
            yield batch

    monkeypatch.setattr(loop, "clips", always_the_same)
    train(replace(CONFIG, steps=200, warmup=20, queries=QueryMix(count=64)), tmp_path)
    first, last = (json.loads(line)["total"] for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert last < 0.75 * first


def test_nothing_to_resume(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(CONFIG, tmp_path, resume=True)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    def broken(answer, truth, weights):
        terms = original(answer, truth, weights)
        terms["total"] = terms["total"] * float("nan")
        return terms

    original = loop.composite_loss
    monkeypatch.setattr(loop, "composite_loss", broken)
    with pytest.raises(TrainingError, match="step 0: the gradient is not finite"):
        train(CONFIG, tmp_path)
