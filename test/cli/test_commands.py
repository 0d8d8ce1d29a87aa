"""train, evaluate and benchmark, as the README calls them."""

import json
from dataclasses import replace

import pytest

from d4rt_ros.cli.main import main
from d4rt_ros.model.checkpoint import load_checkpoint, save_checkpoint
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT

RECIPE = "{model: {preset: tiny}, batch: 1, steps: 1, optimiser: muon, queries: {count: 16}, check_clips: 1}"


def test_train_writes_weights_that_evaluate_reads(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = tmp_path / "run"
    train = ["train", "--out", str(out), "--no-compile"]
    assert main([*train, "--config", str(tmp_path / "recipe.yaml")]) == 0
    assert "d4rt evaluate --checkpoint" in capsys.readouterr().out
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 1]
    # Its own configuration, but for what options change.
    assert main([*train, "--resume", "--steps", "2"]) == 0
    assert json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] == 2
    weights = out / "weights.safetensors"
    assert main(["evaluate", "--checkpoint", str(weights), "--clips", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "1 held-out" in printed and "AbsRel" in printed and "constant depth" in printed


def test_training_starts_from_weights_of_the_same_shapes(tmp_path, capsys):
    small = replace(PRESETS["tiny"], encoder_layers=1, decoder_layers=1, height=24, width=36)
    weights = tmp_path / "start.safetensors"
    save_checkpoint(weights, D4RT(small))
    sizes = "encoder_layers: 1, decoder_layers: 1"
    recipe = tmp_path / "recipe.yaml"
    rest = "batch: 1, steps: 1, queries: {count: 16}, check_clips: 1"
    train = ["train", "--no-compile", "--from", str(weights), "--config", str(recipe), "--out"]
    # Other images, for which the weights are as good.
    recipe.write_text(f"{{model: {{preset: tiny, {sizes}, height: 36, width: 48}}, {rest}}}")
    assert main([*train, str(tmp_path / "larger")]) == 0
    assert load_checkpoint(tmp_path / "larger" / "weights.safetensors").config.width == 48
    recipe.write_text(f"{{model: {{preset: tiny, encoder_layers: 2, decoder_layers: 1}}, {rest}}}")
    assert main([*train, str(tmp_path / "deeper")]) == 1
    assert (
        "other sizes (encoder_layers: 1 before, 2 now; height: 24 before, 96 now" in capsys.readouterr().err
    )


def test_a_wrong_configuration_is_a_sentence(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("{loss: {uvv: 3}}")
    assert main(["train", "--out", str(tmp_path), "--config", str(tmp_path / "recipe.yaml")]) == 1
    assert "loss.uvv: no such key; is it loss.uv?" in capsys.readouterr().err


def test_resume_without_a_run_is_a_sentence(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path), "--resume"]) == 1
    assert "nothing to resume" in capsys.readouterr().err


def test_a_missing_checkpoint_is_a_sentence(tmp_path, capsys):
    assert main(["evaluate", "--checkpoint", str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors: no such file" in capsys.readouterr().err


def test_evaluate_on_real_frames(shared, tmp_path, capsys):
    save_checkpoint(tmp_path / "random.safetensors", D4RT(PRESETS["tiny"]))
    folder = tmp_path / "some"
    folder.mkdir()
    for path in sorted((shared / "data" / "kitchen").glob("frame-0000[0-3]*")):
        (folder / path.name).symlink_to(path)
    random = str(tmp_path / "random.safetensors")
    assert main(["evaluate", "rgbd", str(folder), "--clips", "1", "--checkpoint", random]) == 0
    assert "rgbd: some" in capsys.readouterr().out


def test_benchmark_of_messages(ros_domain, capsys):
    pytest.importorskip("d4rt_ros.msg", reason="needs the built interfaces")
    assert main(["benchmark", "messages"]) == 0
    printed = capsys.readouterr().out
    assert "65,536 points" in printed and "rectify 640x480" in printed
