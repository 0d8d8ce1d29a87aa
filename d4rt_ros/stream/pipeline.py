"""Frames in, geometry out: the heart of the online system."""

from __future__ import annotations

from collections import deque

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.stream.config import Outputs, PipelineConfig
from d4rt_ros.stream.localiser import Localiser
from d4rt_ros.stream.results import Points, Result, StreamTracks, coloured_points, scaled, world_tracks
from d4rt_ros.stream.sight import sight
from d4rt_ros.stream.trust import trust_of
from d4rt_ros.stream.window import Frame, Window
from d4rt_ros.stream.world import LOST_COVARIANCE
from d4rt_ros.tasks.adaptive_depth import coarse_questions, filled_point_map, refined
from d4rt_ros.tasks.depth import point_map_questions
from d4rt_ros.tasks.intrinsics import IntrinsicsError, camera_of
from d4rt_ros.tasks.questions import ask, pixel_grid
from d4rt_ros.tasks.relative_pose import pose_questions
from d4rt_ros.tasks.tracks import track_questions, tracks_of

# A camera's focal length does not change while it runs: the median of so many windows' estimates is used.
FOCAL_ESTIMATES = 30


class Pipeline:
    """Drives a model over a stream. Not thread-safe, but for `window`, which another thread may own.

    start_pose: world_from_camera (4, 4) where a new world begins; it may be set before any `process`. Its
    translation is in metres where config.metres is given, else in the model's unit.
    """

    def __init__(self, model, config: PipelineConfig = PipelineConfig()) -> None:
        frames = model.num_frames if config.frames is None else config.frames
        if frames != model.num_frames:
            raise ValueError(f"a window of {frames} frames; this model takes {model.num_frames}")
        self.model, self.config = model, config
        self.window = Window(frames, config.stride, config.hop, config.max_gap)
        self.start_pose: np.ndarray = BODY_FROM_OPTICAL
        self._next_id = 0
        self._restart(epoch=0, world=0)

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

        # What the images show by themselves, and what the model says of them: encoded once, asked everything at once.
        seen = sight(clip, self._newest)
        scene = self.model.encode(self._prepared(clip))
        answers = {} if seen.problem else self._ask(scene, clip, outputs, config)

        # Which camera this is, and where it is in the world.
        camera = clip[-1].camera or self._estimated_camera(scene, answers)
        step, lost, keyframe = None, "", self._localiser.world.keyframe_stamp
        if outputs.world:
            step, lost = self._localiser.place(
                clip, seen.problem, scene.size, camera, answers, self.start_pose, config
            )
        trust = trust_of(seen.problem, lost, outputs.world)

        # What it sees, and how that moves.
        points = _points(clip[-1], scene, camera, answers, config) if outputs.points and trust.scene else None
        tracks = self._tracks(stamps, scene, answers) if outputs.tracks and trust.pose else None

        self._newest = clip[-1]
        place = self._localiser.world.camera
        result = Result(
            stamp=clip[-1].stamp,
            stamps=stamps,
            scene=scene,
            camera=camera,
            calibrated=clip[-1].camera is not None,
            trust=trust,
            world=self._localiser.number,
            world_from_camera=place.world_from_camera.copy() if outputs.world else None,
            pose_covariance=(place.covariance if trust.pose else LOST_COVARIANCE).copy()
            if outputs.world
            else None,
            step=step if trust.pose else None,
            keyframe=keyframe if trust.pose and step is not None else None,
            last_loss=self._localiser.last_loss,
            frozen_seconds=seen.frozen_seconds,
            points=points,
            tracks=tracks,
        )
        return scaled(result, config.metres) if config.metres else result

    def _follow_restarts(self, clip: list[Frame]) -> None:
        newest = clip[-1]
        if newest.epoch != self._epoch or (self._newest is not None and newest.stamp < self._newest.stamp):
            self._restart(newest.epoch, self._localiser.number + 1)

    def _restart(self, epoch: int, world: int) -> None:
        self._epoch, self._newest, self._localiser = epoch, None, Localiser(world)
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
            asked["points"] = coarse_questions(scene, newest, config.depth_size, config.depth_points)
        elif clip[-1].camera is None:
            asked["points"] = point_map_questions(scene, newest, config.pose_grid, newest)
        if outputs.world:
            keyframe, method, grid = (
                self._localiser.keyframe_index(clip),
                config.pose_method,
                config.pose_grid,
            )
            if keyframe is None:
                asked["here"] = point_map_questions(scene, newest, grid, newest)
            else:
                asked["here"], asked["there"] = pose_questions(scene, keyframe, newest, method, grid)
        if outputs.tracks:
            u, v = (x.ravel() for x in pixel_grid(config.tracks_size, scene.size))
            seen = _filled(clip[-1], u, v)
            asked["tracks"] = track_questions(scene, u[seen], v[seen], newest, newest)
        answers = ask(scene, *asked.values()) if asked else []
        answers = {name: (question, answer) for (name, question), answer in zip(asked.items(), answers)}
        if outputs.points:
            answers["points"] = refined(scene, *answers["points"], config.depth_size, config.depth_points)
        if outputs.world:
            _forget_borders(clip, *answers["here"])
        return answers

    def _estimated_camera(self, scene, answers) -> Pinhole:
        height, width = scene.size
        if "points" in answers:
            asked, answer = answers["points"]
            try:
                camera = camera_of(answer, asked, scene.size)
                self._focal_lengths.append((camera.fx, camera.fy))
            except IntrinsicsError:
                pass  # what earlier windows showed holds
        if not self._focal_lengths:
            # Nothing is known of this camera yet: about 53 degrees are seen across.
            return Pinhole.centred(max(scene.size), max(scene.size), width, height)
        return Pinhole.centred(*np.median(self._focal_lengths, axis=0), width, height)

    def _tracks(self, stamps: np.ndarray, scene, answers) -> StreamTracks:
        tracks = tracks_of(answers["tracks"][1], len(stamps))
        first_id, self._next_id = self._next_id, self._next_id + len(tracks.xyz)
        return world_tracks(
            tracks, stamps, self._localiser.world.camera.world_from_camera, first_id, scene.size
        )


def _points(frame: Frame, scene, camera: Pinhole, answers: dict, config: PipelineConfig) -> Points:
    points = filled_point_map(*answers["points"], config.depth_size, scene.size, config.depth_points)
    return coloured_points(points, frame.image, camera, frame.lens.valid if frame.lens else None)


def _filled(frame: Frame, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(N,) bool: whether the raw image fills these pixels of the frame; they lie within it."""
    valid = frame.lens.valid if frame.lens else None
    if valid is None:
        return np.ones(len(u), bool)
    return valid[np.rint(v).astype(np.intp), np.rint(u).astype(np.intp)]


def _forget_borders(clip: list[Frame], asked: Queries, answer: Answer) -> None:
    """What the model says of the black borders of rectified images is nothing."""
    for t in np.unique(asked.t_src):
        rows = np.flatnonzero(asked.t_src == t)
        answer.xyz[rows[~_filled(clip[t], asked.u[rows], asked.v[rows])]] = np.nan
