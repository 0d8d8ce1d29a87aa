"""Frames in, geometry out: the heart of the online system."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.stream.results import Points, Result, Scale, StreamTracks, Trust, coloured_points, world_tracks
from d4rt_ros.stream.window import Frame, Window
from d4rt_ros.stream.world import World
from d4rt_ros.tasks.adaptive_depth import MIN_QUERIES, coarse_questions, filled_point_map, refined
from d4rt_ros.tasks.depth import point_map_questions
from d4rt_ros.tasks.intrinsics import IntrinsicsError, camera_of
from d4rt_ros.tasks.questions import ask, check_grid, pixel_grid
from d4rt_ros.tasks.relative_pose import METHODS, MIN_POINTS, PoseError, RelativePose, pose_of, pose_questions
from d4rt_ros.tasks.tracks import track_questions, tracks_of

# A camera's focal length does not change while it runs: the median of so many windows' estimates is used.
FOCAL_ESTIMATES = 30
NO_POSE = Trust(pose=False, reason="the camera's pose was not asked for")
LEAST_DEPTH = 0.25  # of a depth grid's points; asked evenly, these are half its resolution


@dataclass(frozen=True)
class Outputs:
    """What to compute. Tracks are given in the world, so they bring the pose with them."""

    points: bool = True
    tracks: bool = True
    pose: bool = True

    @property
    def world(self) -> bool:
        """Whether the camera's place in the world is needed."""
        return self.pose or self.tracks


@dataclass(frozen=True)
class PipelineConfig:
    """frames of a window (None: as many as the model takes), every `stride`-th of the stream, a window every
    `hop` of these; sizes are rows, columns of grids over the image. depth_queries: the most queries for the depth
    grid, whose other points are interpolated (None: every point is asked). pose_min_inliers: the share of
    points that must agree with a pose for it to be trusted. Raises ValueError for what cannot be."""

    frames: int | None = None
    stride: int = 1
    hop: int = 1
    depth_size: tuple[int, int] = (36, 48)
    depth_queries: int | None = None
    tracks_size: tuple[int, int] = (9, 12)
    pose_method: str = "pnp"
    pose_grid: tuple[int, int] = (12, 12)
    pose_min_inliers: float = 0.5

    def __post_init__(self) -> None:
        for name in ("depth_size", "tracks_size", "pose_grid"):
            if len(getattr(self, name)) != 2 or min(getattr(self, name)) < 2:
                raise ValueError(
                    f"{name} = {getattr(self, name)}; it must be (rows, columns), each 2 or more"
                )
            check_grid(getattr(self, name))
        if self.depth_queries is not None and self.depth_queries < MIN_QUERIES:
            raise ValueError(f"depth_queries = {self.depth_queries}; it must be {MIN_QUERIES} or more")
        if self.pose_grid[0] * self.pose_grid[1] < MIN_POINTS:
            raise ValueError(f"pose_grid = {self.pose_grid}; a pose needs {MIN_POINTS} points or more")
        if self.pose_method not in METHODS:
            raise ValueError(f"pose_method = '{self.pose_method}'; it must be one of {', '.join(METHODS)}")
        if not 0.0 <= self.pose_min_inliers <= 1.0:
            raise ValueError(f"pose_min_inliers = {self.pose_min_inliers}; it must be a share in 0..1")


