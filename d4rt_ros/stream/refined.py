"""The world as the pixels decide (`refine: pixels`): every image is followed, and windows bring the model's depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from d4rt_ros.dynamics.motion import points_moving
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.hidden import HiddenPoints, hidden_points
from d4rt_ros.stream.localiser import proposed_step
from d4rt_ros.stream.proposal import Proposal, Seen
from d4rt_ros.stream.results import Points, Pose, StreamTracks, WindowCameras
from d4rt_ros.stream.tracker import TrackedPoints, Tracker, rows_among
from d4rt_ros.stream.trails import Trails
from d4rt_ros.stream.visual_odometry import VisualOdometry
from d4rt_ros.stream.window import WindowFrame

# Of its depth, within a window: what goes farther moves. Of what is at rest in real rooms 99.9 % stays below.
MOVES = 0.03
# Points within and outside what moves, and how often of two of them the one within is said to move more, for the model
# to contradict what pixels say as a whole.
FEWEST_MOVED, AGREED = 5, 0.7


class Refined:
    """What the images of a stream and the model's windows become, in lengths of the world's own unit.

    follows: whether images are placed one by one. world: counts the worlds. unit: of the newest window's lengths, in
    the world's. camera, focal_sigma: what the pixels have shown of a camera that nothing else is known of, and the
    relative standard deviation of its focal length; None while they have not. next_id: tracks that are born now are
    counted from here.
    """

    follows = True

    def __init__(self, config: PipelineConfig, world: int, first_id: int) -> None:
        self._tracker = Tracker(config.tracks_max, config.tracks_unseen_seconds, first_id)
        self._odometry, self._trails = VisualOdometry(self._tracker, world), Trails()
        self._said = -1  # the world of which something was said

    @property
    def next_id(self) -> int:
        return self._tracker.next_id

    @property
    def world(self) -> int:
        return self._odometry.world

    @property
    def unit(self) -> float:
        return float(np.exp(self._odometry.offset))

    @property
    def camera(self) -> Pinhole | None:
        return self._odometry.camera

    @property
    def focal_sigma(self) -> float:
        return self._odometry.focal_sigma

    def follow(self, frame: WindowFrame) -> tuple[WindowCameras, Pose] | None:
        """Where the next image was taken; None while nobody has been told where the world is."""
        followed = self._odometry.follow(frame)
        if self._said != followed.world:
            return None
        return self._odometry.cameras([frame]), self._odometry.pose(followed)

    def look(
        self, clip: Sequence[WindowFrame]
    ) -> tuple[TrackedPoints | None, HiddenPoints | None, int | None]:
        """What is followed in the newest image, None where that is too long ago; which of it only earlier images
        show; and where in the clip the frame is from which the model is to say how the camera has moved, None where it
        is not to."""
        newest, recent = clip[-1], self._odometry.recent
        if not recent or newest.stamp > recent[-1].stamp:
            self._odometry.follow(newest)
        hidden = hidden_points(clip, self._tracker)
        return self._tracker.at(newest.stamp), hidden, self._odometry.reference(clip)

    def pose(
        self, seen: Seen, proposal: Proposal, camera: Pinhole, start: np.ndarray, config: PipelineConfig
    ) -> Pose:
        """Of the newest camera. start: (4, 4) where a new world begins."""
        answers, motion = proposal.points, None
        said, moves = (None, None) if answers is None else (answers.log_depth, answers.moved > MOVES)
        if proposal.place is not None:
            step, wrong = proposed_step(seen.clip, proposal.place, camera, config)
            motion = None if wrong else (seen.clip[seen.keyframe].stamp, step)
        followed = self._odometry.place(
            seen.clip[-1], seen.sight.problem, said, camera, start, config.recover_seconds, motion, moves
        )
        if proposal.gone is not None and not followed.reason:
            self._odometry.expect(followed, proposal.gone)
        if proposal.outputs.world and not followed.reason and self._said != followed.world:
            # As long as nobody asked for it, nobody knew where it was to begin.
            self._odometry.begin_world(followed, start)
            self._said = followed.world
        return self._odometry.pose(followed)

    def cameras(self, seen: Seen, pose: Pose) -> WindowCameras:
        """Where the window's frames were taken."""
        return self._odometry.cameras(seen.clip)

    def corrected(self, seen: Seen, proposal: Proposal, points: Points) -> Points:
        """The area's points as the model says them, corrected."""
        # Nothing is known of a point that is not in front of the camera.
        log_depth = np.log(
            points.depth, where=points.depth > 0, out=np.full(points.depth.shape, np.nan, np.float32)
        )
        found = self._odometry.correct(
            seen.clip[-1], proposal.area, log_depth.astype(np.float64), proposal.points.log_depth
        )
        xyz = points.xyz * np.exp(found.log)[..., None].astype(np.float32)
        sigma = np.where(np.isfinite(points.depth), found.sigma, np.nan).astype(np.float32)
        return replace(points, xyz=xyz, sigma=sigma)

    def poses(self, seen: Seen) -> np.ndarray:
        """(T, 4, 4) map_from_camera of the window's frames, as they are known by now, in its newest's world; NaN where
        they are not."""
        return self._odometry.poses(seen.clip)

    def contradicted(self, seen: Seen, proposal: Proposal, moving: Moving) -> bool:
        """Whether the model says that what moves at the window's newest image is at rest, and what is at rest moves:
        then the camera is rather placed by something that moves."""
        points, moved = seen.points, proposal.points.moved
        known = points.seen & np.isfinite(moved)
        masked = points_moving(moving, points.pixels[known])
        inside, outside = moved[known][masked], moved[known][~masked]
        if min(len(inside), len(outside)) < FEWEST_MOVED:
            return False
        # The probability that of two points the masked one is said to move more (Mann and Whitney 1947).
        return float((inside[:, None] > outside).mean()) < 1 - AGREED

    def leave_out(self, seen: Seen, moving: Moving) -> None:
        """Have nothing placed by what moves at the window's newest image. What that does not show goes on as it did."""
        points = seen.points
        before = np.isin(points.ids, self._odometry.left_out)
        moves = np.where(points.seen, points_moving(moving, points.pixels), before)
        self._odometry.leave_out(points.ids[moves])

    def tracks(self, seen: Seen, proposal: Proposal, pose: Pose, moving: Moving | None) -> StreamTracks:
        """Of the area's points, over the window's stamps."""
        points, answers = seen.points, proposal.points
        depth, rest = self._odometry.depths(seen.clip[-1], answers.log_depth)
        dynamic = np.isin(points.ids, self._odometry.left_out)
        rest &= ~dynamic
        local = self._odometry.camera.backproject(points.pixels, depth)
        # Where a hidden point is expected another thing is seen, and that is what the depth is of.
        local[~(points.seen | rest)] = np.nan
        confidence, gone = answers.confidence.copy(), proposal.gone
        if gone is not None:
            there, rows = rows_among(points.ids, gone.ids)
            there, rows = there[~rest[there]], rows[~rest[there]]
            local[there], confidence[there] = self.unit * gone.positions[rows], gone.confidence[rows]
        self._trails.add(seen.newest.stamp, points.ids, transform(pose.world_from_camera, local))
        rows = np.flatnonzero(proposal.area.contains(points.pixels))
        tracks = self._trails.tracks(seen.stamps, rows, rest[rows], confidence[rows], self._tracker)
        return tracks if moving is None else replace(tracks, dynamic=dynamic[rows])

    def placed(self) -> list[tuple[int, int, np.ndarray]]:
        """(stamp, world, map_from_camera (4, 4)) of the newest images, as it is known by now."""
        return self._odometry.placed()
