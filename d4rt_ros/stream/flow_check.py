"""Whether a motion of the camera explains what is followed from one image to another, whatever its depth."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import transform
from d4rt_ros.stream.tracker import TrackedPoints, rows_among


def explained(
    camera: Pinhole, before: TrackedPoints, now: TrackedPoints, now_from_before: np.ndarray, nearest: float,
    pixels: float, moving: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Of the points that both images show, whether they went where a motion (4, 4) takes a point at rest that is at
    least so near, (N,) bool: within so many pixels of the epipolar line from its far to its near end. A turn leaves
    nothing of this line but a point. moving: ids of points that say nothing, since they move by themselves.
    """
    i, j = rows_among(now.ids, before.ids)
    use = now.seen[i] & before.seen[j] & ~np.isin(now.ids[i], moving)
    i, j = i[use], j[use]
    rays = camera.backproject(before.pixels[j], np.ones(len(j)))
    far = camera.project(rays @ now_from_before[:3, :3].T)
    near = camera.project(transform(now_from_before, nearest * rays))
    line = near - far
    along = ((now.pixels[i] - far) * line).sum(axis=1) / np.maximum((line**2).sum(axis=1), 1e-12)
    closest = far + np.clip(along, 0.0, 1.0)[:, None] * line
    return np.linalg.norm(now.pixels[i] - closest, axis=1) < pixels  # NaN behind the camera is not
