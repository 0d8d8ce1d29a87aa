"""The model on torch: numpy in, numpy out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.config import HEADS
from d4rt_ros.model.decoder import KeysValues
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.protocol import AttentionListener
from d4rt_ros.model.tensor_files import TensorFile
from d4rt_ros.runtime.cuda_graph import CapturedDecoder, CapturedFunction
from d4rt_ros.runtime.memory import available_bytes, keep_freed_memory
from d4rt_ros.runtime.patches import gather_pixels
from d4rt_ros.runtime.scene import SceneModel, device_parts, scene_bytes

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_torch(
    checkpoint: str | Path | TensorFile | None,
    device: str,
    precision: str,
    patch_source: str,
    progress=None,
    cuda_graphs: bool = False,
) -> Model:
    """`load` of a D4RT with backend torch."""
    place = chosen_device(device)
    dtype = chosen_dtype(precision, place)
    return Model(load_checkpoint(checkpoint, dtype, progress), place, dtype, patch_source, cuda_graphs)


def chosen_dtype(precision: str, place: torch.device) -> torch.dtype:
    """What a precision is computed in, where `auto` is the best that the device multiplies fast."""
    return PRECISIONS[_best_precision(place) if precision == "auto" else precision]


def chosen_device(device: str) -> torch.device:
    """The torch.device of auto, cpu, cuda or cuda:N. Raises ValueError where there is none such."""
    kind, number = device_parts(device)
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (number or 0) >= count:
        seen = f"CUDA devices 0 to {count - 1} alone" if count else "no CUDA device"
        raise ValueError(f"device {device} asked for, but this torch ({torch.__version__}) sees {seen}")
    return torch.device(kind if number is None else f"{kind}:{number}")


class Model(SceneModel):
    """A network on a device. Use it from one thread at a time.

    cuda_graphs: on CUDA, replay encoding and small decodes as graphs, which spares the CPU's part of the work.
    """

    def __init__(
        self,
        network: D4RT,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        patch_source: str = "encoder",
        cuda_graphs: bool = False,
    ):
        super().__init__(network.config, 768, patch_source)
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.eval().requires_grad_(False).to(self.device)
        # Not the heads, whose answers would come in steps, and not the buffers: a half tells few angles apart.
        for name, weight in self.network.named_parameters():
            weight.data = weight.float() if name.startswith("decoder.heads.") else weight.to(dtype)
        self._uploaded: list[tuple[np.ndarray, torch.Tensor]] = []  # the last window's images
        self._graphs: tuple[CapturedFunction, CapturedDecoder] | None = None
        keep_freed_memory()  # on a GPU too: what follows the images in numpy and OpenCV has it as well
        if self.device.type != "cpu":
            self.chunk = 16384
            if cuda_graphs:
                self._replay_graphs()

    def _replay_graphs(self) -> None:
        self._graphs = CapturedFunction(self._encode_tensors), CapturedDecoder(self._decode_tensors)

    @torch.inference_mode()
    def _encode(
        self,
        small: np.ndarray,
        aspect: float,
        images: list[np.ndarray],
        mask: np.ndarray | None = None,
        listener: AttentionListener | None = None,
    ) -> tuple[KeysValues, torch.Tensor | list[np.ndarray] | None]:
        inputs = frames, _ = self._upload(small)[None], self._upload(np.array([aspect], np.float32))
        if mask is not None or listener is not None:  # a recorded graph neither hears nor masks
            flat = self._encode_tensors(*inputs, None if mask is None else self._upload(mask)[None], listener)
        else:
            flat = self._graphs[0](*inputs) if self._graphs else self._encode_tensors(*inputs)
        keys_values = list(zip(flat[::2], flat[1::2]))
        if self.patch_source == "frames":
            return keys_values, images if self.device.type == "cpu" else self._upload_each(images)
        return keys_values, frames if self.patch_source == "encoder" else None

    @torch.inference_mode()
    def decode(
        self,
        keys_values: KeysValues,
        frames: torch.Tensor | list[np.ndarray] | None,
        uv: np.ndarray,
        times: np.ndarray,
    ) -> dict[str, np.ndarray]:
        count = len(uv)
        if self.device.type == "cpu":
            uv, times = (np.pad(x, ((0, _even_size(count) - count), (0, 0)), "edge") for x in (uv, times))
        scene = [x for pair in keys_values for x in pair]
        if isinstance(frames, torch.Tensor):
            scene.append(frames)
            around = [self._patch_uv(uv, *frames.shape[2:4])]
        else:
            size = (2, 2) if frames is None else frames[0].shape[:2]
            around = gather_pixels(frames, self.pixels(uv, *size), times[:, 0], self.config.rgb_patch)
        queries = [self._upload(x) for x in (uv, times, *around)]
        decode = self._graphs[1] if self._graphs else self._decode_tensors
        together = decode(scene, queries).cpu().numpy()[:count]
        return dict(zip(HEADS, np.split(together, np.cumsum(list(HEADS.values()))[:-1], -1)))

    def _encode_tensors(
        self,
        frames: torch.Tensor,
        aspect: torch.Tensor,
        mask: torch.Tensor | None = None,
        listener: AttentionListener | None = None,
    ) -> list[torch.Tensor]:
        """frames: (1, T, h, w, 3) uint8; aspect: (1,); mask: (1, t, rows, columns) bool. Returns k, v, k, v, …"""
        video = frames.movedim(-1, 2).to(self.dtype) / 255
        keys_values = self.network.encode(video, aspect, mask, listener)
        return [x for pair in keys_values for x in pair]

    def _decode_tensors(self, scene: list[torch.Tensor], queries: list[torch.Tensor]) -> torch.Tensor:
        """(N, 13), all heads side by side, so that one transfer brings them.

        scene: k, v, k, v, …[, frames (1, T, H, W, 3)]; queries: uv and times, then for patches of those frames
        (N, 2), where they are, and for patches that the host gathered their pixels and fractions.
        """
        paired = scene[: 2 * self.config.decoder_layers]
        keys_values = list(zip(paired[::2], paired[1::2]))
        uv, times, *around = (x[None] for x in queries)
        if len(scene) > len(paired):
            answer = self.network.decode(keys_values, scene[-1], uv, times, *around)
        else:
            answer = self.network.decode_pixels(keys_values, *around, uv, times)
        return torch.cat([answer[name] for name in HEADS], -1)[0]

    def _scene_bytes(self, images: list[np.ndarray]) -> int:
        uploaded = self.patch_source == "frames" and self.device.type == "cuda"
        return scene_bytes(self.config, self.dtype.itemsize) + uploaded * sum(i.nbytes for i in images)

    def _free_bytes(self) -> int:
        if self.device.type != "cuda":
            return available_bytes()
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + cached

    def _patch_uv(self, uv: np.ndarray, height: int, width: int) -> np.ndarray:
        """(N, 2) float32: the network's u, v as `sample_patches` takes them for frames of this size."""
        if (height, width) == (self.config.height, self.config.width):
            return uv
        return (self.pixels(uv, height, width) / (width - 1, height - 1)).astype(np.float32)

    def _upload_each(self, images: list[np.ndarray]) -> torch.Tensor:
        """T images (H, W, 3) -> (1, T, H, W, 3) on the device, without a copy of the clip on the host.

        Windows overlap: images that the last one had, the same objects, are already there.
        """
        frames = torch.empty((1, len(images), *images[0].shape), dtype=torch.uint8, device=self.device)
        there = {id(image): frame for image, frame in self._uploaded}
        for frame, image in zip(frames[0], images):
            known = there.get(id(image))
            source = torch.from_numpy(np.ascontiguousarray(image)) if known is None else known
            frame.copy_(source, non_blocking=True)
        self._uploaded = list(zip(images, frames[0]))
        return frames

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        """To the device; on CUDA from pinned memory, while the CPU goes on."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _best_precision(place: torch.device) -> str:
    if place.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(place) >= (8, 0) else "fp16"  # since Ampere
    return "bf16" if _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older torches have none
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _even_size(count: int) -> int:
    """The next power of two, and from 64 on the next multiple of 64.

    oneDNN keeps what it prepared for each size that it ever met: with sizes that change, memory would grow for long.
    """
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 64) * 64
