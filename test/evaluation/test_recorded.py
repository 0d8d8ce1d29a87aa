"""Recorded frames: which clips, and against what."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from d4rt_ros.evaluation.recorded import clip_frames, evaluate_recorded
from d4rt_ros.geometry import Pinhole, invert, pose_matrix
from d4rt_ros.io import Frame
from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.io.rgbd_folder import open_rgbd_folder


def write(folder, count=5):
    random = np.random.default_rng(0)
    np.savetxt(folder / "camera-intrinsics.txt", [[40, 0, 19.5], [0, 40, 11.5], [0, 0, 1]])
    for i in range(count):
        stem = folder / f"frame-{i:06d}"
        cv2.imwrite(f"{stem}.color.jpg", random.integers(0, 255, (24, 40, 3), np.uint8))
        depth = np.tile(np.linspace(1000, 3000, 40), (24, 1)).astype(np.uint16)
        depth[:2], depth[2:4] = 0, 65535
        cv2.imwrite(f"{stem}.depth.png", depth)
        np.savetxt(f"{stem}.pose.txt", pose_matrix(translation=[0.1 * i, 0.01 * i**2, 0]))


def test_clips_hold_every_frame_once():
    assert clip_frames(9, 2, 2, "nine") == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert clip_frames(4, 4, 1, "four") == [[0, 1, 2, 3]]
    with pytest.raises(RecordedError, match="three: has 3 frames; .* needs 4"):
        clip_frames(3, 2, 2, "three")


def test_one_depth_everywhere_is_the_baseline(tmp_path, still_model):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")
    write(tmp_path)
    sequence = open_rgbd_folder(tmp_path)
    figures = {f.name: f for f in evaluate_recorded(still_model, [sequence], 2, pictures=tmp_path / "p")}
    for name in ("depth AbsRel, median-scaled", "depth AbsRel (SS), one scale and shift a clip"):
        assert figures[name].count == 2 and figures[name].value == pytest.approx(figures[name].baseline)
        assert 0.1 < figures[name].value < 0.5
    assert figures["RPE-T, frame to frame, m"].baseline > 0.1
    assert len(list((tmp_path / "p").iterdir())) == 4
    assert evaluate_recorded(still_model, [sequence], 2, most=1)[0].count == 1


def sequence_of(video, **changed):
    rendering = video.rendering()
    height, width = video.frames[0].shape[:2]

    def read(i):
        frame = dict(
            image=video.frames[i],
            stamp=i * 10**8,
            camera=Pinhole.from_matrix(rendering.intrinsics[0].double().numpy(), width, height),
            depth=rendering.depth[0, i].numpy(),
            world_from_camera=rendering.world_from_camera[0, i].double().numpy(),
        )
        return Frame(**(frame | changed))

    return RecordedSequence("video", False, len(video.frames), read)


def test_the_truth_is_perfect(video, true_model):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")
    model = true_model([[0, 2, 4, 6], [1, 3, 5, 7]])
    figures = {f.name: f.value for f in evaluate_recorded(model, [sequence_of(video)], 2)}
    assert len(figures) == 18
    for name, value in figures.items():
        if name.startswith(("depth AbsRel", "ATE", "RPE-T", "point cloud")):
            assert value < 5e-3, name
        elif name.startswith("depth delta"):
            assert value > 0.999, name
    assert figures["RPE-R, frame to frame, deg"] < 0.05


def test_without_poses_there_is_depth_alone(video, true_model):
    figures = evaluate_recorded(true_model([range(4)]), [sequence_of(video, world_from_camera=None)], most=1)
    assert {f.name.split()[0] for f in figures} == {"depth", "boundary", "rank", "sparsification"}


def test_frames_without_depth(video, true_model, tmp_path, still_model):
    with pytest.raises(RecordedError, match="video, frames 0 to 3: a frame has no depth"):
        evaluate_recorded(true_model([range(4)]), [sequence_of(video, depth=None)])
    nothing = np.full(video.size, np.nan, np.float32)
    with pytest.raises(RecordedError, match="no pixel of any frame has depth"):
        evaluate_recorded(true_model([range(4)]), [sequence_of(video, depth=nothing)])
    write(tmp_path)
    (tmp_path / "frame-000003.depth.png").write_bytes(b"nonsense")
    with pytest.raises(RecordedError, match="frame-000003.depth.png: cannot be decoded"):
        evaluate_recorded(still_model, [open_rgbd_folder(tmp_path)], 2)


def test_another_world_is_as_good(video, true_model):
    """Poses may be given in any world."""
    world = invert(pose_matrix(translation=[3, 4, 5]))
    plain = sequence_of(video)
    moved = RecordedSequence(
        "moved", False, len(plain),
        lambda i: replace(plain.frame(i), world_from_camera=world @ plain.frame(i).world_from_camera),
    )  # fmt: skip
    ours, theirs = (evaluate_recorded(true_model([range(4)]), [s], most=1) for s in (plain, moved))
    for a, b in zip(ours, theirs):
        assert a.value == pytest.approx(b.value, abs=1e-4), a.name


def test_clips_of_a_model_that_takes_any_number_and_tells_no_motion(video, motionless):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")

    class Model:
        num_frames = None

        def encode(self, images):
            assert len(images) == 8
            return motionless(video.part(range(8)))

    figures = {f.name: f for f in evaluate_recorded(Model(), [sequence_of(video)])}
    assert figures["depth AbsRel (S), one scale a clip"].value < 1e-3
    ate = figures["ATE of a clip (Sim3), m"]
    assert ate.value < 0.01 * ate.baseline and ate.count == 1
