"""A scene and a model that know the truth, to test tasks, pipeline and node without any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from d4rt_ros.model.protocol import NoAttentionError
from d4rt_ros.model.query import Answer, check_queries
from d4rt_ros.scenes.rendering import render
from d4rt_ros.scenes.scene import Scenes
from d4rt_ros.scenes.truth import ground_truth

CHUNK = 16384  # queries that are answered together, so that memory stays bounded


@dataclass(frozen=True)
class Noise:
    """Gaussian errors of an oracle's answers.

    xyz: standard deviation of each coordinate, as a share of the point's distance (0.02 = 2 %).
    uv: standard deviation in pixels. seed: two oracles of one seed err alike.
    """

    xyz: float = 0.0
    uv: float = 0.0
    seed: int = 0


class OracleScene:
    """T frames of one scene, answering any query from the ground truth.

    scenes: a batch of one. times: (T,) seconds. height, width: of the frames, whose pixels queries speak of.
    frames: (T, H, W, 3) uint8; rendered when first asked for where not given.
    """

    tells_motion = True
    nbytes = 0
    queries_per_second = None  # its answers take no time worth measuring

    def __init__(
        self, scenes: Scenes, times, height: int, width: int, noise: Noise = Noise(),
        frames: Sequence[np.ndarray] | None = None,
    ):  # fmt: skip
        if len(scenes) != 1:
            raise ValueError(f"an oracle answers for one scene, not {len(scenes)}; give it scenes[i]")
        self._scenes, self._noise = scenes, noise
        self._times = torch.as_tensor(np.asarray(times), dtype=torch.float32)
        self.size = (height, width)
        self._random = np.random.default_rng(noise.seed)
        if frames is not None:
            self.frames = frames

    @property
    def num_frames(self) -> int:
        return len(self._times)

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """All of a frame: see model.protocol."""
        return 0, 0, self.size[1], self.size[0]

    @cached_property
    def frames(self) -> np.ndarray:
        """(T, H, W, 3) uint8."""
        return render(self._scenes, self._times[None], *self.size).rgb[0].cpu().numpy()

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        """See d4rt_ros.model.query: pixels, broadcast together. Raises QueryError."""
        q = check_queries(u, v, t_src, t_tgt, t_cam, self.num_frames, self.size)
        parts = [self._exact(q, slice(i, i + CHUNK)) for i in range(0, max(len(q), 1), CHUNK)]
        xyz, uv, visibility, normals, displacements = (np.concatenate(p) for p in zip(*parts))
        distance = np.linalg.norm(xyz, axis=1, keepdims=True)
        if self._noise.xyz:
            xyz = xyz + self._noise.xyz * distance * self._random.standard_normal(xyz.shape, np.float32)
        if self._noise.uv:
            uv = uv + self._noise.uv * self._random.standard_normal(uv.shape, np.float32)
        # Of the sky an oracle knows that it knows nothing.
        confidence = np.isfinite(xyz).all(1).astype(np.float32)
        return Answer(xyz, uv, visibility, confidence, normals, displacements)

    def _exact(self, q, part: slice) -> tuple[np.ndarray, ...]:
        scale = np.array([self.size[1] - 1.0, self.size[0] - 1.0], np.float32)
        uv = np.stack([q.u[part], q.v[part]], -1) / scale
        device = self._scenes.device
        times = (torch.from_numpy(t[part].copy())[None].to(device) for t in (q.t_src, q.t_tgt, q.t_cam))
        uv = torch.from_numpy(uv.astype(np.float32))[None].to(device)
        truth = ground_truth(self._scenes, self._times[None], uv, *times)
        fields = (truth.xyz, truth.uv, truth.visibility.float(), truth.normal, truth.displacement)
        xyz, uv, *rest = (f[0].cpu().numpy() for f in fields)
        return xyz, uv * scale, *rest


@dataclass(frozen=True)
class PreparedImage:
    """What `OracleModel.prepare` returns. image: (H, W, 3) uint8; time: seconds."""

    image: np.ndarray
    time: float


class OracleModel:
    """Stands in for a model behind a pipeline or a node: it knows an image by its bytes.

    scenes: a batch of one. images: (N, H, W, 3) uint8, everything that may be encoded. times: (N,) seconds of
    the images. num_frames: T of a window.
    """

    between_chunks = None  # it makes no pauses
    queries_per_second = None

    def __init__(self, scenes: Scenes, images, times, num_frames: int = 8, noise: Noise = Noise()):
        self._scenes, self._noise = scenes, noise
        self.num_frames = num_frames
        # Of equal images (nothing moves, or a loop repeats) any one's time gives the same answers.
        self._times = {image.tobytes(): float(time) for image, time in zip(images, times, strict=True)}

    def prepare(self, image: np.ndarray) -> PreparedImage:
        """Raises ValueError for an image that is not of the scene."""
        time = self._times.get(np.ascontiguousarray(image).tobytes())
        if time is None:
            raise ValueError(
                f"this {'x'.join(map(str, image.shape))} image is none of the {len(self._times)} that the "
                "oracle knows; give it frames of its own scene, byte for byte (neither resized nor lossy)"
            )
        return PreparedImage(image, time)

    def encode(self, frames, mask=None, listener=None) -> OracleScene:
        """frames: (T, H, W, 3) uint8, or T that `prepare` returned. Raises ValueError for another number.

        Raises NoAttentionError for a mask or a listener: an oracle attends to nothing.
        """
        if mask is not None or listener is not None:
            raise NoAttentionError(
                "an oracle has no attention to hear or to mask; leave out mask and listener"
            )
        if len(frames) != self.num_frames:
            raise ValueError(f"{len(frames)} frames given; this oracle takes clips of {self.num_frames}")
        prepared = [f if isinstance(f, PreparedImage) else self.prepare(f) for f in frames]
        images = [f.image for f in prepared]
        return OracleScene(
            self._scenes, [f.time for f in prepared], *images[0].shape[:2], self._noise, frames=images
        )
