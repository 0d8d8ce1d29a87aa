"""A coarse mask held against the world: stage 3 of VGGT4D. What a mask says moves, but lies where the static parts
of the other frames see it, stands still.

Pixels follow what was published, of which the golden numbers are: a pixel's ray goes through its (x + 0.5, y + 0.5),
but where a point is projected to, whole numbers are the pixels' centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.dynamics.clusters import kmeans

CLUSTERS = 30
NEIGHBOURS, DEVIATIONS = 20, 2.5  # of the outlier filter
NEARER = 0.01  # a point is hidden where the frame's depth is nearer than it by so much
ENOUGH = 0.05  # share of a cluster's projections that has to be seen on static parts, or it stays
DIFFERS = (
    0.1  # error beyond which a cluster stays: a length, of which a scene is about 1, and a colour in 0..1
)
STATIC, OUTLIER = -1, -2


class ProjectionError(ValueError):
    """Frames, poses and masks that do not belong together."""


def refined_masks(
    images: np.ndarray,
    depths: np.ndarray,
    world_from_camera: np.ndarray,
    intrinsics: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """(S, H, W) bool: of the coarse `masks` what the other frames do not show standing still.

    images: (S, H, W, 3) uint8 RGB. depths: (S, H, W) along z, in a unit of which the scene's size is about 1; what is
    not finite and positive is nowhere: it is neither in a cluster nor seen. world_from_camera: (S, 4, 4);
    intrinsics: (S, 3, 3) or (3, 3). masks: (S, H, W) bool. labels: (S, H, W) int, the cluster of each pixel from 0,
    negative for none, instead of an outlier filter and k-means.
    A frame with fewer masked points than clusters has a cluster a point. Raises ProjectionError for shapes that do
    not fit and poses that are not finite.
    """
    frames = _checked(images, depths, world_from_camera, intrinsics, masks, labels)
    kept = np.zeros(frames.masks.shape, bool)
    for t, mask in enumerate(frames.masks):
        if not mask.any():
            continue
        clusters = frames.clusters(t) if labels is None else np.asarray(labels[t])
        clusters = np.where(np.isnan(frames.depths[t]), OUTLIER, clusters)
        errors = cluster_errors(frames, t, clusters)[:, 2]
        inside = clusters >= 0
        kept[t][inside] = errors[clusters[inside]] > DIFFERS
    return np.stack([_closed(mask) for mask in kept])


@dataclass(frozen=True, eq=False)
class Frames:
    """S frames in one world: images (S, H, W, 3) uint8, depths (S, H, W) float32, NaN where there is none,
    world_from_camera and camera_from_world (S, 4, 4), intrinsics (S, 3, 3), masks (S, H, W) bool."""

    images: np.ndarray
    depths: np.ndarray
    world_from_camera: np.ndarray
    camera_from_world: np.ndarray
    intrinsics: np.ndarray
    masks: np.ndarray

    def points(self, t: int) -> np.ndarray:
        """(H, W, 3) float64 in the world, what frame t shows."""
        x, y = np.meshgrid(*(np.arange(n) + 0.5 for n in self.depths.shape[:0:-1]))
        rays = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(self.intrinsics[t]).T
        pose = self.world_from_camera[t]
        return rays * self.depths[t, ..., None] @ pose[:3, :3].T + pose[:3, 3]

    def clusters(self, t: int) -> np.ndarray:
        """(H, W) int of frame t: clusters of the points under the mask, else STATIC or OUTLIER."""
        points, clusters = self.points(t), np.full(self.masks[t].shape, STATIC)
        clusters[~_dense(points)] = OUTLIER
        chosen = self.masks[t] & (clusters != OUTLIER)
        clusters[chosen] = kmeans(points[chosen], CLUSTERS)
        return clusters


def cluster_errors(frames: Frames, t: int, clusters: np.ndarray) -> np.ndarray:
    """(K, 3): of frame t's clusters (H, W) how far they are from what the other frames see there: in depth, in the
    sum of three colours, and both as one number. Infinite where too little of a cluster is seen on static parts."""
    chosen = clusters >= 0
    labels, points, colours = clusters[chosen], frames.points(t)[chosen], frames.images[t][chosen]
    size = np.bincount(labels)
    sums = np.zeros((3, len(size)))  # projections that count, their differences in depth, and in colour
    for s in range(len(frames.masks)):
        if s == t:
            continue
        index, depth_off, colour_off = _compared(frames, s, points, colours)
        for row, weights in zip(sums, (np.ones(len(index)), depth_off, colour_off)):
            row += np.bincount(labels[index], weights, len(size))
    count, *off = sums
    enough = (count > 0) & (count >= ENOUGH * (len(frames.masks) - 1) * size)
    depth, colour = (np.where(enough, total / np.maximum(count, 1), np.inf) for total in off)
    return np.stack((depth, colour, depth + colour / 3), -1)


def _compared(frames: Frames, s: int, points: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of points (n, 3) and their colours (n, 3) uint8 those that static parts of frame s show: their indices, and how
    far depth and, of 0..1, colours are off."""
    height, width = frames.depths.shape[1:]
    pose = frames.camera_from_world[s]
    projected = (points @ pose[:3, :3].T + pose[:3, 3]) @ frames.intrinsics[s].T
    index = np.flatnonzero(projected[:, 2] > 0)
    z = projected[index, 2]
    u, v = (projected[index, :2] / z[:, None]).T
    inside = (u > 0) & (u < width) & (v > 0) & (v < height)
    index, u, v, z = (array[inside] for array in (index, u, v, z))
    seen = _nearest(frames.depths[s], u, v)
    visible = (z - NEARER < seen) & (_bilinear(frames.masks[s][..., None], u, v)[:, 0] <= 0.5)
    index, u, v, z, seen = (array[visible] for array in (index, u, v, z, seen))
    off = np.abs(colours[index] - _bilinear(frames.images[s], u, v)).sum(1) / 255
    return index, np.abs(z - seen), off


