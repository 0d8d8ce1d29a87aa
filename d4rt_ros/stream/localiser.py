"""Where the camera is in the world: measured from the keyframe, found again by its image, or a new world's beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, pose_matrix, transform
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.pixels import SAME_PLACE, confirmed
from d4rt_ros.stream.relocation import find
from d4rt_ros.stream.window import Frame
from d4rt_ros.stream.world import Landmarks, World
from d4rt_ros.tasks.questions import usable
from d4rt_ros.tasks.relative_pose import PoseError, RelativePose, pose_of

Answers = dict[str, tuple[Queries, Answer]]  # what was asked and what was answered, by name


class Localiser:
    """Keeps one world after another.

    world: the present one. number: counts the worlds, from 0. last_loss: why the camera was lost last, or "".
    """

    def __init__(self, number: int = 0) -> None:
        self.number, self.world, self.last_loss = number, World(), ""

    def keyframe_index(self, clip: Sequence[Frame]) -> int | None:
        """Where in the clip the frame is that poses are measured from; None where it has gone."""
        stamps = [frame.stamp for frame in clip]
        stamp = self.world.keyframe_stamp
        return stamps.index(stamp) if stamp in stamps else None

    def place(
        self,
        clip: Sequence[Frame],
        problem: str,
        size: tuple[int, int],
        camera: Pinhole,
        answers: Answers,
        start_pose: np.ndarray,
        config: PipelineConfig,
    ) -> tuple[RelativePose | None, str]:
        """Find the newest camera, which is then the world's `camera`: how it was measured from the keyframe, and
        why its place is not known, in a sentence, or "".

        problem: why the images show nothing to measure, or "". answers: to `pose_questions`, where there is a
        keyframe.
        """
        step, newest = None, clip[-1]
        if self.world.stamp is None:
            self._begin(newest, problem, start_pose, config)
        elif not problem:
            step, problem = self._follow(clip, size, camera, answers, config)
            if problem and newest.stamp - self.world.stamp >= config.recover_seconds * 1e9:
                # It has been looked for long enough: a new world, in which this is known.
                self.number, self.world, self.last_loss = self.number + 1, World(), problem
                self._begin(newest, "", start_pose, config)
                step, problem = None, ""
        self.last_loss = problem or self.last_loss
        return step, problem

    def _begin(self, newest: Frame, problem: str, start_pose: np.ndarray, config: PipelineConfig) -> None:
        """The world's start is known; it begins with the first image that shows something."""
        metres = config.metres or 1.0
        self.world.start(pose_matrix(start_pose[:3, :3], start_pose[:3, 3] / metres))
        if not problem:
            self.world.set_keyframe(newest.stamp)

    def _follow(
        self, clip: Sequence[Frame], size: tuple[int, int], camera: Pinhole, answers: Answers, config: PipelineConfig
    ) -> tuple[RelativePose | None, str]:
        world, newest, keyframe = self.world, clip[-1], self.keyframe_index(clip)
        # The next windows must still hold the keyframe.
        ageing = keyframe is None or keyframe < len(clip) // 2
        if newest.look.unchanged_since <= world.stamp:
            # The very image that was placed last: the camera stands still, exactly.
            world.stay(newest.stamp)
            if ageing:
                world.set_keyframe(newest.stamp)
            return None, ""
        if keyframe is None:
            return None, self._find_again(newest, camera)
        here, there = _depths(answers["here"][1], config.pose_grid)
        landmarks = Landmarks(clip[keyframe], camera, here, world.keyframe)
        step, problem = _measured(size, camera, answers, config)
        problem = problem or _refuted(landmarks, step, newest, camera)
        if not problem:
            world.move(step, newest.stamp)
            world.landmarks = landmarks
            if ageing:
                world.set_keyframe(newest.stamp)
                world.landmarks = Landmarks(newest, camera, there, world.keyframe)
        return step, problem

    def _find_again(self, newest: Frame, camera: Pinhole) -> str:
        """Look for the camera in the old world by what its image shares with the last keyframe's."""
        world, away = self.world, (newest.stamp - self.world.stamp) / 1e9
        step = find(world.landmarks, newest.image, camera) if world.landmarks is not None else None
        if step is None:
            return (
                f"the camera's way is not known for the last {away:.1f} s (a pause, a cut, images that showed "
                "nothing, or skipped windows), and its image shows too little of where it was before"
            )
        world.keyframe = world.landmarks.pose
        world.move(step, newest.stamp)
        world.set_keyframe(newest.stamp)
        return ""


def _measured(
    size: tuple[int, int], camera: Pinhole, answers: Answers, config: PipelineConfig
) -> tuple[RelativePose | None, str]:
    """The newest camera in the keyframe's frame; and why it is not to be trusted, in a sentence, or ""."""
    (asked, here), (_, there) = answers["here"], answers["there"]
    try:
        step = pose_of(here, there, asked, size, camera, config.pose_method)
    except PoseError as error:
        return None, str(error)
    least = config.pose_min_inliers
    if step.inliers < least:
        return step, f"{step.inliers:.0%} of the points agree with the camera's motion; {least:.0%} must"
    return step, ""


def _refuted(landmarks: Landmarks, step: RelativePose, newest: Frame, camera: Pinhole) -> str:
    """Whether the images contradict a step from the keyframe, in a sentence, or ""."""
    known = landmarks.frame.look.view
    pixels = (known.points + 0.5) / known.scale - 0.5
    points = landmarks.camera.backproject(pixels, landmarks.depth_at(pixels))
    share = confirmed(known, newest.look.view, camera.project(transform(invert(step.i_from_j), points)))
    if share is None:
        return "the camera would see too little of its keyframe for the images to confirm its motion"
    if share < SAME_PLACE:
        return f"the images contradict the model: {share:.0%} of the points are where its motion puts them"
    return ""


def _depths(here: Answer, grid: tuple[int, int]) -> np.ndarray:
    """(2, rows, columns) along z, of the keyframe's grid and of the newest frame's; NaN where it is not usable."""
    return np.where(usable(here, in_front=True), here.xyz[:, 2], np.nan).reshape(2, *grid)
