"""Windows joined one to the next, each with a unit of length of its own: the world without refinement by pixels.

Consecutive windows share frames, and both say where the points of these are, so a similarity transform takes one window
into the other. The paper (D4RT, arXiv 2512.08924) fits it to the points of all shared frames at once (Umeyama 1991, on
the 85 % most confident). Here the camera slides along instead: an earlier window's newest frame, the keyframe, is asked
for again in its own camera, where only the unit differs, and the newest camera is found from there by the pixels. So
what the model says of far points turns nothing; and as both windows speak of one moment, what moves need not be left
out. With the embedded weights the error of the path is half of what one such fit a
window has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.robust import weighted_median
from d4rt_ros.tasks.relative_pose import MIN_POINTS, RelativePose

CONFIDENT = 0.85  # share of the points, the most confident ones, that a unit is found from
LARGEST_SCATTER = 0.35  # of the ratio of depths, robust sd of its logarithm: two windows that see the same
# The points of a frame err alike: the ratio of two units is as unsure as about one of them, and never surer than this.
UNSURE, SUREST = 1.25, 0.01
# Of the logarithm of the scale, at each join: the joins' errors would add up for ever, while the model's own unit is on
# average as long as at the beginning, within 10 or 20 %.
KEPT = 0.95


class StitchError(ValueError):
    """Windows that cannot be joined."""


@dataclass(frozen=True)
class Unit:
    """A window's unit of length. scale: how many of the world's, which is the unit of the world's first window, it is.
    sigma: its relative standard deviation, since the world began."""

    scale: float = 1.0
    sigma: float = 0.0

    def of_next(self, before: np.ndarray, now: np.ndarray, confidence: np.ndarray) -> Unit:
        """The unit of a window that shares points with one of this unit.

        before, now: their depths, of any one shape, NaN where unusable: in the world's unit as the earlier window has
        them, and in the later window's own. confidence: in them, of the same shape. Raises StitchError.
        """
        ratio, sigma = unit_ratio(before, now, confidence)
        return Unit(ratio * self.scale ** (KEPT - 1.0), float(np.hypot(KEPT * self.sigma, sigma)))


def unit_ratio(before, now, confidence) -> tuple[float, float]:
    """How many units of `before` one of `now` is, and the relative standard deviation of that.

    before, now: depths of the same points, of any one shape, NaN where unusable; confidence: of the same shape. The
    weighted median of the 85 % most confident. Raises StitchError for fewer than 12 points, or where the ratio scatters
    by more than LARGEST_SCATTER.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(np.asarray(before, np.float64) / np.asarray(now, np.float64)).ravel()
    weight = np.asarray(confidence, np.float64).ravel()
    good = np.isfinite(log) & (weight > 0)
    if good.sum() < MIN_POINTS:
        raise StitchError(
            f"{good.sum()} of {len(log)} points that two windows share are usable in both; {MIN_POINTS} are needed"
        )
    good &= weight >= np.quantile(weight[good], 1.0 - CONFIDENT)
    log, weight = log[good], weight[good]
    middle = weighted_median(log, weight)
    scatter = 1.4826 * weighted_median(np.abs(log - middle), weight)
    if scatter > LARGEST_SCATTER:
        raise StitchError(
            f"two windows see different things where they show the same: the ratio of their depths scatters by "
            f"{scatter:.0%}, at most {LARGEST_SCATTER:.0%} is one thing in two units"
        )
    return float(np.exp(middle)), max(UNSURE * scatter, SUREST)


def scaled_step(step: RelativePose, unit: Unit) -> RelativePose:
    """A relative pose of a window of this unit, in the world's, with what that is uncertain by in its covariance."""
    step = step.scaled(unit.scale)
    covariance, shift = step.covariance.copy(), step.i_from_j[:3, 3]
    covariance[:3, :3] += unit.sigma**2 * np.outer(shift, shift)
    return replace(step, covariance=covariance)
