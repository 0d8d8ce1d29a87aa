"""A network as two ONNX graphs, an encoder and a decoder, checked against torch."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from d4rt_ros.model.config import HEADS, ModelConfig
from d4rt_ros.model.network import D4RT
from d4rt_ros.paths import expanded
from d4rt_ros.runtime.onnx_model import DESCRIPTION, FORMAT, VERSION, OnnxError, OnnxModel
from d4rt_ros.runtime.scene import SceneModel
from d4rt_ros.runtime.torch_model import Model

OPSET = 17  # LayerNormalization; ONNX Runtime 1.13 and TensorRT 8.6 know it
TOLERANCE = 1e-4
EXAMPLE = 5  # queries in the traced example; any number can be asked


class _Encoder(nn.Module):
    """frames (T, h, w, 3) uint8, aspect (1,) -> k0, v0, k1, v1, …, (heads, N, d) each."""

    def __init__(self, network: D4RT):
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, aspect: Tensor) -> tuple[Tensor, ...]:
        video = frames[None].permute(0, 1, 4, 2, 3).float() / 255
        return tuple(x[0] for pair in self.network.encode(video, aspect) for x in pair)


class _Decoder(nn.Module):
    """uv (Q, 2), times (Q, 3)[, pixels (Q, p+1, p+1, 3) uint8, fraction (Q, 2)], k0, v0, … -> heads (Q, 13)."""

    def __init__(self, network: D4RT):
        super().__init__()
        self.network = network

    def forward(self, uv: Tensor, times: Tensor, *rest: Tensor) -> Tensor:
        pixels = fraction = None
        if self.network.config.rgb_patch:
            pixels, fraction, *rest = rest
            pixels, fraction = pixels[None], fraction[None]
        keys_values = [(k[None], v[None]) for k, v in zip(rest[::2], rest[1::2])]
        answer = self.network.decode_pixels(keys_values, pixels, fraction, uv[None], times[None])
        return torch.cat([answer[name] for name in HEADS], -1)[0]


def export_onnx(network: D4RT, out: str | Path) -> dict[str, float]:
    """Write encoder.onnx, decoder.onnx and model.json of a float32 network into the folder `out`.

    Takes memory of a good two times the float32 weights; beyond 2 GB the weights lie beside the graph, a file each.
    Returns by name of output ("keys_values" and the heads) how far ONNX Runtime's answers on a random clip are
    from torch's, as a part of the largest answer (or absolutely where that is below 1). Raises OnnxError if one is
    beyond 1e-4, or the folder holds something else; it is then left as it was.
    """
    if importlib.util.find_spec("onnx") is None:
        raise OnnxError("exporting needs the package onnx: pip install onnx")
    out = expanded(out)
    if out.exists() and not (out / DESCRIPTION).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OnnxError(
            f"{out}: exists and is not a folder that d4rt export wrote; give an empty or a new one"
        )
    partial = out.with_name(out.name + ".part")  # a reader never meets half a folder
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write(network.eval(), partial)
        errors = compare(Model(network), OnnxModel(partial, "cpu"))
        worst = max(errors, key=lambda name: errors[name] if np.isfinite(errors[name]) else np.inf)
        if not errors[worst] <= TOLERANCE:
            raise OnnxError(
                f"{out}: not written, since ONNX Runtime's {worst} differs from torch's by {errors[worst]:.2g} "
                f"(at most {TOLERANCE:g} is allowed); try another version of onnxruntime or torch"
            )
        if out.is_dir():
            shutil.rmtree(out)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return errors


def compare(ours: SceneModel, theirs: SceneModel, queries: int = 37) -> dict[str, float]:
    """The largest difference of each output of two models on a random clip, by name; see `export_onnx`."""
    random, config = np.random.default_rng(0), ours.config
    frames = random.integers(0, 256, (config.frames, config.height, config.width, 3), np.uint8)
    scenes = [model._encode(frames, 1.25, list(frames)) for model in (ours, theirs)]
    uv = random.random((queries, 2), np.float32)
    times = random.integers(0, config.frames, (queries, 3))
    a, b = (model.decode(*scene, uv, times) for model, scene in zip((ours, theirs), scenes))
    flat = [[_numpy(x) for x in _flatten(scene[0])] for scene in scenes]
    errors = {"keys_values": max(_difference(x, y) for x, y in zip(*flat))}
    return errors | {name: _difference(a[name], b[name]) for name in HEADS}


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.reshape(-1) - b.reshape(-1)).max() / max(1.0, np.abs(a).max()))


def _flatten(values) -> list:
    return [x for pair in values for x in (pair if isinstance(pair, tuple) else (pair,))]


def _numpy(x) -> np.ndarray:
    return x.float().cpu().numpy() if isinstance(x, Tensor) else x.numpy()


@torch.no_grad()
def _write(network: D4RT, folder: Path) -> None:
    config = network.config
    frames = torch.zeros(config.frames, config.height, config.width, 3, dtype=torch.uint8)
    names = [f"{kind}{layer}" for layer in range(config.decoder_layers) for kind in "kv"]
    encoder, aspect = _Encoder(network), torch.ones(1)
    _export(encoder, (frames, aspect), folder / "encoder.onnx", ["frames", "aspect"], names, {})
    inputs = {
        "uv": torch.rand(EXAMPLE, 2),
        "times": torch.zeros(EXAMPLE, 3, dtype=torch.int64),
    }
    if config.rgb_patch:
        side = config.rgb_patch + 1
        inputs["pixels"] = torch.zeros(EXAMPLE, side, side, 3, dtype=torch.uint8)
        inputs["fraction"] = torch.rand(EXAMPLE, 2)
    axes = {name: {0: "queries"} for name in (*inputs, "heads")}
    inputs |= dict(zip(names, encoder(frames, aspect)))
    _export(_Decoder(network), tuple(inputs.values()), folder / "decoder.onnx", list(inputs), ["heads"], axes)
    description = {"format": FORMAT, "version": VERSION, "config": config.to_dict(), **sizes(config)}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def sizes(config: ModelConfig) -> dict[str, int]:
    """What a reader in another language wants to know of the graphs' tensors."""
    t, rows, columns = config.token_grid
    return {
        "tokens": t * rows * columns + int(config.aspect_token),
        "head_width": config.decoder_width // config.decoder_heads,
        "patch_pixels": config.rgb_patch + 1 if config.rgb_patch else 0,
    }


def _export(module: nn.Module, inputs: tuple, path: Path, names: list, outputs: list, axes: dict) -> None:
    # By tracing: the other exporter takes minutes where this takes seconds, and nothing here branches on values.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                inputs,
                str(path),
                input_names=names,
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except RuntimeError as error:  # the exporter's own errors are RuntimeErrors too
        reason = str(error).strip().splitlines()[0]
        raise OnnxError(f"torch could not export {path.name}: {reason}") from error
