"""`d4rt benchmark model` and `precision`, as the README calls them, on sizes that take no time."""

import cv2
import numpy as np
import pytest
import torch
from small_vggt import write

from d4rt_ros.cli import benchmark_model
from d4rt_ros.cli.main import main

QUICK = ["--device", "cpu", "--seconds", "0.05"]
SMALL = ["--preset", "tiny", "--frames", "2", "--size", "24", "24", *QUICK]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def refused(capsys, *arguments) -> str:
    assert main(["benchmark", *arguments]) == 1
    return capsys.readouterr().err


def test_random_weights_of_a_preset(capsys):
    assert main(["benchmark", "model", *SMALL, "--precision", "fp32"]) == 0
    printed = capsys.readouterr().out
    for part in ("tiny, random weights, 2 frames of 24x24, float32", "encode", "one query", "65,536 queries",
                 "depth map 256x256", "memory: weights", "parameters"):  # fmt: skip
        assert part in printed
    assert "floor" not in printed  # a GPU's, that are not a CPU's


def test_floors_and_every_precision(capsys):
    assert main(["benchmark", "model", *SMALL, "--precision", "all", "--peak-tflops", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("arithmetic floor") == 3
    assert all(name in printed for name in ("float32", "bfloat16", "float16"))


def test_against_the_naive_way(capsys, monkeypatch):
    monkeypatch.setattr(benchmark_model, "NAIVE_MAP", 32)
    assert main(["benchmark", "model", *SMALL, "--against", "naive", "--precision", "fp32"]) == 0
    printed = capsys.readouterr().out
    assert "chunks of 512" in printed and "memory of 512 patches" in printed
    difference = next(line for line in printed.splitlines() if "largest difference" in line)
    assert float(difference.split("│")[3]) <= 1e-5


def test_embedded_weights_and_threads(capsys):
    assert main(["benchmark", "model", *QUICK, "--threads", "1", "--precision", "fp32"]) == 0
    printed = capsys.readouterr().out
    assert "embedded weights, 8 frames of 96x96" in printed and "1 threads" in printed


def test_an_exported_model(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert main(["export", "--out", str(tmp_path / "onnx")]) == 0
    arguments = ["benchmark", "model", "--checkpoint", str(tmp_path / "onnx"), *QUICK]
    assert main(arguments) == 0
    assert "ONNX Runtime" in capsys.readouterr().out
    assert "needs the checkpoint file" in refused(capsys, *arguments[1:], "--against", "naive")


def test_precision_on_a_folder(tmp_path, capsys):
    for i in range(16):
        image = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    assert main(["benchmark", "precision", "--video", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "bf16" in printed and "fp16" in printed and "1 windows" in printed


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["model", "--frames", "4"], "need a --preset"),
        (["model", "--preset", "tiny", "--checkpoint", "x"], "give one of them"),
        (["model", "--preset", "tiny", "--frames", "3"], "frames is a multiple"),
        (["model", "--checkpoint", "none.safetensors"], "no such file"),
        (["model", "--threads", "0"], "must be 1 or more"),
        (["model", "--device", "gpu"], "unknown device 'gpu'"),
        (["precision"], "give --video"),
        (["precision", "--video", "none.mp4"], "does not exist"),
        (["precision", "--video", "x", "--preset", "base"], "leave out --preset"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(arguments, sentence, capsys):
    assert sentence in refused(capsys, *arguments)


def test_a_vggt_by_its_number_of_frames(tmp_path, capsys):
    arguments = ["--checkpoint", str(write(tmp_path)), "--precision", "fp32", *QUICK]
    assert main(["benchmark", "model", *arguments, "--size", "42", "70"]) == 0
    printed = capsys.readouterr().out
    assert "frames of 70x42, float32" in printed and "parameters" in printed
    assert [row.split("│")[1].strip() for row in printed.splitlines() if "frames/s" in row] == [
        "8",
        "32",
        "100",
    ]
    assert main(["benchmark", "model", *arguments, "--size", "42", "70", "--frames", "3"]) == 0
    assert capsys.readouterr().out.count("frames/s") == 1
    video = ["--video", str(tmp_path), "--checkpoint", str(tmp_path / "model.pt")]
    assert "use a D4RT checkpoint" in refused(capsys, "precision", *video, *QUICK)
    assert "the naive way is a D4RT's" in refused(capsys, "model", *arguments, "--against", "naive")
