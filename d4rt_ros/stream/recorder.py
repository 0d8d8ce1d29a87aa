"""What the pipeline says of one frame after another, kept for a whole video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.io.frame import Frame
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.pipeline import Pipeline
from d4rt_ros.stream.reconstruction import ReconstructedTracks, Reconstruction
from d4rt_ros.stream.results import Points, Pose, Result, Scale, StreamTracks, coloured_points
from d4rt_ros.stream.stream import Stream
from d4rt_ros.tasks.depth import point_map
from d4rt_ros.tasks.relative_pose import PoseError, relative_pose


@dataclass(eq=False)
class _Record:
    """What is known of a frame; None: nothing. answered: a window told it."""

    stamp: int
    camera: Pinhole | None
    reason: str
    answered: bool = False
    world: int = -1
    pose: np.ndarray | None = None
    covariance: np.ndarray | None = None
    depth: np.ndarray | None = None
    sigma: np.ndarray | None = None
    confidence: np.ndarray | None = None
    rgb: np.ndarray | None = None

    def see(self, points: Points) -> None:
        self.depth, self.sigma, self.confidence, self.rgb = (
            points.depth.copy(),
            points.sigma,
            points.confidence,
            points.rgb,
        )

    def place(self, world_from_camera: np.ndarray, pose: Pose) -> None:
        """Somewhere in the world of `pose`, whose uncertainty it shares."""
        self.pose, self.covariance, self.world = world_from_camera, pose.covariance, pose.world
        self.reason = ""


class Recorder:
    """Drives a pipeline and keeps what it says of each frame.

    online: see `reconstruct`. An image is kept as long as it is in the window, results are for good.
    trusted: of how many frames the place is known so far.
    """

    def __init__(self, model, config: PipelineConfig = PipelineConfig(), online: bool = False) -> None:
        self.stream, self.online = Stream(Pipeline(model, config)), online
        self.trusted = 0
        self.size: tuple[int, int] | None = None
        self._records: list[_Record] = []
        self._index: dict[int, int] = {}  # of records, by their stamps
        self._rows: list[tuple] = []  # ids, frames, positions, pixels, visible of tracks
        self._followed: dict[int, int] = {}  # id -> the newest frame that it has a row of
        self._scale = Scale()

    def __len__(self) -> int:
        """Frames so far."""
        return len(self._records)

    @property
    def reason(self) -> str:
        """Why the newest frame's place is not trusted; "" where it is."""
        return self._records[-1].reason if self._records else "there was no frame yet"

    def add(self, frame: Frame) -> None:
        """Take the next frame. Raises ValueError for another size than before, and for a stamp that is no later."""
        number, size = len(self), frame.image.shape[:2]
        if self.size not in (None, size):
            raise ValueError(
                f"frame {number} is {size[1]}x{size[0]}, those before it are {self.size[1]}x{self.size[0]}; "
                "all must be of one size"
            )
        if self._records and frame.stamp <= self._records[-1].stamp:
            raise ValueError(
                f"frame {number} is stamped {frame.stamp} ns, the one before it {self._records[-1].stamp}; stamps "
                "must increase"
            )
        result = self.stream.add(frame)
        self.size = size
        self._index[frame.stamp] = number
        self._records.append(_Record(frame.stamp, frame.camera, self._unanswered(number)))
        if result is not None:
            self._note(result)

    def _unanswered(self, number: int) -> str:
        window = self.stream.window
        if len(window) < window.frames:
            return f"the window is not full: it has {len(window)} of {window.frames} frames"
        return "no window ends with this frame"

    def _note(self, result: Result) -> None:
        record = self._records[-1]
        record.answered, record.camera, record.reason = True, result.camera.pinhole, result.reason
        if result.points is not None:
            record.see(result.points)
        if result.trusted:
            record.place(result.pose.world_from_camera, result.pose)
            self.trusted += 1
        if not self.online and not result.problem:
            self._look_back(result)
        if result.tracks is not None:
            self._follow(result.tracks)
        self._scale = result.scale

    def _look_back(self, result: Result) -> None:
        """Frames with which no window ended get their answers from the first that holds them."""
        for t, kept in enumerate(self.stream.window.clip()[:-1]):
            record = self._records[self._index[kept.stamp]]
            if not record.answered:
                record.answered, record.reason = True, result.reason
                record.camera = kept.frame.camera or result.camera.pinhole
                record.see(self._points(kept.frame, t, record.camera, result))
                if result.trusted:
                    self._place_back(record, t, result)

    def _points(self, frame: Frame, t: int, camera: Pinhole, result: Result) -> Points:
        points = point_map(result.scene, t, self.stream.pipeline.config.depth_size)
        points = coloured_points(points, frame.image, camera, frame.valid)
        return replace(points, xyz=points.xyz * np.float32(result.scale.metres))

    def _place_back(self, record: _Record, t: int, result: Result) -> None:
        """By its pose in the camera frame of the newest."""
        config = self.stream.pipeline.config
        try:
            step = relative_pose(result.scene, -1, t, record.camera, config.pose_method, config.pose_grid)
        except PoseError as error:
            record.reason = str(error)
            return
        if step.inliers < config.pose_min_inliers:
            record.reason = f"{step.inliers:.0%} of the points agree with the camera's motion"
            return
        newest_from_camera = step.i_from_j.copy()
        newest_from_camera[:3, 3] *= result.scale.metres
        record.place(result.pose.world_from_camera @ newest_from_camera, result.pose)
        self.trusted += 1

    def _follow(self, tracks: StreamTracks) -> None:
        """Keep what is new of each track: of one that is new all its past, too, unless that was not known then."""
        frames = np.array([self._index[stamp] for stamp in tracks.stamps.tolist()], np.int32)
        last = np.array([self._followed.get(id, -1) for id in tracks.ids.tolist()], np.int32)
        new = np.isfinite(tracks.positions).all(axis=-1) & (frames > last[:, None])
        if self.online:
            new[:, :-1] = False
        track, time = np.nonzero(new)
        self._followed.update(zip(tracks.ids[track].tolist(), frames[time].tolist()))
        self._rows.append(
            (
                tracks.ids[track],
                frames[time],
                tracks.positions[new],
                tracks.pixels[new],
                tracks.visible[new],
            )
        )

    def reconstruction(self) -> Reconstruction:
        """All that is known so far. Raises ValueError where there was no frame."""
        records = self._records
        if not records:
            raise ValueError("no frames; a reconstruction needs some")
        grid = self.stream.pipeline.config.depth_size
        world = np.array([record.world for record in records], np.int32)
        cameras = [None if record.camera is None else record.camera.matrix for record in records]
        return Reconstruction(
            stamps=np.array([record.stamp for record in records], np.int64),
            world_from_camera=_stacked([record.pose for record in records], (4, 4), np.float64),
            trusted=world >= 0,
            reason=tuple(record.reason for record in records),
            pose_covariance=_stacked([record.covariance for record in records], (6, 6), np.float64),
            world=world,
            intrinsics=_stacked(cameras, (3, 3), np.float64),
            depth=_stacked([record.depth for record in records], grid, np.float32),
            depth_sigma=_stacked([record.sigma for record in records], grid, np.float32),
            confidence=_stacked([record.confidence for record in records], grid, np.float32, 0),
            rgb=_stacked([record.rgb for record in records], (*grid, 3), np.uint8, 0),
            tracks=self._tracks(),
            metric=self._scale.metric,
            scale_sigma=float(self._scale.sigma),
            image_size=self.size,
        )

    def _tracks(self) -> ReconstructedTracks:
        empty = (
            np.empty(0, np.uint64),
            np.empty(0, np.int32),
            np.empty((0, 3), np.float32),
            np.empty((0, 2), np.float32),
            np.empty(0, bool),
        )
        ids, frame, position, pixel, seen = (np.concatenate(x) for x in zip(empty, *self._rows))
        order = np.argsort(frame, kind="stable")
        ids, track = np.unique(ids[order], return_inverse=True)
        return ReconstructedTracks(
            ids, track.astype(np.int32), frame[order], position[order], pixel[order], seen[order], len(self)
        )


def _stacked(values: list, shape: tuple, dtype, missing=np.nan) -> np.ndarray:
    """(N, *shape) of N arrays; `missing` where one is None."""
    stacked = np.full((len(values), *shape), missing, dtype)
    for row, value in zip(stacked, values):
        if value is not None:
            row[...] = value
    return stacked
