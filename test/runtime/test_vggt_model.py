"""VGGT through `load` and `encode`: the reference's answers, many frames, masks, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_vggt import SMALL, published, random_vggt, write

import d4rt_ros
from d4rt_ros.cli.main import main
from d4rt_ros.model.protocol import Model, Scene
from d4rt_ros.model.tensor_files import CheckpointError
from d4rt_ros.runtime import FrameError, vggt_model
from d4rt_ros.runtime.vggt_model import VGGTModel, cameras_of, encode_bytes

LIMIT = 5e-5  # of the largest value
NAMES = {
    "extrinsics": "extrinsics",
    "intrinsics": "intrinsics",
    "depth": "depth",
    "depth_confidence": "depth_conf",
    "points": "world_points",
    "points_confidence": "world_points_conf",
}


def close(ours, theirs, limit=LIMIT):
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() <= limit * np.abs(theirs).max()


@pytest.fixture(scope="module")
def folder(shared):
    if not (shared / "golden/vggt/io.npz").is_file():
        pytest.skip(f"{shared}/golden/vggt is not there")
    return shared / "golden/vggt"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return d4rt_ros.load(write(tmp_path_factory.mktemp("vggt")), "cpu", "fp32")


def clip(frames=3, height=42, width=70, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


@pytest.mark.parametrize("which", ["", "shallow"])
def test_the_references_answers_come_out(folder, which):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = d4rt_ros.load(folder / which / "model.pt", "cpu", "fp32")
    answers, one = np.load(folder / which / "io.npz"), 1
    scene = model.encode(answers["images"])
    for ours, theirs in NAMES.items():
        if theirs in answers:
            value = getattr(scene, ours)
            assert value.dtype == np.float32
            close(value, answers[theirs])
        else:
            assert getattr(scene, ours) is None and ours.startswith("points")
    v, u = np.indices(scene.size).reshape(2, -1)
    answer, e = scene.query(u, v, one, one, one), scene.extrinsics[one]
    close(((answer.xyz - e[:, 3]) @ e[:, :3]).reshape(*scene.size, 3), answers["points_from_depth"])


@pytest.mark.parametrize(
    "name, mask, layers", [("early", "given_mask", None), ("all", "given_mask", 24), ("own", "mask", 5)]
)
def test_the_references_masked_pass_comes_out(folder, name, mask, layers):
    model = d4rt_ros.load(folder / "model.pt", "cpu", "fp32")
    answers = np.load(folder / "vggt4d.npz")
    scene = model.encode(np.load(folder / "io.npz")["images"], answers[mask], masked_layers=layers)
    close(scene.extrinsics, answers[f"extrinsics_{name}"])
    if name == "early":
        close(scene.depth[int(answers["frame"])], answers["depth_early"])
        close(np.linalg.inv(scene._camera_from_world), answers["cam2world_early"])


@pytest.mark.parametrize("precision, limit", [("bf16", 0.2), ("fp16", 0.02)])
def test_lower_precision_is_near(small, tmp_path, precision, limit):
    model = d4rt_ros.load(write(tmp_path), "cpu", precision)
    exact, scene = small.encode(clip()), model.encode(clip())
    assert 0 < np.abs(scene.depth - exact.depth).max()
    close(scene.depth, exact.depth, limit)
    close(scene.extrinsics, exact.extrinsics, limit)
    assert scene.depth.dtype == np.float32


def test_it_is_a_model_and_its_scenes_are_scenes(small):
    scene = small.encode([small.prepare(f) for f in clip(4)])
    assert isinstance(small, Model) and isinstance(scene, Scene) and not scene.tells_motion
    assert small.num_frames is None and scene.num_frames == 4 and scene.size == (42, 70)
    assert scene.nbytes == 4 * 4 * 42 * 70 * 6
    small.between_chunks = lambda: None


def test_frames_of_any_size_are_brought_to_the_networks(small):
    assert small.encode(clip(2, 48, 64)).depth.shape == (2, 56, 84)  # 4.5 patches, half to even
    assert small.encode(clip(2, 64, 48)).depth.shape == (2, 84, 84)
    assert small.encode(clip(1, 28, 182)).depth.shape == (1, 28, 182)
    small.preprocessing = "pad"
    padded = small.encode(clip(2, 48, 64))
    small.preprocessing = "crop"
    assert (
        padded.depth.shape == (2, 84, 84) and np.isfinite(padded.query([0, 63], [0, 47], 0, 0, 1).xyz).all()
    )


def test_transparent_frames_are_laid_on_white(small):
    alpha = np.concatenate((clip(2), np.zeros((2, 42, 70, 1), np.uint8)), -1)
    white = small.encode(np.full((2, 42, 70, 3), 255, np.uint8))
    np.testing.assert_array_equal(small.encode(list(alpha)).depth, white.depth)


def test_hundreds_of_frames_in_one_pass(small):
    scene = small.encode(clip(520, 28, 42))
    assert scene.extrinsics.shape == (520, 3, 4) and np.isfinite(scene.depth).all()
    assert np.isfinite(scene.query(3, 4, 519, 519, 0).xyz).all()


def test_maps_do_not_depend_on_how_many_are_made_at_a_time(small, monkeypatch):
    one = small.encode(clip(5))
    monkeypatch.setattr(vggt_model, "HEAD_FRAMES", 2)
    other = small.encode(clip(5))
    np.testing.assert_allclose(one.points, other.points, rtol=1e-4, atol=1e-5)


def test_masks_change_the_cameras(small):
    plain, mask = small.encode(clip()), np.zeros((3, 42, 70), bool)
    np.testing.assert_array_equal(small.encode(clip(), mask).extrinsics, plain.extrinsics)
    mask[1, 5, 33] = True
    early, everywhere = (small.encode(clip(), mask, masked_layers=n).extrinsics for n in (None, 5))
    assert np.abs(early - plain.extrinsics).max() > 1e-4 and np.abs(early - everywhere).max() > 1e-4
    np.testing.assert_array_equal(small.encode(clip(), mask, masked_layers=0).extrinsics, plain.extrinsics)
    np.testing.assert_array_equal(small.encode(clip(), mask, masked_layers=1).extrinsics, early)
    resized = np.zeros((3, 48, 64), bool)
    resized[0, 40:, 50:] = True
    assert np.isfinite(small.encode(clip(3, 48, 64), resized).extrinsics).all()


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((3, 42, 71), bool),
        np.zeros((2, 42, 70), bool),
        np.zeros((42, 70), bool),
        np.zeros((3, 42, 70)),
    ],
)
def test_a_mask_of_another_kind_is_refused(small, mask):
    with pytest.raises(FrameError, match=r"a mask of shape .*; \(3, 42, 70\) bool is expected"):
        small.encode(clip(), mask)


@pytest.mark.parametrize("layers", [-1, 6, 2.5, True])
def test_a_number_of_masked_layers_that_cannot_be_is_refused(small, layers):
    with pytest.raises(ValueError, match="masked_layers = "):
        small.encode(clip(), np.zeros((3, 42, 70), bool), masked_layers=layers)


@pytest.mark.parametrize(
    "frames, words",
    [
        ([], "no frames given"),
        (7, "frames of type int"),
        (np.zeros((2, 42, 70), np.uint8), "expected .H, W, 3. uint8 RGB"),
        (np.zeros((2, 42, 70, 3)), "expected .H, W, 3. uint8 RGB"),
        ([np.zeros((42, 70, 3), np.uint8), np.zeros((42, 84, 3), np.uint8)], "frames have different sizes"),
        (np.zeros((1, 1000, 3, 3), np.uint8), "too narrow"),
    ],
)
def test_frames_that_are_none_are_refused(small, frames, words):
    with pytest.raises(FrameError, match=words):
        small.encode(frames)


def test_more_frames_than_memory_holds_are_refused_before_it_is_taken(small, monkeypatch):
    free = encode_bytes(SMALL, (42, 70), 6, 4)
    monkeypatch.setattr(vggt_model, "available_bytes", lambda: free)
    assert small.encode(clip(6)).num_frames == 6
    with pytest.raises(
        FrameError, match="encoding 7 frames of 70x42 needs about .*: 6 frames of this size fit"
    ):
        small.encode(clip(7))
    monkeypatch.setattr(vggt_model, "available_bytes", lambda: 10)
    with pytest.raises(FrameError, match="no frames of this size fit"):
        small.encode(clip(1))


def test_a_gpu_that_runs_out_of_memory_says_so(small, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(small.network.aggregator, "forward", fail)
    with pytest.raises(FrameError, match="3 frames of 70x42 were more than the GPU's memory holds"):
        small.encode(clip())


def test_fields_of_view_and_quaternions_make_cameras():
    poses = np.array([[1, 2, 3, 0, 0, 3, 3, np.pi / 2, 0], [0, 0, 0, 0, 0, 0, 0, 1, 1]], np.float32)
    extrinsics, intrinsics = cameras_of(poses, (40, 60))
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]
    np.testing.assert_allclose(extrinsics[0], expected, atol=1e-6)
    assert np.isnan(extrinsics[1, :, :3]).all()
    assert intrinsics[0, 0, 0] == np.inf and intrinsics[0, 1, 1] == pytest.approx(20, rel=1e-6)
    assert intrinsics[0, 0, 2] == 30 and intrinsics[0, 1, 2] == 20


def test_a_safetensors_file_loads_too(tmp_path, small):
    path = write(tmp_path, name="model.safetensors")
    save_file(published(random_vggt()), path)
    model = d4rt_ros.load(path, precision="fp32")
    assert isinstance(model, VGGTModel)
    np.testing.assert_array_equal(model.encode(clip()).depth, small.encode(clip()).depth)


def test_files_that_are_no_model_are_refused(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="model.pt: not a whole torch checkpoint.*truncated"):
        d4rt_ros.load(path)
    torch.save({"head.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="no D4RT's tensors .*VGGT's model.pt"):
        d4rt_ros.load(path)
    tensors = {n: t for n, t in published(random_vggt()).items() if not n.startswith("depth_head")}
    with pytest.raises(CheckpointError, match="a VGGT without depth_head"):
        d4rt_ros.load(write(tmp_path, tensors))


def test_onnx_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model.pt: a VGGT, which cannot be exported to ONNX"):
        d4rt_ros.load(write(tmp_path), backend="onnx")


@pytest.mark.parametrize("command", ["convert {} {out}.safetensors", "export --checkpoint {} --out {out}"])
def test_commands_for_a_d4rt_say_that_it_is_none(tmp_path, capsys, command):
    path = write(tmp_path)
    assert main(command.format(path, out=tmp_path / "out").split()) == 1
    assert "weights of VGGT, which d4rt_ros.load" in capsys.readouterr().err
    assert sorted(f.name for f in tmp_path.iterdir() if f.suffix) == ["config.yaml", "model.pt"]
