"""The world as the model says it (`refine: none`): windows are placed one by one, by what it answers of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from d4rt_ros.dynamics.motion import points_moving
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.localiser import Localiser
from d4rt_ros.stream.proposal import Proposal, Seen
from d4rt_ros.stream.results import (
    Points,
    Pose,
    StreamTracks,
    WindowCameras,
    window_cameras,
    world_tracks,
)
from d4rt_ros.stream.window import WindowFrame


class Unrefined:
    """The counterpart of `Refined`, where each method is said."""

    follows = False
    camera, focal_sigma = None, np.nan

    def __init__(self, config: PipelineConfig, world: int, first_id: int) -> None:
        self._localiser, self.next_id = Localiser(world), first_id

    @property
    def world(self) -> int:
        return self._localiser.number

    @property
    def unit(self) -> float:
        return self._localiser.world.unit.scale

    def follow(self, frame: WindowFrame) -> None:
        """Nothing is said of an image alone."""

    def look(self, clip: Sequence[WindowFrame]) -> tuple[None, None, int | None]:
        return None, None, self._localiser.keyframe_index(clip)

    def pose(
        self, seen: Seen, proposal: Proposal, camera: Pinhole, start: np.ndarray, config: PipelineConfig
    ) -> Pose:
        pose = self._localiser.place(seen.clip, seen.sight.problem, proposal.place, camera, start, config)
        seen.clip[-1].pose = pose
        return pose

    def cameras(self, seen: Seen, pose: Pose) -> WindowCameras:
        return window_cameras(seen.clip, pose)

    def corrected(self, seen: Seen, proposal: Proposal, points: Points) -> Points:
        return replace(points, xyz=points.xyz * np.float32(self.unit))

    def poses(self, seen: Seen) -> np.ndarray:
        return window_cameras(seen.clip, seen.clip[-1].pose).world_from_camera

    def contradicted(self, seen: Seen, proposal: Proposal, moving: Moving) -> bool:
        """The model alone places the camera."""
        return False

    def leave_out(self, seen: Seen, moving: Moving) -> None:
        """What is noted of the frame does: the model is not asked there."""

    def tracks(
        self, seen: Seen, proposal: Proposal, pose: Pose, moving: Moving | None
    ) -> StreamTracks | None:
        if proposal.tracks is None:  # a model that does not know where points go
            return None
        first, self.next_id = self.next_id, self.next_id + len(proposal.tracks.xyz)
        tracks = replace(proposal.tracks, xyz=proposal.tracks.xyz * np.float32(self.unit))
        size = seen.newest.image.shape[:2]
        tracks = world_tracks(tracks, seen.stamps, pose.world_from_camera, first, size)
        return (
            tracks if moving is None else replace(tracks, dynamic=points_moving(moving, tracks.pixels[:, -1]))
        )

    def placed(self) -> list[tuple[int, int, np.ndarray]]:
        """None: poses that are the model's alone are not corrected."""
        return []
