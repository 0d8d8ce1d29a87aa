"""The focal length of a camera that nobody calibrated: what the model says, and what keyframes show of it.

Keyframes are adjusted for it by themselves, with all poses but the first free and with landmarks that begin among them:
in the map older poses are held, and these were found with the focal length that is in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.bundle import Bundle, BundleError, adjust
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.stream.tracker import TrackedPoints

MODEL_SIGMA = (
    0.15  # of the logarithm of what the model says; of 13 sequences the embedded one's errors are 0.14
)
LENS_SIGMA = (
    0.07  # of what all keyframes together say, since straight rays are supposed of a lens that bends them
)
WIDE = 0.25  # of the prior with which keyframes are adjusted, which is taken out of what they say
INFLATION = (
    8.0  # of variances: points err alike, and half of the keyframes are in the next set too; by measurement
)
KEYFRAMES, FEWEST = 8, 4  # of a set; the next one has half of them in common
REMEMBERED = 50  # sets
ITERATIONS = 6
SAYS_NOTHING = 0.8  # of the prior's sd; what leaves more of it is no estimate
POINT_SIGMA, DRIFT_SIGMA = 1.0, 0.25  # pixels where the larger side has SIDE, as of the map's landmarks
SIDE = 320
DEPTH_SIGMA = 0.5  # of the model's log depth, point by point


@dataclass(frozen=True)
class Sighting:
    """What a keyframe shows. points: N followed ones. pose: (4, 4) map_from_camera, about. log_depth: (N,) of the
    points, as the model has it in the map's unit, NaN where it is not known."""

    points: TrackedPoints
    pose: np.ndarray
    log_depth: np.ndarray


class FocalLength:
    """camera: with the focal length as it is known by now; sigma: the standard deviation of its logarithm."""

    def __init__(self, camera: Pinhole) -> None:
        self.camera, self.sigma = camera, MODEL_SIGMA
        self._said, self._shown = float(np.log(camera.fx)), np.zeros((0, 2))
        self._sightings: list[Sighting] = []
        self._count = 0

    def add(self, sighting: Sighting) -> bool:
        """One keyframe more; whether the focal length is known otherwise by it."""
        self._sightings = [*self._sightings, sighting][-KEYFRAMES:]
        self._count += 1
        if self._count < FEWEST or self._count % (KEYFRAMES // 2):
            return False
        shown = shown_by(self._sightings, self.camera)
        if shown is None:
            return False
        self._shown = np.concatenate([self._shown, [shown]])[-REMEMBERED:]
        log, variance = _mean(*self._shown.T)
        variances = np.array([MODEL_SIGMA**2, variance + LENS_SIGMA**2])
        log, variance = _mean(np.array([self._said, log]), variances)
        ratio, self.sigma = float(np.exp(log)) / self.camera.fx, float(np.sqrt(variance))
        self.camera = replace(self.camera, fx=self.camera.fx * ratio, fy=self.camera.fy * ratio)
        return True


def shown_by(sightings: Sequence[Sighting], camera: Pinhole) -> tuple[float, float] | None:
    """The logarithm of the focal length by keyframes alone, and its variance; None where they say nothing of it.

    camera: with a focal length to begin with.
    """
    unit = max(camera.width, camera.height) / SIDE
    shown = [s.points.seen & np.isfinite(s.log_depth) for s in sightings]
    ids = np.concatenate([s.points.ids[use] for s, use in zip(sightings, shown)])
    pixels = np.concatenate([s.points.pixels[use] for s, use in zip(sightings, shown)])
    log_depth = np.concatenate([s.log_depth[use] for s, use in zip(sightings, shown)])
    frames = np.repeat(np.arange(len(sightings)), [use.sum() for use in shown])
    _, first, landmarks = np.unique(ids, return_index=True, return_inverse=True)
    if not len(first):
        return None
    try:
        fit = adjust(
            Bundle(
                poses=np.stack([s.pose for s in sightings]),
                held=np.arange(len(sightings)) == 0,
                anchors=frames[first],
                anchor_pixels=pixels[first],
                log_depth=log_depth[first],
                prior=log_depth[first],
                prior_sigma=np.full(len(first), DEPTH_SIGMA),
                frames=frames,
                landmarks=landmarks,
                pixels=pixels,
                camera=camera,
                focal_sigma=WIDE,
                pixel_sigma=POINT_SIGMA * unit,
                drift_sigma=DRIFT_SIGMA * unit,
            ),
            ITERATIONS,
        )
    except BundleError:
        return None
    if not fit.focal_sigma < SAYS_NOTHING * WIDE:
        return None
    # Of two normal distributions' product, the other one.
    variance = 1.0 / (fit.focal_sigma**-2.0 - WIDE**-2.0)
    away = np.log(fit.camera.fx / camera.fx) * variance / fit.focal_sigma**2
    return float(np.log(camera.fx) + away), float(INFLATION * variance)


def _mean(values: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """The weighted mean of values (N,) and its variance, which is larger where they differ by more than their own
    explain (Birge 1932)."""
    weights = 1.0 / variances
    mean = float(weights @ values / weights.sum())
    excess = float(weights @ (values - mean) ** 2) / max(len(values) - 1, 1)
    return mean, max(excess, 1.0) / float(weights.sum())
