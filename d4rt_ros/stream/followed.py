"""Images whose pose is followed: where each is known to be, what was said of it, and where the next one may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.transforms import CHECKED, adjoint, invert, nearest_rotation, pose_matrix
from d4rt_ros.stream.world import grown
from d4rt_ros.tasks.relative_pose import RelativePose

LONGEST_STEP = 2.0  # of the last interval, for which constant velocity is believed
RETURN = 0.2  # of a motion, at most, by which the world's camera draws nearer to the map's meanwhile


@dataclass(frozen=True, eq=False)
class Followed:
    """An image.

    number: counts images. stamp: ns. world: counts worlds.
    pose: (4, 4) map_from_camera, as it is now known. world_from_camera: (4, 4) as it was said; covariance: (6, 6) of
        this, since the world began, about the world's axes.
    reason: why the pose is not known, "" where it is; where not, both are the last good ones.
    keyframe: the number of the one before it, with which its pose goes when that is adjusted.
    step: its pose in the camera of the keyframe of stamp `keyframe_stamp`, None where it was not measured so.
    agree, shown: how many landmarks agree with the pose, of how many that the image shows.
    """

    number: int
    stamp: int
    world: int
    pose: np.ndarray
    world_from_camera: np.ndarray
    covariance: np.ndarray
    reason: str = ""
    keyframe: int = -1
    step: RelativePose | None = None
    keyframe_stamp: int | None = None
    agree: int = 0
    shown: int = 0


def grown_since(last: Followed, world_from_camera: np.ndarray, step: np.ndarray) -> np.ndarray:
    """`world.grown` of a pose (4, 4) after the last one's."""
    return grown(last.covariance, world_from_camera[:3, 3] - last.world_from_camera[:3, 3], step)


@dataclass(frozen=True, eq=False)
class Placed:
    """A pose (4, 4) in the map, and the covariance (6, 6) of the step to it from an image that was placed before."""

    pose: np.ndarray
    since: Followed
    covariance: np.ndarray


def stepped(pose: np.ndarray, since: Followed, step: RelativePose) -> Placed:
    """A step away from a pose (4, 4) in the map, that of `since`."""
    turned = adjoint(pose_matrix(pose[:3, :3]))
    moved = pose @ step.i_from_j
    moved[:3, :3] = nearest_rotation(moved[:3, :3])  # or rounding adds up from step to step
    return Placed(moved, since, turned @ step.covariance @ turned.T)


def continued(last: Followed, pose: np.ndarray) -> np.ndarray:
    """world_from_camera (4, 4) of a pose in the map: between images the camera moves in the world as in the map."""
    world = last.world_from_camera @ invert(last.pose) @ pose
    world[:3, :3] = nearest_rotation(world[:3, :3])
    return world


def returning(last: Followed, world_from_camera: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A pose (4, 4) after the last one's, nearer to where it would be had the past been known as well as it now is.

    What was said of the past stays, and so do its errors, in all that follows. They are made up for while the camera
    moves, by a small share of its motion: nothing jumps, and what stands still stands still.
    """
    step, gap = invert(last.world_from_camera) @ world_from_camera, invert(world_from_camera) @ target
    turn, way = Rotation.from_matrix(gap[:3, :3]).as_rotvec(), gap[:3, 3]
    most_turn = RETURN * Rotation.from_matrix(step[:3, :3]).magnitude()
    most_way = RETURN * np.linalg.norm(step[:3, 3])
    turn, way = (
        x * min(1.0, most / max(np.linalg.norm(x), 1e-12)) for x, most in ((turn, most_turn), (way, most_way))
    )
    pose = world_from_camera @ pose_matrix(Rotation.from_rotvec(turn).as_matrix(), way)
    pose[:3, :3] = nearest_rotation(pose[:3, :3])
    return pose


def predicted(recent: Sequence[Followed], stamp: int) -> np.ndarray | None:
    """map_from_camera (4, 4) at constant velocity by the newest of some images, oldest first; None where they are no
    two in a row whose poses are known."""
    if len(recent) < 2:
        return None
    a, b = recent[-2], recent[-1]
    if a.world != b.world or a.reason or b.reason:
        return None
    share = min((stamp - b.stamp) / (b.stamp - a.stamp), LONGEST_STEP)
    step = invert(a.pose) @ b.pose
    turn = share * Rotation.from_matrix(step[:3, :3], **CHECKED).as_rotvec()
    return b.pose @ pose_matrix(Rotation.from_rotvec(turn).as_matrix(), share * step[:3, 3])
