"""Where the camera is in the world, and how long the window's unit is there: measured from the keyframe, found again by
its image, or in a new world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, transform
from d4rt_ros.model.protocol import Scene
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.pixels import CONFIRMED, confirmed, resized_pixels
from d4rt_ros.stream.relocation import KnownView, find
from d4rt_ros.stream.results import Pose
from d4rt_ros.stream.stitching import StitchError, Unit, scaled_step
from d4rt_ros.stream.trust import reason_of
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.stream.world import LOST_COVARIANCE, World, WorldPose
from d4rt_ros.tasks.batch import Task
from d4rt_ros.tasks.depth import point_map_questions
from d4rt_ros.tasks.questions import pixel_grid, usable_points
from d4rt_ros.tasks.relative_pose import MIN_POINTS, PoseAnswers, PoseError, RelativePose, pose_task

Clip = Sequence[WindowFrame]  # the frames of a window, oldest first


@dataclass(frozen=True, eq=False)
class PlaceAnswers:
    """What the newest camera's place is made from.

    keyframe: where in the clip the frame is that it is measured from; None where that has gone. pose: how; None too.
    depths: (1 or 2, rows, columns) along z, of the keyframe's grid if there is one and of the newest frame's; NaN where
        it is not usable. confidence: of these, 0 there.
    """

    keyframe: int | None
    pose: PoseAnswers | None
    depths: np.ndarray
    confidence: np.ndarray


def place_task(scene: Scene, clip: Clip, keyframe: int | None, config: PipelineConfig) -> Task[PlaceAnswers]:
    """Ask how the camera has moved since the keyframe, or, where that has gone, for the newest frame's depth alone."""
    newest, grid = len(clip) - 1, config.pose_grid
    if keyframe is None:
        asked = point_map_questions(scene, newest, grid, newest)
        [here] = yield [asked]
        pose = None
    else:
        pose = yield from pose_task(scene, keyframe, newest, config.pose_method, grid)
        asked, here = pose.asked, pose.here
    _forget_unusable(clip, asked, here)
    xyz, confidence = usable_points(here, in_front=True)
    return PlaceAnswers(keyframe, pose, xyz[:, 2].reshape(-1, *grid), confidence.reshape(-1, *grid))


def _forget_unusable(clip: Clip, asked: Queries, answer: Answer) -> None:
    """What the model says of the black borders of rectified images is nothing; nor is what moves a place."""
    for t in np.unique(asked.t_src):
        rows, usable = np.flatnonzero(asked.t_src == t), clip[t].at_rest
        if usable is not None:
            v, u = (np.rint(x[rows]).astype(np.intp) for x in (asked.v, asked.u))
            answer.xyz[rows[~usable[v, u]]] = np.nan


