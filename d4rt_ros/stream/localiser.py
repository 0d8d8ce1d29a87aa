"""Where the camera is in the world: measured from the keyframe, found again by its image, or in a new world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, pose_matrix, transform
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.pixels import CONFIRMED, confirmed
from d4rt_ros.stream.relocation import Landmarks, find
from d4rt_ros.stream.window import Frame
from d4rt_ros.stream.world import World
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

        problem: why the images show nothing to measure, or "", where there is something, with the answers "here" and
        "there" to `pose_questions`, or where the clip holds no keyframe "here" of the newest frame alone.
        """
        if self.world.stamp is None:
            # It begins with the first image that shows something, and where it begins is known before.
            self.world.start(_start(start_pose, config))
        if problem:
            self.last_loss = problem
            return None, problem
        depths = _depths(answers["here"][1], config.pose_grid)
        if self.world.stamp is None:
            self._set_keyframe(clip[-1], camera, depths)
            return None, ""
        step, problem = self._follow(clip, size, camera, answers, depths, config)
        self.last_loss = problem or self.last_loss
        if problem and clip[-1].stamp - self.world.stamp >= config.recover_seconds * 1e9:
            # It has been looked for long enough: a new world, in which this is known.
            self.number, self.world = self.number + 1, World()
            self.world.start(_start(start_pose, config))
            self._set_keyframe(clip[-1], camera, depths)
            return None, ""
        return step, problem

    def _follow(
        self,
        clip: Sequence[Frame],
        size: tuple[int, int],
        camera: Pinhole,
        answers: Answers,
        depths: np.ndarray,
        config: PipelineConfig,
    ) -> tuple[RelativePose | None, str]:
        world, newest, keyframe = self.world, clip[-1], self.keyframe_index(clip)
        if newest.look.unchanged_since <= world.stamp:
            # The very image that was placed last: the camera stands still, exactly.
            step, problem = None, ""
            world.stay(newest.stamp)
        elif keyframe is None:
            step, problem = None, self._find_again(newest, camera)
        else:
            step, problem = _measured(size, camera, answers, config)
            seen = Landmarks(clip[keyframe], camera, depths[0])
            problem = problem or _refuted(seen, step, newest, camera)
            if not problem:
                world.move(step, newest.stamp)
        # The next windows must still hold the keyframe.
        if not problem and (keyframe is None or keyframe < len(clip) // 2):
            self._set_keyframe(newest, camera, depths)
        return step, problem

    def _set_keyframe(self, newest: Frame, camera: Pinhole, depths: np.ndarray) -> None:
        self.world.set_keyframe(newest.stamp)
        self.world.landmarks = Landmarks(newest, camera, depths[-1])

    def _find_again(self, newest: Frame, camera: Pinhole) -> str:
        """Look for the camera in the old world by what its image shares with the last keyframe's."""
        world, away = self.world, (newest.stamp - self.world.stamp) / 1e9
        step = find(world.landmarks, newest.image, camera)
        if step is None:
            return (
                f"the camera's way is not known for the last {away:.1f} s (a pause, a cut, images that showed "
                "nothing, or skipped windows), and its image shows too little of where it was before"
            )
        world.move(step, newest.stamp)
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
    if share < CONFIRMED:
        return f"the images contradict the model: {share:.0%} of the points are where its motion puts them"
    return ""


def _depths(here: Answer, grid: tuple[int, int]) -> np.ndarray:
    """(1 or 2, rows, columns) along z, of the keyframe's grid if it was asked for and of the newest frame's; NaN
    where it is not usable."""
    return np.where(usable(here, in_front=True), here.xyz[:, 2], np.nan).reshape(-1, *grid)


def _start(start_pose: np.ndarray, config: PipelineConfig) -> np.ndarray:
    """Where a world begins, in the model's unit."""
    return pose_matrix(start_pose[:3, :3], start_pose[:3, 3] / (config.metres or 1.0))
