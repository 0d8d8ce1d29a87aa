"""The model on ONNX Runtime, from a folder that `d4rt export` wrote. Needs no torch."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import sys
from pathlib import Path

import numpy as np

from d4rt_ros.model.config import HEADS, ConfigError, ModelConfig
from d4rt_ros.model.protocol import NoAttentionError
from d4rt_ros.runtime.memory import available_bytes, keep_freed_memory
from d4rt_ros.runtime.patches import gather_pixels
from d4rt_ros.runtime.scene import SceneModel, device_parts, scene_bytes

FORMAT, VERSION, DESCRIPTION = "d4rt_ros onnx", 1, "model.json"
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
GPU_CHUNK, CPU_CHUNK = 16384, 768

log = logging.getLogger(__name__)


class OnnxError(ValueError):
    """A folder of ONNX graphs that cannot be used, written or run as asked."""


class OnnxModel(SceneModel):
    """An exported network in ONNX Runtime. Use it from one thread at a time.

    folder: what `d4rt export` wrote. device: auto (TensorRT or CUDA where ONNX Runtime has them, else the CPU),
    cpu, cuda, cuda:1, …; fp16: let TensorRT compute in halves.
    Raises OnnxError for a folder that is broken or of other sizes than it says, and for a GPU that was asked for
    and cannot be used. Where `auto` finds a GPU that cannot be used, that is a warning with its reason.
    """

    def __init__(
        self, folder: str | Path, device: str = "auto", patch_source: str = "encoder", fp16: bool = False
    ):
        folder = Path(folder)
        super().__init__(read_description(folder), CPU_CHUNK, patch_source)
        keep_freed_memory()
        place, number = device_parts(device)
        number = number or 0
        providers = _providers(place, _available(), folder, number, self.config, fp16)
        self._encoder = _session(folder / "encoder.onnx", providers["encoder"])
        self._decoder = _session(folder / "decoder.onnx", providers["decoder"])
        _check_sizes(folder, self.config, self._encoder, self._decoder)
        self.providers = self._decoder.get_providers()
        wanted = providers["decoder"][0][0]
        for session in (self._encoder, self._decoder):
            _check_provider(session.get_providers(), wanted, place)
        if fp16 and self.providers[0] != TENSORRT:
            raise OnnxError(
                "an exported model computes in fp32, and in fp16 with TensorRT alone, which is not here: use "
                "precision fp32 or auto, or backend torch"
            )
        self.device = "cpu" if self.providers[0] == CPU else f"cuda:{number}"
        if self.device != "cpu":
            self.chunk = GPU_CHUNK
        log.info("ONNX Runtime runs %s on %s", folder, self.providers[0])

    def _encode(self, small: np.ndarray, aspect: float, images: list[np.ndarray], mask=None, listener=None):
        if mask is not None or listener is not None:
            raise NoAttentionError(
                "an exported model (ONNX) lets nobody hear or mask its attention, so it can neither be encoded with a "
                "mask nor give attention cues; load the checkpoint that it was exported from with backend torch"
            )
        frames = {"none": None, "encoder": list(small), "frames": images}[self.patch_source]
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("frames", np.ascontiguousarray(small))
        if self.config.aspect_token:
            binding.bind_cpu_input("aspect", np.array([aspect], np.float32))
        for output in self._encoder.get_outputs():
            binding.bind_output(output.name, *self._device())
        self._encoder.run_with_iobinding(binding)
        return list(binding.get_outputs()), frames

    def decode(self, keys_values, frames, uv: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
        inputs = {"uv": np.ascontiguousarray(uv), "times": np.ascontiguousarray(times)}
        if self.config.rgb_patch:
            size = (2, 2) if frames is None else frames[0].shape[:2]
            place = self.pixels(uv, *size)
            inputs["pixels"], inputs["fraction"] = gather_pixels(
                frames, place, times[:, 0], self.config.rgb_patch
            )
        binding = self._decoder.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for i, value in enumerate(keys_values):
            binding.bind_ortvalue_input(f"{'kv'[i % 2]}{i // 2}", value)
        binding.bind_output("heads")
        self._decoder.run_with_iobinding(binding)
        together = binding.copy_outputs_to_cpu()[0]
        return dict(zip(HEADS, np.split(together, np.cumsum(list(HEADS.values()))[:-1], -1)))

    def _scene_bytes(self, images: list[np.ndarray]) -> int:
        # ONNX Runtime's attention on a CPU holds the scores of all heads, and their softmax.
        t, rows, columns = self.config.token_grid
        scores = 2 * 4 * self.config.encoder_heads * (t * rows * columns + 1) ** 2
        return scene_bytes(self.config, 4) + (scores if self.device == "cpu" else 0)

    def _free_bytes(self) -> int:
        return available_bytes() if self.device == "cpu" else 1 << 62  # ONNX Runtime does not tell of a GPU's

    def _device(self) -> tuple[str, int]:
        kind, _, number = self.device.partition(":")
        return kind, int(number or 0)


def read_description(folder: Path) -> ModelConfig:
    """The configuration of an exported model. Raises OnnxError for a folder that `d4rt export` did not write."""
    remedy = "write it anew with `d4rt export --checkpoint … --out DIR`"
    for name in (DESCRIPTION, "encoder.onnx", "decoder.onnx"):
        if not (folder / name).is_file():
            raise OnnxError(f"{folder}: no exported model, {name} is missing; {remedy}")
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
            raise OnnxError(f"{folder}: {DESCRIPTION} is of another format or version; {remedy}")
        return ModelConfig.from_dict(description["config"])
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        if isinstance(error, OnnxError):
            raise
        raise OnnxError(f"{folder}: {DESCRIPTION} cannot be used ({error}); {remedy}") from None


def _onnxruntime():
    try:
        import onnxruntime
    except ImportError as error:
        raise OnnxError(
            f"ONNX Runtime is not there ({error}): pip install onnxruntime-gpu, or onnxruntime without a GPU"
        ) from None
    return onnxruntime


def _available() -> list[str]:
    return _onnxruntime().get_available_providers()


def _providers(
    place: str, available: list[str], folder: Path, number: int, config: ModelConfig, fp16: bool
) -> dict[str, list]:
    """The providers to try, best first, with their options, for the encoder and for the decoder."""
    gpu = [] if place == "cpu" else [p for p in (TENSORRT, CUDA) if p in available]
    if place == "cuda" and not gpu:
        raise OnnxError(
            f"device cuda asked for, but this onnxruntime ({_onnxruntime().__version__}) is built for the CPU: "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    if TENSORRT in gpu and not _loads("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so"):
        gpu.remove(TENSORRT)
        log.info("no TensorRT libraries (libnvinfer): CUDA computes without it")
    options = {CUDA: {"device_id": str(number)}, CPU: {}}
    common = {
        "device_id": str(number),
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
        "trt_fp16_enable": str(int(fp16)),
    }
    answer = {}
    for name, profile in (("encoder", {}), ("decoder", _tensorrt_shapes(config))):
        if TENSORRT in gpu:
            cache = str(_cache(folder) / name)
            common = {**common, "trt_engine_cache_path": cache, "trt_timing_cache_path": cache}
        options[TENSORRT] = {**common, **profile}
        answer[name] = [(p, options[p]) for p in (*gpu, CPU)]
    return answer


def _tensorrt_shapes(config: ModelConfig) -> dict[str, str]:
    """One engine for every number of queries, else TensorRT builds a new one, for minutes, for a new number."""
    side = config.rgb_patch + 1
    shapes = {"uv": "2", "times": "3"}
    if config.rgb_patch:
        shapes |= {"pixels": f"{side}x{side}x3", "fraction": "2"}
    return {
        f"trt_profile_{which}_shapes": ",".join(f"{name}:{count}x{rest}" for name, rest in shapes.items())
        for which, count in (("min", 1), ("opt", GPU_CHUNK), ("max", GPU_CHUNK))
    }


def _cache(folder: Path) -> Path:
    """Where TensorRT's engines are kept: beside the graphs, or in the user's cache where that is read-only."""
    if os.access(folder, os.W_OK):
        cache = folder / "tensorrt"
    else:
        stamp = (folder / "decoder.onnx").stat().st_mtime_ns
        name = hashlib.sha256(f"{folder.resolve()} {stamp}".encode()).hexdigest()[:16]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "d4rt_ros" / name
    for part in ("encoder", "decoder"):
        (cache / part).mkdir(parents=True, exist_ok=True)
    return cache


def _session(path: Path, providers: list):
    ort = _onnxruntime()
    if providers[0][0] != CPU and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA's libraries from torch or from NVIDIA's wheels
    options = ort.SessionOptions()
    options.inter_op_num_threads = 1
    # Its threads wait for work by spinning, which is fast; between two runs the cores are others'.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if "torch" in sys.modules:
        options.intra_op_num_threads = sys.modules["torch"].get_num_threads()
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise OnnxError(
            f"{path}: ONNX Runtime cannot use it ({str(error).strip()}); write it anew with `d4rt export`"
        ) from None


def _check_sizes(folder: Path, config: ModelConfig, encoder, decoder) -> None:
    """Raise OnnxError if the graphs are not those of the configuration beside them."""
    t, rows, columns = config.token_grid
    memory = [
        config.decoder_heads,
        t * rows * columns + int(config.aspect_token),
        config.decoder_width // config.decoder_heads,
    ]
    frames = [config.frames, config.height, config.width, 3]
    found = {i.name: i.shape for session in (encoder, decoder) for i in session.get_inputs()}
    expected = {
        "frames": frames,
        **{f"{kind}{n}": memory for n in range(config.decoder_layers) for kind in "kv"},
    }
    if config.rgb_patch:
        expected["pixels"] = ["queries", config.rgb_patch + 1, config.rgb_patch + 1, 3]
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise OnnxError(
                f"{folder}: exported for other sizes than {DESCRIPTION} says: input {name} has shape "
                f"{found.get(name, 'missing')} instead of {shape}; write the folder anew with `d4rt export`"
            )


def _check_provider(got: list[str], wanted: str, place: str) -> None:
    """Say loudly if ONNX Runtime fell back to the CPU, which it does in silence. Raises OnnxError or warns."""
    if wanted == CPU or got[0] != CPU:
        return
    message = f"ONNX Runtime cannot use the GPU and would compute on the CPU: {_why_no_gpu()}"
    if place == "cuda":
        raise OnnxError(message + "; mend that, or set device to cpu")
    log.warning("%s; set device to cpu to silence this", message)


def _why_no_gpu() -> str:
    """The loader's own words for what onnxruntime's CUDA provider misses."""
    folder = Path(_onnxruntime().__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"), mode=os.RTLD_LAZY)
    except OSError as error:
        return str(error)
    return "its CUDA libraries load, but no CUDA device answers (see nvidia-smi)"


def _loads(*libraries: str) -> bool:
    for name in libraries:
        try:
            ctypes.CDLL(name)
            return True
        except OSError:
            continue
    return False