def _nearest(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(n,) of (H, W), 0 outside."""
    padded = np.pad(image, ((0, 1), (0, 1)))
    return padded[np.rint(v).astype(int), np.rint(u).astype(int)]


def _bilinear(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(n, C) of (H, W, C), 0 outside; 0 <= u < W, 0 <= v < H."""
    padded = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    x, y = u.astype(int), v.astype(int)
    a, b = (u - x)[:, None], (v - y)[:, None]
    above = (1 - a) * padded[y, x] + a * padded[y, x + 1]
    below = (1 - a) * padded[y + 1, x] + a * padded[y + 1, x + 1]
    return (1 - b) * above + b * below


def _dense(points: np.ndarray) -> np.ndarray:
    """(H, W) bool: points (H, W, 3) whose mean distance to their nearest is ordinary. NaN is not."""
    from scipy.spatial import cKDTree

    dense = np.isfinite(points).all(-1)
    there = points[dense]
    if len(there) < 2:
        return dense
    # The nearest one is the point itself; it counts, as in Open3D's filter.
    distance = cKDTree(there).query(there, min(NEIGHBOURS, len(there)))[0].mean(1)
    limit = distance.mean() + DEVIATIONS * distance.std(ddof=1)
    dense[dense] = (distance < limit) | (distance == distance.min())  # all alike: none is an outlier
    return dense


def _closed(mask: np.ndarray) -> np.ndarray:
    import cv2

    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, ellipse)
    return cv2.dilate(closed, np.ones((3, 3), np.uint8)).astype(bool)


def _checked(images, depths, world_from_camera, intrinsics, masks, labels) -> Frames:
    images, masks, depths = np.asarray(images), np.asarray(masks), np.array(depths, np.float32)
    poses, intrinsics = np.asarray(world_from_camera, np.float64), np.asarray(intrinsics, np.float64)
    if depths.ndim != 3 or not depths.size:
        raise ProjectionError(f"depths {depths.shape}; (S, H, W) of one frame or more are expected")
    count, *_ = shape = depths.shape
    wanted = [
        ("images", images, (*shape, 3), images.dtype == np.uint8, "uint8"),
        ("masks", masks, shape, masks.dtype == bool, "bool"),
        ("world_from_camera", poses, (count, 4, 4), np.isfinite(poses).all(), "finite"),
        ("intrinsics", intrinsics, (count, 3, 3), np.isfinite(intrinsics).all(), "finite"),
    ]
    if intrinsics.shape == (3, 3):
        intrinsics = np.broadcast_to(intrinsics, (count, 3, 3))
        wanted[3] = "intrinsics", intrinsics, (count, 3, 3), np.isfinite(intrinsics).all(), "finite"
    if labels is not None:
        labels = np.asarray(labels)
        wanted.append(("labels", labels, shape, np.issubdtype(labels.dtype, np.integer), "integers"))
    for name, array, expected, good, kind in wanted:
        if array.shape != expected or not good:
            raise ProjectionError(
                f"{name} {array.shape} {array.dtype}; {expected}, {kind}, are expected with depths {shape}"
            )
    depths[~(np.isfinite(depths) & (depths > 0))] = np.nan
    return Frames(images, depths, poses, np.linalg.inv(poses), intrinsics, masks)
