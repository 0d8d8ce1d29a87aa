"""What every backend shares: frames are prepared, encoded into a Scene, and the Scene answers queries."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d4rt_ros.geometry.arguments import rgb_image
from d4rt_ros.model.attention import token_mask
from d4rt_ros.model.config import HEADS, ModelConfig
from d4rt_ros.model.protocol import AttentionListener
from d4rt_ros.model.query import Answer, QueryError, broadcast_queries, check_queries
from d4rt_ros.runtime.memory import available_bytes, gigabytes

PATCH_SOURCES = ("none", "encoder", "frames")
# Per query, in bytes: its fields, its answer, and what it takes to check and to convert them.
QUERY_BYTES = 320


class FrameError(ValueError):
    """Frames that this model cannot encode."""


@dataclass(frozen=True)
class PreparedFrame:
    """A frame, resized once for the encoder. image: (H, W, 3) uint8 RGB; small: (h, w, 3) uint8."""

    image: np.ndarray
    small: np.ndarray


class SceneModel:
    """What a model is, whatever runs its network. Use it from one thread at a time.

    A backend says how to encode (`_encode`) and how to answer one chunk of queries (`decode`).
    chunk: queries that are decoded at a time.
    between_chunks: called before each chunk of a decode, so that its owner can do what is urgent.
    patch_source: where the RGB patch of a query is taken from: "encoder", the frames as small as the encoder saw
        them; "frames", the frames at their own resolution (sharper edges on a fine grid); "none", a grey patch.
    queries_per_second: how fast full chunks were decoded of late; None until one was.
    clock: seconds, what that is measured with.
    """

    def __init__(self, config: ModelConfig, chunk: int, patch_source: str = "encoder"):
        check_patch_source(patch_source)
        self.config = config
        self.chunk = chunk
        self.patch_source = patch_source
        self.between_chunks: Callable[[], None] | None = None
        self.queries_per_second: float | None = None
        self.clock: Callable[[], float] = time.perf_counter
        self._fits: set = set()

    @property
    def num_frames(self) -> int:
        """Frames in a window, T."""
        return self.config.frames

    def prepare(self, image: np.ndarray) -> PreparedFrame:
        """Resize one (H, W, 3) uint8 RGB image for the encoder, once, however many windows it will be in."""
        image = rgb_image(image, "a frame", FrameError)
        return PreparedFrame(image, resize(image, self.config.height, self.config.width))

    def pixel_map(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(scale, shift), (2,) each, that turn pixels (x, y) of an image of this size into the network's u, v.

        The network's u = x'/(w-1) speaks of its own small image, and resizing by areas puts the image's pixel x
        at x' = (x + 0.5)·w/W - 0.5.
        """
        ours, theirs = np.array((self.config.width, self.config.height)), np.array((width, height))
        scale = ours / theirs / (ours - 1)
        return scale, (0.5 * ours / theirs - 0.5) / (ours - 1)

    def pixels(self, uv: np.ndarray, height: int, width: int) -> np.ndarray:
        """(N, 2) pixels x, y, in an image of this size, of the network's u, v."""
        scale, shift = self.pixel_map(height, width)
        return (uv - shift) / scale

    def encode(
        self,
        frames: np.ndarray | Sequence[PreparedFrame],
        mask: np.ndarray | None = None,
        listener: AttentionListener | None = None,
    ) -> Scene:
        """Encode a clip, oldest frame first.

        frames: (T, H, W, 3) uint8 RGB of any size, or T frames that `prepare` returned. mask: (T, H, W) bool,
        pixels whose tokens the first fifth of the layers leaves out (`d4rt benchmark masking` says what it is worth);
        listener: hears the global attention, each
        temporal row of tokens as a frame (see model.protocol).
        Raises FrameError for another number of frames, another type, frames of different sizes, a mask of another
        size or type, or a scene that is larger than memory; NoAttentionError where mask or listener are given and
        the attention is out of reach.
        """
        check_patch_source(self.patch_source)
        try:
            count = len(frames)
        except TypeError:
            raise FrameError(
                f"frames of type {type(frames).__name__}; give an array (T, H, W, 3) or a list of T images"
            ) from None
        if count != self.num_frames:
            raise FrameError(
                f"{count} frames given; this model takes clips of {self.num_frames}: drop the oldest, or "
                "repeat frames"
            )
        prepared = [f if isinstance(f, PreparedFrame) else self.prepare(f) for f in frames]
        sizes = {f.image.shape for f in prepared}
        if len(sizes) > 1:
            raise FrameError(f"the frames have different sizes: {sorted(sizes)}")
        images = [f.image for f in prepared]
        height, width = images[0].shape[:2]
        self._check_memory(images)
        tokens = None if mask is None else self._token_mask(mask, (count, height, width))
        small = np.stack([f.small for f in prepared])
        keys_values, patches = self._encode(small, width / height, images, tokens, listener)
        return Scene(self, keys_values, patches, images)

    def _token_mask(self, mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.shape != shape or mask.dtype != bool:
            raise FrameError(
                f"a mask {mask.shape} {mask.dtype} given; bool of the frames' {shape} is expected, True where "
                "attention leaves a pixel out"
            )
        return token_mask(mask, self.config.token_grid)

    def _check_memory(self, images: list[np.ndarray]) -> None:
        """Raise FrameError if encoding these would not fit; asked once for a size of frames, before allocating."""
        kind = images[0].shape, self.patch_source
        if kind in self._fits:
            return
        need, free = self._scene_bytes(images), self._free_bytes()
        if need > free:
            raise FrameError(
                f"encoding {len(images)} frames of {images[0].shape[1]}x{images[0].shape[0]} needs about "
                f"{gigabytes(need)}, and {gigabytes(free)} of memory are free: use a smaller model, a lower "
                "precision or smaller frames"
            )
        self._fits.add(kind)

    def _scene_bytes(self, images: list[np.ndarray]) -> int:
        return scene_bytes(self.config, 4)

    def _free_bytes(self) -> int:
        return available_bytes()

    def _encode(
        self,
        small: np.ndarray,
        aspect: float,
        images: list[np.ndarray],
        mask: np.ndarray | None = None,
        listener: AttentionListener | None = None,
    ) -> tuple[Any, Any]:
        """small: (T, h, w, 3) uint8; aspect: width / height of the images (T of (H, W, 3) uint8); mask: (t, rows,
        columns) bool of the token grid.

        Returns what `decode` takes first: the scene's keys and values, and what RGB patches are taken from.
        """
        raise NotImplementedError

    def decode(
        self, keys_values: Any, frames: Any, uv: np.ndarray, times: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Answer one chunk. uv: (N, 2) float32, the network's u, v in [0, 1]; times: (N, 3) int64.

        Returns the raw heads, (N, size) float32 each; visibility and confidence are logits.
        """
        raise NotImplementedError

    def measured(self, count: int, seconds: float) -> None:
        """Note that a chunk of `count` queries took so long. A small chunk says nothing of a full one's rate."""
        if 2 * count >= self.chunk and seconds > 0:
            rate, before = count / seconds, self.queries_per_second
            self.queries_per_second = rate if before is None else before + 0.2 * (rate - before)


class Scene:
    """An encoded clip: ask it as often as you like.

    model: see SceneModel; keys_values, patches: what the model's `decode` takes; frames: T images (H, W, 3).
    """

    tells_motion = True

    def __init__(self, model: SceneModel, keys_values: Any, patches: Any, frames: list[np.ndarray]):
        self._model = model
        self._keys_values = keys_values
        self._patches = patches
        self.frames = frames

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that pixels speak of."""
        return self.frames[0].shape[:2]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """All of a frame: see model.protocol."""
        return 0, 0, self.size[1], self.size[0]

    @property
    def nbytes(self) -> int:
        """Memory that it holds besides the frames, as far as its arrays tell it."""
        return _nbytes(self._keys_values) + (0 if self._patches is self.frames else _nbytes(self._patches))

    @property
    def queries_per_second(self) -> float | None:
        """How fast the model answered of late; None until it was asked half a chunk or more at once."""
        return self._model.queries_per_second

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        """Where are the points seen at (u, v) of frames t_src, at times t_tgt, in the camera frames of t_cam?

        u, v: pixels; times: 0 (oldest) .. T-1, or negative from the newest; arrays or scalars that broadcast.
        Raises QueryError for what cannot be asked, or is more than memory holds. xyz is in the model's unit.
        """
        height, width = self.size
        fields = broadcast_queries(u, v, t_src, t_tgt, t_cam)
        check_memory(fields[0].size)
        q = check_queries(*fields, self.num_frames, (height, width))
        scale, shift = self._model.pixel_map(height, width)
        uv = (np.stack((q.u, q.v), -1) * scale + shift).astype(np.float32)
        raw = self._decode(uv, np.stack((q.t_src, q.t_tgt, q.t_cam), -1))
        length = np.linalg.norm(raw["normal"], axis=-1, keepdims=True)
        return Answer(
            raw["xyz"],
            self._model.pixels(raw["uv"], height, width).astype(np.float32),
            _sigmoid(raw["visibility"][:, 0]),
            _sigmoid(raw["confidence"][:, 0]),
            raw["normal"] / np.maximum(length, 1e-12),
            raw["displacement"],
        )

    def _decode(self, uv: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
        """uv (N, 2), times (N, 3) -> raw heads (N, ·), in bounded memory."""
        model, count = self._model, len(uv)
        answer = {name: np.empty((count, size), np.float32) for name, size in HEADS.items()}
        # Equal chunks: a small rest would take nearly as long.
        ends = np.linspace(0, count, -(-count // model.chunk) + 1).round().astype(int)
        for start, stop in zip(ends, ends[1:]):
            if model.between_chunks is not None:
                model.between_chunks()
            begin = model.clock()
            part = model.decode(self._keys_values, self._patches, uv[start:stop], times[start:stop])
            model.measured(stop - start, model.clock() - begin)
            for name, values in part.items():
                answer[name][start:stop] = values
        return answer


def _nbytes(arrays: Any) -> int:
    if isinstance(arrays, (list, tuple)):
        return sum(map(_nbytes, arrays))
    return getattr(arrays, "nbytes", 0)  # ONNX Runtime's values have none


def scene_bytes(config: ModelConfig, itemsize: int) -> int:
    """About what encoding one clip allocates at its peak, weights aside, in numbers of `itemsize` bytes."""
    t, rows, columns = config.token_grid
    tokens = t * rows * columns + int(config.aspect_token)
    pixels = config.frames * config.height * config.width
    layer = tokens * config.encoder_width * (2 + max(5, 2 * config.encoder_mlp_ratio))
    stem = pixels * (9 + config.stem) if config.stem else 0
    keys_values = 2 * config.decoder_layers * tokens * config.decoder_width
    return int(itemsize * (max(layer, stem) + keys_values + 6 * pixels) + 3 * pixels)


def check_patch_source(name: str) -> None:
    """Raise ValueError for what is no patch source."""
    if name not in PATCH_SOURCES:
        raise ValueError(f"unknown patch_source {name!r}; use one of {', '.join(PATCH_SOURCES)}")


def device_parts(device: str) -> tuple[str, int | None]:
    """auto, cpu or cuda, and the N of cuda:N. Raises ValueError for what is no such name."""
    match = re.fullmatch(r"(auto|cpu|cuda)|cuda:([0-9]{1,9})", device) if isinstance(device, str) else None
    if match is None:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    kind, number = match.groups()
    return kind or "cuda", None if number is None else int(number)


def check_memory(count: int) -> None:
    """Raise QueryError if so many queries and their answers would not fit into memory."""
    free = available_bytes()
    if count * QUERY_BYTES > free:
        raise QueryError(
            f"{count} queries at once need about {gigabytes(count * QUERY_BYTES)}, and {gigabytes(free)} of "
            "memory are free; ask a coarser grid, or a part at a time"
        )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # exp would overflow at -100


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3) uint8: areas are averaged along an axis that shrinks."""
    import cv2

    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    small = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
