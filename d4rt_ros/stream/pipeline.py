"""Clips in, geometry out: the heart of the online system."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from d4rt_ros.dynamics.attention import scene_masks
from d4rt_ros.dynamics.cues import CueError, CueMiner
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.region import area_of
from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL
from d4rt_ros.io.frame import Frame
from d4rt_ros.model.protocol import Model, Scene
from d4rt_ros.stream.config import ATTENTIVE, FRAMES, Outputs, PipelineConfig, fitting_depth_queries
from d4rt_ros.stream.hidden import hidden_task
from d4rt_ros.stream.localiser import place_task
from d4rt_ros.stream.movers import Movers
from d4rt_ros.stream.proposal import Proposal, Seen
from d4rt_ros.stream.refined import Refined
from d4rt_ros.stream.results import (
    Camera,
    Points,
    Pose,
    Result,
    Scale,
    coloured_points,
    scaled,
    window_cameras,
)
from d4rt_ros.stream.scale import NoScale, ScaleFilter, ScaleMeasurement, continued, fixed_scale
from d4rt_ros.stream.scale_depth import image_scale
from d4rt_ros.stream.sight import sight
from d4rt_ros.stream.sky import sky
from d4rt_ros.stream.unrefined import Unrefined
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.adaptive_depth import GridAnswers, depth_grid_task
from d4rt_ros.tasks.batch import Batch, cropped
from d4rt_ros.tasks.depth import point_depths_task
from d4rt_ros.tasks.intrinsics import IntrinsicsError, camera_of
from d4rt_ros.tasks.questions import pixel_grid
from d4rt_ros.tasks.tracks import track_task

# Of the depth that tells what moves, where nobody wants any.
MOTION_GRID = (12, 16)
TOO_LATE = (
    "the window's images are older than those that are remembered: windows take too long to be computed"
)
OVERTAKEN = "everything began anew while the window was computed"
# A camera's focal length does not change while it runs: the median of so many windows' estimates is used.
FOCAL_ESTIMATES = 30


class Pipeline:
    """Drives a model over the windows of a stream, one after another: see `process`.

    `track` and `place` change what it knows, so that one thread at a time may be in them. `encode`, which takes long,
    changes nothing that they use and uses nothing that they change: it may run beside them, one clip at a time.
    """

    def __init__(self, model: Model, config: PipelineConfig = PipelineConfig()) -> None:
        self._model, self._start_pose = model, BODY_FROM_OPTICAL
        self._frames = model.num_frames or config.frames or FRAMES
        self._filter, self._scale, self._offset, self._scaled_world = ScaleFilter(), Scale(), np.zeros(3), -1
        self.change(config)
        self._restart(epoch=0, world=0, first_id=1, first_body=1)

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return self._frames

    def process(self, clip: Sequence[WindowFrame], outputs: Outputs = Outputs()) -> Result:
        """Track what the images of a window show, encode it, place it in the world, refine it and scale it.

        clip: frames, oldest first. One of a new epoch, or older than the last one, begins a new world.
        """
        seen = self.track(clip)
        proposal = self.encode(seen, outputs)
        result = self.place(seen, proposal)
        return self.scaled(result, self.measured_scale(seen, result))

    @property
    def follows(self) -> bool:
        """Whether images are placed by their pixels, one by one."""
        return self._places.follows

    def follow(self, frame: WindowFrame) -> Result | None:
        """The place of an image by its pixels, as soon as it comes: a result of this image alone. None where poses are
        the model's, or no window has yet said where the world is.

        Every image, in order; a window's newest is followed in `track` if it was not before.
        """
        self._follow_restarts(frame)
        followed = self._places.follow(frame)
        if followed is None:
            return None
        return scaled(Result(self._known_camera(frame.frame), *followed), self._scale, self._offset)

    def track(self, clip: Sequence[WindowFrame]) -> Seen:
        """What the images of a window show by themselves."""
        newest = clip[-1]
        self._follow_restarts(newest)
        points, hidden, keyframe = self._places.look(clip)
        shown = sight(clip, self._newest)
        if self.follows and points is None:
            shown = replace(shown, problem=TOO_LATE)
        self._newest = newest
        return Seen(clip, shown, keyframe, points, hidden, self._known_camera(newest.frame))

    def encode(self, seen: Seen, outputs: Outputs = Outputs()) -> Proposal:
        """What the model says of what was seen: encoded once, asked everything at once. One call, and one more for
        each level of a depth grid that is not asked whole; none where there is nothing to measure. Raises RegionError
        where config.region is not within the images."""
        if seen.sight.problem:
            return Proposal(outputs)
        config, newest = self.config, len(seen.clip) - 1  # another thread may replace it meanwhile
        prepared = [self.prepared(frame) for frame in seen.clip]
        miner = CueMiner() if outputs.movers and config.dynamics in ATTENTIVE else None
        scene = self._model.encode(prepared, listener=miner) if miner else self._model.encode(prepared)
        batch, grid, wide, place, tracks, points, gone = Batch(scene), *[_nothing] * 6
        area, size = area_of(config.region, scene.size, seen.newest.lens), self._grid_size(outputs)
        if size is not None:
            # Of the area's size, which is all that this asks of a scene.
            depths = depth_grid_task(area, newest, size, min(config.depth_points, size[0] * size[1]))
            grid = batch.add(cropped(depths, area.x, area.y))
        if seen.camera is None:
            every = config.pose_grid[0] * config.pose_grid[1]
            whole = size is not None and area.size == scene.size
            wide = grid if whole else batch.add(depth_grid_task(scene, newest, config.pose_grid, every))
        if seen.points is not None:
            points = batch.add(point_depths_task(scene, newest, seen.points.pixels, seen.newest.filled))
        if seen.hidden is not None and scene.tells_motion:
            gone = batch.add(hidden_task(scene, seen.newest.stamp, seen.hidden))
        if seen.keyframe is not None or seen.points is None and outputs.world:
            place = batch.add(place_task(scene, seen.clip, seen.keyframe, config))
        if (outputs.tracks or outputs.objects) and seen.points is None and scene.tells_motion:
            u, v = (x.ravel() for x in pixel_grid(config.tracks_size, area.size))
            u, v = u + area.x, v + area.y
            shown = seen.newest.filled(u, v) & area.contains(np.stack([u, v], axis=-1))
            tracks = batch.add(track_task(scene, u[shown], v[shown], newest, newest))
        batch.ask()
        attended = _attended(miner, scene) if miner else None
        return Proposal(outputs, scene, area, grid(), wide(), place(), tracks(), points(), gone(), attended)

    def place(self, seen: Seen, proposal: Proposal) -> Result:
        """The result of a window: which camera this is, where it is in the world, what it sees, how that moves. Its
        lengths are in the model's unit until it is `scaled`."""
        outputs, newest = proposal.outputs, seen.newest
        if seen.clip[-1].epoch != self._epoch:  # everything began anew while it was encoded
            camera = seen.camera or self._estimated_camera(newest, None)
            return Result(camera, window_cameras(seen.clip, None), problem=OVERTAKEN)
        camera = seen.camera or self._estimated_camera(newest, proposal.wide)
        start = self._start_pose.copy()
        start[:3, 3] /= self.config.metres or self._scale.metres
        pose = self._places.pose(seen, proposal, camera.pinhole, start, self.config)
        points = self._points(seen, proposal, camera.pinhole) if proposal.grid is not None else None
        moving = self._moving(seen, proposal, points, camera.pinhole, pose)
        if moving is not None:
            points = replace(points, dynamic=moving.grid)
        tracks, objects = None, None
        if pose.trusted and (outputs.tracks or outputs.objects):
            tracks = self._places.tracks(seen, proposal, pose, moving)
        if pose.trusted and outputs.objects and moving is not None:
            objects = self._movers.objects(newest.stamp, points, tracks, pose)
        return Result(
            camera=camera,
            window=self._places.cameras(seen, pose),
            pose=pose if outputs.world else None,
            points=points if outputs.points else None,
            tracks=tracks if outputs.tracks else None,
            moving=moving,
            objects=objects,
            unit=self._places.unit,
            scene=proposal.scene,
            problem=seen.sight.problem,
            frozen_seconds=seen.sight.frozen_seconds,
        )

    def measured_scale(self, seen: Seen, result: Result) -> list[ScaleMeasurement]:
        """What the depth that was measured beside the newest frame says of the scale, where it is to say that."""
        depth, points = seen.newest.depth, result.points
        if self.config.scale_source != "depth" or depth is None or points is None:
            return []
        try:
            return [image_scale(depth, result)]
        except NoScale:
            return []

    def scaled(self, result: Result, measurements: Sequence[ScaleMeasurement] = ()) -> Result:
        """The result in metres as far as these are known, by what has been measured of the scale until now."""
        config, before, pose = self.config, self._scale.metres, result.pose
        if config.metres:
            self._scale = fixed_scale(config.metres)
        elif config.measures_scale:
            known = pose.world_from_camera if result.trusted else None
            self._scale = self._filter.update(result.stamp, self._places.world, measurements, known)
        if pose is not None and self._scale.metres != before and self._scaled_world == pose.world:
            position = pose.world_from_camera[:3, 3]
            self._offset = continued(self._offset, position, before, self._scale.metres)
        elif pose is not None and self._scaled_world != pose.world:
            self._offset, self._scaled_world = np.zeros(3), pose.world
        return scaled(result, self._scale, self._offset)

    @property
    def scale_note(self) -> str:
        """What changed of the scale with the last result, in a sentence, or ""."""
        return self._filter.note

    @property
    def scale_problem(self) -> str:
        """Why the scale is not known, or may soon not be, in a sentence, or ""."""
        return self._filter.problem if self.config.measures_scale else ""

    def placed(self) -> list[tuple[int, int, np.ndarray]]:
        """(stamp, world, map_from_camera (4, 4)) of the newest images in the model's unit, as it is known by now; none
        where poses are the model's alone, which are not corrected."""
        return self._places.placed()

    def prepared(self, frame: WindowFrame) -> object:
        """A frame as the model takes it, made once, however many windows it is in: earlier, where a thread has the
        time."""
        if frame.prepared is None:
            frame.prepared = self._model.prepare(frame.image)
        return frame.prepared

    def start_at(self, world_from_camera: np.ndarray) -> None:
        """Where a new world is to begin, (4, 4), in the unit of results."""
        self._start_pose = world_from_camera

    def change(self, config: PipelineConfig) -> None:
        """Go on with another configuration, from any thread. Raises ValueError for one that the model cannot do."""
        if config.frames not in (None, self.num_frames):
            takes = "takes" if self._model.num_frames else "was started with"
            raise ValueError(f"a window of {config.frames} frames; this model {takes} {self.num_frames}")
        self.config = config

    def fit_depth(self, budget: float | None, took: float) -> None:
        """Have the next windows take `budget` seconds, where the last one `took` so many, by what the depth grid asks;
        None: it asks all."""
        per_second = self._model.queries_per_second if budget else None
        queries = fitting_depth_queries(self.config, budget, took, per_second) if per_second else None
        self.change(replace(self.config, depth_queries=queries))

    def _follow_restarts(self, frame: WindowFrame) -> None:
        """An image of a new epoch, or older than the last one, begins a new world."""
        if frame.epoch != self._epoch or (self._newest is not None and frame.stamp < self._newest.stamp):
            self._restart(frame.epoch, self._places.world + 1, self._places.next_id, self._movers.next_id)

    def _restart(self, epoch: int, world: int, first_id: int, first_body: int) -> None:
        self._epoch, self._newest = epoch, None
        self._focal_lengths: deque[tuple[float, float]] = deque(maxlen=FOCAL_ESTIMATES)
        places = Unrefined if self.config.refine == "none" else Refined
        self._places = places(self.config, world, first_id)
        self._movers = Movers(first_body)

    def _known_camera(self, newest: Frame) -> Camera | None:
        """The frame's own, or what its pixels have shown of it."""
        if newest.camera is not None:
            return Camera(newest.camera, True, 0.0)
        if self._places.camera is None:
            return None
        return Camera(self._places.camera, False, self._places.focal_sigma)

    def _estimated_camera(self, newest: Frame, grid: GridAnswers | None) -> Camera:
        """What the model has said of it in the windows so far."""
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

    def _grid_size(self, outputs: Outputs) -> tuple[int, int] | None:
        """Rows and columns of the depth grid that is needed; None: none is."""
        if outputs.points or outputs.movers:
            return self.config.depth_size
        watched = self.follows and outputs.world and self.config.dynamics in ("motion", "both")
        return MOTION_GRID if watched else None

    def _moving(
        self, seen: Seen, proposal: Proposal, points: Points | None, camera: Pinhole, pose: Pose
    ) -> Moving | None:
        """What of the newest image moves, which places nothing any more; None where that is not known."""
        if points is None or not proposal.outputs.world or self.config.dynamics == "off":
            return None
        poses = self._places.poses(seen)
        moving = self._movers.moving(seen, proposal, points, camera, pose, poses, self.config)
        if moving is not None and self._places.contradicted(seen, proposal, moving):
            self._movers.forget()
            return None
        if moving is not None:
            seen.clip[-1].moving = moving.mask
            self._places.leave_out(seen, moving)
        return moving

    def _points(self, seen: Seen, proposal: Proposal, camera: Pinhole) -> Points:
        """Of the area, as of an image of its own."""
        area, newest = proposal.area, seen.newest
        masks = [area.crop(mask) for mask in (newest.valid, area.mask) if mask is not None]
        valid = np.logical_and.reduce(masks) if masks else None
        points = coloured_points(
            proposal.grid.point_map(), area.crop(newest.image), area.camera(camera), valid
        )
        if area.y == 0:  # what reaches another upper edge may be a wall's lower part
            points = points.only(~sky(points, area.crop(newest.image)))
        return self._places.corrected(seen, proposal, points)


def _attended(miner: CueMiner, scene: Scene) -> np.ndarray | None:
    """(H, W) bool, what of the newest frame moves by the model's attention; None where that says nothing."""
    try:
        return scene_masks(miner, scene)[-1]
    except CueError:  # attention that is not finite, or too few frames
        return None


def _nothing() -> None:
    """The result of what nobody asked."""