class Pipeline:
    """Drives a model over a stream. Not thread-safe, but for `window`, which another thread may own."""

    def __init__(self, model, config: PipelineConfig = PipelineConfig()) -> None:
        frames = model.num_frames if config.frames is None else config.frames
        if frames != model.num_frames:
            raise ValueError(f"a window of {frames} frames; this model takes {model.num_frames}")
        self.model, self.config = model, config
        self.window = Window(frames, config.stride, config.hop)
        self._next_id = 0
        self._restart(epoch=0)

    def add(self, frame: Frame, outputs: Outputs = Outputs()) -> Result | None:
        """Take a frame; a result where a window is due. Raises StampError for a frame that is refused."""
        return self.process(self.window.clip(), outputs) if self.window.add(frame) else None

    def reset(self) -> None:
        """Forget the window, and with its next clip the world."""
        self.window.reset()

    def process(self, clip: list[Frame], outputs: Outputs = Outputs()) -> Result:
        """What a window of frames, oldest first, shows. A clip of a new epoch, or older than the last one,
        begins a new world."""
        config = self.config  # another thread may replace it meanwhile
        self._follow_restarts(clip)
        stamps = np.array([frame.stamp for frame in clip], np.int64)

        # Encode the window once, ask it everything at once.
        scene = self.model.encode(self._prepared(clip))
        answers = self._ask(scene, clip, outputs, config)

        # Which camera this is, and where it is in the world.
        camera = clip[-1].camera or self._estimated_camera(scene, answers)
        pose = dict(trust=NO_POSE)
        if outputs.world:
            pose = self._align_to_world(clip, scene, camera, answers, config)

        # What it sees, and how that moves.
        points = _points(clip[-1], scene, camera, answers, config) if outputs.points else None
        tracks = self._tracks(stamps, answers) if outputs.tracks else None

        return Result(
            stamp=clip[-1].stamp,
            stamps=stamps,
            scene=scene,
            camera=camera,
            calibrated=clip[-1].camera is not None,
            points=points,
            tracks=tracks,
            **pose,
        )

    def _follow_restarts(self, clip: list[Frame]) -> None:
        newest = clip[-1]
        if newest.epoch != self._epoch or newest.stamp < self._stamp:
            self._restart(newest.epoch)
        self._stamp = newest.stamp

    def _restart(self, epoch: int) -> None:
        self._epoch, self._stamp = epoch, 0
        self._world = World()
        self._focal_lengths: deque[tuple[float, float]] = deque(maxlen=FOCAL_ESTIMATES)

    def _prepared(self, clip: list[Frame]) -> list:
        for frame in clip:
            # Windows overlap: a frame is prepared once, not once a window.
            if frame.prepared is None:
                frame.prepared = self.model.prepare(frame.image)
        return [frame.prepared for frame in clip]

    def _ask(
        self, scene, clip: list[Frame], outputs: Outputs, config: PipelineConfig
    ) -> dict[str, tuple[Queries, Answer]]:
        """All that the outputs need: what was asked and what was answered, by name. One call, and one more for
        each level of a depth grid that is not asked whole."""
        newest, asked = len(clip) - 1, {}
        if outputs.points:
            asked["points"] = coarse_questions(scene, newest, config.depth_size, _depth_queries(config))
        elif clip[-1].camera is None:
            asked["points"] = point_map_questions(scene, newest, config.pose_grid, newest)
        if outputs.world:
            keyframe = self._keyframe_index(clip)
            if keyframe is not None:
                method, grid = config.pose_method, config.pose_grid
                asked["here"], asked["there"] = pose_questions(scene, keyframe, newest, method, grid)
        if outputs.tracks:
            u, v = pixel_grid(config.tracks_size, scene.size)
            asked["tracks"] = track_questions(scene, u, v, newest, newest)
        answers = ask(scene, *asked.values()) if asked else []
        answers = {name: (question, answer) for (name, question), answer in zip(asked.items(), answers)}
        if outputs.points:
            answers["points"] = refined(scene, *answers["points"], config.depth_size, _depth_queries(config))
        return answers

    def _keyframe_index(self, clip: list[Frame]) -> int | None:
        """Where in the clip the frame is that poses are measured from; None where it has gone."""
        stamps = [frame.stamp for frame in clip]
        stamp = self._world.keyframe_stamp
        return stamps.index(stamp) if stamp in stamps else None

    def _estimated_camera(self, scene, answers) -> Pinhole:
        asked, answer = answers["points"]
        height, width = scene.size
        try:
            camera = camera_of(answer, asked, scene.size)
            self._focal_lengths.append((camera.fx, camera.fy))
        except IntrinsicsError:
            if not self._focal_lengths:
                # Nothing is known of this camera yet: about 53 degrees are seen across.
                return Pinhole.centred(max(scene.size), max(scene.size), width, height)
        return Pinhole.centred(*np.median(self._focal_lengths, axis=0), width, height)

    def _align_to_world(
        self, clip: list[Frame], scene, camera: Pinhole, answers: dict, config: PipelineConfig
    ) -> dict:
        """Measure the newest camera from the keyframe; the result's fields on the pose."""
        world, newest, keyframe = self._world, clip[-1].stamp, self._keyframe_index(clip)
        step, note = None, ""
        if world.keyframe_stamp is None:
            world.set_keyframe(newest)
        elif keyframe is None:
            world.lose()
            world.set_keyframe(newest)
            note = "the poses' keyframe has left the window: frames were skipped, or the way was lost"
        elif world.keyframe_stamp != newest:
            step, note = _measured_step(scene, camera, answers, config)
            if not note:
                world.move(step)
                # In time, so that the next windows still hold it.
                if keyframe < len(clip) // 2:
                    world.set_keyframe(newest)
        # What could not be measured now may be bridged later; a way that was lost stays lost.
        pose = world.camera.lost() if note and keyframe is not None else world.camera
        return dict(
            world_from_camera=pose.world_from_camera.copy(),
            pose_covariance=pose.covariance.copy(),
            trust=Trust(pose=not note, reason=note),
            step=step,
        )

    def _tracks(self, stamps: np.ndarray, answers) -> StreamTracks:
        tracks = tracks_of(answers["tracks"][1], len(stamps))
        first_id, self._next_id = self._next_id, self._next_id + len(tracks.xyz)
        return world_tracks(tracks, stamps, self._world.camera.world_from_camera, first_id)


