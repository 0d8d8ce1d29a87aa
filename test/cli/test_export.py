"""`d4rt export`, as it is called."""

import numpy as np
import pytest
import torch
from small_models import PLAIN

from d4rt_ros.cli.main import main
from d4rt_ros.model.checkpoint import save_checkpoint
from d4rt_ros.model.network import D4RT
from d4rt_ros.runtime import load

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install '.[test]'")
pytest.importorskip("onnx", reason="needs onnx to export: pip install '.[test]'")


def test_a_checkpoint_becomes_a_folder_that_loads(tmp_path, capsys):
    torch.manual_seed(0)
    file, out = tmp_path / "small.safetensors", tmp_path / "exported"
    save_checkpoint(file, D4RT(PLAIN))
    assert main(["export", "--checkpoint", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "xyz           differs from torch's by" in said and f"wrote {out}" in said
    clip = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), np.uint8)
    answers = [
        load(x, device="cpu", precision="fp32").encode(clip).query([3, 70], 8, 0, 1, 2).xyz
        for x in (file, out)
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


def test_what_goes_wrong_is_one_sentence(tmp_path, capsys):
    assert (
        main(["export", "--checkpoint", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "o")])
        == 1
    )
    assert "d4rt export: " in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    assert main(["export", "--out", str(tmp_path / "full")]) == 1
    assert "give an empty or a new one" in capsys.readouterr().err
