"""What the pipeline says of one frame after another, kept for a whole video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, transform
from d4rt_ros.io.frame import Frame
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.pipeline import Pipeline
from d4rt_ros.stream.reconstruction import ReconstructedTracks, Reconstruction
from d4rt_ros.stream.results import Points, Pose, Result, Scale, StreamTracks, coloured_points, grown_poses
from d4rt_ros.stream.sky import sky
from d4rt_ros.stream.stream import Stream
from d4rt_ros.tasks.depth import point_map
from d4rt_ros.tasks.relative_pose import PoseError, relative_pose


@dataclass(eq=False)
class _Record:
    """What is known of a frame, in the model's unit; None: nothing.

    calibrated: the camera came with the frame. answered: a window told it. world: the one that it is placed in; -1: in
    none. pose, covariance: in that. near: the world that went on then. scale: what was known of it.
    """

    stamp: int
    camera: Pinhole | None
    calibrated: bool
    reason: str
    answered: bool = False
    world: int = -1
    near: int = 0
    scale: Scale = Scale()
    pose: np.ndarray | None = None
    covariance: np.ndarray | None = None
    depth: np.ndarray | None = None
    sigma: np.ndarray | None = None
    confidence: np.ndarray | None = None
    rgb: np.ndarray | None = None
    dynamic: np.ndarray | None = None

    def see(self, points: Points, metres: float) -> None:
        """points: in metres of which the model's unit has so many."""
        self.depth, self.sigma = points.depth / np.float32(metres), points.sigma
        self.confidence, self.rgb, self.dynamic = points.confidence, points.rgb, points.dynamic

    def place(self, world: int, pose: np.ndarray, covariance: np.ndarray) -> None:
        self.world, self.pose, self.covariance, self.reason = world, pose, covariance, ""


