"""What moves, read out of the global attention of a geometry transformer: stages 1 and 1b of VGGT4D.

A transformer that was trained on rigid scenes attends differently to what moves. Which products of queries and keys
of which layers show that, and the reductions: VGGT4D (Hu et al. 2025). Nothing is trained for it.

Published code forms every token-by-token product. Here the mean over a frame's tokens j of X_t[i]·Y[j] is taken as
X_t[i]·mean_j Y[j], and the mean over source frames on Y before the product: three of the five maps cost as much as
reading the queries, the two deviations one product of tokens by tokens each, a frame at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from d4rt_ros.dynamics.clusters import kmeans
from d4rt_ros.model.attention import layers_at

OFFSETS = (-6, -4, -2, 2, 4, 6)  # to the frames that a frame is compared with
CLUSTERS = 64
EPSILON = 1e-6
CLASSES = (2, 3, 4)
BINS = 256


class CueError(ValueError):
    """Attention that no cues can be taken from."""


@dataclass(frozen=True)
class Cue:
    """One of the five maps: X_t[i]·Y[j] over layers first..last of 24, its mean over j or its deviation over j.

    static: whether a high value speaks for what stands still.
    """

    first: int
    last: int
    x: str
    y: str
    deviation: bool
    static: bool


CUES = {
    "m_shallow": Cue(0, 0, "k", "k", deviation=False, static=True),
    "v_shallow": Cue(0, 0, "q", "k", deviation=True, static=False),
    "m_middle": Cue(3, 7, "q", "q", deviation=False, static=True),
    "v_deep": Cue(18, 19, "q", "q", deviation=True, static=True),
    "m_deep": Cue(17, 21, "q", "q", deviation=False, static=False),
}


@dataclass(frozen=True, eq=False)
class CoarseMasks:
    """masks: (frames, H, W) bool, True where it moves. threshold: what cluster maps exceed there.

    clusters: (frames, rows, columns) float32 in 0..1, each token with its cluster's mean Dyn. labels: (frames, rows,
    columns) the tokens' clusters.
    """

    masks: np.ndarray
    threshold: float
    clusters: np.ndarray
    labels: np.ndarray


class CueMiner:
    """An AttentionListener (model.protocol) that makes the cues while a clip is encoded.

    Of layers that no cue is made of it keeps nothing; of the others sums of a number per token, and between the
    layers of a deviation their queries. Encoders of other depths than VGGT's 24 layers: the layers that lie as deep
    (model.attention.layers_at; of 3 layers: 0, 0, 0, 2, 2).
    """

    def begin(self, layers: int, rows: int, columns: int) -> None:
        self._grid, self._frames = (rows, columns), 0
        self._layers = {name: layers_at(cue.first, cue.last, layers) for name, cue in CUES.items()}
        self._sums: dict[str, Any] = {}
        self._kept: dict[str, list] = {}
        self._features: np.ndarray | None = None

    def attention(self, layer: int, q: Any, k: Any) -> None:
        self._frames, tokens = q.shape[1:3]
        if self._frames < 2 or tokens < 2:
            return  # `cues` says so: who listens disturbs nobody
        means: dict[str, Any] = {}
        for name, cue in CUES.items():
            if layer not in self._layers[name]:
                continue
            x, y = (q if side == "q" else k for side in (cue.x, cue.y))
            if cue.deviation:
                self._keep(name, layer, x, y)
                continue
            if cue.y not in means:
                means[cue.y] = _mean_of_sources(y)
            part = _mean_products(x, means[cue.y]) / len(self._layers[name])
            self._sums[name] = self._sums[name] + part if name in self._sums else part

    def features(self, tokens: Any) -> None:
        self._features = tokens.float().cpu().numpy()

    def _keep(self, name: str, layer: int, x: Any, y: Any) -> None:
        """The deviation is of the sum over the layers: it waits for the last of them."""
        *before, last = self._layers[name]
        held = self._kept.setdefault(name, [])
        if layer != last:
            x = x.clone()  # a view would hold what it is a view of
            held.append((x, x if CUES[name].x == CUES[name].y else y.clone()))
            return
        self._sums[name] = _deviations([*held, (x, y)])
        held.clear()

    @property
    def cues(self) -> dict[str, np.ndarray]:
        """The five maps by their name, (frames, rows, columns) float32 each, every frame's from 0 to 1.

        Raises CueError where nothing was heard, or of one frame or one token alone, or what is not finite.
        """
        if getattr(self, "_frames", 0) == 1:
            raise CueError("a clip of 1 frame of tokens: motion shows between frames, cues need two or more")
        if getattr(self, "_grid", None) == (1, 1):
            raise CueError("frames of 1 token: cues compare the tokens of a frame, they need two or more")
        if set(getattr(self, "_sums", ())) != set(CUES):
            raise CueError(
                "no attention was heard, or not to its end: give this as listener to `encode` of a model that has "
                "global attention"
            )
        maps = {name: np.asarray(self._sums[name].cpu()).reshape(-1, *self._grid) for name in CUES}
        if not all(np.isfinite(m).all() for m in maps.values()):
            raise CueError(
                "the model's attention has values that are not finite, so there are no cues: its weights are broken, "
                "or its precision is too low for them; try fp32"
            )
        return {name: _normalised(m) for name, m in maps.items()}

    @property
    def maps(self) -> np.ndarray:
        """Dyn, (frames, rows, columns) float32, every frame's from 0 to 1: the higher, the likelier it moves."""
        parts = [1 - m if CUES[name].static else m for name, m in self.cues.items()]
        return _normalised(np.prod(parts, axis=0))

    @property
    def patch_features(self) -> np.ndarray:
        """(frames, rows, columns, C) float32, for clustering. Raises CueError where the model told none."""
        if getattr(self, "_features", None) is None:
            raise CueError("the model told no features of its tokens, so they cannot be clustered")
        return self._features.reshape(-1, *self._grid, self._features.shape[-1])


