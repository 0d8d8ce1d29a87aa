"""`d4rt evaluate`: its data, its options, its files."""

import json

import pytest

from d4rt_ros.cli import evaluate_stream
from d4rt_ros.cli.main import main
from d4rt_ros.evaluation.run_truth import KINDS


def test_options_before_and_after_the_data(track_file, tmp_path, capsys):
    file, out = str(track_file()), tmp_path / "out.json"
    pictures = tmp_path / "pictures"
    assert (
        main(
            ["evaluate", "--json", str(out), "tapvid3d", file, "--device", "cpu", "--pictures", str(pictures)]
        )
        == 0
    )
    assert "tapvid3d: 1 files, clips of 8 frames" in capsys.readouterr().out
    read = json.loads(out.read_text())
    assert read["checkpoint"] == "embedded" and len(read["figures"]) == 3
    assert len(list(pictures.iterdir())) == 1
    assert main(["evaluate", "--device", "cpu", "worldtrack", file]) == 0
    assert "EPE" in capsys.readouterr().out


def test_scenes_with_pictures(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert (
        main(["evaluate", "--clips", "1", "--device", "cpu", "--pictures", str(tmp_path), "--json", str(out)])
        == 0
    )
    assert "1 held-out procedural scenes" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {
        "out.json", "scene_000_depth.png", "scene_000_path.png", "scene_000_tracks.png",
    }  # fmt: skip


def test_whole_runs(tmp_path, capsys):
    out = tmp_path / "out.json"
    options = ["--sequences", "1", "--frames", "10", "--size", "48", "36", "--uncalibrated"]
    assert main(["evaluate", "stream", *options, "--device", "cpu", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "1 procedural sequences (moving) of 10 frames, camera not known" in text and "one scale" in text
    figures = {figure["name"]: figure for figure in json.loads(out.read_text())["figures"]}
    assert figures["frames with a trusted pose"]["count"] == 1
    assert len(figures["depth AbsRel, one scale for the run"]["runs"]["moving 0"]) == 3


def test_runs_that_cannot_be(capsys):
    assert list(evaluate_stream.KINDS) == list(KINDS)
    assert main(["evaluate", "stream", "--rate", "0", "--device", "cpu"]) == 1
    assert "--rate 0.0; frames come at more than 0 Hz" in capsys.readouterr().err
    for wrong in (["--kind", "flying"], ["--sequences", "0"], ["--frames", "none"]):
        with pytest.raises(SystemExit):
            main(["evaluate", "stream", *wrong])


@pytest.mark.parametrize("data", ["rgbd", "sintel", "tapvid3d", "worldtrack", "stream"])
def test_what_is_not_there_is_a_sentence(data, tmp_path, capsys):
    assert main(["evaluate", data, str(tmp_path / "nothing"), "--device", "cpu"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("d4rt evaluate: ") and "nothing" in message and "expected" in message


def test_what_cannot_be_asked(tmp_path):
    for arguments in (["--clips", "0"], ["everything"], ["rgbd"], ["--rgbd", "."]):
        with pytest.raises(SystemExit):
            main(["evaluate", *arguments])


def test_figures_are_shown_although_they_cannot_be_written(track_file, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("d4rt_ros.evaluation.figures.save_figures", full)
    options = ["--json", str(tmp_path / "figures.json"), "--device", "cpu"]
    assert main(["evaluate", *options, "tapvid3d", str(track_file())]) == 1
    printed = capsys.readouterr()
    assert "TAPVid-3D AJ" in printed.out and "No space left" in printed.err


def test_a_missing_folder_is_made(tmp_path, track_file, capsys):
    out = tmp_path / "not/there/figures.json"
    assert main(["evaluate", "--json", str(out), "tapvid3d", str(track_file()), "--device", "cpu"]) == 0
    assert out.is_file()
