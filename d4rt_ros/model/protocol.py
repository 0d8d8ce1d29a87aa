"""What the stream and the tasks ask of a model and of what it encodes: the two that any backbone has to be.

Pixels are the user's: of the images as they were given, integer at the centres, x right, y down. Times are frames
of the clip, 0 (oldest) to T-1 (newest). Points are in optical camera frames (x right, y down, z forward), in the
model's own unit of length, one for a whole scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from d4rt_ros.model.query import Answer


@runtime_checkable
class Scene(Protocol):
    """An encoded clip of T frames: ask it as often as you like, from the thread that uses its model.

    num_frames: T. size: (height, width) of the frames.
    frames: T images (H, W, 3) uint8 RGB, as they were given.
    tells_motion: whether it can tell where a point goes; where not, questions have t_src = t_tgt.
    covered: (x, y, width, height) of what the tokens of a frame cover, in its pixels from its upper left corner: the
        whole frame, or less of it (a crop), or more (a padding).
    nbytes: memory that it holds besides the frames, as far as it knows.
    queries_per_second: how fast its model answered of late; None where that is not known.
    """

    @property
    def num_frames(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def frames(self) -> Sequence[np.ndarray]: ...

    @property
    def tells_motion(self) -> bool: ...

    @property
    def covered(self) -> tuple[float, float, float, float]: ...

    @property
    def nbytes(self) -> int: ...

    @property
    def queries_per_second(self) -> float | None: ...

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        """N answers (model.query.Answer): where are the points that frames t_src show at (u, v), at times t_tgt, in
        the camera frames of t_cam?

        u, v: pixels. t_src, t_tgt, t_cam: integers, negative ones from the newest (-1). Arrays or scalars that
        broadcast to N. What cannot be answered is NaN. Raises QueryError for what cannot be asked of this clip.
        """
        ...


class NoAttentionError(ValueError):
    """A model whose attention cannot be looked into or masked."""


class AttentionListener(Protocol):
    """Who hears an encoder's attention while it computes; it keeps of it what it needs, and no more."""

    def begin(self, layers: int, rows: int, columns: int) -> None:
        """A clip begins: how many layers of global attention there are, and the grid of each frame's image tokens."""
        ...

    def attention(self, layer: int, q: Any, k: Any) -> None:
        """Queries and keys (heads, frames, rows·columns, dim), torch, of the image tokens of the global layer 0, 1, …,
        after any norm and rotary embedding: what the layer multiplies but for the softmax's scale."""
        ...

    def features(self, tokens: Any) -> None:
        """What the image tokens show (frames, rows·columns, C), torch: for clustering."""
        ...


@runtime_checkable
class Model(Protocol):
    """What encodes clips. One thread uses it at a time, but for `prepare`, which any thread may call.

    num_frames: T, of the clips that it takes; None: of any length.
    between_chunks: called in the pauses of a long answer, if it has any, so that its owner can do what is urgent;
        the owner sets it. None: nothing is.
    queries_per_second: how fast it answered of late; None until it is known.
    """

    between_chunks: Callable[[], None] | None

    @property
    def num_frames(self) -> int | None: ...

    @property
    def queries_per_second(self) -> float | None: ...

    def prepare(self, image: np.ndarray) -> Any:
        """What `encode` takes of an image (H, W, 3) uint8 RGB: made once, however many clips it will be in. Raises
        ValueError for what is no image."""
        ...

    def encode(
        self, frames: Sequence[Any], mask: np.ndarray | None = None, listener: AttentionListener | None = None
    ) -> Scene:
        """The scene of T prepared frames of one size, oldest first.

        mask: (T, H, W) bool, pixels of the frames whose tokens the first layers' attention leaves out (early-stage
        masking); listener: hears the attention. Raises ValueError for other numbers or sizes, NoAttentionError where
        the attention can neither be masked nor heard.
        """
        ...
