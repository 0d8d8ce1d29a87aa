"""`d4rt benchmark cues`, on sizes that take no time."""

import pytest

from d4rt_ros.cli.main import main

QUICK = [
    "--preset",
    "tiny",
    "--size",
    "48",
    "48",
    "--device",
    "cpu",
    "--seconds",
    "0.05",
    "--precision",
    "fp32",
]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_both_ways_side_by_side(capsys):
    assert main(["benchmark", "cues", *QUICK, "--frames", "8"]) == 0
    printed = capsys.readouterr().out
    assert "tiny, random weights, 8 frames of 48x48, 3 global layers, float32" in printed
    rows = {
        cells[1].strip(): cells[2:] for cells in (x.split("│") for x in printed.splitlines()) if cells[3:]
    }
    assert list(rows)[:3] == ["encode", "cues: the five maps and Dyn", "the published way"]
    assert rows["encode"][1].strip() == "100.00 %"
    assert float(rows["largest difference of the two ways"][0]) < 1e-4


@pytest.mark.parametrize(
    "more, sentence",
    [
        (["--frames", "2"], "two or more"),
        (["--checkpoint", "x"], "give one"),
        (["--threads", "0"], "1 or more"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(more, sentence, capsys):
    assert main(["benchmark", "cues", *QUICK, *more]) == 1
    assert sentence in capsys.readouterr().err


def test_another_backbone_is_a_sentence(shared, capsys):
    checkpoint = str(shared / "golden" / "vggt" / "model.pt")
    assert main(["benchmark", "cues", "--checkpoint", checkpoint, "--device", "cpu"]) == 1
    assert "is no D4RT" in capsys.readouterr().err
