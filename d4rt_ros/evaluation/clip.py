"""One clip whose depth is known, and perhaps its camera's path: every figure of depth, cloud and path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.evaluation.boundaries import boundary_errors, known_edges, trivial_boundary_errors
from d4rt_ros.evaluation.calibration import rank_correlation, sparsification_area
from d4rt_ros.evaluation.clouds import cloud_errors
from d4rt_ros.evaluation.figures import Records, add_records
from d4rt_ros.evaluation.metrics import MetricError, aligned_depth, constant_depth_errors, depth_errors
from d4rt_ros.evaluation.trajectory import not_measured, still_trajectory_errors, trajectory_errors
from d4rt_ros.geometry import Pinhole, invert, transform
from d4rt_ros.tasks import PoseError, camera_poses
from d4rt_ros.tasks.questions import usable_points

# Points that are asked for in a frame, about: in every frame, in the newest one for its edges, and for the cloud.
POINTS, EDGE_POINTS, CLOUD_POINTS = 30 * 40, 60 * 80, 15 * 20


@dataclass(frozen=True)
class ClipTruth:
    """What is known of T frames.

    depth: (T, H, W) metres along z, NaN where unknown. camera: of H x W pixels.
    world_from_camera: (T, 4, 4), or None where the poses are not known.
    """

    depth: np.ndarray
    camera: Pinhole
    world_from_camera: np.ndarray | None


@dataclass(frozen=True)
class ClipResult:
    """records: of the clip. scale: metres in the model's unit, by the medians of depth.

    depth, true_depth: (h, w) metres of about 80x60 pixels of the newest frame, the prediction times `scale`.
    poses, true_poses: (T, 4, 4) world_from_camera of any world and scale, or None where they are not known.
    """

    records: Records
    scale: float
    depth: np.ndarray
    true_depth: np.ndarray
    poses: np.ndarray | None
    true_poses: np.ndarray | None


def evaluate_clip(scene, truth: ClipTruth) -> ClipResult:
    """Ask an encoded clip for its depth, and where poses are known for its point cloud and path, and compare.

    Frames of which no depth is known count for nothing. Raises MetricError where none is known at all.
    """
    records: Records = {}
    guess, right, confidence = _depth(scene, truth, POINTS, np.arange(scene.num_frames))
    add_records(records, _depth_records(guess, right, confidence))
    both = np.isfinite(guess) & np.isfinite(right)
    scale = float(np.median(right[both]) / np.median(guess[both]))
    newest, true_newest = (
        x[0] for x in _depth(scene, truth, EDGE_POINTS, np.array([scene.num_frames - 1]))[:2]
    )
    add_records(records, _boundary_records(newest, true_newest))
    poses = None
    if truth.world_from_camera is not None:
        poses = _path(scene, truth.camera)
        add_records(records, _path_records(poses, truth.world_from_camera))
        add_records(records, _cloud_records(scene, truth))
    return ClipResult(records, scale, scale * newest, true_newest, poses, truth.world_from_camera)


def _depth(
    scene, truth: ClipTruth, points: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and true depth and the confidence (T', h, w) of frames at about so many pixels; NaN for none."""
    t, u, v = _pixels(truth.depth.shape[1:], points, times)
    answer = scene.query(u.ravel(), v.ravel(), *(np.broadcast_to(t, u.shape).ravel(),) * 3)
    guess = usable_points(answer, in_front=True)[0][:, 2].reshape(u.shape)
    right = truth.depth[t, v, u]
    right = np.where(np.isfinite(right) & (right > 0), right, np.nan)
    return guess, right, answer.confidence.reshape(u.shape)


