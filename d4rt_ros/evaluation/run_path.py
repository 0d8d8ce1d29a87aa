"""How far the camera's path of a whole run is off, frames that are not trusted left out; and whether it jumps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.trajectory import aligned_poses
from d4rt_ros.geometry import invert, rotation_angle
from d4rt_ros.geometry.transforms import cross_matrix

SECOND = 1_000_000_000  # ns: the time over which relative motion is judged


@dataclass(frozen=True)
class RunPathErrors:
    """Of the frames whose pose is trusted; lengths in the truth's unit.

    ate: RMS of the positions after one similarity for the run (Umeyama), % of the length of the true path.
    rpe_translation, rpe_rotation (degrees): RMS error of the motion over 1 s, in the scale of that similarity.
    jump_translation, jump_rotation (degrees): the most by which a step between two consecutive trusted frames is longer
    than the true one was. step_translation, step_rotation (degrees): the largest error of such a step, whatever its
    direction; what measured true poses jitter by is in it.
    """

    ate: float
    rpe_translation: float
    rpe_rotation: float
    jump_translation: float
    jump_rotation: float
    step_translation: float
    step_rotation: float


def run_path_errors(
    predicted: np.ndarray, truth: np.ndarray, stamps: np.ndarray, trusted: np.ndarray | None = None
) -> RunPathErrors:
    """Errors of world_from_camera (N, 4, 4) of any world and scale against the true ones, at stamps (N,) ns.

    trusted: (N,) bool; None, and where it is set: all whose poses are finite. A path of one place has an ATE of NaN
    where the true camera does not move; a run too short for pairs 1 s apart an RPE of NaN.
    Raises MetricError where fewer than 2 frames are left.
    """
    predicted, truth, stamps = np.asarray(predicted, float), np.asarray(truth, float), np.asarray(stamps)
    used = scored_frames(predicted, truth, trusted)
    ours, right = aligned_poses(predicted[used], truth[used])
    stamps = stamps[used]
    length = path_length(right)
    off = ours[:, :3, 3] - right[:, :3, 3]
    ate = 100 * np.sqrt((off**2).sum(1).mean()) / length if length > 0 else np.nan
    first, second = pairs_apart(stamps, SECOND)
    error = _motion_errors(ours, right, first, second)
    last = np.arange(len(used) - 1)
    steps, true_steps = motions(ours, last, last + 1), motions(right, last, last + 1)
    step = _motion_errors(ours, right, last, last + 1)
    return RunPathErrors(
        float(ate),
        _rms(_lengths(error)),
        _rms(_degrees(error)),
        float((_lengths(steps) - _lengths(true_steps)).max(initial=0.0)),
        float((_degrees(steps) - _degrees(true_steps)).max(initial=0.0)),
        float(_lengths(step).max()),
        float(_degrees(step).max()),
    )


@dataclass(frozen=True)
class MotionDoubts:
    """Errors and their standard deviations, (n, 3) each, of n motions over 1 s: of the place, in the predicted path's
    unit, and of the rotation, in radians; both about the axes of its world."""

    position: np.ndarray
    position_sigma: np.ndarray
    rotation: np.ndarray
    rotation_sigma: np.ndarray


def motion_doubts(
    predicted: np.ndarray,
    covariance: np.ndarray,
    truth: np.ndarray,
    stamps: np.ndarray,
    trusted: np.ndarray | None = None,
) -> MotionDoubts:
    """What a path's covariances (N, 6, 6) say of its motion over 1 s, beside how wrong that is; see `run_path_errors`.

    covariance: of x y z and turns about x y z, about the world's axes, since the world began. What it grows by over a
    second, once it is moved to where the camera then is, is the doubt of the motion; where it does not grow, none.
    """
    predicted, truth, stamps = np.asarray(predicted, float), np.asarray(truth, float), np.asarray(stamps)
    used = scored_frames(predicted, truth, trusted)
    ours, right, covariance = predicted[used], truth[used], np.asarray(covariance, float)[used]
    aligned = aligned_poses(ours, right)[0]
    sizes = [float(np.sqrt(x[:, :3, 3].var(0).sum())) for x in (aligned, ours)]
    scale = sizes[0] / sizes[1] if min(sizes) > 0 else 1.0
    i, j = pairs_apart(stamps[used], SECOND)
    step, true_step = motions(ours, i, j), motions(right, i, j)
    turn = ours[i, :3, :3]
    place = turn @ (step[:, :3, 3] - true_step[:, :3, 3] / scale)[..., None]
    wrong = step[:, :3, :3] @ np.swapaxes(true_step[:, :3, :3], 1, 2)
    vector = turn @ Rotation.from_matrix(wrong).as_rotvec()[..., None] if len(i) else np.zeros((0, 3, 1))
    lever = np.tile(np.eye(6), (len(i), 1, 1))
    lever[:, :3, 3:] = -cross_matrix(ours[j, :3, 3] - ours[i, :3, 3])
    grown = covariance[j] - lever @ covariance[i] @ np.swapaxes(lever, 1, 2)
    sigma = np.sqrt(np.maximum(np.diagonal(grown, axis1=1, axis2=2), 0.0))
    return MotionDoubts(place[..., 0], sigma[:, :3], vector[..., 0], sigma[:, 3:])


def still_run_path_errors(
    truth: np.ndarray, stamps: np.ndarray, trusted: np.ndarray | None = None
) -> RunPathErrors:
    """`run_path_errors` of the trivial answer: a camera that does not move, over the same frames."""
    still = np.broadcast_to(np.eye(4), np.shape(truth))
    return run_path_errors(still, truth, stamps, trusted)


def scored_frames(predicted: np.ndarray, truth: np.ndarray, trusted: np.ndarray | None) -> np.ndarray:
    """(n,) numbers of the frames that are trusted and whose two poses are known. Raises MetricError below 2."""
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.shape[1:] != (4, 4):
        raise MetricError(
            f"paths of shapes {predicted.shape} and {truth.shape}; expected two of one (N, 4, 4)"
        )
    known = np.isfinite(predicted).all((1, 2)) & np.isfinite(truth).all((1, 2))
    used = np.flatnonzero(known if trusted is None else known & np.asarray(trusted, bool))
    if len(used) < 2:
        raise MetricError(f"{len(used)} of {len(truth)} poses are trusted and known; a path needs 2")
    return used


def pairs_apart(stamps: np.ndarray, apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames i and j whose stamps (N,) ns, rising, lie `apart` ns from each other, within half of the median
    distance of two frames; for each i the nearest j."""
    if len(stamps) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    target = stamps + apart
    j = np.clip(np.searchsorted(stamps, target), 1, len(stamps) - 1)
    j = j - (target - stamps[j - 1] < stamps[j] - target)
    near = 2 * np.abs(stamps[j] - target) <= np.median(np.diff(stamps))
    i = np.flatnonzero(near & (j > np.arange(len(stamps))))
    return i, j[i]


def motions(poses: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first_from_second (n, 4, 4) of the cameras of a path (N, 4, 4)."""
    return invert(poses[first]) @ poses[second]


def path_length(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())


def _motion_errors(ours: np.ndarray, right: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, 4, 4): what takes the true motion to ours."""
    return invert(motions(right, first, second)) @ motions(ours, first, second)


def _lengths(poses: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[:, :3, 3], axis=1)


def _degrees(poses: np.ndarray) -> np.ndarray:
    return np.degrees(rotation_angle(poses))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
