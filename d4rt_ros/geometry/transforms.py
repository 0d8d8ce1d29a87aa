"""Rigid transforms as 4x4 matrices. A pose `a_from_b` takes points of frame b to frame a.

Every function raises ValueError for arguments that are no real numbers or of another shape than it says.
"""

from __future__ import annotations

import numpy as np
import scipy
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.arguments import real_array

# REP 103: an optical frame has x right, y down, z forward; a body frame x forward, y left, z up.
BODY_FROM_OPTICAL = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
BODY_FROM_OPTICAL.flags.writeable = False
# Since 1.17 SciPy checks each matrix itself, which takes longer than all the rest; here that is done already.
CHECKED = {"assume_valid": True} if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 17) else {}


def pose_matrix(rotation=None, translation=None) -> np.ndarray:
    """Pose (..., 4, 4) float64 from a rotation (..., 3, 3) and a translation (..., 3); None is none of it."""
    rotation = np.eye(3) if rotation is None else real_array(rotation, "a rotation", (..., 3, 3))
    translation = np.zeros(3) if translation is None else real_array(translation, "a translation", (..., 3))
    pose = np.zeros(np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1]) + (4, 4))
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1.0
    return pose


def invert(pose) -> np.ndarray:
    """b_from_a (..., 4, 4) of the rigid a_from_b (..., 4, 4)."""
    pose = real_array(pose, "a pose", (..., 4, 4))
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    return pose_matrix(rotation, -(rotation @ pose[..., :3, 3:])[..., 0])


def transform(pose, points) -> np.ndarray:
    """Points (..., 3) of frame b in frame a, for one pose a_from_b (4, 4), or poses (..., 4, 4) for points
    (..., N, 3). Floating point types are kept, so that a float32 cloud stays one."""
    points = real_array(points, "points", (..., 3), dtype=None)
    if points.dtype.kind != "f":
        points = points.astype(np.float64)
    pose = real_array(pose, "a pose", (..., 4, 4), points.dtype)
    translation = pose[:3, 3] if pose.ndim == 2 else pose[..., None, :3, 3]
    return points @ np.swapaxes(pose[..., :3, :3], -1, -2) + translation


def rotation_angle(rotation) -> np.ndarray:
    """Angle in radians, 0..pi, of rotations (..., 3, 3) or of the rotations of poses (..., 4, 4).

    Raises ValueError for a matrix that is no rotation.
    """
    # From sine and cosine together: the arc cosine of the trace alone loses half the digits near 0 and pi.
    quaternion = quaternion_from_pose(rotation)
    return 2.0 * np.arctan2(np.linalg.norm(quaternion[..., :3], axis=-1), quaternion[..., 3])


def quaternion_from_pose(pose) -> np.ndarray:
    """Unit quaternions (..., 4), x y z w with w >= 0, of poses (..., 4, 4) or rotations (..., 3, 3).

    Raises ValueError for a matrix that is no rotation: not finite, mirrored or without volume.
    """
    r = real_array(pose, "a pose", (..., None, None))[..., :3, :3]
    if r.shape[-2:] != (3, 3):
        raise ValueError(f"a pose has shape {np.shape(pose)}; (..., 4, 4) or (..., 3, 3) is expected")
    if not r.size:  # of which older SciPy makes no Rotation, nor of more axes than one
        return np.empty(r.shape[:-2] + (4,))
    # Older SciPy takes any numbers for a rotation.
    if not (np.isfinite(r).all() and (np.linalg.det(r) > 0).all()):
        raise ValueError("a matrix that is no rotation: it is not finite, mirrored or without volume")
    quaternion = Rotation.from_matrix(r.reshape(-1, 3, 3), **CHECKED).as_quat().reshape(r.shape[:-2] + (4,))
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def pose_from_quaternion(quaternion, translation=None) -> np.ndarray:
    """Pose (..., 4, 4) from quaternions x y z w (..., 4), of any length but zero, and translations.

    Raises ValueError for a quaternion that is zero or not finite.
    """
    q = real_array(quaternion, "a quaternion", (..., 4))
    largest = np.abs(q).max(axis=-1, keepdims=True)
    if not np.all(np.isfinite(largest) & (largest > 0)):
        raise ValueError(
            f"quaternion {q} has no direction; a rotation needs a finite x, y, z, w of non-zero length"
        )
    if not q.size:
        return pose_matrix(np.empty(q.shape[:-1] + (3, 3)), translation)
    rotations = Rotation.from_quat((q / largest).reshape(-1, 4)).as_matrix()
    return pose_matrix(rotations.reshape(q.shape[:-1] + (3, 3)), translation)


