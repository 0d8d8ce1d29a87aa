"""What bundle adjustment is given: keyframes, landmarks, observations and priors, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.arguments import real_array
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.resection import GaussianPose
from d4rt_ros.geometry.transforms import is_rigid


class BundleError(ValueError):
    """A bundle that is none, or whose poses are not determined."""


@dataclass(frozen=True)
class PosePrior:
    """What is known of one pose of a bundle, beside its pixels: of world_from_camera, or where `base` is a pose's
    index of base_from_camera, whose perturbation is about the base's axes."""

    pose: int
    known: GaussianPose
    base: int | None = None


@dataclass(frozen=True)
class Bundle:
    """K poses, L landmarks, M observations.

    poses: (K, 4, 4) world_from_camera. held: (K,) bool, which stay as they are.
    anchors: (L,) index of the pose whose image a landmark was found in; anchor_pixels: (L, 2) where.
    log_depth: (L,) log of z in the anchor's frame; prior, prior_sigma: (L,) its prior's mean and deviation.
    frames, landmarks: (M,) indices of what is observed in which image; pixels: (M, 2), NaN counts for nothing.
        Nor does an observation in the landmark's own anchor, which is what defines it.
    camera: of all images. focal_sigma: the prior's deviation of its log focal length, 0 where it is known;
        focal_prior: the prior's fx, None for the camera's own.
    pixel_sigma: deviation of a pixel's x and y where the point is followed well, each time anew. drift_sigma: of an
        error, x and y, that a landmark has alike in all images but its anchor's, since what is followed has drifted
        from the patch that was found there; 0 for none.
    pose_priors: what else is known of poses.
    """

    poses: np.ndarray
    held: np.ndarray
    anchors: np.ndarray
    anchor_pixels: np.ndarray
    log_depth: np.ndarray
    prior: np.ndarray
    prior_sigma: np.ndarray
    frames: np.ndarray
    landmarks: np.ndarray
    pixels: np.ndarray
    camera: Pinhole
    focal_sigma: float = 0.0
    focal_prior: float | None = None
    pixel_sigma: float = 0.5
    drift_sigma: float = 0.0
    pose_priors: tuple[PosePrior, ...] = ()


def checked(bundle: Bundle) -> Bundle:
    """The bundle with arrays of the right types; raises BundleError for what does not fit."""
    error = BundleError
    poses = real_array(bundle.poses, "poses", (None, 4, 4), error=error)
    held = np.asarray(bundle.held, bool)
    if held.shape != (len(poses),):
        raise BundleError(f"held has shape {held.shape}; one of each of the {len(poses)} poses is expected")
    if not all(is_rigid(pose) for pose in poses):
        raise BundleError("a pose is no rigid transform; give finite (4, 4) poses")
    count, seen = len(bundle.anchors), len(bundle.frames)
    numbers = {
        name: real_array(getattr(bundle, name), name, shape, error=error)
        for name, shape in (
            ("anchor_pixels", (count, 2)),
            ("log_depth", (count,)),
            ("prior", (count,)),
            ("prior_sigma", (count,)),
        )
    }
    for name, values in numbers.items():
        if not np.isfinite(values).all() or (name == "prior_sigma" and not (values > 0).all()):
            raise BundleError(f"{name} has numbers that are not finite, or deviations that are not positive")
    indices = {
        name: _indices(getattr(bundle, name), name, size, below)
        for name, size, below in (
            ("anchors", count, len(poses)),
            ("frames", seen, len(poses)),
            ("landmarks", seen, count),
        )
    }
    if not (np.isfinite(bundle.focal_sigma) and bundle.focal_sigma >= 0):
        raise BundleError(f"focal_sigma = {bundle.focal_sigma}; 0 or a positive number is expected")
    if bundle.focal_prior is not None and not 0 < bundle.focal_prior < np.inf:
        raise BundleError(f"focal_prior = {bundle.focal_prior}; a positive number of pixels is expected")
    if not 0 < bundle.pixel_sigma < np.inf:
        raise BundleError(f"pixel_sigma = {bundle.pixel_sigma}; a positive number of pixels is expected")
    if not 0 <= bundle.drift_sigma < np.inf:
        raise BundleError(f"drift_sigma = {bundle.drift_sigma}; 0 or a positive number of pixels is expected")
    pixels = real_array(bundle.pixels, "pixels", (seen, 2), error=error)
    for prior in bundle.pose_priors:
        tied = [prior.pose] if prior.base is None else [prior.pose, prior.base]
        _indices(tied, "a pose prior", len(tied), len(poses))
    return replace(bundle, poses=poses, held=held, pixels=pixels, **numbers, **indices)


def _indices(values, name: str, size: int, below: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (size,) or (size and array.dtype.kind not in "iu"):
        raise BundleError(f"{name} has shape {array.shape} of {array.dtype}; ({size},) indices are expected")
    if size and not (array.min() >= 0 and array.max() < below):
        raise BundleError(f"{name} points to {array.min()}..{array.max()}; there are 0..{below - 1}")
    return array.astype(np.intp)
