"""How far a camera's path is off: ATE and RPE, by evo.

evo is under the GPL-3, so it is installed only where somebody asks for it (the extra [eval]) and imported here alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.geometry import AlignmentError, umeyama


@dataclass(frozen=True)
class TrajectoryErrors:
    """RMS over the frames of a path that was first aligned by a similarity (Umeyama on the positions).

    ate: of positions, in the truth's unit. rpe_translation (same unit), rpe_rotation (degrees): of the motion from
    each frame to the next.
    """

    ate: float
    rpe_translation: float
    rpe_rotation: float


def not_measured() -> str:
    """A sentence on figures that are missing because evo is not installed, or ""."""
    if find_spec("evo"):
        return ""
    return "ATE and RPE, the errors of the camera's path, are not measured: they need evo (GPL-3): pip install evo"


def trajectory_errors(predicted: np.ndarray, truth: np.ndarray) -> TrajectoryErrors:
    """Errors of world_from_camera poses (T, 4, 4) of any world and scale, against the true ones (T, 4, 4).

    Positions on one line, or in one place, leave the rotation open that takes them to the truth: then the first
    camera's rotation is made the true one, the scale is the least squares' and the mean positions agree.
    Raises MetricError for fewer than 2 poses, different numbers of them, or some that are not finite, and
    ImportError where evo is not installed.
    """
    from evo.core import metrics
    from evo.core.trajectory import PosePath3D

    path, true_path = (PosePath3D(poses_se3=list(poses)) for poses in aligned_poses(predicted, truth))

    def rms(metric) -> float:
        metric.process_data((true_path, path))
        return float(metric.get_statistic(metrics.StatisticsType.rmse))

    step = dict(delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
    return TrajectoryErrors(
        rms(metrics.APE(metrics.PoseRelation.translation_part)),
        rms(metrics.RPE(metrics.PoseRelation.translation_part, **step)),
        rms(metrics.RPE(metrics.PoseRelation.rotation_angle_deg, **step)),
    )


def still_trajectory_errors(truth: np.ndarray) -> TrajectoryErrors:
    """`trajectory_errors` of the trivial answer: a camera that does not move."""
    return trajectory_errors(np.broadcast_to(np.eye(4), np.shape(truth)), truth)


def aligned_poses(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both paths (T, 4, 4) float64, the predicted one in the truth's world; see `trajectory_errors`."""
    predicted, truth = np.array(predicted, np.float64), np.array(truth, np.float64)
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.shape[1:] != (4, 4) or len(truth) < 2:
        raise MetricError(
            f"paths of shapes {predicted.shape} and {truth.shape}; expected two of one (T, 4, 4), T 2 or more"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(truth).all()):
        raise MetricError("a path has poses that are not finite; leave those frames out")
    position, true_position = predicted[:, :3, 3], truth[:, :3, 3]
    try:
        fit = umeyama(position, true_position)
        rotation, shift, scale = fit.rotation, fit.translation, fit.scale
    except AlignmentError:
        rotation = truth[0, :3, :3] @ predicted[0, :3, :3].T
        a = (position - position.mean(0)) @ rotation.T
        spread = (a * a).sum()
        scale = max((a * (true_position - true_position.mean(0))).sum() / spread, 0.0) if spread > 0 else 1.0
        shift = true_position.mean(0) - scale * rotation @ position.mean(0)
    predicted[:, :3, :3] = rotation @ predicted[:, :3, :3]
    predicted[:, :3, 3] = scale * position @ rotation.T + shift
    return predicted, truth
