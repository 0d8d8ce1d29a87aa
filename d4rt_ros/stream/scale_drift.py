"""How far the scale of a map has drifted, by the model's own, which errs more at a time but does not wander."""

from __future__ import annotations

import numpy as np

MODEL_SIGMA, MODEL_SECONDS = (
    0.15,
    2.5,
)  # sd of the model's log scale about its mean, and for how long it errs alike
# Variance of the scale's step from keyframe to keyframe, over that of the landmarks that carry it together.
CARRIED = 3.0


class ScaleDrift:
    """A Kalman filter of two numbers: the logarithm of the map's scale over the model's when the map was new, which
    stays, and how much it has drifted since, a random walk. What is measured is their sum; the model's errors, which
    are correlated over time, are given the variance by which they average out as they do (Kalman 1960; for the latter
    Priestley, Spectral Analysis and Time Series, 5.3.2)."""

    def __init__(self) -> None:
        self._mean, self._covariance = np.zeros(2), np.diag([MODEL_SIGMA**2, 0.0])

    @property
    def offset(self) -> float:
        """Log of the map's depths over the model's, to be expected."""
        return float(self._mean.sum())

    def seen(self, offset: float, information: float, seconds: float) -> float:
        """The drift, which from now on counts as undone, at a keyframe `seconds` after the last.

        offset: log of the map's depths over the model's. information: sum of the inverse variances of the log depths
        of landmarks that carry the scale.
        """
        self._covariance[1, 1] += CARRIED / information
        noise = MODEL_SIGMA**2 * max(1.0, 2 * MODEL_SECONDS / max(seconds, 1e-3))
        gain = self._covariance.sum(axis=1) / (self._covariance.sum() + noise)
        self._mean = self._mean + gain * (offset - self._mean.sum())
        self._covariance = self._covariance - np.outer(gain, self._covariance.sum(axis=0))
        drift, self._mean[1] = float(self._mean[1]), 0.0
        return drift
