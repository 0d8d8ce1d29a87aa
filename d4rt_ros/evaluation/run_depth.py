"""How far the depth of a whole run is off, and how far its scale wanders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError, aligned_depth, depth_errors

BLOCK = 8  # frames that share a scale in "S"; as long as the clips that models are judged by


@dataclass(frozen=True)
class RunDepthErrors:
    """Absolute relative errors of depth over N frames, and the wandering of its scale.

    block: after one scale for every 8 frames in a row ("S"), mean over these blocks. one: after ONE scale for the
    run, over all pixels: what a planner meets. drift: standard deviation of the log of the blocks' scales.
    """

    block: float
    one: float
    drift: float


def run_depth_errors(predicted: np.ndarray, truth: np.ndarray) -> RunDepthErrors:
    """Of depth (N, h, w) along z against the true one, in any two units.

    Pixels where either is not positive and finite count for nothing, nor do frames without any other. Scales make
    the sum of absolute errors least, as the papers on video depth have it. Raises MetricError where nothing is left.
    """
    predicted, truth = (np.asarray(x, np.float64) for x in (predicted, truth))
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise MetricError(
            f"depth of shapes {predicted.shape} and {truth.shape}; expected two of one (N, h, w)"
        )
    frames = np.flatnonzero(np.isfinite(_log_ratio(predicted, truth)).any((1, 2)))
    if not len(frames):
        raise MetricError("no pixel of any frame has both a predicted and a true depth")
    predicted, truth = predicted[frames], truth[frames]
    errors, scales = [], []
    for start in range(0, len(frames), BLOCK):
        block, right = predicted[start : start + BLOCK], truth[start : start + BLOCK]
        aligned = aligned_depth(block, right, "scale")
        errors.append(depth_errors(block, right, "scale")[0])
        scales.append((aligned / block)[np.isfinite(aligned)][0])
    one = depth_errors(predicted, truth, "scale")[0]
    return RunDepthErrors(float(np.mean(errors)), one, float(np.std(np.log(scales))))


def constant_run_depth_errors(truth: np.ndarray) -> RunDepthErrors:
    """`run_depth_errors` of the trivial answer: the same depth everywhere, in every frame."""
    return run_depth_errors(np.ones_like(truth, dtype=np.float64), truth)


def run_depth_scale(predicted: np.ndarray, truth: np.ndarray) -> float:
    """True over predicted depth (N, h, w), the median over all pixels of a run that have both; NaN where none has."""
    ratio = _log_ratio(*(np.asarray(x, np.float64) for x in (predicted, truth)))
    return float(np.exp(np.nanmedian(ratio))) if np.isfinite(ratio).any() else float("nan")


def on_grid(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (H, W) of an image at the pixels of a grid of `size` (h, w) over it (`tasks.questions.pixel_grid`):
    of the nearest pixel, since depth must not be averaged across its jumps."""
    rows, columns = (np.rint(np.linspace(0, n - 1, k)).astype(np.intp) for n, k in zip(depth.shape, size))
    return depth[rows[:, None], columns]


def _log_ratio(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """log(truth / predicted), NaN where either is not positive and finite."""
    good = np.isfinite(predicted) & np.isfinite(truth) & (predicted > 0) & (truth > 0)
    return np.log(
        np.divide(truth, predicted, where=good, out=np.full(truth.shape, np.nan)),
        where=good,
        out=np.full(truth.shape, np.nan),
    )
