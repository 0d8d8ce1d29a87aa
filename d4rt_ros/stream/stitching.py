"""Windows joined one to the next, each with a unit of length of its own: the world without refinement by pixels.

Consecutive windows share frames, and both say where the points of these are, so a similarity transform takes one window
into the other. The paper (D4RT, arXiv 2512.08924) fits it to the points of all shared frames at once (Umeyama 1991, on
the 85 % most confident). Here the camera slides along instead: the newest frame of the window before is asked for again
in its own camera, where only the unit differs, and the newest camera is found from there by the pixels. So what the
model says of far points turns nothing; and as both windows speak of one moment, what moves need not be left out. With
the embedded weights that halves the error of the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.alignment import Similarity
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL
from d4rt_ros.stream.world import WorldPose
from d4rt_ros.tasks.depth import point_map
from d4rt_ros.tasks.questions import ask, usable
from d4rt_ros.tasks.relative_pose import (
    COVARIANCE_FLOOR,
    ENOUGH_AGREE,
    MIN_POINTS,
    PoseError,
    RelativePose,
    pose_of,
    pose_questions,
)

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
class Stitched:
    """A window in the world, and what the next one is joined to it by.

    stamp: of its newest frame, in nanoseconds. pose: that frame's camera in the world. scale: of the world's unit, how
    many one of the window's is; scale_sigma: its relative standard deviation since the world began. depth, confidence:
    (rows, columns) of the newest frame along z, in the window's unit; depth is NaN and confidence 0 where unusable.
    """

    stamp: int
    pose: WorldPose
    scale: float
    scale_sigma: float
    depth: np.ndarray
    confidence: np.ndarray

    @property
    def world_from_window(self) -> Similarity:
        """For answers in the newest frame's camera (t_cam = -1)."""
        pose = self.pose.world_from_camera
        return Similarity(self.scale, pose[:3, :3], pose[:3, 3])


def begin(
    scene, stamp: int, start_pose: np.ndarray = BODY_FROM_OPTICAL, grid: tuple[int, int] = (12, 12)
) -> Stitched:
    """The first window of a world, whose unit is this window's.

    stamp: of its newest frame; start_pose: world_from_camera (4, 4) of that.
    """
    newest = point_map(scene, -1, grid)
    pose = WorldPose(np.array(start_pose, np.float64), COVARIANCE_FLOOR.copy())
    return Stitched(stamp, pose, 1.0, 0.0, newest.xyz[..., 2], newest.confidence)


def stitch(before: Stitched, scene, stamps: Sequence[int], camera: Pinhole | None = None) -> Stitched:
    """The next window, joined to an earlier one whose newest frame it holds.

    stamps: (T,) of its frames. camera: at `scene.size`; estimated where None. Costs the same however long the world has
    lasted. Raises StitchError where the window does not hold that frame, or says too little or something else of it.
    """
    stamps = list(stamps)
    if len(stamps) != scene.num_frames:
        raise ValueError(f"{len(stamps)} stamps of a window of {scene.num_frames} frames; give one of each")
    if before.stamp not in stamps:
        raise StitchError(
            f"the newest frame of the window before, of {before.stamp / 1e9:.3f} s, is not among this window's, of "
            f"{_span(stamps)}: windows must overlap to be joined"
        )
    shared = stamps.index(before.stamp)
    if shared == len(stamps) - 1:
        raise StitchError("both windows have the same newest frame: there is nothing to join")
    grid = before.depth.shape
    asked = pose_questions(scene, shared, len(stamps) - 1, "pnp", grid)
    here, there = ask(scene, *asked)
    good = usable(here, in_front=True)
    depth = np.where(good, here.xyz[:, 2], np.nan).reshape(2, *grid)
    confidence = np.where(good, here.confidence, 0.0).reshape(2, *grid)
    ratio, sigma = unit_ratio(before.depth, depth[0], np.minimum(before.confidence, confidence[0]))
    try:
        step = pose_of(here, there, asked[0], scene.size, camera, "pnp")
    except PoseError as error:
        raise StitchError(str(error)) from error
    if step.inliers < ENOUGH_AGREE:
        raise StitchError(
            f"{step.inliers:.0%} of the points agree with the camera's motion; {ENOUGH_AGREE:.0%} must"
        )
    scale, scale_sigma = before.scale**KEPT * ratio, float(np.hypot(KEPT * before.scale_sigma, sigma))
    pose = before.pose.moved(scaled_step(step, scale, scale_sigma))
    return Stitched(stamps[-1], pose, scale, scale_sigma, depth[1], confidence[1])


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
            f"{good.sum()} of {len(log)} points of the shared frame are usable in both windows; {MIN_POINTS} are needed"
        )
    good &= weight >= np.quantile(weight[good], 1.0 - CONFIDENT)
    log, weight = log[good], weight[good]
    middle = _weighted_median(log, weight)
    scatter = 1.4826 * _weighted_median(np.abs(log - middle), weight)
    if scatter > LARGEST_SCATTER:
        raise StitchError(
            f"the two windows see different things in the same frame: the ratio of their depths scatters by "
            f"{scatter:.0%}, at most {LARGEST_SCATTER:.0%} is one thing in two units"
        )
    return float(np.exp(middle)), max(UNSURE * scatter, SUREST)


def scaled_step(step: RelativePose, scale: float, sigma: float) -> RelativePose:
    """A relative pose in a unit of which its own is `scale`; sigma: relative, of that, for the covariance."""
    i_from_j, covariance = step.i_from_j.copy(), step.covariance.copy()
    i_from_j[:3, 3] *= scale
    covariance[:3] *= scale
    covariance[:, :3] *= scale
    covariance[:3, :3] += sigma**2 * np.outer(i_from_j[:3, 3], i_from_j[:3, 3])
    return replace(step, i_from_j=i_from_j, covariance=covariance)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _span(stamps: list[int]) -> str:
    return f"{stamps[0] / 1e9:.3f} to {stamps[-1] / 1e9:.3f} s"
