"""train, evaluate and benchmark, as the README calls them."""

import json

import pytest

from d4rt_ros.cli.main import main
from d4rt_ros.model.checkpoint import save_checkpoint
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT


def test_train_writes_weights_that_evaluate_reads(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path), "--steps", "1", "--no-compile"]) == 0
    assert "d4rt evaluate --checkpoint" in capsys.readouterr().out
    assert json.loads((tmp_path / "log.jsonl").read_text())["step"] == 1
    weights = tmp_path / "weights.safetensors"
    assert main(["evaluate", "--checkpoint", str(weights), "--clips", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "1 held-out" in printed and "AbsRel" in printed and "constant depth" in printed


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
    assert "65,536 points" in capsys.readouterr().out
