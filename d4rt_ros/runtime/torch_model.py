"""The model on torch: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.decoder import KeysValues
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.query import Answer, check_queries
from d4rt_ros.runtime.memory import keep_freed_memory

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class FrameError(ValueError):
    """Frames that this model cannot encode."""


@dataclass(frozen=True)
class PreparedFrame:
    """A frame, resized once for the encoder. image: (H, W, 3) uint8 RGB; small: (h, w, 3) uint8 tensor."""

    image: np.ndarray
    small: torch.Tensor


def load(checkpoint: str | Path | None = None, device: str = "auto", precision: str = "auto") -> Model:
    """A model ready to encode: the embedded weights, or those of a .safetensors file.

    device: auto (CUDA where there is one, else CPU), cpu, cuda, cuda:1, …
    precision: fp32, bf16, fp16, or auto (bf16 on CUDA and on a CPU with instructions for it, else fp32).
    Raises CheckpointError where the file cannot be used, ValueError for an unknown device or precision.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device} asked for, but this torch ({torch.__version__}) sees no CUDA device"
        )
    if precision == "auto":
        precision = "bf16" if place.type == "cuda" or _cpu_multiplies_bf16() else "fp32"
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use auto, {', '.join(PRECISIONS)}")
    return Model(load_checkpoint(checkpoint), place, PRECISIONS[precision])


class Model:
    """A network on a device. Use it from one thread at a time.

    between_chunks: called between the chunks of a long decode, so that its owner can do what is urgent.
    """

    def __init__(self, network: D4RT, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.eval().requires_grad_(False).to(self.device, dtype)
        self.network.decoder.heads.float()
        self.config = network.config
        self.chunk = 16384 if self.device.type == "cuda" else 768
        self.between_chunks: Callable[[], None] | None = None
        if self.device.type == "cpu":
            keep_freed_memory()

    @property
    def num_frames(self) -> int:
        """Frames in a window, T."""
        return self.config.frames

    def prepare(self, image: np.ndarray) -> PreparedFrame:
        """Resize one (H, W, 3) uint8 RGB image for the encoder, once, however many windows it will be in."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
            raise FrameError(
                f"a frame has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB"
            )
        return PreparedFrame(image, resize(image, self.config.height, self.config.width))

    def pixel_map(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(scale, shift), (2,) each, that turn pixels (x, y) of an image of this size into the network's u, v.

        The network's u = x'/(w-1) speaks of its own small image, and resizing by areas puts the image's pixel x
        at x' = (x + 0.5)·w/W - 0.5.
        """
        ours, theirs = np.array((self.config.width, self.config.height)), np.array((width, height))
        scale = ours / theirs / (ours - 1)
        return scale, (0.5 * ours / theirs - 0.5) / (ours - 1)

    @torch.inference_mode()
    def encode(self, frames: np.ndarray | Sequence[PreparedFrame]) -> Scene:
        """Encode a clip, oldest frame first.

        frames: (T, H, W, 3) uint8 RGB of any size, or T frames that `prepare` returned.
        Raises FrameError for another number of frames, another type, or frames of different sizes.
        """
        if len(frames) != self.num_frames:
            raise FrameError(f"{len(frames)} frames given; this model takes clips of {self.num_frames}")
        prepared = [f if isinstance(f, PreparedFrame) else self.prepare(f) for f in frames]
        sizes = {f.image.shape for f in prepared}
        if len(sizes) > 1:
            raise FrameError(f"the frames have different sizes: {sorted(sizes)}")
        height, width = prepared[0].image.shape[:2]
        small = torch.stack([f.small for f in prepared])[None].to(self.device)
        video = small.movedim(-1, 2).to(self.dtype) / 255
        keys_values = self.network.encode(video, torch.tensor([width / height], device=self.device))
        return Scene(self, keys_values, small, [f.image for f in prepared])


class Scene:
    """An encoded clip: ask it as often as you like."""

    def __init__(self, model: Model, keys_values: KeysValues, small: torch.Tensor, frames: list[np.ndarray]):
        self._model = model
        self._keys_values = keys_values
        self._small = small
        self.frames = frames

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that pixels speak of."""
        return self.frames[0].shape[:2]

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        """Where are the points seen at (u, v) of frames t_src, at times t_tgt, in the camera frames of t_cam?

        u, v: pixels; times: 0 (oldest) .. T-1, or negative from the newest; arrays or scalars that broadcast.
        Raises QueryError for what cannot be asked. xyz is in the model's unit.
        """
        height, width = self.size
        q = check_queries(u, v, t_src, t_tgt, t_cam, self.num_frames, (height, width))
        scale, shift = self._model.pixel_map(height, width)
        uv = torch.from_numpy((np.stack((q.u, q.v), -1) * scale + shift).astype(np.float32))
        times = torch.from_numpy(np.stack((q.t_src, q.t_tgt, q.t_cam), -1))
        raw = self._decode(uv, times)
        normals = F.normalize(raw["normal"], dim=-1)
        pixels = ((raw["uv"].numpy() - shift) / scale).astype(np.float32)
        return Answer(
            raw["xyz"].numpy(),
            pixels,
            raw["visibility"][:, 0].sigmoid().numpy(),
            raw["confidence"][:, 0].sigmoid().numpy(),
            normals.numpy(),
            raw["displacement"].numpy(),
        )

    @torch.inference_mode()
    def _decode(self, uv: torch.Tensor, times: torch.Tensor) -> dict[str, torch.Tensor]:
        """uv (N, 2), times (N, 3) on the CPU -> raw heads (N, ·) on the CPU, in bounded memory."""
        model, parts = self._model, []
        # Equal chunks: a small rest would take nearly as long.
        for chunk in zip(*(x.chunk(max(1, -(-len(uv) // model.chunk))) for x in (uv, times))):
            if parts and model.between_chunks is not None:
                model.between_chunks()
            place = [x[None].to(model.device) for x in chunk]
            answer = model.network.decode(self._keys_values, self._small, *place)
            parts.append({name: x[0].cpu() for name, x in answer.items()})
        return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def _cpu_multiplies_bf16() -> bool:
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older torches have none
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def resize(image: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(H, W, 3) uint8 -> (height, width, 3) uint8: areas are averaged along an axis that shrinks."""
    import cv2

    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    small = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
