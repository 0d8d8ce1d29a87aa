"""Clips in, geometry out: the heart of the online system."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL
from d4rt_ros.io.frame import Frame
from d4rt_ros.model.protocol import Model, Scene
from d4rt_ros.stream.config import Outputs, PipelineConfig, fitting_depth_queries
from d4rt_ros.stream.localiser import Localiser, PlaceAnswers, place_task
from d4rt_ros.stream.results import (
    Camera,
    Points,
    Pose,
    Result,
    Scale,
    StreamTracks,
    coloured_points,
    scaled,
    window_cameras,
    world_tracks,
)
from d4rt_ros.stream.sight import Sight, sight
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.adaptive_depth import GridAnswers, depth_grid_task
from d4rt_ros.tasks.batch import Batch
from d4rt_ros.tasks.intrinsics import IntrinsicsError, camera_of
from d4rt_ros.tasks.questions import pixel_grid
from d4rt_ros.tasks.tracks import PointTracks, track_task

# A camera's focal length does not change while it runs: the median of so many windows' estimates is used.
FOCAL_ESTIMATES = 30


@dataclass(frozen=True, eq=False)
class Seen:
    """What a window's images show by themselves.

    clip: its frames, oldest first. sight: whether there is anything to measure. keyframe: where in the clip the frame
    is that poses are measured from; None where it has gone.
    """

    clip: Sequence[WindowFrame]
    sight: Sight
    keyframe: int | None

    @property
    def newest(self) -> Frame:
        return self.clip[-1].frame


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the model says of a window; None is what it was not asked for, all of it where there is nothing to measure.

    outputs: what is wanted. grid: of the newest frame's points, for `points` or, of a camera without a calibration, for
    its focal lengths alone. place: for the newest camera's place. tracks: of the newest frame's points, in its camera.
    """

    outputs: Outputs
    scene: Scene | None = None
    grid: GridAnswers | None = None
    place: PlaceAnswers | None = None
    tracks: PointTracks | None = None