class Localiser:
    """Keeps one world after another.

    world: the present one. number: counts the worlds, from 0. last_loss: why the camera was lost last, or "".
    """

    def __init__(self, number: int = 0) -> None:
        self.number, self.world, self.last_loss = number, World(), ""

    def keyframe_index(self, clip: Clip) -> int | None:
        """Where in the clip the frame is that poses are measured from; None where it has gone."""
        stamps, keyframe = [frame.stamp for frame in clip], self.world.keyframe
        return stamps.index(keyframe.stamp) if keyframe and keyframe.stamp in stamps else None

    def place(
        self,
        clip: Clip,
        problem: str,
        answers: PlaceAnswers | None,
        camera: Pinhole,
        start_pose: np.ndarray,
        config: PipelineConfig,
    ) -> Pose:
        """Find the newest camera, which is then the world's `camera`, and the window's unit, then the world's `unit`.

        problem: why the images show nothing to measure, or "". answers: None then, and where nobody asked. start_pose:
        (4, 4) where a new world begins, in the model's unit.
        """
        if self.world.stamp is None:
            # It begins with the first image that shows something, and where it begins is known before.
            self.world = World(start_pose)
        step, lost = None, problem or None
        known = 0 if answers is None else int(np.isfinite(answers.depths[-1]).sum())
        if answers is not None and known < MIN_POINTS:
            # No later window could be joined to this one.
            lost = (
                f"the model says the depth of {known} of {answers.depths[-1].size} points of the newest image; "
                f"{MIN_POINTS} are needed"
            )
            answers = None
        if answers is not None:
            step, lost = self._measure(clip, answers, camera, config)
        self.last_loss = lost or self.last_loss
        if answers is not None and lost and self._searched(clip[-1].stamp) >= config.recover_seconds:
            # It has been looked for long enough: a new world, in which this is known.
            self.number, self.world, step, lost = self.number + 1, World(start_pose), None, ""
            self._set_keyframe(clip[-1], camera, answers.depths)
        place, reason = self.world.camera, reason_of(problem, lost)
        step = None if reason else step
        return Pose(
            world_from_camera=place.world_from_camera.copy(),
            covariance=(LOST_COVARIANCE if reason else place.covariance).copy(),
            trusted=not reason,
            reason=reason,
            world=self.number,
            step=step,
            keyframe=None if step is None else clip[answers.keyframe].stamp,
            last_loss=self.last_loss,
        )

    def _measure(
        self, clip: Clip, answers: PlaceAnswers, camera: Pinhole, config: PipelineConfig
    ) -> tuple[RelativePose | None, str]:
        """Place the window in the world; how its newest camera was measured, and why its place or its unit is not
        known, in a sentence, or ""."""
        world, newest, keyframe = self.world, clip[-1], answers.keyframe
        if world.stamp is None:
            self._set_keyframe(newest, camera, answers.depths)
            return None, ""
        # The very image that was placed last: the camera stands still, exactly.
        still = newest.look.unchanged_since <= world.stamp
        place, step = world.camera, None
        try:
            if keyframe is None:
                place = place if still else self._found_again(newest, camera)
                world.unit = self._unit_across(place, KnownView(newest, camera, answers.depths[-1]))
            else:
                world.unit = self._unit_again(answers)
                if not still:
                    step = self._step(clip, answers, camera, config)
                    place = world.keyframe.pose.moved(step)
        except StitchError as error:
            return None, str(error)
        world.place(place, newest.stamp)
        # The next windows must still hold the keyframe.
        if keyframe is None or keyframe < len(clip) // 2:
            self._set_keyframe(newest, camera, answers.depths)
        return step, ""

    def _set_keyframe(self, newest: WindowFrame, camera: Pinhole, depths: np.ndarray) -> None:
        self.world.set_keyframe(KnownView(newest, camera, self.world.unit.scale * depths[-1]))

    def _searched(self, stamp: int) -> float:
        """Seconds since the camera's place was known last."""
        return (stamp - self.world.stamp) / 1e9

    def _step(
        self, clip: Clip, answers: PlaceAnswers, camera: Pinhole, config: PipelineConfig
    ) -> RelativePose:
        """From the keyframe, in the world's unit. Raises StitchError."""
        step, problem = proposed_step(clip, answers, camera, config)
        if problem:
            raise StitchError(problem)
        return scaled_step(step, self.world.unit)

    def _unit_again(self, answers: PlaceAnswers) -> Unit:
        """Of a window that holds the keyframe, and says its depth once more. Raises StitchError."""
        keyframe, now = self.world.keyframe, answers.depths[0]
        before = keyframe.landmarks.depth_at(_pixels(now.shape, keyframe.landmarks.camera))
        return keyframe.unit.of_next(before, now, answers.confidence[0])

    def _found_again(self, newest: WindowFrame, camera: Pinhole) -> WorldPose:
        """The camera in the old world by what its image shares with the keyframe's, which has gone. Raises
        StitchError."""
        step = find(self.world.keyframe.landmarks, newest, camera)
        if step is None:
            raise StitchError(
                f"the camera's way is not known for the last {self._searched(newest.stamp):.1f} s (a pause, a cut, "
                "images that showed nothing, or skipped windows), and its image shows too little of where it was before"
            )
        return self.world.keyframe.pose.moved(step)

    def _unit_across(self, place: WorldPose, newest: KnownView) -> Unit:
        """Of a window from which the keyframe has gone, whose newest frame, with depth in this unit, is here: by the
        points of the keyframe that it shows. Raises StitchError."""
        keyframe, known = self.world.keyframe, self.world.keyframe.landmarks
        points = known.camera.backproject(_pixels(known.depth.shape, known.camera), known.depth)
        points = transform(invert(place.world_from_camera) @ keyframe.pose.world_from_camera, points)
        now = newest.depth_at(newest.camera.project(points))
        return keyframe.unit.of_next(points[..., 2], now, np.ones(now.shape))


def proposed_step(
    clip: Clip, answers: PlaceAnswers, camera: Pinhole, config: PipelineConfig
) -> tuple[RelativePose | None, str]:
    """The newest camera in the keyframe's frame as the model says; and why it is not to be trusted, its answers being
    too few or contradicted by the images, in a sentence, or ""."""
    step, problem = _measured(answers.pose, camera, config)
    seen = KnownView(clip[answers.keyframe], camera, answers.depths[0])
    return step, problem or _refuted(seen, step, clip[-1], camera)


def _measured(
    answers: PoseAnswers, camera: Pinhole, config: PipelineConfig
) -> tuple[RelativePose | None, str]:
    """The newest camera in the keyframe's frame; and why it is not to be trusted, in a sentence, or ""."""
    try:
        step = answers.pose(camera)
    except PoseError as error:
        return None, str(error)
    least = config.pose_min_inliers
    if step.inliers < least:
        return step, f"{step.inliers:.0%} of the points agree with the camera's motion; {least:.0%} must"
    return step, ""


def _refuted(landmarks: KnownView, step: RelativePose, newest: WindowFrame, camera: Pinhole) -> str:
    """Whether the images contradict a step from the keyframe, in a sentence, or ""."""
    known = landmarks.frame.look.view
    pixels = resized_pixels(known.points, 1 / known.scale)
    points = landmarks.camera.backproject(pixels, landmarks.depth_at(pixels))
    share = confirmed(known, newest.look.view, camera.project(transform(invert(step.i_from_j), points)))
    if share is None:
        return "the camera would see too little of its keyframe for the images to confirm its motion"
    if share < CONFIRMED:
        return f"the images contradict the model: {share:.0%} of the points are where its motion puts them"
    return ""


def _pixels(grid: tuple[int, int], camera: Pinhole) -> np.ndarray:
    """(rows, columns, 2) of a grid over a camera's image."""
    return np.stack(pixel_grid(grid, (camera.height, camera.width)), axis=-1)
