"""A whole video in numbers: where the camera was, what it saw, and how that moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.geometry.voxels import thinned
from d4rt_ros.io.result_files import write_arrays, write_ply, write_trajectory
from d4rt_ros.runtime.memory import available_bytes, gigabytes

EDGE = 0.15  # by which depth changes from a point of the grid to the next where one thing hides another
LEAST_CONFIDENT = 0.2  # share of a frame's points, the least confident ones, that the cloud is better without
DENSE_BYTES = 22  # of a track at one time, as an array of all tracks at all times


@dataclass(frozen=True, eq=False)
class ReconstructedTracks:
    """M points that were followed in a video of N frames, O times seen or predicted in all.

    ids: (M,) uint64, as the stream names them. What was observed, one row each, in the order of the frames:
    track: (O,) int32, row of `ids`. frame: (O,) int32, row of the video's stamps.
    position: (O, 3) float32 in the world of that frame. pixel: (O, 2) float32 of its image.
    seen: (O,) bool, whether the image shows it there.
    count: N.

    `positions`, `pixels` and `visible` are the same as arrays of all tracks at all times, which of a long video would
    fill the memory: take a `part` of it.
    """

    ids: np.ndarray
    track: np.ndarray
    frame: np.ndarray
    position: np.ndarray
    pixel: np.ndarray
    seen: np.ndarray
    count: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def positions(self) -> np.ndarray:
        """(M, N, 3) float32 in the world, NaN where a point was not followed. Raises MemoryError."""
        return self._dense(self.position, np.nan)

    @cached_property
    def pixels(self) -> np.ndarray:
        """(M, N, 2) float32 of the images, NaN where a point was not followed. Raises MemoryError."""
        return self._dense(self.pixel, np.nan)

    @cached_property
    def visible(self) -> np.ndarray:
        """(M, N) bool. Raises MemoryError."""
        return self._dense(self.seen, False)

    def part(self, start: int, stop: int) -> ReconstructedTracks:
        """The tracks that were followed in frames start … stop-1, in these frames alone, which are counted from 0."""
        start, stop, _ = slice(start, stop).indices(self.count)
        inside = (self.frame >= start) & (self.frame < stop)
        kept, track = np.unique(self.track[inside], return_inverse=True)
        return ReconstructedTracks(
            self.ids[kept],
            track.astype(np.int32),
            self.frame[inside] - np.int32(start),
            self.position[inside],
            self.pixel[inside],
            self.seen[inside],
            max(stop - start, 0),
        )

    def _dense(self, values: np.ndarray, missing) -> np.ndarray:
        need, free = len(self) * self.count * DENSE_BYTES, available_bytes()
        if need > free:
            raise MemoryError(
                f"{len(self)} tracks at all of {self.count} times need {gigabytes(need)}, and {gigabytes(free)} are "
                "free; take a part(start, stop) of the video, or the rows track, frame, position, pixel, seen"
            )
        dense = np.full((len(self), self.count, *values.shape[1:]), missing, values.dtype)
        dense[self.track, self.frame] = values
        return dense


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What is known of a video of N frames. Lengths are metres where `metric`, else in the model's own unit.

    stamps: (N,) int64 ns.
    world_from_camera: (N, 4, 4) float64, the optical cameras; NaN where the place is not trusted. A world is x forward,
        y left, z up of the camera with which its first window ended.
    trusted: (N,) bool. reason: N sentences that say why not, "" where it is.
    pose_covariance: (N, 6, 6) float64, x y z and turns about x y z, about the world's axes, since the world began; NaN
        where the pose is.
    world: (N,) int32, which world the pose is in, counted from 0; -1 where it is not trusted. Where the camera was lost
        and its old world was not found again, another begins, of which the place in the first is not known.
    intrinsics: (N, 3, 3) float64 of the images; NaN where not known.
    depth: (N, h, w) float32 along z, of a grid whose corners are the image's corner pixels (`tasks.pixel_grid`, camera
        `Pinhole.grid`); NaN where there is none. depth_sigma: (N, h, w) float32, its sd as a share of it, NaN where
        that is not known. confidence: (N, h, w) float32 in 0..1. rgb: (N, h, w, 3) uint8, the grid's colours.
    dynamic: (N, h, w) bool, what moves in the world, as far as is known: determined: (N,) bool, of which frames it is.
    tracks: points that were followed.
    metric: whether all lengths are metres. scale_sigma: sd of the scale as a share of it, NaN where it is not known.
    image_size: (height, width) of the images.

    Where images were rectified, pixels and intrinsics are of the rectified ones.
    """

    stamps: np.ndarray
    world_from_camera: np.ndarray
    trusted: np.ndarray
    reason: tuple[str, ...]
    pose_covariance: np.ndarray
    world: np.ndarray
    intrinsics: np.ndarray
    depth: np.ndarray
    depth_sigma: np.ndarray
    confidence: np.ndarray
    rgb: np.ndarray
    dynamic: np.ndarray
    determined: np.ndarray
    tracks: ReconstructedTracks
    metric: bool
    scale_sigma: float
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def main_world(self) -> int:
        """The world that most frames are in; -1 where no frame's place is trusted."""
        worlds, frames = np.unique(self.world[self.trusted], return_counts=True)
        return int(worlds[frames.argmax()]) if len(worlds) else -1

    @property
    def path_length(self) -> float:
        """How far the camera went from one trusted frame of `main_world` to the next."""
        places = self.world_from_camera[self._in(self.main_world), :3, 3]
        return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """`cloud` as it is by default."""
        return self.cloud()

    def cloud(self, voxel: float | None = None, world: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """xyz (K, 3) float32 and rgb (K, 3) uint8: what the trusted frames of a world saw, in that world.

        voxel: the side of the cubes of which each gets one point at most; by default half as long as the grid's points
        are apart at the median depth. world: by default `main_world`. Points at edges of depth, which belong to no
        surface, each frame's least confident ones and what moves are left out, and frames of which it is not known
        what moves, unless that is known of none. Raises ValueError for a voxel that is none.
        """
        usable = self._in(self.main_world if world is None else world)
        frames = np.flatnonzero(usable & self.determined if self.determined.any() else usable)
        frames = [k for k in frames if np.isfinite(self.depth[k]).any()]
        if not frames:
            return np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8)
        apart = [np.nanmedian(self.depth[k]) / self._grid_camera(k).fx for k in frames]
        return thinned(map(self._world_points, frames), np.median(apart) / 2 if voxel is None else voxel)

    def camera(self, k: int) -> Pinhole | None:
        """Of frame k's image; None where it is not known."""
        known = np.isfinite(self.intrinsics[k]).all()
        return Pinhole.from_matrix(self.intrinsics[k], *self.image_size[::-1]) if known else None

    def save(self, folder: Path) -> list[Path]:
        """Write trajectory.txt (TUM RGB-D's format, the trusted frames of `main_world`), cloud.ply, depth.npz (depth,
        poses and all else that there is for each frame) and tracks.npz into a folder; gives what was written."""
        folder = Path(folder)
        files = [folder / name for name in ("trajectory.txt", "cloud.ply", "depth.npz", "tracks.npz")]
        main, tracks = self._in(self.main_world), self.tracks
        write_trajectory(files[0], self.stamps[main], self.world_from_camera[main])
        write_ply(files[1], *self.points)
        write_arrays(
            files[2], stamps=self.stamps, world_from_camera=self.world_from_camera, trusted=self.trusted,
            reason=np.array(self.reason), pose_covariance=self.pose_covariance, world=self.world,
            intrinsics=self.intrinsics, depth=self.depth, depth_sigma=self.depth_sigma,
            confidence=self.confidence, rgb=self.rgb, dynamic=self.dynamic, metric=self.metric,
            scale_sigma=self.scale_sigma, image_size=self.image_size,
        )  # fmt: skip
        write_arrays(
            files[3], ids=tracks.ids, track=tracks.track, frame=tracks.frame, position=tracks.position,
            pixel=tracks.pixel, visible=tracks.seen, stamps=self.stamps,
        )  # fmt: skip
        return files

    def _in(self, world: int) -> np.ndarray:
        return self.trusted & (self.world == world)

    def _grid_camera(self, k: int) -> Pinhole:
        return self.camera(k).grid(*self.depth.shape[:0:-1])

    def _world_points(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What frame k saw: xyz (h·w, 3) in the world, rgb (h·w, 3), and what each weighs (h·w,)."""
        depth = self.depth[k]
        xyz = self._grid_camera(k).backproject_map(depth).reshape(-1, 3)
        weights = point_weights(depth, self.confidence[k])
        weights[self.dynamic[k]] = 0.0
        return transform(self.world_from_camera[k], xyz), self.rgb[k].reshape(-1, 3), weights.ravel()


def point_weights(depth: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(h, w): what the points of a grid weigh in a cloud of many; 0 at edges of depth, which belong to no surface, and
    where they are the least confident ones."""
    weights = np.where(at_edges(depth), 0.0, confidence)
    weights[weights < np.quantile(confidence, LEAST_CONFIDENT)] = 0.0
    return weights


def at_edges(depth: np.ndarray) -> np.ndarray:
    """(h, w) bool: where depth (h, w) differs from a neighbour's by more than EDGE, or it or the neighbour's is NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log(depth)
        down, right = (~(np.abs(np.diff(log, axis=axis)) < EDGE) for axis in (0, 1))
    edge = ~np.isfinite(log)
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