def _measured_step(
    scene, camera: Pinhole, answers: dict, config: PipelineConfig
) -> tuple[RelativePose | None, str]:
    """The newest camera in the last one's frame; and why it is not to be trusted, in a sentence, or ''."""
    (asked, here), (_, there) = answers["here"], answers["there"]
    try:
        step = pose_of(here, there, asked, scene.size, camera, config.pose_method)
    except PoseError as error:
        return None, str(error)
    least = config.pose_min_inliers
    if step.inliers < least:
        return step, f"{step.inliers:.0%} of the points agree with the camera's motion; {least:.0%} must"
    return step, ""


def _points(frame: Frame, scene, camera: Pinhole, answers: dict, config: PipelineConfig) -> Points:
    points = filled_point_map(*answers["points"], config.depth_size, scene.size, _depth_queries(config))
    return coloured_points(points, frame.image, camera, frame.lens.valid if frame.lens else None)


def fitting_depth_queries(
    config: PipelineConfig, budget: float, took: float, per_second: float
) -> int | None:
    """How many queries the depth grid may ask for a window to take `budget` seconds; None where all fit.

    took: seconds of a window that was computed with `config`; per_second: queries that the model answers. Goes
    half of the way, since both are noisy. Never fewer than LEAST_DEPTH of the grid, whatever the budget: what would
    be interpolated from fewer is no measurement any more.
    """
    every = config.depth_size[0] * config.depth_size[1]
    wanted = _depth_queries(config) + 0.5 * (budget - took) * per_second
    fitting = max(MIN_QUERIES, int(LEAST_DEPTH * every), int(wanted))
    return None if fitting >= every else fitting


def _depth_queries(config: PipelineConfig) -> int:
    """How many the depth grid may ask; its own number of points is all that it can use."""
    every = config.depth_size[0] * config.depth_size[1]
    return every if config.depth_queries is None else min(config.depth_queries, every)
