"""Rigid and similarity transforms, the pinhole camera, alignment of point sets. Numpy and SciPy only."""

from d4rt_ros.geometry.alignment import AlignmentError, Similarity, robust_umeyama, umeyama
from d4rt_ros.geometry.camera import CameraError, Pinhole
from d4rt_ros.geometry.transforms import (
    BODY_FROM_OPTICAL,
    adjoint,
    cross_matrix,
    interpolate,
    invert,
    is_rigid,
    nearest_rotation,
    pose_from_quaternion,
    pose_matrix,
    quaternion_from_pose,
    rotation_angle,
    transform,
)

__all__ = [
    "AlignmentError",
    "BODY_FROM_OPTICAL",
    "CameraError",
    "Pinhole",
    "Similarity",
    "adjoint",
    "cross_matrix",
    "interpolate",
    "invert",
    "is_rigid",
    "nearest_rotation",
    "pose_from_quaternion",
    "pose_matrix",
    "quaternion_from_pose",
    "robust_umeyama",
    "rotation_angle",
    "transform",
    "umeyama",
]
