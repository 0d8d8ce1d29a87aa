"""The newest keyframes' images, by which a lost camera is found again in the map."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.stream.followed import Followed, Placed, stepped
from d4rt_ros.stream.relocation import KnownView, find
from d4rt_ros.stream.tracker import TrackedPoints
from d4rt_ros.stream.window import WindowFrame

VIEWS, TRIES = 10, 3  # keyframes that are kept, and of how many of them a search makes use
GRID = (12, 16)  # of the depth of a keyframe


class Gallery:
    """Keeps what each keyframe showed."""

    def __init__(self) -> None:
        self._views: deque[tuple[KnownView, Followed]] = deque(maxlen=VIEWS)

    def clear(self) -> None:
        """Forget them all."""
        self._views.clear()

    def add(
        self,
        frame: WindowFrame,
        followed: Followed,
        camera: Pinhole,
        points: TrackedPoints,
        log_depth: np.ndarray,
    ) -> None:
        """A keyframe. log_depth: (N,) of its points, in the map's unit; NaN where not known."""
        depth = _grid(points, log_depth, frame.image.shape[:2])
        self._views.append((KnownView(frame, camera, depth), followed))

    def find(
        self, frame: WindowFrame, camera: Pinhole, poses: Mapping[int, np.ndarray], turn: int
    ) -> Placed | None:
        """Where the camera of a frame is in the map; None where it is not found. poses: map_from_camera (4, 4) of the
        keyframes that the map has, by number. turn: which of the older ones are tried."""
        views = list(self._views)[::-1]
        others = views[1:]
        turn = turn % max(len(others), 1)
        for view, since in [*views[:1], *(others[turn:] + others[:turn])[: TRIES - 1]]:
            keyframe = poses.get(since.keyframe)
            step = None if keyframe is None else find(view, frame, camera)
            if step is not None:
                return stepped(keyframe, since, step)
        return None


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