def _depth_records(guess: np.ndarray, right: np.ndarray, confidence: np.ndarray) -> dict:
    both = np.isfinite(right) & np.isfinite(guess)
    known = np.flatnonzero(both.any((1, 2)))
    if not len(known):
        raise MetricError("no frame of the clip has both a predicted and a true depth")
    frames = [(*depth_errors(guess[t], right[t]), *constant_depth_errors(right[t])) for t in known]
    error, delta, constant_error, constant_delta = np.mean(frames, axis=0)
    records = {"depth": (error, constant_error), "delta": (delta, constant_delta)}
    for name, alignment in (("S", "scale"), ("SS", "scale_shift")):
        ours, theirs = depth_errors(guess, right, alignment), constant_depth_errors(right, alignment)
        records |= {f"depth {name}": (ours[0], theirs[0]), f"delta {name}": (ours[1], theirs[1])}
    errors = np.concatenate(
        [np.abs(aligned_depth(guess[t], right[t]) / right[t] - 1)[both[t]] for t in known]
    )
    oracle = sparsification_area(-errors, errors)
    return records | {
        "confidence rank": (rank_correlation(confidence[both], errors), 0.0),
        "sparsification": (sparsification_area(confidence[both], errors) - oracle, 1.0 - oracle),
    }


def _boundary_records(depth: np.ndarray, true_depth: np.ndarray) -> dict:
    """Nothing where the true depth does not jump."""
    if not known_edges(true_depth).any():
        return {}
    ours, theirs = boundary_errors(depth, true_depth), trivial_boundary_errors(true_depth)
    return {
        "boundary accuracy": (ours.accuracy, theirs.accuracy),
        "boundary completeness": (ours.completeness, theirs.completeness),
    }


def _path(scene, camera: Pinhole) -> np.ndarray:
    """first_from_camera (T, 4, 4) by PnP with the true intrinsics; where that fails, a camera that stands still."""
    try:
        return camera_poses(scene, camera)
    except PoseError:
        return np.broadcast_to(np.eye(4), (scene.num_frames, 4, 4))


def _path_records(poses: np.ndarray, true_poses: np.ndarray) -> dict:
    """Nothing where evo is not installed; who prints the figures says so."""
    if not_measured():
        return {}
    ours, theirs = trajectory_errors(poses, true_poses), still_trajectory_errors(true_poses)
    names = ("ate", "rpe_translation", "rpe_rotation")
    return {name.replace("_", " "): (getattr(ours, name), getattr(theirs, name)) for name in names}


def _cloud_records(scene, truth: ClipTruth) -> dict:
    """The points of all frames in the newest camera, against the true ones there."""
    t, u, v = _pixels(truth.depth.shape[1:], CLOUD_POINTS, np.arange(scene.num_frames))
    times = np.broadcast_to(t, u.shape).ravel()
    guess = usable_points(scene.query(u.ravel(), v.ravel(), times, times, -1), in_front=False)[0]
    pixels = np.stack([u, v], axis=-1).reshape(len(u), -1, 2)
    right = truth.camera.backproject(pixels, truth.depth[t, v, u].reshape(pixels.shape[:2]))
    right = transform(invert(truth.world_from_camera[-1]) @ truth.world_from_camera, right).reshape(-1, 3)
    still = truth.camera.backproject(pixels, np.ones(pixels.shape[:2])).reshape(-1, 3)
    ours, theirs = cloud_errors(guess, right), cloud_errors(still, right)
    names = ("l1", "accuracy", "accuracy_median", "completeness", "completeness_median")
    return {f"cloud {n.replace('_', ' ')}": (getattr(ours, n), getattr(theirs, n)) for n in names}


def _pixels(
    size: tuple[int, int], points: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames t (T', 1, 1), columns and rows u, v (T', h, w) of about so many pixels of frames `times` (T',).

    They lie evenly over the images (height, width), in other places of the same cells from frame to frame: where
    cells are of 2x2 pixels, four frames have all of them.
    """
    height, width = size
    h = min(height, max(2, round((points * height / width) ** 0.5)))
    w = min(width, max(2, round(points / h)))
    t = times[:, None, None]
    u = ((np.arange(w) + 0.25 + 0.5 * (t % 2)) * width / w).astype(np.intp)
    v = ((np.arange(h)[:, None] + 0.25 + 0.5 * (t // 2 % 2)) * height / h).astype(np.intp)
    return t, *np.broadcast_arrays(u, v)
