"""`d4rt reconstruct` on a folder of images of the analytic room, and a model that knows it."""

import json
import signal

import cv2
import numpy as np
import pytest
from analytic_stream import CAMERA, AnalyticModel, image

from d4rt_ros.cli import reconstruct
from d4rt_ros.cli.main import main

COUNT, WINDOW = 14, 6
FILES = {"trajectory.txt", "cloud.ply", "depth.npz", "tracks.npz"}


class Model(AnalyticModel):
    """Something happens with its n-th window."""

    happens, windows = {}, 0

    def encode(self, frames):
        self.windows += 1
        self.happens.get(self.windows, lambda: None)()
        return super().encode(frames)


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr("d4rt_ros.runtime.load", lambda *_, **__: model)
    return model


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    for k in range(COUNT):
        write(folder, k, image(k))
    np.savetxt(folder / "camera-intrinsics.txt", CAMERA.matrix)
    return folder


def write(folder, k, rgb):
    assert cv2.imwrite(str(folder / f"{k:03}.png"), rgb[..., ::-1])


def run(video, out, *options) -> int:
    return main(["reconstruct", str(video), "--out", str(out), *options])


def test_files_and_a_summary(model, video, tmp_path, capsys):
    out, figures = tmp_path / "new/out", tmp_path / "figures/summary.json"
    assert run(video, out, "--json", str(figures), "--depth-size", "9", "13", "--refine", "none") == 0
    assert {file.name for file in out.iterdir()} == FILES
    said = capsys.readouterr()
    first, placed, *_ = said.out.splitlines()
    assert f"{COUNT} frames of 97x65" in first and "a second" in first
    assert f"placed: {COUNT} frames (100%)" in placed and "of the model's units" in placed
    assert str(out / "cloud.ply") in said.out.replace("\n", "") and said.err == ""
    told = json.loads(figures.read_text())
    assert told["frames"] == told["trusted"] == COUNT and told["worlds"] == 1 and not told["metric"]
    assert told["scale_sigma"] is None and told["reasons"] == {} and len(told["files"]) == 4
    depth, path = np.load(out / "depth.npz"), np.loadtxt(out / "trajectory.txt")
    assert depth["depth"].shape == (COUNT, 9, 13) and len(path) == COUNT
    truth = [model.world_from_camera(WINDOW - 1, k)[:3, 3] for k in range(COUNT)]
    np.testing.assert_allclose(path[:, 1:4], truth, atol=1e-4)
    assert told["path_length"] == pytest.approx(
        np.linalg.norm(np.diff(truth, axis=0), axis=1).sum(), rel=1e-3
    )


def test_online_and_metres(model, video, tmp_path, capsys):
    assert run(video, tmp_path / "out", "--online", "--metres", "2") == 0
    said = capsys.readouterr().out
    assert f"placed: {COUNT - WINDOW + 1} frames (64%); path" in said and " m" in said.splitlines()[1]
    assert "not placed: 5 frames: the window is not full" in said
    assert len(np.loadtxt(tmp_path / "out/trajectory.txt")) == COUNT - WINDOW + 1
    depth = np.load(tmp_path / "out/depth.npz")
    assert depth["metric"] and np.isnan(depth["depth"][: WINDOW - 1]).all()


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_what_is_done(model, video, tmp_path, capsys):
    model.happens = {4: interrupt}
    assert run(video, tmp_path) == 130
    said = capsys.readouterr()
    assert "interrupted after 8 frames; what is known so far is written" in said.err
    assert "8 frames of 97x65" in said.out and FILES <= {file.name for file in tmp_path.iterdir()}
    assert len(np.load(tmp_path / "depth.npz")["depth"]) == len(np.loadtxt(tmp_path / "trajectory.txt")) == 8


def test_ctrl_c_before_anything_is_done(model, video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reconstruct, "follow", lambda *_: interrupt())
    assert run(video, tmp_path / "out") == 130
    said = capsys.readouterr()
    assert "interrupted after 0 frames" in said.err and "written" not in said.err and said.out == ""
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_before_anything_is_placed(model, video, tmp_path, capsys):
    model.happens = {1: interrupt}
    assert run(video, tmp_path) == 130
    assert (
        "placed: 0 frames" in capsys.readouterr().out and len(np.load(tmp_path / "depth.npz")["depth"]) == 5
    )


