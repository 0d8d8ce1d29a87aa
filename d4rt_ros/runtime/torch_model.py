"""The model on torch: numpy in, numpy out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.config import HEADS
from d4rt_ros.model.decoder import KeysValues
from d4rt_ros.model.network import D4RT
from d4rt_ros.runtime.memory import keep_freed_memory
from d4rt_ros.runtime.scene import SceneModel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


class Model(SceneModel):
    """A network on a device. Use it from one thread at a time."""

    def __init__(self, network: D4RT, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.eval().requires_grad_(False).to(self.device, dtype)
        self.network.decoder.heads.float()
        super().__init__(network.config, 16384 if self.device.type == "cuda" else 768)
        if self.device.type == "cpu":
            keep_freed_memory()

    @torch.inference_mode()
    def _encode(
        self, small: np.ndarray, aspect: float, images: list[np.ndarray]
    ) -> tuple[KeysValues, torch.Tensor]:
        frames = self._upload(small)[None]
        video = frames.movedim(-1, 2).to(self.dtype) / 255
        return self.network.encode(video, torch.tensor([aspect], device=self.device)), frames

    @torch.inference_mode()
    def decode(
        self, keys_values: KeysValues, frames: torch.Tensor, uv: np.ndarray, times: np.ndarray
    ) -> dict[str, np.ndarray]:
        answer = self.network.decode(keys_values, frames, self._upload(uv)[None], self._upload(times)[None])
        # One transfer for all heads.
        together = torch.cat([answer[name] for name in HEADS], -1)[0].cpu().numpy()
        return dict(zip(HEADS, np.split(together, np.cumsum(list(HEADS.values()))[:-1], -1)))

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        """To the device; on CUDA from pinned memory, while the CPU goes on."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _cpu_multiplies_bf16() -> bool:
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older torches have none
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
