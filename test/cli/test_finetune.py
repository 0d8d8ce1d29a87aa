"""`d4rt finetune`: the whole command on a tiny recording and a tiny model, and what it refuses."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from training.recorded_scenes import rendered_sequence
from training.small_training import MODEL

from d4rt_ros.cli.main import main
from d4rt_ros.evaluation.scenes import held_out
from d4rt_ros.model.checkpoint import load_checkpoint, save_checkpoint
from d4rt_ros.model.network import D4RT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording in 7-Scenes' format."""
    folder = tmp_path_factory.mktemp("office")
    sequence = rendered_sequence(count=12)[0]
    np.savetxt(folder / "camera-intrinsics.txt", sequence.frame(0).camera.matrix)
    for i in range(len(sequence)):
        frame, name = sequence.frame(i), str(folder / f"frame-{i:06d}")
        cv2.imwrite(f"{name}.color.png", frame.image[..., ::-1])
        cv2.imwrite(f"{name}.depth.png", (1000 * frame.depth).round().astype(np.uint16))
        np.savetxt(f"{name}.pose.txt", frame.world_from_camera)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, D4RT(MODEL))
    return path


def short_scenes():
    scenes, times = held_out()
    return scenes[:1], times[:1, : MODEL.frames]


def test_a_folder(tmp_path, folder, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr("d4rt_ros.evaluation.scenes.held_out", short_scenes)
    monkeypatch.setenv("COLUMNS", "150")
    out = tmp_path / "out"
    options = ["--checkpoint", str(checkpoint), "--holdout", "0.5", "--steps", "2", "--batch", "2"]
    assert main(["finetune", str(folder), "--out", str(out), *options]) == 0
    told = capsys.readouterr().out
    assert "6 frames to learn from, 6 held out" in told
    for words in (
        "before",
        "after",
        "depth AbsRel",
        "constant depth",
        "RPE-R",
        "still camera",
        "scenes: depth",
    ):
        assert words in told
    assert load_checkpoint(out / "weights.safetensors").config == MODEL
    data = json.loads((out / "run/state.json").read_text())["notes"]["config"]["data"]
    assert [(d["kind"], d["weight"]) for d in data] == [("rgbd", 0.75), ("scenes", 0.25)]


def test_what_it_refuses(tmp_path, folder, checkpoint, capsys):
    def refused(*arguments):
        assert main(["finetune", *map(str, arguments), "--out", str(tmp_path / "out")]) == 1
        return capsys.readouterr().err

    assert "is no folder" in refused(tmp_path / "nothing")
    assert "holds no images" in refused(tmp_path)
    assert "--holdout is 1.5; expected a share" in refused(folder, "--holdout", "1.5")
    few = refused(folder, "--checkpoint", checkpoint, "--holdout", "0.1")
    assert "12 frames are 11 to learn from and 1 to check on" in few
    (tmp_path / "metadata.yaml").write_text("")
    assert "cannot be read as a ROS 2 bag" in refused(tmp_path)
    assert not any((tmp_path / "out").iterdir())


def test_frames_held_out_that_cannot_be_used(tmp_path, folder, checkpoint, capsys):
    from d4rt_ros.cli.finetune import held_out_clips
    from d4rt_ros.io.recorded import RecordedError
    from d4rt_ros.io.rgbd_folder import open_rgbd_folder

    whole = open_rgbd_folder(folder)

    def read(i):
        if i in bad:
            raise RecordedError(f"frame {i}: cannot be decoded")
        return whole.frame(i)

    bad = {3}
    clips = held_out_clips(replace(whole, read=read), 4)
    assert len(clips) == 1 and "held out, but cannot be used: frame 3" in capsys.readouterr().err
    bad = set(range(12))
    with pytest.raises(RecordedError, match="no held-out clip can be used; the last one: frame"):
        held_out_clips(replace(whole, read=read), 4)
