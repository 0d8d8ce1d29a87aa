"""Where most values lie, whatever the others say."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.robust import weighted_median

TUKEY = 4.685  # sd beyond which a value counts nothing; 95 % efficient where all are normal


def robust_location(values, weights=None) -> tuple[float, float, np.ndarray]:
    """Where most of the values (N,) lie: location, their sd about it, and how much each counts (N,), 0 to 1.

    Starts in the middle of the shortest interval that holds half of them (the shorth: outliers all on one side, as
    hidden points are, move it less than the median), then reweights (Tukey's biweight). weights: (N,) >= 0, or None.
    """
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    order = np.argsort(values)
    ordered, share = values[order], np.cumsum(weights[order]) / weights.sum()
    last = np.searchsorted(share, np.concatenate([[0.0], share[:-1]]) + 0.5 - 1e-12)
    starts = np.flatnonzero(last < len(values))
    best = starts[np.argmin(ordered[last[starts]] - ordered[starts])]
    inside = slice(best, last[best] + 1)
    location = float(np.average(ordered[inside], weights=weights[order][inside]))
    least = max(1.4826 / 2 * float(ordered[last[best]] - ordered[best]), 1e-6)
    counts, spread = weights, least
    for _ in range(20):
        residual = np.abs(values - location)
        # No wider than what half of them span, or many outliers would widen it until they count.
        spread = float(np.clip(1.4826 * weighted_median(residual, weights), 0.5 * least, least))
        counts = np.clip(1 - (residual / (TUKEY * least)) ** 2, 0, None) ** 2
        before, location = location, float(np.average(values, weights=weights * counts))
        if abs(location - before) < 1e-3 * spread:
            break
    return location, spread, counts
