"""The metrics of TAPVid-3D (Koppula et al. 2024, section 4): 3D-AJ, APD and OA."""

from __future__ import annotations

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError

SCALINGS = ("median", "mean", "per_trajectory", "none")
# A threshold in pixels of the benchmark's image, and the metres that stand for it where thresholds are fixed.
THRESHOLDS = {1: 0.01, 2: 0.04, 4: 0.16, 8: 0.64, 16: 2.56}


def tapvid3d(
    gt_tracks, gt_occluded, pred_tracks, pred_occluded, intrinsics,
    scaling: str = "median", query_points=None, fixed_thresholds: bool = False,
) -> dict[str, float]:  # fmt: skip
    """How good N tracks over T frames of one video are.

    gt_tracks, pred_tracks: (N, T, 3), each point in the camera of its own frame, the true ones in metres.
    gt_occluded, pred_occluded: (N, T) bool. intrinsics: fx, fy, … in pixels of the size that thresholds speak of
    (in the benchmark the video's shorter side is 256).
    scaling: by what the predictions are multiplied first. median, mean: the ratio of true and predicted points'
    median or mean distance from the camera, where both are visible; per_trajectory: the ratio of depths in the
    frame of each track's query; none.
    query_points: (N, 3) as t, y, x; for per_trajectory.
    fixed_thresholds: in metres; else 1, 2, 4, 8, 16 pixels at each true point's depth.

    Returns shares: pts_within_1 … 16 (of the visible points) and their mean average_pts_within_thresh (APD),
    jaccard_1 … 16 and their mean average_jaccard (3D-AJ), and occlusion_accuracy (OA).
    Raises MetricError for arrays that do not fit together, where no true point is visible, and where the scaling
    is not determined.
    """
    truth, guess = np.asarray(gt_tracks, np.float64), np.asarray(pred_tracks, np.float64)
    hidden, guess_hidden = np.asarray(gt_occluded, bool), np.asarray(pred_occluded, bool)
    _check(truth, guess, hidden, guess_hidden)
    visible, seen = ~hidden, ~guess_hidden
    guess = guess * _scale(truth, guess, visible & seen, scaling, query_points)
    error = np.linalg.norm(guess - truth, axis=-1)
    metres_per_pixel = truth[..., 2] / np.sqrt(intrinsics[0] * intrinsics[1])
    within, jaccard = {}, {}
    for pixels, metres in THRESHOLDS.items():
        near = error < (metres if fixed_thresholds else np.abs(pixels * metres_per_pixel))
        hits = np.count_nonzero(near & visible & seen)
        wrongly_seen = np.count_nonzero(seen & ~(near & visible))
        within[f"pts_within_{pixels}"] = np.count_nonzero(near & visible) / visible.sum()
        jaccard[f"jaccard_{pixels}"] = hits / (visible.sum() + wrongly_seen)
    figures = within | jaccard
    figures["average_pts_within_thresh"] = np.mean(list(within.values()))
    figures["average_jaccard"] = np.mean(list(jaccard.values()))
    figures["occlusion_accuracy"] = np.mean(hidden == guess_hidden)
    return {name: float(value) for name, value in figures.items()}


def _scale(truth, guess, both, scaling: str, query_points):
    """What to multiply predicted points (N, T, 3) by: a number, or (N, 1, 1)."""
    if scaling not in SCALINGS:
        raise MetricError(f"unknown scaling {scaling!r}; use one of {', '.join(SCALINGS)}")
    if scaling == "none":
        return 1.0
    if scaling == "per_trajectory":
        if query_points is None or np.shape(query_points) != (len(truth), 3):
            raise MetricError(
                f"scaling per_trajectory needs query_points ({len(truth)}, 3) as t, y, x; "
                f"got shape {np.shape(query_points)}"
            )
        frame = np.rint(np.asarray(query_points)[:, 0]).astype(np.intp)
        if not ((frame >= 0) & (frame < truth.shape[1])).all():
            raise MetricError(f"query_points have frames outside the video's {truth.shape[1]}")
        depths = (np.maximum(x[np.arange(len(x)), frame, 2], 1e-12) for x in (truth, guess))
        true_depth, depth = depths
        return (true_depth / depth)[:, None, None]
    if not both.any():
        raise MetricError(f"scaling {scaling} is not determined: no point is visible in truth and prediction")
    middle = np.median if scaling == "median" else np.mean
    true_distance, distance = (middle(np.linalg.norm(x[both], axis=-1)) for x in (truth, guess))
    return true_distance / max(distance, 1e-12)


def _check(truth, guess, hidden, guess_hidden) -> None:
    if truth.ndim != 3 or truth.shape[2] != 3 or truth.shape != guess.shape:
        raise MetricError(f"tracks of shapes {truth.shape} and {guess.shape}; expected two of one (N, T, 3)")
    if hidden.shape != truth.shape[:2] or guess_hidden.shape != truth.shape[:2]:
        raise MetricError(
            f"occlusions of shapes {hidden.shape} and {guess_hidden.shape}; expected {truth.shape[:2]}"
        )
    if hidden.all():
        raise MetricError("no true point is visible in any frame; there is nothing to compare with")
