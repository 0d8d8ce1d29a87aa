"""How good masks are, as DAVIS (Perazzi et al. 2016) measures it: their regions (J) and their boundaries (F)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

TOLERANCE = 0.008  # of the image's diagonal, rounded up to pixels: how far boundaries may lie apart
RECALLED = 0.5  # the measure over which a frame counts for recall


def region_similarity(mask: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks (H, W) bool; 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def boundary_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    """F: of the boundaries of two masks (H, W) bool, the harmonic mean of the shares of each that lie within TOLERANCE
    of the other; 1 where neither has one, 0 where one has none."""
    reach = math.ceil(TOLERANCE * math.hypot(*mask.shape))
    ours, theirs = boundary(mask), boundary(truth)
    if not (ours.any() and theirs.any()):
        return float(ours.any() == theirs.any())
    precision, recall = (float(_near(b, reach)[a].mean()) for a, b in ((ours, theirs), (theirs, ours)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that are not as their neighbours to the right, below, or both; in the last row and column as
    far as they have these."""
    edge = np.zeros(mask.shape, bool)
    right, below = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, :-1] |= right
    edge[:-1] |= below
    edge[:-1, :-1] |= mask[1:, 1:] != mask[:-1, :-1]
    return edge


def _near(edge: np.ndarray, reach: int) -> np.ndarray:
    """Pixels that lie within `reach` of one of `edge`."""
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.uint8)
    return cv2.dilate(edge.astype(np.uint8), disk).astype(bool)


@dataclass(frozen=True)
class FrameScore:
    """region, boundary: J and F, NaN where too little moves for them to be judged. false: share of what rests that the
    mask takes for moving."""

    region: float
    boundary: float
    false: float


def frame_score(mask: np.ndarray | None, truth: np.ndarray, least: float = 0.0) -> FrameScore:
    """The score of a mask (H, W) bool; None is one in which nothing moves.

    least: share of the image that must move for J and F to be judged.
    """
    mask = np.zeros_like(truth) if mask is None else mask
    resting = ~truth
    false = float(mask[resting].mean()) if resting.any() else math.nan
    if truth.mean() < least:
        return FrameScore(math.nan, math.nan, false)
    return FrameScore(region_similarity(mask, truth), boundary_accuracy(mask, truth), false)


@dataclass(frozen=True)
class SequenceScore:
    """Means over the frames of a sequence, NaN where none is judged: J and F, and the share of frames in which they are
    over RECALLED; the share of what rests that is masked. judged: how many frames J and F are of."""

    j_mean: float
    j_recall: float
    f_mean: float
    f_recall: float
    false: float
    judged: int


def sequence_score(frames: list[FrameScore]) -> SequenceScore:
    regions, boundaries, false = (
        np.array([getattr(frame, name) for frame in frames], float)
        for name in ("region", "boundary", "false")
    )
    judged = np.isfinite(regions)
    return SequenceScore(
        _mean(regions[judged]),
        _mean(regions[judged] > RECALLED),
        _mean(boundaries[judged]),
        _mean(boundaries[judged] > RECALLED),
        _mean(false[np.isfinite(false)]),
        int(judged.sum()),
    )


@dataclass(frozen=True)
class MaskFigure:
    """A method's means over sequences, each of which counts as much; NaN where none is judged. frames: in which
    something moves, by which J and F are judged. sequences: by name."""

    method: str
    j_mean: float
    j_recall: float
    f_mean: float
    f_recall: float
    false: float
    frames: int
    sequences: dict[str, SequenceScore] = field(default_factory=dict)


def mask_figure(method: str, sequences: dict[str, SequenceScore]) -> MaskFigure:
    means = []
    for name in ("j_mean", "j_recall", "f_mean", "f_recall", "false"):
        values = np.array([getattr(score, name) for score in sequences.values()], float)
        means.append(_mean(values[np.isfinite(values)]))
    return MaskFigure(method, *means, sum(score.judged for score in sequences.values()), sequences)


def mask_table(figures: list[MaskFigure], title: str):
    """A rich Table of the figures."""
    from rich.table import Table

    table = Table("masks", "J mean", "J recall", "F mean", "F recall", "rest masked", "frames", title=title)
    for f in figures:
        measures = ("" if math.isnan(x) else f"{x:.3f}" for x in (f.j_mean, f.j_recall, f.f_mean, f.f_recall))
        table.add_row(f.method, *measures, f"{100 * f.false:.2f} %", str(f.frames))
    return table


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
