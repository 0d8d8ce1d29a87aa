"""What is known of a window before it has a place in the world: what its images show, and what the model says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.region import Area
from d4rt_ros.io.frame import Frame
from d4rt_ros.model.protocol import Scene
from d4rt_ros.stream.config import Outputs
from d4rt_ros.stream.hidden import Gone, HiddenPoints
from d4rt_ros.stream.localiser import PlaceAnswers
from d4rt_ros.stream.results import Camera
from d4rt_ros.stream.sight import Sight
from d4rt_ros.stream.tracker import TrackedPoints
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.adaptive_depth import GridAnswers
from d4rt_ros.tasks.depth import PointDepths
from d4rt_ros.tasks.tracks import PointTracks


@dataclass(frozen=True, eq=False)
class Seen:
    """What a window's images show by themselves.

    clip: its frames, oldest first. sight: whether there is anything to measure. keyframe: where in the clip the frame
    is that the model is to measure the newest pose from; None where it is not to, or has gone. points: what is followed
    in the newest, None where nothing is. hidden: those of them that it does not show. camera: of the newest, as far as
    it is known already.
    """

    clip: Sequence[WindowFrame]
    sight: Sight
    keyframe: int | None
    points: TrackedPoints | None
    hidden: HiddenPoints | None
    camera: Camera | None

    @property
    def newest(self) -> Frame:
        return self.clip[-1].frame

    @property
    def stamps(self) -> np.ndarray:
        """(T,) int64 ns."""
        return np.array([frame.stamp for frame in self.clip], np.int64)


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the model says of a window; None is what it was not asked for, all of it where there is nothing to measure.

    outputs: what is wanted. area: what of the newest frame is of interest. grid: of this area's points, whose pixels
    begin at its corner. wide: of the whole image, for the focal lengths of a camera that nothing is known of. place:
    for the newest camera's place. tracks: of the area's points, in the newest camera. points: those that are followed.
    gone: where the hidden ones are, in the newest camera. attended: (H, W) bool, what of the newest image moves as the
    model's attention has it.
    """

    outputs: Outputs
    scene: Scene | None = None
    area: Area | None = None
    grid: GridAnswers | None = None
    wide: GridAnswers | None = None
    place: PlaceAnswers | None = None
    tracks: PointTracks | None = None
    points: PointDepths | None = None
    gone: Gone | None = None
    attended: np.ndarray | None = None
