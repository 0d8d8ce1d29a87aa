"""The field's metrics of depth and pose, as short functions."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.robust import weighted_median

# How predicted depth is brought to the truth's unit.
ALIGNMENTS = ("median", "scale", "scale_shift")
REWEIGHTINGS = 30


class MetricError(ValueError):
    """Arrays that a metric cannot be computed from."""


def depth_errors(predicted: np.ndarray, truth: np.ndarray, alignment: str = "median") -> tuple[float, float]:
    """(absolute relative error, share of pixels with max(p/t, t/p) < 1.25) after `aligned_depth`.

    predicted, truth: depth of one shape, of a frame or of all frames of a clip, which are then aligned together;
    pixels where truth is not positive and finite do not count, nor do pixels where the prediction is NaN.
    Raises MetricError where nothing is left to compare.
    """
    aligned = aligned_depth(predicted, truth, alignment)
    good = np.isfinite(aligned) & np.isfinite(truth) & (truth > 0)
    p, t = aligned[good], np.asarray(truth, np.float64)[good]
    within = (p < 1.25 * t) & (t < 1.25 * p)
    return float(np.mean(np.abs(p - t) / t)), float(np.mean(within))


def aligned_depth(predicted: np.ndarray, truth: np.ndarray, alignment: str = "median") -> np.ndarray:
    """The prediction in the truth's unit, float64 of its shape, NaN where it is not positive and finite.

    median: times the ratio of the medians, as monocular depth is judged frame by frame. scale ("S"): times the
    number that makes the sum of absolute errors least. scale_shift ("SS"): the same with a number added. The
    papers on video depth (MonST3R, CUT3R and those after them) take the latter two, one for all frames of a
    sequence.
    Raises MetricError where no pixel has both depths.
    """
    if alignment not in ALIGNMENTS:
        raise MetricError(f"unknown alignment {alignment!r}; use one of {', '.join(ALIGNMENTS)}")
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape:
        raise MetricError(f"predicted depth has shape {predicted.shape}, the true one {truth.shape}")
    usable = np.isfinite(predicted) & (predicted > 0)
    good = usable & np.isfinite(truth) & (truth > 0)
    if not good.any():
        raise MetricError("no pixel has both a predicted and a true depth")
    p, t = predicted[good], truth[good]
    if alignment == "median":
        scale, shift = np.median(t) / np.median(p), 0.0
    elif alignment == "scale":
        # Of t / p weighted by p: it makes sum |s p - t| least.
        scale, shift = weighted_median(t / p, p), 0.0
    else:
        scale, shift = _least_absolute_line(p, t)
    return np.where(usable, scale * predicted + shift, np.nan)


def constant_depth_errors(truth: np.ndarray, alignment: str = "median") -> tuple[float, float]:
    """`depth_errors` of the trivial answer: the same depth everywhere."""
    return depth_errors(np.ones_like(truth, dtype=np.float64), truth, alignment)


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two vectors (3,), degrees; 90 where one of them is zero."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(a @ b / lengths, -1, 1)))) if lengths > 1e-12 else 90.0


def _least_absolute_line(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """Scale and shift that make sum |scale p + shift - t| least, by reweighted least squares."""
    if np.ptp(p) <= 1e-9 * p.max():
        return 0.0, float(np.median(t))
    unit, floor = np.median(p), 1e-6 * np.median(t)
    rows = np.stack([p / unit, np.ones_like(p)], axis=1)  # of like sizes, so that the equations are sound
    weights = np.ones_like(p)
    for _ in range(REWEIGHTINGS):
        weighted = rows * weights[:, None]
        line = np.linalg.solve(weighted.T @ rows, weighted.T @ t)
        weights = 1.0 / np.maximum(np.abs(rows @ line - t), floor)
    return float(line[0] / unit), float(line[1])