def interpolate(a, b, share) -> np.ndarray:
    """The pose (..., 4, 4) that is `share` (...), 0..1, of the way from pose a to pose b (..., 4, 4).

    The translation goes along the line, the rotation at constant rate about one axis, the shorter way (slerp,
    Shoemake 1985), as scipy.spatial.transform.Slerp has it.
    """
    a, b = real_array(a, "a pose", (..., 4, 4)), real_array(b, "a pose", (..., 4, 4))
    share = real_array(share, "share")
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"share = {share}; between two poses it is 0 (the first) to 1 (the second)")
    share = share[..., None]
    a_from_b = np.swapaxes(a[..., :3, :3], -1, -2) @ b[..., :3, :3]
    whole = Rotation.from_quat(quaternion_from_pose(a_from_b).reshape(-1, 4)).as_rotvec()
    part = share * whole.reshape(a_from_b.shape[:-1])
    turned = Rotation.from_rotvec(part.reshape(-1, 3)).as_matrix().reshape(part.shape + (3,))
    return pose_matrix(a[..., :3, :3] @ turned, (1 - share) * a[..., :3, 3] + share * b[..., :3, 3])


def cross_matrix(vectors) -> np.ndarray:
    """Matrices (..., 3, 3) that take the cross product of vectors (..., 3) with what they multiply."""
    vectors = real_array(vectors, "vectors", (..., 3))
    matrices = np.zeros(vectors.shape + (3,))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        matrices[..., k, j] = vectors[..., i]
        matrices[..., j, k] = -vectors[..., i]
    return matrices


def adjoint(a_from_b) -> np.ndarray:
    """(6, 6): takes a twist (vx vy vz wx wy wz) measured in frame b to frame a, both fixed to one rigid body.

    A covariance of such small motions goes the same way: cov_a = J cov_b J^T (Barfoot, State Estimation for
    Robotics, 7.1.4, whose order is the same: translation first). The adjoint of a pure translation -r moves the
    covariance of a pose to a point that lies r away, about the same axes.
    """
    pose = real_array(a_from_b, "a pose", (4, 4))
    rotation = pose[:3, :3]
    matrix = np.zeros((6, 6))
    matrix[:3, :3] = matrix[3:, 3:] = rotation
    matrix[:3, 3:] = cross_matrix(pose[:3, 3]) @ rotation
    return matrix


def nearest_rotation(matrix) -> np.ndarray:
    """The rotation (..., 3, 3) nearest to a matrix (..., 3, 3): undoes the drift of long products.

    By singular values: SciPy's Rotation.from_matrix gives the nearest one since 1.17 alone.
    """
    u, _, vt = np.linalg.svd(real_array(matrix, "a matrix", (..., 3, 3)))
    u[..., :, -1] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt


def is_rigid(pose, tolerance: float = 1e-6) -> bool:
    """Whether a matrix is one finite 4x4 rigid transform, its rotation orthonormal within `tolerance`."""
    tolerance = real_array(tolerance, "tolerance", ())
    try:
        pose = real_array(pose, "a pose")
    except ValueError:
        return False
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return False
    r = pose[:3, :3]
    orthonormal = np.abs(r @ r.T - np.eye(3)).max() <= tolerance and np.linalg.det(r) > 0
    return bool(orthonormal and np.array_equal(pose[3], [0, 0, 0, 1]))
