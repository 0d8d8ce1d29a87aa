"""Whether a model knows what it does not know: probabilities that hold, and confidence that orders errors."""

from __future__ import annotations

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError

BINS = 10
STEPS = 20  # shares of points that are taken away: 0, 5 %, … 95 %
FIFTHS = 5


def accuracy(probability: np.ndarray, outcome: np.ndarray) -> float:
    """Share of outcomes (N,) bool that lie on the same side of one half as their probability (N,)."""
    probability, outcome = _pair(probability, outcome)
    return float(np.mean((probability > 0.5) == (outcome > 0.5)))


def average_precision(score: np.ndarray, outcome: np.ndarray) -> float:
    """Area under precision over recall: sum of (R_n - R_n-1) P_n over the falling scores (N,).

    Random scores get the share of outcomes (N,) bool that are true. NaN where none is.
    """
    score, outcome = _pair(score, outcome)
    order = np.argsort(-score, kind="stable")
    hits, score = np.cumsum(outcome[order]), score[order]
    # Equal scores are one threshold.
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    if not hits[-1]:
        return float("nan")
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def expected_calibration_error(probability: np.ndarray, outcome: np.ndarray) -> float:
    """Mean over points of |mean probability - share of true outcomes| of their bin, ten equal bins (Guo et al.)."""
    probability, outcome = _pair(probability, outcome)
    bins = np.minimum((probability * BINS).astype(np.intp), BINS - 1)
    gaps = np.bincount(bins, probability - outcome, minlength=BINS)
    return float(np.abs(gaps).sum() / len(outcome))


def rank_correlation(confidence: np.ndarray, error: np.ndarray) -> float:
    """Spearman's correlation of lacking confidence (N,) with error (N,): 1 where it orders errors perfectly.

    0 where all confidences, or all errors, are the same.
    """
    from scipy.stats import rankdata

    confidence, error = _pair(confidence, error)
    a, b = rankdata(-confidence), rankdata(error)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def sparsification_area(confidence: np.ndarray, error: np.ndarray) -> float:
    """Mean error of what is left when the least confident points are taken away, 0 to 95 %, over these shares.

    As a share of the mean error of all points: 1 for confidence that says nothing; least for confidence =
    -error, the oracle. The difference from the oracle's is known as AUSE (Ilg et al. 2018).
    """
    confidence, error = _pair(confidence, error)
    mean = error.mean()
    if mean == 0:
        return 0.0
    left = np.cumsum(error[np.argsort(-confidence, kind="stable")])
    counts = np.maximum(np.rint(len(error) * (1 - np.arange(STEPS) / STEPS)).astype(np.intp), 1)
    return float((left[counts - 1] / counts).mean() / mean)


def coverage(error: np.ndarray, sigma: np.ndarray, within: float = 2.0) -> np.ndarray:
    """(5,) share of errors (N,) of at most `within` sigma (N,), in each fifth of sigma, the surest first.

    Standard deviations of normal errors cover 95.4 % of them with 2 in each fifth. Who gives one sigma to all must
    cover every fifth as well; where a fifth is covered less, sigma says there what is not so. Rows in which either is
    NaN do not count; NaN where fewer than one a fifth is left.
    """
    error, sigma = _pair(error, sigma)
    known = np.isfinite(error) & ~np.isnan(sigma)
    error, sigma = np.abs(error[known]), sigma[known]
    if len(error) < FIFTHS:
        return np.full(FIFTHS, np.nan)
    inside = (error <= within * sigma)[np.argsort(sigma, kind="stable")]
    return np.array([part.mean() for part in np.array_split(inside, FIFTHS)])


def _pair(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if len(a) != len(b) or not len(a):
        raise MetricError(f"{len(a)} values against {len(b)}; expected as many, and at least one")
    return a, b
