"""Where the camera is, image by image: by points that are followed in the pixels and whose depth the model proposes.

Two frames are kept (REP 105). In the map everything is where it is now known to be; the world is continuous: from image
to image the camera moves in it as it moves in the map, and what was said in it is never taken back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.region import Area
from d4rt_ros.geometry.resection import GaussianPose, Resection
from d4rt_ros.geometry.transforms import adjoint, invert, pose_matrix
from d4rt_ros.stream.dense import SPREAD, Correction, correction
from d4rt_ros.stream.flow_check import explained
from d4rt_ros.stream.followed import Followed, Placed, continued, grown_since, predicted, returning, stepped
from d4rt_ros.stream.gallery import Gallery
from d4rt_ros.stream.hidden import Gone
from d4rt_ros.stream.local_map import AGREES, FEWEST, OFFSET_SIGMA, SCALE_SIGMA, LocalMap, View, reprojected
from d4rt_ros.stream.results import Pose, WindowCameras
from d4rt_ros.stream.tracker import KEPT, TrackedPoints, Tracker
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.stream.world import LOST_COVARIANCE
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, RelativePose

INFLATION = 16.0  # of poses' covariances: the errors of points are not independent
LEAST_SHARE = 0.25  # of the landmarks that are seen, which must agree with a pose, FEWEST at least
FEWEST_AGAIN, LEAST_SHARE_AGAIN = 20, 0.5  # the same for a camera that was lost
# Landmarks that agree with a pose, and their share, below which the model is asked as well how the camera has moved.
FEW, FEW_SHARE = 40, 0.75
# Share of what is followed that a step of the camera must explain, to so many pixels of the small image, if nothing is
# nearer than so much of the nearest landmarks: of right steps 0.76 and more, of those that are off by 4 degrees 0.3.
LEAST_EXPLAINED, OFF, NEAREST = 0.6, 3.0, 0.5
LONG_PAUSE, PERIODS = 5, 15  # in periods of the stream, which are the median of so many
UNKNOWN = "no window of images has been placed in the world yet"
CONTRADICTED = (
    "the camera would move with something that moves: the depths of what is followed are not as the model's"
)


class VisualOdometry:
    """Keeps one world after another. world: counts them. last_loss: why the camera was lost last, or "".

    recent: the newest images, as their poses are known by now. left_out: ids of points whose pixels move.
    """

    def __init__(self, tracker: Tracker, world: int = 0) -> None:
        self.tracker, self.world, self.last_loss = tracker, world, ""
        self.map: LocalMap | None = None
        self.recent: deque[Followed] = deque(maxlen=KEPT)
        self._world_from_map = np.eye(4)  # as the world began; what is corrected since makes it another
        self._good: Followed | None = None  # the last image whose pose is known
        self._images, self._last_image = 0, None
        self._zoom = 0  # the number of the image with which the camera changed
        self._gallery = Gallery()
        self._moving = np.zeros(0, np.uint64)  # ids of points that the last window's model said to move
        self.left_out = np.zeros(0, np.uint64)
        self._gone: Gone | None = None  # what images have lost sight of, in the map

    @property
    def camera(self) -> Pinhole | None:
        """As far as it is known better than before."""
        return self.map and self.map.camera

    @property
    def focal_sigma(self) -> float:
        return self.map.focal_sigma if self.map else np.nan

    @property
    def offset(self) -> float:
        """The logarithm of what the model's lengths must be multiplied by, as a whole."""
        return self.map.offset if self.map else 0.0

    def at(self, stamp: int) -> Followed | None:
        """One of the newest images."""
        return next((followed for followed in reversed(self.recent) if followed.stamp == stamp), None)

    # Every image

    def follow(self, frame: WindowFrame) -> Followed:
        """The next image."""
        image, stamp, last = frame.image, frame.stamp, self._good
        self._images += 1
        start = predicted(self.recent, stamp)
        if start is None:
            start = last.pose if last else np.eye(4)
        if self._zoomed(frame):
            self._zoom = self._images
            if self.map.use(frame.frame.camera) and last is self.recent[-1]:
                # By the camera as it is now known, so that the next step is no jump.
                fit, _ = self.map.resect(self.tracker.at(last.stamp), last.pose)
                if fit is not None:
                    last = self._note(replace(last, pose=fit.world_from_camera))
        expected = [] if self.map is None else [self.map.expected(self.tracker.ids, start)]
        if self._gone is not None:
            expected.append(self._gone.expected(self.tracker.ids, stamp, start, self.map.camera))
        self.tracker.follow(image, stamp, expected, frame.frame.valid)
        same = self._last_image is not None and np.array_equal(image, self._last_image)
        self._last_image = image
        if self.map is None:
            return self._note(
                Followed(self._images, stamp, self.world, start, start, LOST_COVARIANCE, UNKNOWN)
            )
        if same and last is self.recent[-1]:
            return self._note(replace(last, number=self._images, stamp=stamp, step=None))
        return self._note(self._measured(stamp, start))

    def _measured(self, stamp: int, start: np.ndarray) -> Followed:
        fit, shown = self.map.resect(self.tracker.at(stamp), start)
        agree = 0 if fit is None else int((fit.weights > AGREES).sum())
        lost = bool(self.recent[-1].reason)
        fewest, share = (FEWEST_AGAIN, LEAST_SHARE_AGAIN) if lost else (FEWEST, LEAST_SHARE)
        needed = max(fewest, round(share * shown))
        here = replace(self._good, number=self._images, stamp=stamp, step=None, agree=agree, shown=shown)
        if agree < needed:
            return self._lost(here, f"{agree} of {shown} followed points of known depth agree with one motion of "
                              f"the camera; {needed} must")  # fmt: skip
        explained = self._explained(stamp, fit.world_from_camera)
        if len(explained) >= FEWEST and explained.mean() < LEAST_EXPLAINED:
            return self._lost(here, f"{explained.sum()} of {len(explained)} followed points went where the camera's "
                              f"motion takes them; {math.ceil(LEAST_EXPLAINED * len(explained))} must")  # fmt: skip
        moved = self._moved(here, fit)
        # After a loss or a pause the camera may have been anywhere in between.
        return replace(moved, step=None) if lost or self._paused(stamp) else moved

    def _explained(self, stamp: int, pose: np.ndarray) -> np.ndarray:
        """Of all that is followed since the last image whose pose is known, with and without a depth, whether that
        image's pose and this one explain it, (N,) bool: few landmarks may be wrong together. Empty where it is not
        known."""
        last, before = self._good, self.tracker.at(self._good.stamp)
        depth = self.map.project(slice(None), last.pose)[1]
        depth = depth[depth > 0]
        if before is None or last.number < self._zoom or not len(depth):
            return np.zeros(0, bool)
        step, near = invert(pose) @ last.pose, NEAREST * float(np.percentile(depth, 5))
        return explained(
            self.map.camera, before, self.tracker.at(stamp), step, near, OFF * self.map.unit,
            np.union1d(self._moving, self.left_out),
        )  # fmt: skip

    def _paused(self, stamp: int) -> bool:
        """Whether it is long since the last image, beside the stream's own period."""
        newest = [followed.stamp for followed in islice(reversed(self.recent), PERIODS)]
        stamps = np.array([*newest[::-1], stamp])
        return len(stamps) > 3 and stamps[-1] - stamps[-2] > LONG_PAUSE * np.median(np.diff(stamps[:-1]))

    def _moved(self, here: Followed, fit: Resection) -> Followed:
        """An image with its pose, which the landmarks show."""
        last, keyframe, pose = self._good, self.map.keyframes[-1], fit.world_from_camera
        own, world = INFLATION * fit.covariance, continued(last, pose)
        world = returning(last, world, self._world_from_map @ pose)
        # An image's own error is anew each time: it counts at both ends of every second.
        turned = adjoint(pose_matrix((world @ invert(pose))[:3, :3]))
        rate = turned @ (INFLATION * self.map.growth + 2.0 * own) @ turned.T
        covariance = grown_since(last, world, (here.stamp - last.stamp) / 1e9 * rate)
        from_map = invert(self.map.poses[keyframe.number])
        into_keyframe = adjoint(pose_matrix(from_map[:3, :3]))
        step = RelativePose(
            i_from_j=from_map @ pose,
            inliers=here.agree / here.shown,
            usable=here.shown / max(int(self.tracker.seen.sum()), 1),
            residual=float(np.sqrt(np.mean(fit.residuals[fit.weights > AGREES] ** 2))),
            parallax=0.0,
            covariance=into_keyframe @ (own + COVARIANCE_FLOOR) @ into_keyframe.T,
            method="pixels",
        )
        return replace(
            here, pose=pose, world_from_camera=world, covariance=covariance, reason="", keyframe=keyframe.number,
            step=step, keyframe_stamp=keyframe.points.stamp,
        )  # fmt: skip

    def _lost(self, followed: Followed, reason: str) -> Followed:
        self.last_loss = reason
        return replace(followed, covariance=LOST_COVARIANCE, reason=reason, step=None)

    def _note(self, followed: Followed) -> Followed:
        """As it is known by now."""
        if not self.recent or followed.number > self.recent[-1].number:
            self.recent.append(followed)
        else:  # images are numbered one by one
            self.recent[followed.number - self.recent[-1].number - 1] = followed
        good = next((f for f in reversed(self.recent) if not f.reason and f.world == self.world), None)
        self._good = good or self._good
        return followed

    # Every window

    def _points(self, frame: WindowFrame) -> TrackedPoints | None:
        """Of one of the newest images, in pixels of the map's camera, which may have zoomed since."""
        points, camera = self.tracker.at(frame.stamp), frame.frame.camera
        if points is None or not self._zoomed(frame):
            return points
        return replace(points, pixels=reprojected(points.pixels, camera, self.map.camera))

    def _zoomed(self, frame: WindowFrame) -> bool:
        camera = frame.frame.camera
        return self.map is not None and camera is not None and camera != self.map.given

    def reference(self, clip: Sequence[WindowFrame]) -> int | None:
        """Where pixels say little of the newest image: the place in the window of one whose pose is known, from which
        the model is to say how the camera has moved. None where they say enough, or there is none."""
        newest = self.at(clip[-1].stamp)
        if (
            self.map is None
            or newest is None
            or not newest.reason
            and newest.agree >= max(FEW, FEW_SHARE * newest.shown)
        ):
            return None
        for place, frame in enumerate(clip[:-1]):
            followed = self.at(frame.stamp)
            if followed is not None and not followed.reason and followed.world == self.world:
                return place
        return None

    def place(
        self,
        frame: WindowFrame,
        problem: str,
        said: np.ndarray | None,
        camera: Pinhole,
        start: np.ndarray,
        recover: float,
        motion: tuple[int, RelativePose] | None = None,
        moves: np.ndarray | None = None,
    ) -> Followed:
        """The newest image of a window, of whose points (`tracker.at`) the model said log depths (N,); or a problem.

        start: (4, 4) where a new world begins. recover: seconds for which a lost camera is looked for. motion: where
        pixels say little (`reference`), the camera in that of an earlier image, by its stamp, as the model has it.
        moves: (N,) bool, which of the points it says to move; None: none. These are no landmarks.
        """
        followed, points = self.at(frame.stamp), self._points(frame)
        if problem:
            if followed is None:  # it came too long ago
                return self._lost(replace(self.recent[-1], stamp=frame.stamp), problem)
            return self._note(self._lost(followed, followed.reason or problem))
        said = np.where(np.isin(points.ids, self.left_out), np.nan, said)
        if moves is not None:
            said, moving = np.where(moves, np.nan, said), points.ids[moves]
            if self.map is not None:  # what is one already goes once two windows say so
                self.map.forget(np.intersect1d(moving, self._moving))
            self._moving = moving
        if self.map is None:
            return self._begin(followed, points, said, frame, camera, start)
        as_said = None if motion is None else self._as_said(*motion)
        if not followed.reason and self.map.contradicted(View(points, followed.pose, said)):
            followed = self._note(self._lost(followed, CONTRADICTED))
        if not followed.reason:
            if as_said is not None:
                followed = self._note(self._helped(followed, points, as_said))
            if self.map.is_due(points, followed.number):
                followed = self._add_keyframe(followed, points, said, frame)
            return followed
        found = as_said or self._gallery.find(frame, self.map.camera, self.map.poses, self._images)
        if found is not None:
            return self._rejoin(followed, points, said, frame, found)
        if (frame.stamp - self._good.stamp) / 1e9 >= recover:
            self.world += 1
            return self._begin(followed, points, said, frame, camera, start)
        return followed

    def _as_said(self, stamp: int, step: RelativePose) -> Placed | None:
        """By the model, from an earlier image."""
        since = self.at(stamp)
        if since is None or since.reason or since.world != self.world:
            return None
        return stepped(since.pose, since, step.scaled(float(np.exp(self.map.offset))))

    def _helped(self, followed: Followed, points: TrackedPoints, said: Placed) -> Followed:
        """What pixels say of an image and what the model says, together."""
        try:
            prior = GaussianPose(said.pose, np.linalg.inv(said.covariance))
        except (np.linalg.LinAlgError, ValueError):
            return followed
        fit, _ = self.map.resect(points, said.pose, prior)
        if fit is None:
            return followed
        world = continued(followed, fit.world_from_camera)
        covariance = grown_since(followed, world, np.zeros((6, 6)))
        return replace(followed, pose=fit.world_from_camera, world_from_camera=world, covariance=covariance)

    def _begin(self, followed, points, said, frame, camera, start) -> Followed:
        """A new world."""
        self.map, self._world_from_map = LocalMap(camera, frame.frame.camera is not None), np.eye(4)
        self._gallery.clear()
        self._gone = None
        first = Followed(
            followed.number, frame.stamp, self.world, start.copy(), start.copy(), COVARIANCE_FLOOR
        )
        return self._add_keyframe(first, points, said, frame)

    def _rejoin(self, followed, points, said, frame, found: Placed) -> Followed:
        """A lost camera was found."""
        self.map.begin_again(View(points, found.pose, said))
        world = continued(self._good, found.pose)
        turned = adjoint(pose_matrix((world @ invert(found.pose))[:3, :3]))
        covariance = grown_since(self._good, world, turned @ found.covariance @ turned.T)
        again = replace(followed, pose=found.pose, world_from_camera=world, covariance=covariance, reason="")
        return self._add_keyframe(again, points, said, frame)

    def _add_keyframe(self, followed: Followed, points, said, frame) -> Followed:
        view = View(points, followed.pose, said)
        motions = self.map.add_keyframe(view, followed.number)
        number = self.map.keyframes[-1].number
        self._note(followed)
        for i, other in enumerate(self.recent):
            if other.world == self.world and not other.reason:
                keyframe = number if other.number >= followed.number else other.keyframe
                pose = motions[keyframe] @ other.pose if keyframe in motions else other.pose
                self.recent[i] = replace(other, keyframe=keyframe, pose=pose)
        followed = self._note(self.at(followed.stamp))
        depth = said + self.map.error_near(View(points, followed.pose, said), points.pixels)
        self._gallery.add(frame, followed, self.map.camera, points, depth)
        return followed

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
            step=followed.step,
            keyframe=None if followed.step is None else followed.keyframe_stamp,
            last_loss=self.last_loss,
        )

    def expect(self, followed: Followed, gone: Gone) -> None:
        """Have the next images look where the model says, in the camera of this one, that hidden points have gone."""
        self._gone = gone.moved(followed.pose, float(np.exp(self.map.offset)))

    def cameras(self, clip: Sequence[WindowFrame]) -> WindowCameras:
        """Of a window, in the world of its newest."""
        stamps = np.array([frame.stamp for frame in clip], np.int64)
        return WindowCameras(stamps, self._places(clip, "world_from_camera"))

    def poses(self, clip: Sequence[WindowFrame]) -> np.ndarray:
        """(T, 4, 4) map_from_camera of a window in the world of its newest, as they are known by now; NaN where not."""
        return self._places(clip, "pose")

    def _places(self, clip: Sequence[WindowFrame], name: str) -> np.ndarray:
        newest, places = self.at(clip[-1].stamp), np.full((len(clip), 4, 4), np.nan)
        for place, frame in zip(places, clip):
            followed = self.at(frame.stamp)
            if newest and followed is not None and not followed.reason and followed.world == newest.world:
                place[:] = getattr(followed, name)
        return places

    def leave_out(self, ids: np.ndarray) -> None:
        """Have nothing placed by these points until others are left out: no landmark is made of them, and what is one
        goes once two windows in a row say so, since what was learnt of its depth goes with it."""
        if self.map is not None:
            self.map.forget(np.intersect1d(ids, self.left_out))
        self.left_out = ids

    def placed(self) -> list[tuple[int, int, np.ndarray]]:
        """(stamp, world, map_from_camera (4, 4)) of the newest images, as it is known by now."""
        return [(f.stamp, f.world, f.pose.copy()) for f in self.recent if not f.reason]

    def begin_world(self, followed: Followed, start: np.ndarray) -> None:
        """Have the world begin at this image, wherever the map did: nothing was said in it before."""
        self._world_from_map = world_from_map = start @ invert(followed.pose)
        for i, other in enumerate(self.recent):
            if not other.reason and other.world == followed.world:
                world = world_from_map @ other.pose
                self.recent[i] = replace(other, world_from_camera=world, covariance=COVARIANCE_FLOOR)
        self._note(self.at(followed.stamp))

    def correct(self, frame: WindowFrame, area: Area, log_depth: np.ndarray, said: np.ndarray) -> Correction:
        """What the model's depth of an area of a window's newest image is to be multiplied by. log_depth: (h, w) on a
        grid over the area."""
        followed, points = self.at(frame.stamp), self._points(frame)
        corner, offset, share = np.array([area.x, area.y]), self.map.usual_offset, 0.0
        known = np.zeros((0, 2)), np.zeros(0), np.zeros(0)
        if not followed.reason and not self._zoomed(frame):
            view = View(points, followed.pose, said)
            near = self.map.known(view)
            median = float(np.median(near[1])) if len(near[1]) >= FEWEST else offset
            far = self.map.known_elsewhere(view, log_depth, corner, area.size, median)
            pixels, values, sigmas = (np.concatenate(pair) for pair in zip(near, far))
            believed, share = self.map.believed(np.append(values, median), near[2])
            known, offset = (pixels, believed[:-1], sigmas), believed[-1]
        pixels, values, sigmas = known
        inside = area.contains(pixels)
        found = correction(
            log_depth, area.crop(frame.image), pixels[inside] - corner, values[inside], sigmas[inside],
            (offset, OFFSET_SIGMA),
        )  # fmt: skip
        unsaid = (1.0 - share) * (OFFSET_SIGMA**2 + SPREAD**2)  # of the model's error
        return replace(found, sigma=np.sqrt(found.sigma**2 + SCALE_SIGMA**2 + unsaid))

    def depths(self, frame: WindowFrame, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depths (N,) of a window's newest image's points: of landmarks at rest their own, else the model's, corrected;
        NaN where not known. And which are at rest (N,) bool, as far as is known."""
        followed, points = self.at(frame.stamp), self._points(frame)
        depth = np.exp(said + self.map.error_near(View(points, followed.pose, said), points.pixels))
        rest, rows = self.map.at_rest(points.ids)
        depth[rest] = self.map.project(rows, followed.pose)[1]
        return depth, rest
