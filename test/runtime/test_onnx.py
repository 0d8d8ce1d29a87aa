"""An exported model answers as torch does, and says what is wrong with a folder or a GPU."""

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.protocol import NoAttentionError
from d4rt_ros.runtime import FrameError, Model, load, onnx_model
from d4rt_ros.runtime.onnx_model import CPU, CUDA, TENSORRT, OnnxError, OnnxModel

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install '.[test]'")
pytest.importorskip("onnx", reason="needs onnx to export: pip install '.[test]'")

from d4rt_ros.runtime import onnx_export  # noqa: E402
from d4rt_ros.runtime.onnx_export import export_onnx  # noqa: E402

TINY = replace(PRESETS["tiny"], encoder_layers=2, decoder_layers=2, encoder_width=48, decoder_width=48)
PLAIN = replace(TINY, position="sinusoidal", stem=0, uv_offset=False, pixel_mean=0.0, pixel_std=1.0)
VARIANTS = {
    "rotary": TINY,
    "opend4rt": replace(PLAIN, decoder_width=36, patch=(2, 16, 16)),
    "global without aspect": replace(PLAIN, attention="global", aspect_token=False),
    "pooled tokens": replace(PLAIN, max_tokens=100),
    "no patch": replace(PLAIN, rgb_patch=0),
}


def network(config=TINY) -> D4RT:
    torch.manual_seed(0)
    return D4RT(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "model"
    export_onnx(network(), out)
    return out


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (8, 90, 120, 3), np.uint8)


def assert_same(a, b):
    for name in ("xyz", "uv", "visibility", "confidence", "normals", "displacements"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=2e-4, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("patch_source", ["none", "encoder", "frames"])
def test_the_same_answers_as_torch(folder, clip, patch_source):
    theirs = load(folder, device="cpu", patch_source=patch_source)
    ours = Model(network(), patch_source=patch_source)
    scenes = ours.encode(clip), theirs.encode(clip)
    for count in (1, 37, 1700):
        u, v = np.linspace(0, 119, count), np.linspace(89, 0, count)
        question = (u, v, np.arange(count) % 8, 3, -1)
        assert_same(*(scene.query(*question) for scene in scenes))
    assert len(scenes[1].query([], [], 0, 0, 0)) == 0


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_architecture_is_exported(config, tmp_path):
    errors = export_onnx(network(config), tmp_path / "out")
    assert set(errors) == {"keys_values", *onnx_export.HEADS} and max(errors.values()) < 1e-4


@pytest.mark.parametrize("asked", [{"mask": np.zeros((8, 90, 120), bool)}, {"listener": object()}])
def test_attention_cannot_be_reached(folder, clip, asked):
    model = load(folder, device="cpu")
    with pytest.raises(NoAttentionError, match="backend torch"):
        model.encode(clip, **asked)
    assert model.encode(clip).tells_motion


def test_opend4rt_s_own_answers(shared, tmp_path):
    golden = shared / "golden" / "opend4rt"
    export_onnx(load_checkpoint(golden / "opend4rt.ckpt"), tmp_path / "out")
    model, io = load(tmp_path / "out", device="cpu"), np.load(golden / "io.npz")
    scene = model._encode(io["video"], io["aspect"].item(), list(io["video"]))
    uv = np.stack((io["u"], io["v"]), -1).astype(np.float32)
    times = np.stack([io[t] for t in ("t_src", "t_tgt", "t_cam")], -1).astype(np.int64)
    answer = model.decode(*scene, uv, times)
    names = {"xyz": "xyz_3d", "uv": "uv_2d"}
    for name, values in answer.items():
        expected = io[f"out_{names.get(name, name)}"].reshape(values.shape)
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=name)


