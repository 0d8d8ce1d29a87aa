"""VGGT on torch: numpy in, numpy out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from d4rt_ros.geometry.arguments import rgb_image, whole_number
from d4rt_ros.model.protocol import AttentionListener
from d4rt_ros.model.vggt.config import VGGTConfig
from d4rt_ros.model.vggt.images import PREPROCESSING, FittedImage, fit, masked_tokens, on_white
from d4rt_ros.model.vggt.layers import ROWS
from d4rt_ros.model.vggt.network import VGGT
from d4rt_ros.runtime.memory import available_bytes, gigabytes
from d4rt_ros.runtime.scene import FrameError
from d4rt_ros.runtime.vggt_scene import VGGTScene

HEAD_FRAMES = 8  # that the heads of maps take at a time, as published
NARROW = 64  # times as high as wide, a frame would take much memory before it is cropped
MASKED_SHARE = 5 / 24  # of the layers, from the first on, leave masked tokens out (VGGT4D)


class VGGTModel:
    """A VGGT on a device. Use it from one thread at a time.

    num_frames: None: it takes any number of frames that memory allows.
    preprocessing: of frames whose sides are not divisible by the patch, "crop" or "pad", see model.vggt.images.fit.
    between_chunks: called before each chunk of a long answer, so that its owner can do what is urgent.
    """

    num_frames = None
    queries_per_second = None

    def __init__(self, network: VGGT, device: torch.device | str = "cpu", preprocessing: str = "crop"):
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.config = network.config
        self.dtype = network.aggregator.frame_blocks[0].attn.qkv.weight.dtype
        self.preprocessing = preprocessing
        self.between_chunks: Callable[[], None] | None = None

    def prepare(self, image: np.ndarray) -> FittedImage:
        """What the network takes of one image (H, W, 3) uint8 RGB, or (H, W, 4) with an alpha channel, which is laid
        on white. Raises FrameError for what is none."""
        if self.preprocessing not in PREPROCESSING:
            raise ValueError(
                f"unknown preprocessing {self.preprocessing!r}; use {' or '.join(PREPROCESSING)}"
            )
        shape = np.shape(image)
        if len(shape) == 3 and shape[2] == 4 and getattr(image, "dtype", None) == np.uint8:
            image = on_white(image)
        image = rgb_image(image, "a frame", FrameError)
        if image.shape[0] > NARROW * image.shape[1]:
            raise FrameError(
                f"a frame of {image.shape[1]}x{image.shape[0]} pixels is too narrow for this model"
            )
        return fit(image, self.config.side, self.config.patch, self.preprocessing)

    def encode(
        self,
        frames: np.ndarray | Sequence[FittedImage],
        mask: np.ndarray | None = None,
        listener: AttentionListener | None = None,
        masked_layers: int | None = None,
    ) -> VGGTScene:
        """All that VGGT says of S frames.

        frames: (S, H, W, 3) uint8 RGB, or S that `prepare` returned; the first one's camera is the world.
        mask: (S, H, W) bool of the frames' pixels: tokens that any of these reaches are left out of the keys and
            values of the first `masked_layers` layers (VGGT4D's early-stage masking; None: 5 of 24). Cameras are then
            less disturbed by what moves; depth is better from a pass without.
        listener: hears the attention of the global layers and the tokens of the DINOv2 part.
        Raises FrameError for frames of different sizes or types, a mask of another shape or type, and for more frames
        than memory holds.
        """
        fitted = self._fitted(frames)
        tokens, layers = self._masked(mask, fitted), self._masked_layers(masked_layers)
        self._check_memory(fitted[0], len(fitted))
        try:
            with torch.inference_mode(), exact(self.dtype):
                return self._encode(fitted, tokens, layers, listener)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise FrameError(
                f"{len(fitted)} frames of {_size(fitted[0])} were more than the GPU's memory holds; use fewer or "
                "smaller frames, or a lower precision"
            ) from None

    def _encode(
        self,
        fitted: list[FittedImage],
        masked: Tensor | None,
        layers: int,
        listener: AttentionListener | None,
    ) -> VGGTScene:
        network, size = self.network, fitted[0].pixels.shape[:2]
        images = torch.from_numpy(np.stack([f.pixels for f in fitted]))
        tokens, cameras = network.aggregator(images, network.layers, masked, layers, listener)
        extrinsics, intrinsics = cameras_of(network.camera_head(cameras)[-1].cpu().numpy(), size)
        count = len(fitted)
        depth, depth_confidence = (np.empty((count, *size), np.float32) for _ in range(2))
        points, points_confidence = None, None
        if network.point_head is not None:
            points, points_confidence = np.empty((count, *size, 3), np.float32), np.empty_like(depth)
        for start in range(0, count, HEAD_FRAMES):
            part = slice(start, start + HEAD_FRAMES)
            some = {layer: x[part] for layer, x in tokens.items()}
            depth[part], depth_confidence[part] = (x.cpu().numpy() for x in network.depths(some, size))
            if points is not None:
                points[part], points_confidence[part] = (x.cpu().numpy() for x in network.points(some, size))
        maps = depth, depth_confidence, points, points_confidence
        return VGGTScene(fitted, extrinsics, intrinsics, *maps, self._pause)

    def _pause(self) -> None:
        if self.between_chunks is not None:
            self.between_chunks()

    def _fitted(self, frames: np.ndarray | Sequence[FittedImage]) -> list[FittedImage]:
        try:
            fitted = [f if isinstance(f, FittedImage) else self.prepare(f) for f in frames]
        except TypeError:
            raise FrameError(
                f"frames of type {type(frames).__name__}; give an array (S, H, W, 3) or a list of S images"
            ) from None
        if not fitted:
            raise FrameError("no frames given; give one or more")
        sizes = {(f.image.shape, f.pixels.shape, *f.offset) for f in fitted}
        if len(sizes) > 1:
            raise FrameError(f"the frames have different sizes: {sorted({f.image.shape for f in fitted})}")
        return fitted

    def _masked(self, mask: np.ndarray | None, fitted: list[FittedImage]) -> Tensor | None:
        """(S, h, w) bool of tokens."""
        if mask is None:
            return None
        mask, shape = np.asarray(mask), (len(fitted), *fitted[0].image.shape[:2])
        if mask.dtype != bool or mask.shape != shape:
            raise FrameError(
                f"a mask of shape {mask.shape} and type {mask.dtype}; {shape} bool is expected, the frames' pixels"
            )
        return torch.from_numpy(masked_tokens(mask, fitted[0], self.config.patch))

    def _masked_layers(self, count: int | None) -> int:
        layers = self.config.layers
        if count is None:
            return max(round(MASKED_SHARE * layers), 1)
        if not 0 <= whole_number(count, "masked_layers") <= layers:
            raise ValueError(f"masked_layers = {count}; this model has {layers} layers")
        return count

    def encode_bytes(self, frame: np.ndarray | FittedImage, count: int) -> int:
        """About what encoding so many frames like this one allocates at its peak, besides the weights."""
        fitted = frame if isinstance(frame, FittedImage) else self.prepare(frame)
        return encode_bytes(self.config, fitted.pixels.shape[:2], count, self.dtype.itemsize)

    def _check_memory(self, frame: FittedImage, count: int) -> None:
        """Raise FrameError if encoding so many frames would not fit."""

        def need(frames: int) -> int:
            return self.encode_bytes(frame, frames)

        free = self._free_bytes()
        if need(count) > free:
            fitting = bisect_right(range(1, count + 1), free, key=need)
            raise FrameError(
                f"encoding {count} frames of {_size(frame)} needs about {gigabytes(need(count))}, and "
                f"{gigabytes(free)} of memory are free: {fitting or 'no'} frames of this size fit; use fewer or "
                "smaller frames, or a lower precision"
            )

    def _free_bytes(self) -> int:
        if self.device.type != "cuda":
            return available_bytes()
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + cached


def cameras_of(poses: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Extrinsics (S, 3, 4), camera from world, and intrinsics (S, 3, 3), float32, of an image of `size` (H, W).

    poses: (S, 9): translation, quaternion x y z w of any length, vertical and horizontal field of view in radians.
    The principal point is the image's middle as VGGT counts it, (W/2, H/2). A quaternion of no length gives NaN.
    """
    poses = poses.astype(np.float64)
    count, (height, width) = len(poses), size
    lengths = np.linalg.norm(poses[:, 3:7], axis=1)
    good = np.isfinite(lengths) & (lengths > 0)
    extrinsics = np.full((count, 3, 4), np.nan)
    extrinsics[good, :, :3] = Rotation.from_quat(poses[good, 3:7]).as_matrix()
    extrinsics[..., 3] = poses[:, :3]
    intrinsics = np.zeros((count, 3, 3))
    with np.errstate(divide="ignore"):
        intrinsics[:, 0, 0], intrinsics[:, 1, 1] = (
            length / 2 / np.tan(fov / 2) for length, fov in ((width, poses[:, 8]), (height, poses[:, 7]))
        )
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = width / 2, height / 2, 1
    return extrinsics.astype(np.float32), intrinsics.astype(np.float32)


def encode_bytes(config: VGGTConfig, size: tuple[int, int], frames: int, itemsize: int) -> int:
    """About what encoding so many frames (H, W) allocates at its peak, weights aside; itemsize: bytes of a product's
    numbers."""
    height, width = size
    patches = (height // config.patch) * (width // config.patch)
    tokens = frames * (patches + 1 + config.registers)
    heads = [h for h in (config.depth, config.points) if h is not None]
    kept = len({i for h in heads for i in h.layers}) * 2 * 4 * frames * patches * config.width
    # The residual, what was normed, queries, keys and values, the former two in float32 too and turned, the answer.
    attention = tokens * config.width * (4 + 4 + 5 * itemsize + 6 * 4)
    hidden = 2 * itemsize * min(tokens, ROWS) * config.hidden
    maps = frames * height * width * 4 * sum(h.out for h in heads)
    convolutions = (
        min(frames, HEAD_FRAMES) * height * width * 4 * max(3 * h.last + 2 * h.hidden for h in heads)
    )
    return kept + max(attention + hidden, maps + convolutions) + 3 * frames * height * width


def exact(dtype: torch.dtype):
    """On a GPU, convolutions in float32 as asked for, and not in TF32, which has three digits."""
    allowed = torch.backends.cudnn.allow_tf32 and dtype != torch.float32
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=allowed)


def _size(frame: FittedImage) -> str:
    return f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"
