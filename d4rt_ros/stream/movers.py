"""What moves in a stream: from one window to the next, in the pixels, in the points and as bodies."""

from __future__ import annotations

import numpy as np

from d4rt_ros.dynamics.motion import MotionFilter, Observation
from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.dynamics.objects import Objects, ObjectTracker
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.region import Area
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.proposal import Proposal, Seen
from d4rt_ros.stream.results import Points, Pose, StreamTracks

UNDECIDED = 0.2  # probability below which the pixels are sure that nothing moves


class Movers:
    """Keeps of one world after another what moved in it. next_id: bodies that are found now are counted from here."""

    def __init__(self, first_id: int = 1) -> None:
        self._motion, self._bodies = MotionFilter(), ObjectTracker(first_id)
        self._world, self._area = -1, ()  # of which they know something

    @property
    def next_id(self) -> int:
        return self._bodies.next_id

    def moving(
        self,
        seen: Seen,
        proposal: Proposal,
        points: Points,
        camera: Pinhole,
        pose: Pose,
        poses: np.ndarray,
        config: PipelineConfig,
    ) -> Moving | None:
        """What of a window's newest image moves; None where that is not known.

        points: of the area. poses: (T, 4, 4) map_from_camera of the window's frames, NaN where not known.
        """
        if pose.world != self._world:
            self._motion.reset()
            self._bodies = ObjectTracker(self._bodies.next_id)  # places of two worlds have nothing in common
            self._world = pose.world
        attended = proposal.attended
        if config.dynamics == "attention":
            return None if attended is None else _of_mask(attended, proposal.area, points.depth.shape)
        if not pose.trusted:
            return None
        area, valid = proposal.area, seen.newest.valid
        place = area.x, area.y, *area.size
        if place != self._area:  # another region of interest is another image
            self._motion.reset()
            self._area = place
        # Images of before a zoom are not compared with those after it.
        zoomed = [frame.frame.camera != seen.newest.camera for frame in seen.clip]
        poses = np.where(np.array(zoomed)[:, None, None], np.nan, poses)
        self._motion.release_seconds = config.dynamics_release
        found = self._motion.update(Observation(
            images=[area.crop(frame.image) for frame in seen.clip],
            stamps=seen.stamps,
            map_from_camera=poses,
            camera=area.camera(camera),
            depth=points.depth,
            sigma=points.sigma,
            valid=None if valid is None else area.crop(valid),
        ))  # fmt: skip
        found = _uncropped(found, area, seen.newest.image.shape[:2])
        return found if attended is None else _with_attention(found, attended, area)

    def forget(self) -> None:
        """What moved until now was wrong."""
        self._motion.reset()

    def objects(self, stamp: int, points: Points, tracks: StreamTracks | None, pose: Pose) -> Objects:
        """The bodies that move at the newest image, in the world."""
        xyz, camera, followed = (
            transform(pose.world_from_camera, points.xyz),
            pose.world_from_camera[:3, 3],
            (),
        )
        if tracks is not None:
            moves = tracks.dynamic
            followed = tracks.ids[moves], tracks.positions[moves, -1], tracks.velocities[moves]
        return self._bodies.update(stamp, xyz, points.dynamic, camera, *followed)


def _uncropped(found: Moving, area: Area, size: tuple[int, int]) -> Moving:
    if found.mask.shape == size:
        return found
    mask = np.zeros(size, bool)
    area.crop(mask)[...] = found.mask
    return Moving(mask, found.grid, found.probability)


def _with_attention(found: Moving, attended: np.ndarray, area: Area) -> Moving:
    """What pixels say moves, and where they cannot tell, what attention says: it always marks something."""
    import cv2

    told = _of_mask(attended, area, found.grid.shape)
    undecided = found.probability > UNDECIDED
    probability = np.where(told.grid & undecided, np.maximum(found.probability, 0.5), found.probability)
    open_to = np.zeros(attended.shape, np.uint8)
    area.crop(open_to)[...] = cv2.resize(
        undecided.astype(np.uint8), area.size[::-1], interpolation=cv2.INTER_NEAREST
    )
    mask = found.mask | (told.mask & (open_to > 0))
    return Moving(mask, found.grid | (told.grid & undecided), probability.astype(np.float32))


def _of_mask(mask: np.ndarray, area: Area, shape: tuple[int, int]) -> Moving:
    """Of a mask (H, W) alone, on a grid of this shape over the area."""
    v, u = (np.rint(np.linspace(0, n - 1, k)).astype(np.intp) for n, k in zip(area.size, shape))
    grid = area.crop(mask)[v[:, None], u]
    return Moving(mask & area.filled(mask.shape), grid, grid.astype(np.float32))