def test_what_differs_from_torch_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(OnnxError, match="not written, since ONNX Runtime's"):
        export_onnx(network(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_export_is_one_sentence(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operator\nand a graph of a hundred lines")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(OnnxError, match="could not export encoder.onnx: no such operator$"):
        export_onnx(network(), tmp_path / "out")
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OnnxError, match="pip install onnx"):
        export_onnx(network(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_not_overwritten(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OnnxError, match="give an empty or a new one"):
        export_onnx(network(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_exported_folder_is_replaced(copied):
    (copied / "tensorrt").mkdir()
    export_onnx(network(PLAIN), copied)
    assert not (copied / "tensorrt").exists()  # its engines were the old model's
    assert OnnxModel(copied, "cpu").config == PLAIN


def test_it_runs_in_a_thread_while_others_run(folder, clip):
    model, answers, stop = load(folder, device="cpu"), [], threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(stop.is_set, True)])
    worker = threading.Thread(target=lambda: answers.append(model.encode(clip).query(3, 3, 0, 1, 2)))
    busy.start()
    worker.start()
    worker.join(60)
    stop.set()
    busy.join()
    assert_same(answers[0], model.encode(clip).query(3, 3, 0, 1, 2))


def test_it_needs_no_torch(folder):
    code = (
        "import sys, numpy as np, d4rt_ros\n"
        f"scene = d4rt_ros.load({str(folder)!r}, device='cpu').encode(np.zeros((8, 9, 9, 3), np.uint8))\n"
        "scene.query(1, 1, 0, 1, 2)\n"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_backends_say_what_they_take(folder, tmp_path):
    with pytest.raises(ValueError, match="backend onnx needs a folder that `d4rt export` wrote"):
        load(backend="onnx")
    file = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="d4rt export --checkpoint .*x.safetensors --out DIR"):
        load(file, backend="onnx")
    with pytest.raises(ValueError, match="a folder, which backend torch cannot load"):
        load(folder, backend="torch")
    with pytest.raises(ValueError, match="not in bf16"):
        load(folder, precision="bf16")
    assert isinstance(load(folder, backend="onnx", device="cpu"), OnnxModel)


@pytest.mark.parametrize("name", ["model.json", "encoder.onnx", "decoder.onnx"])
def test_a_folder_that_lacks_a_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(OnnxError, match=f"{name} is missing; write it anew with `d4rt export"):
        load(copied)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"format": "other"}', "another format or version"),
        ('{"format": "d4rt_ros onnx", "version": 1, "config": {"wings": 2}}', "unknown model options"),
    ],
)
def test_a_broken_description(copied, text, words):
    (copied / "model.json").write_text(text)
    with pytest.raises(OnnxError, match=words):
        load(copied)


def test_a_truncated_graph(copied):
    graph = copied / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:5000])
    with pytest.raises(OnnxError, match="decoder.onnx: ONNX Runtime cannot use it"):
        load(copied, device="cpu")


@pytest.mark.parametrize("change", [{"frames": 16}, {"decoder_layers": 3}, {"rgb_patch": 7}, {"height": 144}])
def test_graphs_of_other_sizes(copied, change):
    description = json.loads((copied / "model.json").read_text())
    description["config"].update(change)
    (copied / "model.json").write_text(json.dumps(description))
    with pytest.raises(OnnxError, match="exported for other sizes than model.json says: input"):
        load(copied, device="cpu")


def test_a_gpu_that_is_asked_for_and_not_there(folder, monkeypatch):
    monkeypatch.setattr(onnx_model, "_available", lambda: [CPU])
    with pytest.raises(OnnxError, match="built for the CPU: pip uninstall onnxruntime"):
        load(folder, device="cuda")
    assert load(folder).providers[0] == CPU


def test_a_silent_fall_to_the_cpu_is_loud(folder, monkeypatch, caplog):
    monkeypatch.setattr(onnx_model, "_available", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnx_model, "_why_no_gpu", lambda: "libcudart.so.12: no such file")
    session = onnx_model._session
    monkeypatch.setattr(onnx_model, "_session", lambda path, providers: session(path, [(CPU, {})]))
    with pytest.raises(OnnxError, match="cannot use the GPU .*: libcudart.so.12: no such file; mend that"):
        load(folder, device="cuda")
    load(folder)
    assert (
        "would compute on the CPU: libcudart.so.12" in caplog.text
        and caplog.records[0].levelname == "WARNING"
    )


def test_tensorrt_before_cuda_with_its_engines_beside_the_graphs(copied, monkeypatch):
    monkeypatch.setattr(onnx_model, "_loads", lambda *names: True)
    providers = onnx_model._providers("auto", [TENSORRT, CUDA, CPU], copied, 1, TINY, True)
    names = [name for name, _ in providers["decoder"]]
    options = providers["decoder"][0][1]
    assert (
        names == [TENSORRT, CUDA, CPU] and options["device_id"] == "1" and options["trt_fp16_enable"] == "1"
    )
    assert options["trt_engine_cache_path"] == str(copied / "tensorrt" / "decoder")
    assert options["trt_profile_min_shapes"] == "uv:1x2,times:1x3,pixels:1x10x10x3,fraction:1x2"
    assert (copied / "tensorrt" / "encoder").is_dir()
    monkeypatch.setattr(onnx_model, "_loads", lambda *names: False)
    providers = onnx_model._providers("auto", [TENSORRT, CUDA, CPU], copied, 0, TINY, False)
    assert [name for name, _ in providers["decoder"]] == [CUDA, CPU]


def test_engines_of_a_folder_that_is_read_only_are_in_the_user_s_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model.os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert onnx_model._cache(folder).parent == tmp_path / "d4rt_ros"


def test_without_onnxruntime_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxError, match="pip install onnxruntime-gpu, or onnxruntime without a GPU"):
        load(folder)


def test_a_clip_larger_than_memory_is_refused(folder, clip, monkeypatch):
    model = load(folder, device="cpu")
    monkeypatch.setattr(onnx_model, "available_bytes", lambda: 1_000_000)
    with pytest.raises(FrameError, match="needs about .* of memory are free"):
        model.encode(clip)


def test_fp16_is_tensorrt_s(folder):
    with pytest.raises(OnnxError, match="in fp16 with TensorRT alone"):
        load(folder, device="cpu", precision="fp16")


def test_a_device_that_is_none(folder):
    with pytest.raises(ValueError, match="unknown device 'toaster'"):
        load(folder, device="toaster")
