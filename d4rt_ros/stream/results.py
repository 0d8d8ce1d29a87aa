"""What the pipeline returns, and how its parts are made from answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.tasks.depth import PointMap
from d4rt_ros.tasks.questions import finite_rows
from d4rt_ros.tasks.relative_pose import RelativePose
from d4rt_ros.tasks.tracks import PointTracks

VISIBLE = 0.5


@dataclass(frozen=True)
class Trust:
    """What of a result may be acted on: made in the pipeline alone, read by every output.

    scene: whether the images show anything to measure; where not, there are no points and nothing to ask either.
    pose: whether the camera's place in the world is known; never without the scene. reason: why not, in a sentence;
    "" where both are.
    """

    scene: bool = True
    pose: bool = True
    reason: str = ""


@dataclass(frozen=True)
class Scale:
    """metres: of one of the model's units; the result's lengths have been multiplied by it. metric: whether it is
    known; else metres is 1 and lengths are in the model's own unit."""

    metres: float = 1.0
    metric: bool = False


@dataclass(frozen=True)
class Points:
    """What a grid of h x w pixels of the newest image shows, in its optical camera frame.

    xyz: (h, w, 3) float32, on the rays of `camera`; NaN where there is none.
    rgb: (h, w, 3) uint8. confidence: (h, w) float32 in 0..1, 0 where xyz is NaN.
    camera: of the grid, as if it were an image of w x h pixels.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    camera: Pinhole

    @property
    def depth(self) -> np.ndarray:
        """(h, w) float32 along z, NaN where there is none."""
        return self.xyz[..., 2]


@dataclass(frozen=True)
class StreamTracks:
    """N points of the newest image over the T frames of the window.

    ids: (N,) uint64, unique in the stream. stamps: (T,) int64 ns.
    positions: (N, T, 3) float32 in the world, NaN where there is none.
    visible: (N, T) bool, False where the position is NaN. confidence: (N, T) float32 in 0..1, likewise 0.
    pixels: (N, T, 2) float32 of the stream's images, NaN where there is none.
    velocities: (N, 3) float32 m/s in the world, NaN where fewer than two frames see the point.
    """

    ids: np.ndarray
    stamps: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    pixels: np.ndarray
    velocities: np.ndarray


@dataclass(frozen=True)
class Result:
    """What a window of T frames gave; what was not asked for is None.

    stamp: ns, of the newest frame. stamps: (T,) int64 ns, of all.
    scene: answers further queries, in pixels of the frames.
    camera: of the newest frame's image. calibrated: it came with the frame (else it is estimated).
    trust: what of all this may be acted on, and why not. scale: of all lengths here; the scene's own answers are in
        the model's unit.
    world_from_camera: (4, 4) float64, the newest camera in the world; the last good pose where trust.pose is
        False.
    pose_covariance: (6, 6), x y z and turns about x y z, about the world's axes, since the world began.
    step: how the pose was measured, from the keyframe; None where it was not.
    """

    stamp: int
    stamps: np.ndarray
    scene: object
    camera: Pinhole
    calibrated: bool
    trust: Trust = Trust()
    scale: Scale = Scale()
    world_from_camera: np.ndarray | None = None
    pose_covariance: np.ndarray | None = None
    step: RelativePose | None = None
    points: Points | None = None
    tracks: StreamTracks | None = None


def coloured_points(
    points: PointMap, image: np.ndarray, camera: Pinhole, valid: np.ndarray | None = None
) -> Points:
    """The points' depth along the rays of `camera`, so that cloud, depth image and camera_info agree.

    valid: (H, W) bool, which pixels of the image show anything; None: all.
    """
    rows, columns = points.confidence.shape
    grid_camera = camera.grid(columns, rows)
    xyz = grid_camera.backproject_map(points.xyz[..., 2].astype(np.float32))
    nearest_u = np.rint(points.u[0]).astype(np.intp)
    nearest_v = np.rint(points.v[:, 0]).astype(np.intp)
    confidence = points.confidence
    if valid is not None:
        seen = valid[nearest_v[:, None], nearest_u]
        xyz[~seen], confidence = np.nan, np.where(seen, confidence, np.float32(0))
    return Points(xyz, image[nearest_v[:, None], nearest_u], confidence, grid_camera)


def world_tracks(
    tracks: PointTracks, stamps: np.ndarray, world_from_camera: np.ndarray, first_id: int
) -> StreamTracks:
    """Tracks that are given in one camera frame, in the world."""
    positions = transform(world_from_camera, tracks.xyz).astype(np.float32)
    visible = tracks.visibility > VISIBLE
    return StreamTracks(
        ids=np.arange(first_id, first_id + len(positions), dtype=np.uint64),
        stamps=stamps,
        positions=positions,
        visible=visible,
        confidence=tracks.confidence,
        pixels=tracks.uv,
        velocities=velocities(positions, stamps, visible * tracks.confidence),
    )


def velocities(positions: np.ndarray, stamps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slopes (N, 3) float32 per second of the weighted least-squares lines through positions (N, T, 3) at
    stamps (T,) ns; NaN where fewer than two of the weights (N, T) are positive."""
    known = finite_rows(positions)
    weights = np.where(known, weights, 0.0)
    positions = np.where(known[..., None], positions, 0.0).astype(np.float64)
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    seconds = (stamps - stamps[-1]) / 1e9
    lever = weights * (seconds - (weights @ seconds)[:, None] / total)
    spread = np.sum(lever * seconds, axis=1)
    enough = (np.count_nonzero(weights > 0, axis=1) >= 2) & (spread > 0)
    slopes = np.einsum("nt,ntk->nk", lever, positions) / np.where(enough, spread, np.nan)[:, None]
    return slopes.astype(np.float32)