class Pipeline:
    """Drives a model over the windows of a stream, one after another: see `process`.

    `track` and `place` change what it knows, so that one thread at a time may be in them. `encode`, which takes long,
    changes nothing that they use and uses nothing that they change: it may run beside them, one clip at a time.
    """

    def __init__(self, model: Model, config: PipelineConfig = PipelineConfig()) -> None:
        self._model, self._start_pose, self._next_id = model, BODY_FROM_OPTICAL, 0
        self.change(config)
        self._restart(epoch=0, world=0)

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return self._model.num_frames

    def process(self, clip: Sequence[WindowFrame], outputs: Outputs = Outputs()) -> Result:
        """Track what the images of a window show, encode it, and place it in the world.

        clip: frames, oldest first. One of a new epoch, or older than the last one, begins a new world.
        """
        seen = self.track(clip)
        proposal = self.encode(seen, outputs)
        return self.place(seen, proposal)

    def track(self, clip: Sequence[WindowFrame]) -> Seen:
        """What the images of a window show by themselves."""
        newest = clip[-1]
        if newest.epoch != self._epoch or (self._newest is not None and newest.stamp < self._newest.stamp):
            self._restart(newest.epoch, self._localiser.number + 1)
        seen = Seen(clip, sight(clip, self._newest), self._localiser.keyframe_index(clip))
        self._newest = newest
        return seen

    def encode(self, seen: Seen, outputs: Outputs = Outputs()) -> Proposal:
        """What the model says of what was seen: encoded once, asked everything at once. One call, and one more for
        each level of a depth grid that is not asked whole; none where there is nothing to measure."""
        if seen.sight.problem:
            return Proposal(outputs)
        config, newest = self.config, len(seen.clip) - 1  # another thread may replace it meanwhile
        scene = self._model.encode([self.prepared(frame) for frame in seen.clip])
        batch, grid, place, tracks = Batch(scene), _nothing, _nothing, _nothing
        if outputs.points:
            grid = batch.add(depth_grid_task(scene, newest, config.depth_size, config.depth_points))
        elif seen.newest.camera is None:
            every = config.pose_grid[0] * config.pose_grid[1]
            grid = batch.add(depth_grid_task(scene, newest, config.pose_grid, every))
        if outputs.world:
            place = batch.add(place_task(scene, seen.clip, seen.keyframe, config))
        if outputs.tracks:
            u, v = (x.ravel() for x in pixel_grid(config.tracks_size, scene.size))
            shown = seen.newest.filled(u, v)
            tracks = batch.add(track_task(scene, u[shown], v[shown], newest, newest))
        batch.ask()
        return Proposal(outputs, scene, grid(), place(), tracks())

    def place(self, seen: Seen, proposal: Proposal) -> Result:
        """The result of a window: which camera this is, where it is in the world, what it sees, how that moves."""
        outputs, newest = proposal.outputs, seen.newest
        camera = self._camera(newest, proposal.grid)
        pose = self._pose(seen, proposal.place, camera.pinhole) if outputs.world else None
        shown = outputs.points and proposal.grid is not None
        moving = outputs.tracks and pose.trusted
        result = Result(
            camera=camera,
            window=window_cameras(seen.clip, pose),
            pose=pose,
            points=_points(newest, proposal.grid, camera.pinhole) if shown else None,
            tracks=self._tracks(seen, proposal.tracks, pose) if moving else None,
            scene=proposal.scene,
            problem=seen.sight.problem,
            frozen_seconds=seen.sight.frozen_seconds,
        )
        metres = self.config.metres
        return scaled(result, Scale(metres, 0.0, "fixed")) if metres else result

    def prepared(self, frame: WindowFrame) -> object:
        """A frame as the model takes it, made once, however many windows it is in: earlier, where a thread has the
        time."""
        if frame.prepared is None:
            frame.prepared = self._model.prepare(frame.image)
        return frame.prepared

    def start_at(self, world_from_camera: np.ndarray) -> None:
        """Where a new world is to begin, (4, 4), in metres where config.metres is given, else in the model's unit."""
        self._start_pose = world_from_camera

    def change(self, config: PipelineConfig) -> None:
        """Go on with another configuration, from any thread. Raises ValueError for one that the model cannot do."""
        if config.frames not in (None, self.num_frames):
            raise ValueError(f"a window of {config.frames} frames; this model takes {self.num_frames}")
        self.config = config

    def fit_depth(self, budget: float | None, took: float) -> None:
        """Have the next windows take `budget` seconds, where the last one `took` so many, by what the depth grid asks;
        None: it asks all."""
        per_second = self._model.queries_per_second if budget else None
        queries = fitting_depth_queries(self.config, budget, took, per_second) if per_second else None
        self.change(replace(self.config, depth_queries=queries))

    def _restart(self, epoch: int, world: int) -> None:
        self._epoch, self._newest, self._localiser = epoch, None, Localiser(world)
        self._focal_lengths: deque[tuple[float, float]] = deque(maxlen=FOCAL_ESTIMATES)

    def _camera(self, newest: Frame, grid: GridAnswers | None) -> Camera:
        """The frame's own, or what the windows so far showed of it."""
        if newest.camera is not None:
            return Camera(newest.camera, True, 0.0)
        height, width = newest.image.shape[:2]
        if grid is not None:
            try:
                camera = camera_of(grid.answer, grid.asked, grid.image_size)
                self._focal_lengths.append((camera.fx, camera.fy))
            except IntrinsicsError:
                pass  # what earlier windows showed holds
        # While nothing is known of this camera, about 53 degrees are seen across.
        focal = np.median(self._focal_lengths, axis=0) if self._focal_lengths else [max(height, width)] * 2
        return Camera(Pinhole.centred(*focal, width, height), False, np.nan)

    def _pose(self, seen: Seen, answers: PlaceAnswers | None, camera: Pinhole) -> Pose:
        problem, clip = seen.sight.problem, seen.clip
        pose = self._localiser.place(clip, problem, answers, camera, self._start_pose, self.config)
        clip[-1].pose = pose
        return pose

    def _tracks(self, seen: Seen, tracks: PointTracks, pose: Pose) -> StreamTracks:
        stamps = np.array([frame.stamp for frame in seen.clip], np.int64)
        first_id, self._next_id = self._next_id, self._next_id + len(tracks.xyz)
        return world_tracks(tracks, stamps, pose.world_from_camera, first_id, seen.newest.image.shape[:2])


def _nothing() -> None:
    """The result of what nobody asked."""


def _points(newest: Frame, grid: GridAnswers, camera: Pinhole) -> Points:
    return coloured_points(grid.point_map(), newest.image, camera, newest.valid)