class Recorder:
    """Drives a pipeline and keeps what it says of each frame: what `reconstruct` is made of.

    online: see `reconstruct`. An image is kept as long as it is in the window, results are for good.
    trusted: of how many frames the place is known so far. size: (height, width) of the images, once there was one.
    """

    def __init__(self, model, config: PipelineConfig = PipelineConfig(), online: bool = False) -> None:
        self.stream, self.online = Stream(Pipeline(model, config)), online
        self.trusted = 0
        self.size: tuple[int, int] | None = None
        self._records: list[_Record] = []
        self._index: dict[int, int] = {}  # of records, by their stamps
        self._camera: Pinhole | None = None  # as far as it is known
        self._scale = Scale()
        self._rows: list[tuple] = []  # of tracks, see _NO_ROWS
        self._followed: dict[int, int] = {}  # id -> the newest frame that it has a row of

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
        calibrated = frame.camera is not None
        self._records.append(
            _Record(frame.stamp, frame.camera or self._camera, calibrated, self._unanswered())
        )
        if result is not None:
            self._note(result)
        elif self.stream.pose is not None:
            self._place(self._records[-1], self.stream.pose, self._scale)

    def _unanswered(self) -> str:
        window, pose = self.stream.window, self.stream.pose
        if len(window) < window.frames:
            return f"the window is not full: it has {len(window)} of {window.frames} frames"
        return "no window ends with this frame" if pose is None else pose.reason

    def _note(self, result: Result) -> None:
        record = self._records[-1]
        self._camera, self._scale = result.camera.pinhole, result.scale
        self._answer(record, result)
        if result.points is not None:
            record.see(result.points, result.scale.metres)
        followed = self.stream.pose  # which was said before, and is not taken back
        said = followed and followed.trusted and result.trusted and followed.world == result.pose.world
        self._place(record, followed if said else result.pose, result.scale)
        if not self.online:
            self._correct(result)
            self._look_back(result)
        if result.tracks is not None:
            self._follow(result)

    def _answer(self, record: _Record, result: Result) -> None:
        record.answered = True
        record.camera = record.camera if record.calibrated else result.camera.pinhole
        if record.world < 0:
            record.reason = result.reason

    def _place(self, record: _Record, pose: Pose, scale: Scale) -> None:
        """Where the world has it; offline, where the map does."""
        record.near, record.scale = pose.world, scale
        if pose.trusted:
            place = pose.world_from_camera if self.online else pose.map_from_world @ pose.world_from_camera
            self._put(record, grown_poses(place, 1 / scale.metres), pose, scale)

    def _put(self, record: _Record, place: np.ndarray, pose: Pose, scale: Scale) -> None:
        """Somewhere in the world of a pose, in the model's unit, as sure as that."""
        lengths = np.array([scale.metres] * 3 + [1.0] * 3)
        self.trusted += record.world < 0
        record.place(pose.world, place, pose.covariance / np.outer(lengths, lengths))

    def _correct(self, result: Result) -> None:
        """Put the newest frames where they are by what is known now."""
        for stamp, world, map_from_camera in self.stream.pipeline.placed():
            record = self._records[self._index[stamp]]
            if record.world == world:
                record.pose = map_from_camera
            elif record.world < 0 and result.trusted and result.pose.world == world:
                self._put(record, map_from_camera, result.pose, result.scale)

    def _look_back(self, result: Result) -> None:
        """Let frames with which no window ended have their answers from the first that holds them."""
        if result.problem:
            return
        for t, kept in enumerate(self.stream.window.clip()[:-1]):
            record = self._records[self._index[kept.stamp]]
            if not record.answered:
                self._answer(record, result)
                record.near, record.scale = result.pose.world, result.scale
                record.see(self._points(kept.frame, t, record.camera, result), result.scale.metres)
                if result.trusted and record.world < 0:
                    self._find(record, t, result)

    def _points(self, frame: Frame, t: int, camera: Pinhole, result: Result) -> Points:
        points = point_map(result.scene, t, self.stream.pipeline.config.depth_size)
        points = coloured_points(points, frame.image, camera, frame.valid)
        points = points.only(~sky(points, frame.image))
        return replace(points, xyz=points.xyz * np.float32(result.unit))

    def _find(self, record: _Record, t: int, result: Result) -> None:
        """Put the window's frame t where the model has it beside the newest."""
        config, pose = self.stream.pipeline.config, result.pose
        try:
            step = relative_pose(result.scene, -1, t, record.camera, config.pose_method, config.pose_grid)
        except PoseError as error:
            record.reason = str(error)
            return
        if step.inliers < config.pose_min_inliers:
            record.reason = f"{step.inliers:.0%} of the points agree with the camera's motion"
            return
        place = pose.map_from_world @ pose.world_from_camera @ step.scaled(result.unit).i_from_j
        self._put(record, grown_poses(place, 1 / result.scale.metres), pose, result.scale)

    def _follow(self, result: Result) -> None:
        """Keep what is new of each track: of one that is new all its past, too, unless that was not known then."""
        tracks: StreamTracks = result.tracks
        frames = np.array([self._index[stamp] for stamp in tracks.stamps.tolist()], np.int32)
        last = np.array([self._followed.get(id, -1) for id in tracks.ids.tolist()], np.int32)
        new = np.isfinite(tracks.positions).all(axis=-1) & (frames > last[:, None])
        if self.online:
            new[:, :-1] = False
        # Of frames that are in another world it cannot be said where in it the points were.
        new &= np.array([self._records[k].world in (-1, result.pose.world) for k in frames])
        track, time = np.nonzero(new)
        # Of what was last seen before this window all is new when it comes back.
        self._followed = {id: k for id, k in self._followed.items() if k >= frames[0]}
        self._followed.update(zip(tracks.ids[track].tolist(), frames[time].tolist()))
        positions, local = self._in_cameras(result, frames[time], tracks.positions[new])
        self._rows.append(
            (tracks.ids[track], frames[time], positions, local, tracks.pixels[new], tracks.visible[new])
        )

    def _in_cameras(self, result: Result, frames: np.ndarray, positions: np.ndarray):
        """Positions (n, 3) of the result's world, in the model's unit and in the cameras of the frames (n,), with which
        they then move; and (n,) whether they are: of frames whose place is not known they stay in the world."""
        positions = positions / np.float32(result.scale.metres)
        if not self.online:
            positions = transform(grown_poses(result.pose.map_from_world, 1 / result.scale.metres), positions)
        local = np.zeros(len(frames), bool)
        for k in np.unique(frames):
            if (pose := self._records[k].pose) is not None:
                local |= frames == k
                positions[frames == k] = transform(invert(pose), positions[frames == k])
        return positions, local

    def reconstruction(self) -> Reconstruction:
        """All that is known so far. Raises ValueError where there was no frame."""
        records = self._records
        if not records:
            raise ValueError("no frames; a reconstruction needs some")
        grid, scales = self.stream.pipeline.config.depth_size, self._scales()
        metres = np.array([scale.metres for scale in scales])
        poses = _stacked([record.pose for record in records], (4, 4), np.float64)
        poses[:, :3, 3] *= metres[:, None]
        covariances = _stacked([record.covariance for record in records], (6, 6), np.float64)
        covariances[:, :3] *= metres[:, None, None]
        covariances[:, :, :3] *= metres[:, None, None]
        depth = _stacked([record.depth for record in records], grid, np.float32)
        depth *= metres.astype(np.float32)[:, None, None]
        # Offline all are of one camera, that is known best in the end.
        cameras = [r.camera if self.online or r.calibrated else self._camera for r in records]
        cameras = [camera and camera.matrix for camera in cameras]
        world = np.array([record.world for record in records], np.int32)
        placed = [scale for scale, n in zip(scales, world) if n >= 0]
        metric = bool(placed) and all(scale.metric for scale in placed)
        return Reconstruction(
            stamps=np.array([record.stamp for record in records], np.int64),
            world_from_camera=poses,
            trusted=world >= 0,
            reason=tuple(record.reason for record in records),
            pose_covariance=covariances,
            world=world,
            intrinsics=_stacked(cameras, (3, 3), np.float64),
            depth=depth,
            depth_sigma=_stacked([record.sigma for record in records], grid, np.float32),
            confidence=_stacked([record.confidence for record in records], grid, np.float32, 0),
            rgb=_stacked([record.rgb for record in records], (*grid, 3), np.uint8, 0),
            dynamic=_stacked([record.dynamic for record in records], grid, bool, False),
            determined=np.array([record.dynamic is not None for record in records], bool),
            tracks=self._tracks(metres.astype(np.float32)),
            metric=metric,
            scale_sigma=float(placed[-1].sigma) if metric else np.nan,
            image_size=self.size,
        )

    def _scales(self) -> list[Scale]:
        """Of each frame: what was known then; offline the median of what was known while its world went on."""
        records, known = self._records, {}
        if self.online:
            return [record.scale for record in records]
        for record in records:
            if record.scale.metric:
                known.setdefault(record.near, []).append(record.scale)
        for world, scales in known.items():
            metres, sigma = np.median([(scale.metres, scale.sigma) for scale in scales], axis=0)
            known[world] = Scale(float(metres), float(sigma), scales[-1].source)
        return [known.get(record.near, Scale()) for record in records]

    def _tracks(self, metres: np.ndarray) -> ReconstructedTracks:
        """metres: (N,) float32 of the model's unit, for each frame."""
        rows = [np.concatenate(x) for x in zip(_NO_ROWS, *self._rows)]
        order = np.argsort(rows[1], kind="stable")
        ids, frame, position, local, pixel, seen = (x[order] for x in rows)
        ends = np.searchsorted(frame, np.arange(len(self) + 1))
        for record, start, stop in zip(self._records, ends, ends[1:]):
            if record.pose is not None and stop > start:
                rows = start + np.flatnonzero(local[start:stop])
                position[rows] = transform(record.pose, position[rows])
        position *= metres[frame, None]
        ids, track = np.unique(ids, return_inverse=True)
        return ReconstructedTracks(ids, track.astype(np.int32), frame, position, pixel, seen, len(self))


# ids, frames, positions in the frames' cameras where these are known, whether they are, pixels, visible.
_NO_ROWS = (
    np.empty(0, np.uint64),
    np.empty(0, np.int32),
    np.empty((0, 3), np.float32),
    np.empty(0, bool),
    np.empty((0, 2), np.float32),
    np.empty(0, bool),
)


def _stacked(values: list, shape: tuple, dtype, missing=np.nan) -> np.ndarray:
    """(N, *shape) of N arrays; `missing` where one is None."""
    stacked = np.full((len(values), *shape), missing, dtype)
    for row, value in zip(stacked, values):
        if value is not None:
            row[...] = value
    return stacked
