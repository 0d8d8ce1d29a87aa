"""What the pipeline returns, in named parts, and how these are made from answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.dynamics.objects import Objects
from d4rt_ros.dynamics.objects import scaled as scaled_objects
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.model.protocol import Scene
from d4rt_ros.stream.scale import Scale
from d4rt_ros.stream.trust import reason_of
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.depth import PointMap
from d4rt_ros.tasks.questions import finite_rows
from d4rt_ros.tasks.relative_pose import RelativePose
from d4rt_ros.tasks.tracks import PointTracks

VISIBLE = 0.5
# (What a position errs by / what bodies accelerate by)², s⁴: 1.4 cm for 1 m/s².
DOUBT_OF_ACCELERATION = 2e-4


@dataclass(frozen=True)
class Camera:
    """pinhole: of the newest frame's image. calibrated: it came with the frame; else it is estimated.

    focal_sigma: sd of the focal length, as a share of it: 0 where calibrated, NaN where it is not known.
    """

    pinhole: Pinhole
    calibrated: bool
    focal_sigma: float


@dataclass(frozen=True, eq=False)
class Pose:
    """The newest camera in the world, which is continuous (REP 105's odom): what was published in it is never taken
    back.

    world_from_camera: (4, 4) float64; the last good one where it is not trusted.
    covariance: (6, 6), x y z and turns about x y z, about the world's axes, since the world began; 1e6 on the diagonal
        where it is not trusted.
    trusted: whether the camera's place in the world is known. reason: why not, in a sentence; "" where it is.
    world: counts worlds; poses of two of them do not belong together.
    map_from_world: (4, 4), what the world is corrected by, the identity where by nothing.
    step: how it was measured, from the keyframe; None where it was not: it is not known, the world begins here, the
        image has not changed, or the camera was found again by its image.
    keyframe: ns, the stamp of the frame that the step was measured from; None where there is no step.
    last_loss: why the pose was lost last, in a sentence, also when it has been found again; "" where it never was.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray
    trusted: bool
    reason: str
    world: int
    map_from_world: np.ndarray = field(default_factory=lambda: np.eye(4))
    step: RelativePose | None = None
    keyframe: int | None = None
    last_loss: str = ""


@dataclass(frozen=True, eq=False)
class WindowCameras:
    """The cameras of a window's T frames, oldest first.

    stamps: (T,) int64 ns. world_from_camera: (T, 4, 4) float64 in the world of the newest, NaN where not known.
    """

    stamps: np.ndarray
    world_from_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class Points:
    """What a grid of h x w pixels of the newest image shows, in its optical camera frame.

    xyz: (h, w, 3) float32, on the rays of `camera`; NaN where there is none.
    rgb: (h, w, 3) uint8. confidence: (h, w) float32 in 0..1, 0 where xyz is NaN.
    camera: of the grid, as if it were an image of w x h pixels.
    sigma: (h, w) float32, sd of the depth, as a share of it; NaN where it is not known.
    dynamic: (h, w) bool, what is seen moves in the world; None where that is not determined.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    camera: Pinhole
    sigma: np.ndarray
    dynamic: np.ndarray | None = None

    @property
    def depth(self) -> np.ndarray:
        """(h, w) float32 along z, NaN where there is none."""
        return self.xyz[..., 2]

    @property
    def static(self) -> Points:
        """Those that are not known to move; the others are NaN."""
        return self if self.dynamic is None else self.only(~self.dynamic)

    @property
    def moving(self) -> Points:
        """Those that are known to move; the others are NaN."""
        return self.only(np.zeros(self.depth.shape, bool) if self.dynamic is None else self.dynamic)

    def only(self, these: np.ndarray) -> Points:
        """Those of a grid (h, w) bool; the others are NaN."""
        xyz = np.where(these[..., None], self.xyz, np.float32(np.nan))
        return replace(self, xyz=xyz, confidence=np.where(these, self.confidence, np.float32(0)))


@dataclass(frozen=True, eq=False)
class StreamTracks:
    """N points of the newest image over the T frames of the window.

    ids: (N,) uint64, unique in the stream. stamps: (T,) int64 ns.
    positions: (N, T, 3) float32 in the world, NaN where there is none.
    visible: (N, T) bool, False where the position is NaN or the pixel outside the image.
    confidence: (N, T) float32 in 0..1, 0 where the position is NaN.
    pixels: (N, T, 2) float32 of the stream's images, NaN where there is none.
    velocities: (N, 3) float32 m/s in the world at the newest stamp, NaN where fewer than two frames see the point.
    dynamic: (N,) bool, the point moves in the world; None where that is not determined.
    """

    ids: np.ndarray
    stamps: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    pixels: np.ndarray
    velocities: np.ndarray
    dynamic: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a window of T frames gave; what was not asked for is None.

    camera: that of the newest frame. pose: its place. window: the cameras of all frames.
    scale: of all lengths here. unit: by which the lengths of the scene's own answers must be multiplied to be such.
    points: what the newest frame shows. tracks: how it moves, where its pose is trusted.
    moving: which of its pixels move in the world; None where that is not determined. objects: the moving bodies, where
        its pose is trusted.
    scene: answers further queries, in pixels of the frames; None where there is a problem.
    problem: why the images show nothing to measure, in a sentence; then there are no points, and there is nothing to
        ask. "" where they do.
    frozen_seconds: for how long, by stamps, the image has been the same bit by bit.
    """

    camera: Camera
    window: WindowCameras
    pose: Pose | None = None
    scale: Scale = Scale()
    unit: float = 1.0
    points: Points | None = None
    tracks: StreamTracks | None = None
    moving: Moving | None = None
    objects: Objects | None = None
    scene: Scene | None = None
    problem: str = ""
    frozen_seconds: float = 0.0

    @property
    def stamp(self) -> int:
        """ns, of the newest frame."""
        return int(self.window.stamps[-1])

    @property
    def trusted(self) -> bool:
        """Whether the newest camera's place in the world is known."""
        return self.pose is not None and self.pose.trusted

    @property
    def reason(self) -> str:
        """Why it is not, in a sentence; "" where it is."""
        return reason_of(self.problem, self.pose.reason if self.pose else None)


def window_cameras(clip: Sequence[WindowFrame], newest: Pose | None) -> WindowCameras:
    """The cameras of a clip, as far as they were the newest of a window in the world of this one."""
    poses = np.full((len(clip), 4, 4), np.nan)
    for place, frame in zip(poses, clip):
        if newest and frame.pose and frame.pose.trusted and frame.pose.world == newest.world:
            place[:] = frame.pose.world_from_camera
    return WindowCameras(np.array([frame.stamp for frame in clip], np.int64), poses)


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
    unknown = np.full(confidence.shape, np.nan, np.float32)
    return Points(xyz, image[nearest_v[:, None], nearest_u], confidence, grid_camera, unknown)


def world_tracks(
    tracks: PointTracks,
    stamps: np.ndarray,
    world_from_camera: np.ndarray,
    first_id: int,
    size: tuple[int, int],
) -> StreamTracks:
    """Tracks that are given in one camera frame, in the world. size: (height, width) of the images."""
    positions = transform(world_from_camera, tracks.xyz).astype(np.float32)
    # Comparisons with NaN are false.
    inside = (tracks.uv >= -0.5) & (tracks.uv <= np.array(size[::-1]) - 0.5)
    visible = (tracks.visibility > VISIBLE) & inside[..., 0] & inside[..., 1]
    return StreamTracks(
        ids=np.arange(first_id, first_id + len(positions), dtype=np.uint64),
        stamps=stamps,
        positions=positions,
        visible=visible,
        confidence=tracks.confidence,
        pixels=tracks.uv,
        velocities=velocities(positions, stamps, visible * tracks.confidence),
    )


def scaled(result: Result, scale: Scale, offset: np.ndarray | None = None) -> Result:
    """The result, whose lengths are in the model's unit, with its lengths in metres.

    offset: (3,) of the scaled world: what is at p in the model's unit is at metres · p + offset. It keeps the camera
    where it was published when the scale is corrected.
    """
    metres, pose, points, tracks = scale.metres, result.pose, result.points, result.tracks
    offset = np.zeros(3) if offset is None else offset
    return replace(
        result,
        scale=scale,
        unit=result.unit * metres,
        pose=pose and _scaled_pose(pose, metres, offset),
        window=replace(result.window, world_from_camera=grown_poses(result.window.world_from_camera, metres, offset)),
        points=points and replace(points, xyz=points.xyz * np.float32(metres)),
        tracks=tracks and replace(
            tracks,
            positions=(tracks.positions * np.float32(metres) + offset).astype(np.float32),
            velocities=tracks.velocities * np.float32(metres),
        ),
        objects=result.objects and scaled_objects(result.objects, metres, offset),
    )  # fmt: skip


def _scaled_pose(pose: Pose, metres: float, offset: np.ndarray) -> Pose:
    lengths = np.array([metres] * 3 + [1.0] * 3)
    return replace(
        pose,
        world_from_camera=grown_poses(pose.world_from_camera, metres, offset),
        map_from_world=grown_poses(
            pose.map_from_world, metres, offset - pose.map_from_world[:3, :3] @ offset
        ),
        # That nothing is known stays so in any unit.
        covariance=pose.covariance * np.outer(lengths, lengths) if pose.trusted else pose.covariance,
        step=pose.step and pose.step.scaled(metres),
    )


def grown_poses(poses: np.ndarray, metres: float, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """Poses (..., 4, 4) whose lengths are so many times as large, and which are shifted by `offset` (3,) then."""
    poses = poses.copy()
    poses[..., :3, 3] = metres * poses[..., :3, 3] + offset
    return poses


def velocities(positions: np.ndarray, stamps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Velocities (N, 3) float32 per second at the last of the stamps (T,) ns of positions (N, T, 3); NaN where
    fewer than two of the weights (N, T) are positive.

    Weighted least squares of x + v t + a t²/2 where large accelerations are doubted (ridge regression): where frames
    are few, or the time is short, it is a line, whose slope is surer, else a parabola, whose slope is the last one's.
    """
    known = finite_rows(positions) & (weights > 0)
    weights = np.where(known, weights, 0.0)
    positions = np.where(known[..., None], positions, 0.0).astype(np.float64)
    seconds = (stamps - stamps[-1]) / 1e9
    powers = np.stack([np.ones_like(seconds), seconds, seconds**2 / 2], axis=1)
    products = powers[:, :, None] * powers[:, None]
    normal = (weights @ products.reshape(len(products), -1)).reshape(-1, 3, 3)
    normal[:, 2, 2] += DOUBT_OF_ACCELERATION
    enough = known.sum(axis=1) >= 2
    normal[~enough] = np.eye(3)
    # Two frames of little weight determine a slope as well as any.
    normal[:, [0, 1], [0, 1]] *= 1 + 1e-9
    solved = np.linalg.solve(normal, (powers.T * weights[:, None]) @ positions)
    return np.where(enough[:, None], solved[:, 1], np.nan).astype(np.float32)
