"""`d4rt evaluate`: its data, its options, its files."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from d4rt_ros.cli import evaluate_masks, evaluate_stream
from d4rt_ros.cli.main import main
from d4rt_ros.evaluation.mask_scenes import KINDS as MASK_KINDS
from d4rt_ros.evaluation.run_truth import KINDS
from d4rt_ros.stream.config import DYNAMICS


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


def test_masks(tmp_path, capsys):
    options = ["evaluate", "masks", "--sequences", "1", "--device", "cpu"]
    out = tmp_path / "out.json"
    images, annotations = (tmp_path / part / "bear" for part in ("JPEGImages", "Annotations"))
    for k in range(3):
        for folder in (images, annotations):
            folder.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(k).integers(0, 255, (30, 60, 3), np.uint8)
        cv2.imwrite(str(images / f"{k:05}.jpg"), image)
        cv2.imwrite(str(annotations / f"{k:05}.png"), 255 * (image[..., 0] > 99).astype(np.uint8))
    pictures = ["--pictures", str(tmp_path / "pictures")]
    assert main([*options, "--method", "motion", str(tmp_path), "--json", str(out), *pictures]) == 0
    assert f"masks: {tmp_path.name}, 1 sequences" in capsys.readouterr().out
    figures = json.loads(out.read_text())["figures"]
    assert [figure["method"] for figure in figures][:2] == ["motion", "nothing moves"]
    assert figures[1]["sequences"]["bear"]["j_mean"] == 0 and figures[1]["frames"] == 1
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["bear_masks.png"]


def test_masks_that_cannot_be(tmp_path, capsys):
    assert list(evaluate_masks.KINDS) == list(MASK_KINDS)
    assert {*evaluate_masks.METHODS, "off"} == set(DYNAMICS)
    for wrong, sentence in (
        (["--poses", str(tmp_path)], "--poses takes procedural sequences"),
        (
            ["--swept", "--method", "motion", "--method", "both"],
            "--swept takes procedural sequences, one --method",
        ),
        (["--swept", "--kind", "large"], "--swept has sequences of its own"),
        ([str(tmp_path)], "JPEGImages: is no folder; expected DAVIS's layout"),
    ):
        assert main(["evaluate", "masks", *wrong, "--device", "cpu"]) == 1
        assert sentence in capsys.readouterr().err
    for wrong in (["--kind", "flying"], ["--sequences", "0"], ["--method", "off"], ["--poses", "--swept"]):
        with pytest.raises(SystemExit):
            main(["evaluate", "masks", *wrong])


@pytest.mark.parametrize("data", ["tapvid3d", "worldtrack", "boundaries", "tracking"])
def test_what_a_model_that_tells_no_motion_cannot_be_judged_by(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("d4rt_ros.runtime.load", lambda *_: SimpleNamespace(num_frames=None))
    files = [str(tmp_path / "clip.npz")] if data in ("tapvid3d", "worldtrack") else []
    assert main(["evaluate", data, *files, "--checkpoint", "model.pt"]) == 1
    assert "this model cannot tell where a point goes; use a D4RT checkpoint" in capsys.readouterr().err


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
