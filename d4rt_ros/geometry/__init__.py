"""Rigid and similarity transforms, cameras and their lenses, alignment of point sets. OpenCV is loaded on first use."""

from d4rt_ros.geometry.alignment import AlignmentError, Similarity, robust_umeyama, umeyama
from d4rt_ros.geometry.camera import CameraError, Pinhole, resized_matrix
from d4rt_ros.geometry.camera_model import CameraModel, View
from d4rt_ros.geometry.lens import Lens
from d4rt_ros.geometry.region import Area, Region, RegionError, area_of
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
    "Area",
    "BODY_FROM_OPTICAL",
    "CameraError",
    "CameraModel",
    "Lens",
    "Pinhole",
    "Region",
    "RegionError",
    "Similarity",
    "View",
    "adjoint",
    "area_of",
    "cross_matrix",
    "interpolate",
    "invert",
    "is_rigid",
    "nearest_rotation",
    "pose_from_quaternion",
    "pose_matrix",
    "quaternion_from_pose",
    "resized_matrix",
    "robust_umeyama",
    "rotation_angle",
    "transform",
    "umeyama",
]