def dynamic_maps(q: np.ndarray, k: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The maps of Dyn, (frames, rows, cols) float32 in 0..1, of queries and keys (frames, layers, heads, tokens, dim).

    Tokens are row by row, layers those of global attention, after any norm and rotary embedding. A frame is compared
    with the frames 2, 4 and 6 before and after it that exist; where none does, with the nearest ones.
    Raises CueError for shapes that do not fit, a single frame and values that are not finite.
    """
    return mined(q, k, rows, cols).maps


def coarse_masks(
    maps: np.ndarray, features: np.ndarray, size: tuple[int, int], labels: np.ndarray | None = None
) -> CoarseMasks:
    """Masks of images of `size` (height, width) from maps of Dyn (frames, rows, columns).

    features: (frames, rows, columns, C) of the tokens, which k-means puts into 64 clusters, or as many as there are
    tokens; labels: (frames, rows, columns) int >= 0 instead. Maps are brought to 0..1 frame by frame, so something
    is above the threshold even in a clip in which nothing moves; only where all frames are flat, nothing is.
    Raises CueError for shapes that do not fit and for values that are not finite.
    """
    maps = np.asarray(maps, np.float32)
    if maps.ndim != 3 or not maps.size or not np.isfinite(maps).all():
        raise CueError(f"maps {maps.shape}; finite maps (frames, rows, columns) are expected")
    labels = _clusters(features, maps.shape) if labels is None else np.asarray(labels)
    if labels.shape != maps.shape or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise CueError(
            f"labels {labels.shape} {labels.dtype}; cluster numbers of maps {maps.shape} are expected"
        )
    flat = labels.ravel()
    means = np.bincount(flat, maps.ravel()) / np.maximum(np.bincount(flat), 1)
    clusters = _normalised(means[labels])
    images = np.stack([_enlarged(image, size) for image in clusters])
    threshold = _threshold(images)
    return CoarseMasks(images > threshold, threshold, clusters, labels)


def mined(q: np.ndarray, k: np.ndarray, rows: int, cols: int) -> CueMiner:
    """A miner that has heard these arrays; see `dynamic_maps`."""
    import torch

    if np.ndim(q) != 5 or np.shape(q) != np.shape(k):
        raise CueError(
            f"queries {np.shape(q)} and keys {np.shape(k)}; both have to be (frames, layers, heads, tokens, dim)"
        )
    if np.shape(q)[3] != rows * cols or 0 in np.shape(q):
        raise CueError(f"queries {np.shape(q)} are not of {rows}x{cols} tokens: tokens is rows times columns")
    q, k = (torch.as_tensor(x).transpose(0, 1) for x in (q, k))
    miner = CueMiner()
    miner.begin(len(q), rows, cols)
    with torch.inference_mode():
        for layer, (a, b) in enumerate(zip(q, k)):
            miner.attention(layer, a.transpose(0, 1), b.transpose(0, 1))
    return miner


def sources(frames: int, t: int) -> list[int]:
    """The frames, of two or more, that frame t is compared with."""
    there = [t + offset for offset in OFFSETS if 0 <= t + offset < frames]
    return there or [s for s in (t - 1, t + 1) if 0 <= s < frames]


def _rows(x: Any, t: int) -> Any:
    """(heads, frames, tokens, dim) -> (tokens, heads·dim) float32 of frame t."""
    return x[:, t].transpose(0, 1).flatten(1).float()


def _mean_of_sources(y: Any) -> Any:
    """(heads, frames, tokens, dim) -> (frames, heads·dim): the mean over all tokens of each frame's sources."""
    import torch

    frames = y.shape[1]
    means = torch.stack([_rows(y, t).mean(0) for t in range(frames)])
    return torch.stack([means[sources(frames, t)].mean(0) for t in range(frames)])


def _mean_products(x: Any, mean: Any) -> Any:
    """(frames, tokens): X_t[i]·mean, the mean over the heads."""
    import torch

    return torch.stack([_rows(x, t) @ mean[t] for t in range(len(mean))]) / len(x)


def _deviations(layers: list[tuple[Any, Any]]) -> Any:
    """(frames, tokens): the deviation over j of X_t[i]·(mean over sources of Y[j]), its mean over heads and layers."""
    import torch

    result, frames = [], layers[0][0].shape[1]
    for t in range(frames):
        others, products = sources(frames, t), 0
        for x, y in layers:
            mean = sum(_rows(y, s) for s in others) / len(others)
            # The mean over j changes no deviation; without it numbers are smaller and rounding is too.
            products = products + _rows(x, t) @ (mean - mean.mean(0)).T
        result.append(products.std(1) / (len(layers) * len(layers[0][0])))
    return torch.stack(result)


def _normalised(maps: np.ndarray) -> np.ndarray:
    """Every frame's from 0 to 1."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return ((maps - low) / (high - low + EPSILON)).astype(np.float32)


def _clusters(features: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    features = np.asarray(features, np.float32)
    if features.shape[:-1] != shape or not np.isfinite(features).all():
        raise CueError(
            f"features {features.shape}; finite ones of maps {shape}, (frames, rows, columns, C), are expected"
        )
    return kmeans(features.reshape(-1, features.shape[-1]), CLUSTERS).reshape(shape)


def _enlarged(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _threshold(values: np.ndarray) -> float:
    """Of images (frames, H, W): the last multi-Otsu threshold of as many classes as lie farthest apart for their
    number."""
    from skimage.filters import threshold_multiotsu

    best, chosen = -np.inf, float(values.max())
    for classes in CLASSES:
        try:
            thresholds = threshold_multiotsu(values, classes, nbins=BINS)
        except ValueError:  # fewer different values than classes
            continue
        counts, sums = np.zeros((2, classes))
        for image in values:  # one by one, since there may be hundreds
            of = np.digitize(image.ravel(), thresholds)
            counts += np.bincount(of, minlength=classes)
            sums += np.bincount(of, image.ravel(), classes)
        if not counts.all():
            continue
        score = np.var(sums / counts) / np.sqrt(classes)
        if score > best:
            best, chosen = score, float(thresholds[-1])
    return chosen
