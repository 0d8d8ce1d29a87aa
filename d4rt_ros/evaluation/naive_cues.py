"""VGGT4D's cues the published way, to compare with: of a frame every product of tokens by tokens, all layers kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from d4rt_ros.dynamics.cues import CUES, sources
from d4rt_ros.model.attention import layers_at


class Recorder:
    """An AttentionListener that keeps all that it hears."""

    def begin(self, layers: int, rows: int, columns: int) -> None:
        self.layers, self.grid, self.heard = layers, (rows, columns), []

    def attention(self, layer: int, q: Any, k: Any) -> None:
        self.heard.append((q, k))

    def features(self, tokens: Any) -> None:
        self.tokens = tokens

    def play(self, listener) -> Any:
        """Tell another listener the same; returns it."""
        listener.begin(self.layers, *self.grid)
        for layer, pair in enumerate(self.heard):
            listener.attention(layer, *pair)
        return listener


def naive_maps(recorded: Recorder) -> np.ndarray:
    """What CueMiner.maps gives, (frames, rows, columns)."""
    import torch

    stacked = {"q": [q.float() for q, _ in recorded.heard], "k": [k.float() for _, k in recorded.heard]}
    stacked = {
        name: torch.stack(layers) for name, layers in stacked.items()
    }  # layers, heads, frames, tokens, dim
    frames = stacked["q"].shape[2]
    return np.stack([_frame(stacked, t, sources(frames, t), recorded.layers) for t in range(frames)]).reshape(
        frames, *recorded.grid
    )


def _frame(stacked: dict[str, Any], t: int, others: list[int], layers: int) -> np.ndarray:
    dynamic = 1
    for cue in CUES.values():
        part = slice((chosen := layers_at(cue.first, cue.last, layers)).start, chosen.stop)
        x, y = stacked[cue.x][part, :, t, None], stacked[cue.y][part][:, :, others]
        products = x @ y.transpose(-1, -2)  # layers, heads, sources, i, j
        values = products.mean((0, 1, 2))
        values = _normalised(values.std(1) if cue.deviation else values.mean(1))
        dynamic = dynamic * (1 - values if cue.static else values)
    return _normalised(dynamic).cpu().numpy()


def _normalised(values):
    return (values - values.min()) / (values.max() - values.min() + 1e-6)