def test_ctrl_c_while_files_are_written_leaves_whole_ones(model, video, tmp_path, monkeypatch, capsys):
    def interrupted(file, **_):
        file.write(b"half of it")
        interrupt()

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    assert run(video, tmp_path / "out") == 130
    assert "interrupted while writing to" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"trajectory.txt", "cloud.ply"}


def test_a_fault_loses_nothing(model, video, tmp_path, capsys):
    def fail():
        raise RuntimeError("out of memory")

    model.happens = {4: fail}
    with pytest.raises(RuntimeError, match="out of memory"):
        run(video, tmp_path)
    assert "RuntimeError with frame 8; what is known so far is written" in capsys.readouterr().err
    assert len(np.loadtxt(tmp_path / "trajectory.txt")) == 8


def test_a_video_that_breaks_off_keeps_what_was_read(model, video, tmp_path, capsys):
    write(video, 10, np.zeros((70, 97, 3), np.uint8))
    assert run(video, tmp_path) == 1
    said = capsys.readouterr()
    assert "010.png is 97x70" in said.err and "what is known so far is written" in said.err
    assert len(np.loadtxt(tmp_path / "trajectory.txt")) == 10


def test_a_video_in_which_nothing_can_be_placed(model, video, tmp_path, capsys):
    for k in range(4, COUNT):
        (video / f"{k:03}.png").unlink()
    assert run(video, tmp_path) == 1
    said = capsys.readouterr().out
    assert "placed: 0 frames (0%)" in said and "the window is not full" in said
    assert FILES <= {file.name for file in tmp_path.iterdir()}


def test_why_frames_are_not_placed_is_told(model, video, tmp_path, capsys):
    for k in range(COUNT, COUNT + 5):
        write(video, k, np.zeros_like(image(0)))
    assert run(video, tmp_path, "--json", str(tmp_path / "summary.json")) == 0
    assert "not placed: 5 frames: the image shows nothing to measure" in capsys.readouterr().out
    [(reason, count)] = json.loads((tmp_path / "summary.json").read_text())["reasons"].items()
    assert count == 5 and "nothing to measure" in reason


def test_worlds_that_could_not_be_joined_are_told():
    told = dict(
        frames=20, image_size=[65, 97], frames_a_second=3.0, trusted=18, worlds=2, main_world_frames=11
    )
    told |= dict(path_length=1.5, metric=True, scale_sigma=0.02, points=7, tracks=8, reasons={"lost": 2})
    said = "\n".join(reconstruct.lines(told, "clip.mp4"))
    assert "path 1.5 m, scale within 2.0%" in said and "2 worlds, which could not be joined" in said
    assert "(11)" in said and "not placed: 2 frames: lost" in said


def test_a_mask_is_never_used(model, video, tmp_path, capsys):
    mask = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    mask[:, :30] = 255
    cv2.imwrite(str(tmp_path / "arm.png"), mask)
    options = "--mask", str(tmp_path / "arm.png"), "--depth-size", "9", "13", "--refine", "none"
    assert run(video, tmp_path / "out", *options) == 0
    depth = np.load(tmp_path / "out" / "depth.npz")["depth"]
    assert np.isnan(depth[:, :, :4]).all() and np.isfinite(depth[:, :, 5:]).all()
    cv2.imwrite(str(tmp_path / "arm.png"), mask[:-1])
    assert run(video, tmp_path / "out", *options) == 1
    size = f"{CAMERA.width}x{CAMERA.height - 1} pixels, the images have {CAMERA.width}x{CAMERA.height}"
    assert f"arm.png has {size}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["no_video.mp4"], "no_video.mp4"),
        (["{video}", "--stride", "0"], "stride = 0"),
        (["{video}", "--depth-size", "1", "5"], "a grid of 1x5"),
        (["{video}", "--metres", "-1"], "metres = -1"),
        (["{video}", "--checkpoint", "none.safetensors"], "none.safetensors"),
        (["{video}", "--mask", "{video}/no_mask.png"], "no_mask.png: is missing; expected a mask"),
    ],
)
def test_what_cannot_be_is_a_sentence(arguments, words, video, tmp_path, capsys):
    arguments = [word.format(video=video) for word in arguments]
    assert main(["reconstruct", *arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("d4rt reconstruct: ") and words in said.err and said.out == ""
    assert said.err.count("\n") == 1
