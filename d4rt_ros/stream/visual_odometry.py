"""Where the camera is, image by image: by points that are followed in the pixels and whose depth the model proposes.

Two frames are kept (REP 105). In the map everything is where it is now known to be; the world is continuous: from image
to image the camera moves in it as it moves in the map, and what was said in it is never taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.region import Area
from d4rt_ros.geometry.resection import GaussianPose, Resection
from d4rt_ros.geometry.transforms import adjoint, invert, nearest_rotation, pose_matrix
from d4rt_ros.stream.dense import Correction, correction
from d4rt_ros.stream.landmarks import rows_of
from d4rt_ros.stream.local_map import AGREES, OFFSET_SIGMA, LocalMap
from d4rt_ros.stream.relocation import Landmarks, find
from d4rt_ros.stream.results import Pose, WindowCameras
from d4rt_ros.stream.tracker import TrackedPoints, Tracker
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.stream.world import LOST_COVARIANCE
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

POSE_INFLATION = 4.0  # of the covariance of an image's pose against the landmarks: errors are not independent
RECENT = 300  # images whose poses are kept: a window may take seconds
FEWEST, LEAST_SHARE = (
    10,
    0.25,
)  # landmarks that must agree with a pose, and their share of those that are seen
FEWEST_AGAIN, LEAST_SHARE_AGAIN = 20, 0.5  # the same for a camera that was lost
FEW = 40  # landmarks that agree, below which the model is asked as well how the camera has moved
LONG_PAUSE, PERIODS = 5, 15  # in periods of the stream, which are the median of so many
LONGEST_STEP = 2.0  # of the last interval, for which constant velocity is believed
VIEWS, TRIES = 10, 3  # keyframes by which a lost camera is looked for, and by how many of them a window
GRID = (12, 16)  # of the depth of such a keyframe
UNKNOWN = "no window of images has been placed in the world yet"


@dataclass(eq=False)
class Followed:
    """An image. number: counts images. pose: map_from_camera (4, 4), as it is now known. world_from_camera: as it was
    said. covariance: (6, 6) of the latter. reason: why the pose is not known, "" where it is; then both are the last
    good ones. keyframe: the number of the one before it. world: counts worlds. step: how it was measured, None where it
    was not. agree: landmarks that agree with it, of those that are shown."""

    number: int
    stamp: int
    pose: np.ndarray
    world_from_camera: np.ndarray
    covariance: np.ndarray
    reason: str
    keyframe: int
    world: int
    step: RelativePose | None = None
    keyframe_stamp: int | None = None
    agree: int = 0


class VisualOdometry:
    """Keeps one world after another. world: counts them. last_loss: why the camera was lost last, or ""."""

    def __init__(self, tracker: Tracker, world: int = 0) -> None:
        self.tracker, self.world, self.last_loss = tracker, world, ""
        self.map: LocalMap | None = None
        self.recent: deque[Followed] = deque(maxlen=RECENT)
        self._good: Followed | None = None  # the last image whose pose is known
        self._images, self._last_image = 0, None
        self._views: deque[tuple[Landmarks, int]] = deque(maxlen=VIEWS)

    @property
    def camera(self) -> Pinhole | None:
        """As far as it is known better than before."""
        return self.map and self.map.camera

    @property
    def focal_sigma(self) -> float:
        return self.map.focal_sigma if self.map else np.nan

    def at(self, stamp: int) -> Followed | None:
        """One of the newest images."""
        return next((followed for followed in self.recent if followed.stamp == stamp), None)

    # Every image

    def follow(self, frame: WindowFrame) -> Followed:
        """The next image."""
        image, stamp, last = frame.image, frame.stamp, self._good
        self._images += 1
        start = self._predicted(stamp)
        expected = [] if self.map is None else [self.map.expected(self.tracker.ids, start)]
        self.tracker.follow(image, stamp, expected, frame.frame.valid)
        same = self._last_image is not None and np.array_equal(image, self._last_image)
        self._last_image = image
        if self.map is None:
            followed = Followed(self._images, stamp, start, start, LOST_COVARIANCE, UNKNOWN, -1, self.world)
        elif same and last is self.recent[-1]:
            followed = Followed(
                self._images,
                stamp,
                last.pose,
                last.world_from_camera,
                last.covariance,
                "",
                last.keyframe,
                self.world,
                agree=last.agree,
            )
        else:
            followed = self._measured(stamp, start, last)
        self._note(followed)
        return followed

    def _measured(self, stamp: int, start: np.ndarray, last: Followed) -> Followed:
        fit, shown = self.map.resect(self.tracker.at(stamp), start)
        agree = 0 if fit is None else int((fit.weights > AGREES).sum())
        lost = bool(self.recent[-1].reason)
        fewest, share = (FEWEST_AGAIN, LEAST_SHARE_AGAIN) if lost else (FEWEST, LEAST_SHARE)
        if agree < fewest or agree < share * shown:
            reason = (
                f"{agree} of {shown} followed points of known depth agree with one motion of the camera; "
                f"{max(fewest, round(share * shown))} must"
            )
            return self._lost(stamp, reason, agree)
        followed = self._moved(stamp, fit, agree, shown)
        if lost or self._paused(stamp):  # in between the camera may have been anywhere
            followed.step = None
        return followed

    def _paused(self, stamp: int) -> bool:
        """Whether it is long since the last image, beside the stream's own period."""
        stamps = np.array([followed.stamp for followed in self.recent][-PERIODS:] + [stamp])
        return len(stamps) > 3 and stamps[-1] - stamps[-2] > LONG_PAUSE * np.median(np.diff(stamps[:-1]))

    def _moved(self, stamp: int, fit: Resection, agree: int, shown: int) -> Followed:
        """An image whose pose in the map is known, with its covariance against the landmarks."""
        pose, covariance = fit.world_from_camera, POSE_INFLATION * fit.covariance
        last, keyframe = self._good, self.map.keyframes[-1].number
        world = last.world_from_camera @ invert(last.pose) @ pose
        world[:3, :3] = nearest_rotation(world[:3, :3])
        lever = adjoint(pose_matrix(translation=self.map.poses[keyframe][:3, 3] - pose[:3, 3]))
        whole = lever @ self.map.covariances[keyframe] @ lever.T + covariance + COVARIANCE_FLOOR
        turned = adjoint(pose_matrix((world @ invert(pose))[:3, :3]))
        back = adjoint(pose_matrix(self.map.poses[keyframe][:3, :3].T))
        step = RelativePose(
            i_from_j=invert(self.map.poses[keyframe]) @ pose,
            inliers=agree / shown,
            usable=shown / max(int(self.tracker.seen.sum()), 1),
            residual=float(np.sqrt(np.mean(fit.residuals[fit.weights > AGREES] ** 2))),
            parallax=0.0,
            covariance=back @ (covariance + COVARIANCE_FLOOR) @ back.T,
            method="pixels",
        )
        stamp_of = self.map.keyframes[-1].points.stamp
        return Followed(
            self._images,
            stamp,
            pose,
            world,
            turned @ whole @ turned.T,
            "",
            keyframe,
            self.world,
            step,
            stamp_of,
            agree,
        )

    def _lost(self, stamp: int, reason: str, agree: int = 0) -> Followed:
        last = self._good or self.recent[-1]
        self.last_loss = reason
        return Followed(
            self._images,
            stamp,
            last.pose,
            last.world_from_camera,
            LOST_COVARIANCE,
            reason,
            last.keyframe,
            self.world,
            agree=agree,
        )

    def _note(self, followed: Followed) -> None:
        self.recent.append(followed)
        if not followed.reason:
            self._good = followed

    def _predicted(self, stamp: int) -> np.ndarray:
        """Where the camera is at constant velocity."""
        good = [f for f in self.recent if not f.reason and f.world == self.world][-2:]
        if len(good) < 2 or self.recent[-1].reason:
            return self._good.pose if self._good else np.eye(4)
        a, b = good
        share = min((stamp - b.stamp) / (b.stamp - a.stamp), LONGEST_STEP)
        step = invert(a.pose) @ b.pose
        turn = share * Rotation.from_matrix(step[:3, :3]).as_rotvec()
        return b.pose @ pose_matrix(Rotation.from_rotvec(turn).as_matrix(), share * step[:3, 3])

    # Every window

    def place(
        self,
        frame: WindowFrame,
        problem: str,
        said: np.ndarray | None,
        camera: Pinhole,
        start: np.ndarray,
        recover: float,
        motion: tuple[int, RelativePose] | None = None,
    ) -> Followed:
        """The newest image of a window, of whose points (`tracker.at`) the model said log depths (N,); or a problem.

        motion: where pixels say little (`reference`), the camera in that of an earlier image, by its stamp, as the model
        has it. start: (4, 4) where a new world begins. recover: seconds for which a lost camera is looked for.
        """
        followed, points = self.at(frame.stamp), self.tracker.at(frame.stamp)
        if problem:
            self.last_loss = problem
            if followed is None:
                return self._lost(frame.stamp, problem)
            followed.reason, followed.covariance = followed.reason or problem, LOST_COVARIANCE
            if self._good is followed:
                self._good = next((f for f in reversed(self.recent) if not f.reason), followed)
            return followed
        if self.map is None:
            self._begin(followed, points, said, frame, camera, start)
        elif followed.reason:
            found = self._moved_as_said(motion) if motion else self._found(frame)
            if found is not None:
                self._rejoin(followed, points, said, found, frame)
            elif (frame.stamp - self._good.stamp) / 1e9 >= recover:
                self.world += 1
                self._begin(followed, points, said, frame, camera, start)
        else:
            if motion:
                self._helped(followed, points, self._moved_as_said(motion))
            if self.map.is_due(points, followed.number):
                self._add_keyframe(followed, points, said, frame)
        return followed

    def reference(self, clip: Sequence[WindowFrame]) -> int | None:
        """Where pixels say little of the newest image: the place in the window of one whose pose is known, from which
        the model is to say how the camera has moved. None where they say enough, or there is none."""
        newest = self.at(clip[-1].stamp)
        if self.map is None or newest is None or not newest.reason and newest.agree >= FEW:
            return None
        for place, frame in enumerate(clip[:-1]):
            followed = self.at(frame.stamp)
            if followed is not None and not followed.reason and followed.world == self.world:
                return place
        return None

    def _moved_as_said(self, motion: tuple[int, RelativePose]) -> _Found:
        reference, step = self.at(motion[0]), motion[1]
        unit = np.exp(self.offset)
        lengths = np.array([unit] * 3 + [1.0] * 3)
        i_from_j = pose_matrix(step.i_from_j[:3, :3], unit * step.i_from_j[:3, 3])
        turned = adjoint(pose_matrix(reference.pose[:3, :3]))
        covariance = turned @ (step.covariance * np.outer(lengths, lengths)) @ turned.T
        return _Found(reference.pose @ i_from_j, reference.covariance + covariance, covariance)

    def _helped(self, followed: Followed, points: TrackedPoints, said: _Found) -> None:
        """What pixels say of an image and what the model says, together."""
        try:
            prior = GaussianPose(said.pose, np.linalg.inv(said.step_covariance))
        except (np.linalg.LinAlgError, ValueError):
            return
        fit, _ = self.map.resect(points, followed.pose, prior)
        if fit is not None:
            last = followed.pose
            followed.pose = fit.world_from_camera
            followed.world_from_camera = followed.world_from_camera @ invert(last) @ followed.pose

    def _begin(self, followed, points, said, frame, camera, start) -> None:
        """A new world."""
        self.map = LocalMap(camera, frame.frame.camera is not None)
        self._views.clear()
        followed.pose, followed.world_from_camera = start.copy(), start.copy()
        followed.covariance, followed.reason, followed.world = COVARIANCE_FLOOR.copy(), "", self.world
        self._good = followed
        self._add_keyframe(followed, points, said, frame)

    def _rejoin(self, followed, points, said, found, frame) -> None:
        self.map.begin_again()
        last = self._good
        followed.world_from_camera = last.world_from_camera @ invert(last.pose) @ found.pose
        followed.pose, followed.covariance, followed.reason = found.pose, found.covariance, ""
        self._good = followed
        self._add_keyframe(followed, points, said, frame)

    def _add_keyframe(self, followed, points, said, frame) -> None:
        motions = self.map.add_keyframe(points, followed.number, followed.pose, followed.covariance, said)
        number = followed.keyframe = self.map.keyframes[-1].number
        for other in self.recent:
            if other.world != self.world or other.reason:
                continue
            if other.number >= followed.number:
                other.keyframe = number
            if other.keyframe in motions:
                other.pose = motions[other.keyframe] @ other.pose
        depth = said + self.map.error_near(points, followed.pose, said, points.pixels)
        self._views.append(
            (Landmarks(frame, self.map.camera, _grid(points, depth, frame.image.shape[:2])), number)
        )

    def _found(self, frame: WindowFrame):
        """The pose (4, 4) of a lost camera in the map by the features of an earlier keyframe, and its covariance."""
        views = list(self._views)[::-1]
        others = views[1:]
        turn = self._images % max(len(others), 1)
        for view, number in [*views[:1], *(others[turn:] + others[:turn])[: TRIES - 1]]:
            if number not in self.map.poses:
                continue
            step = find(view, frame.image, self.map.camera)
            if step is not None:
                covariance = self.map.covariances[number] + step.covariance
                return _Found(self.map.poses[number] @ step.i_from_j, covariance, step.covariance)
        return None

    # What it is good for

    def pose(self, followed: Followed) -> Pose:
        """As it is published, in the model's unit."""
        return Pose(
            world_from_camera=followed.world_from_camera.copy(),
            covariance=followed.covariance.copy(),
            trusted=not followed.reason,
            reason=followed.reason,
            world=followed.world,
            map_from_world=followed.pose @ invert(followed.world_from_camera),
            step=None if followed.reason else followed.step,
            keyframe=None if followed.reason else followed.keyframe_stamp,
            last_loss=self.last_loss,
        )

    def cameras(self, clip: Sequence[WindowFrame]) -> WindowCameras:
        """Of a window, in the world of its newest."""
        newest, poses = self.at(clip[-1].stamp), np.full((len(clip), 4, 4), np.nan)
        for place, frame in zip(poses, clip):
            followed = self.at(frame.stamp)
            if newest and followed is not None and not followed.reason and followed.world == newest.world:
                place[:] = followed.world_from_camera
        return WindowCameras(np.array([frame.stamp for frame in clip], np.int64), poses)

    def placed(self) -> list[tuple[int, int, np.ndarray]]:
        """(stamp, world, map_from_camera (4, 4)) of the newest images, as it is known by now."""
        return [(f.stamp, f.world, f.pose.copy()) for f in self.recent if not f.reason]

    def begin_world(self, followed: Followed, start: np.ndarray) -> None:
        """Have the world begin at this image, wherever the map did: nothing was said in it before."""
        for other in self.recent:
            if not other.reason:
                other.world_from_camera = start @ invert(followed.pose) @ other.pose
                other.covariance = COVARIANCE_FLOOR.copy()

    def correct(self, frame: WindowFrame, area: Area, log_depth: np.ndarray, said: np.ndarray) -> Correction:
        """What the model's depth of an area of a window's newest image is to be multiplied by. log_depth: (h, w) on a
        grid over the area."""
        followed, points = self.at(frame.stamp), self.tracker.at(frame.stamp)
        corner = np.array([area.x, area.y])
        known, offset = (np.zeros((0, 2)), np.zeros(0), np.zeros(0)), self.offset
        if not followed.reason:
            near = self.map.known(points, followed.pose, said)
            offset = float(np.median(near[1])) if len(near[1]) else offset
            far = self.map.known_elsewhere(points, followed.pose, log_depth, corner, area.size, offset)
            known = tuple(np.concatenate(pair) for pair in zip(near, far))
        pixels, values, sigmas = known
        inside = area.contains(pixels)
        return correction(
            log_depth, area.crop(frame.image), pixels[inside] - corner, values[inside], sigmas[inside],
            (offset, OFFSET_SIGMA),
        )  # fmt: skip

    @property
    def offset(self) -> float:
        """The logarithm of what the model's lengths must be multiplied by, as a whole."""
        return self.map.offset if self.map else 0.0

    def depths(self, frame: WindowFrame, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depths (N,) of a window's newest image's points: of landmarks at rest their own, else the model's, corrected;
        NaN where not known. And which are at rest (N,) bool, as far as is known."""
        followed, points = self.at(frame.stamp), self.tracker.at(frame.stamp)
        depth = np.exp(said + self.map.error_near(points, followed.pose, said, points.pixels))
        rows = rows_of(self.map.landmarks, points.ids)
        known = rows >= 0
        rest = known.copy()
        rest[known] = self.map.landmarks["weight"][rows[known]] > AGREES
        depth[rest] = self.map.project(rows[rest], followed.pose)[1]
        return depth, rest


@dataclass(frozen=True)
class _Found:
    """A pose (4, 4) in the map, its covariance (6, 6), and that of the step to it alone."""

    pose: np.ndarray
    covariance: np.ndarray
    step_covariance: np.ndarray


def _grid(points: TrackedPoints, log_depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (rows, columns) over an image, everywhere that of the nearest point."""
    good = np.isfinite(log_depth) & points.seen
    if not good.any():
        return np.full(GRID, np.nan)
    v, u = np.meshgrid(
        np.linspace(0, size[0] - 1, GRID[0]), np.linspace(0, size[1] - 1, GRID[1]), indexing="ij"
    )
    away = ((np.stack([u, v], -1)[..., None, :] - points.pixels[good]) ** 2).sum(-1)
    return np.exp(log_depth[good])[away.argmin(-1)]
