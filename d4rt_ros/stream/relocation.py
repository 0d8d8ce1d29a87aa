"""Where a camera is, by the features that its image shares with one whose points are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.stream.pixels import resized_pixels, shrunk_mask, small_grey
from d4rt_ros.stream.window import WindowFrame
from d4rt_ros.tasks.pose_fit import solve_pnp
from d4rt_ros.tasks.relative_pose import COVARIANCE_FLOOR, VARIANCE_INFLATION, RelativePose

SIDE = 320  # pixels of the larger side of the images that features are looked for in
FEATURES = 500
RATIO = 0.8  # of the distances to the best and the next feature (Lowe)
LIMIT = 0.012  # of the image's larger side: how far a feature may be off and still agree
FEWEST, SHARE = 10, 0.3  # of the matches that agree
CELLS, FEWEST_CELLS = 4, 4  # how far they must spread: so many of 4x4 parts of the image
DEPTH_ERROR = 0.2  # of the model's depth, as a whole: what a shift is uncertain by


@dataclass(frozen=True)
class KnownView:
    """A frame by which the camera can be found again.

    frame: its image. camera: of it. depth: (rows, columns) along z, of a grid whose corners are the image's corner
    pixels; NaN where it is not known.
    """

    frame: WindowFrame
    camera: Pinhole
    depth: np.ndarray

    @cached_property
    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """See `features`: they are looked for often, and found once."""
        return features(self.frame)

    def depth_at(self, pixels: np.ndarray) -> np.ndarray:
        """(...) float64 at pixels (..., 2), interpolated among the points that are known; NaN where none is near, and
        outside the image."""
        import cv2

        (rows, columns), size = self.depth.shape, np.array(self.frame.image.shape[1::-1])
        # Comparisons with NaN are false.
        inside = ((pixels >= -0.5) & (pixels <= size - 0.5)).all(axis=-1)
        scale = np.array([columns - 1, rows - 1]) / (size - 1)
        at = np.where(inside[..., None], pixels * scale, 0.0).astype(np.float32).reshape(len(pixels), -1, 2)
        known = np.isfinite(self.depth)
        total, weight = (
            cv2.remap(grid.astype(np.float32), at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for grid in (np.where(known, self.depth, 0.0), known)
        )
        depth = np.where(weight > 0.2, total, np.nan) / np.maximum(weight, 0.2).astype(np.float64)
        return np.where(inside, depth.reshape(inside.shape), np.nan)


def find(landmarks: KnownView, frame: WindowFrame, camera: Pinhole) -> RelativePose | None:
    """The pose of the camera of a frame in the frame of the landmarks' camera; None where it is not found."""
    import cv2

    seen, found = _matches(landmarks.features, features(frame))
    if len(seen) < FEWEST:
        return None
    depth = landmarks.depth_at(seen)
    known = np.isfinite(depth) & (depth > 0)
    points, pixels = landmarks.camera.backproject(seen[known], depth[known]), found[known]
    if len(points) < FEWEST:
        return None
    limit = LIMIT * max(camera.width, camera.height)
    try:
        good, _, _, agree = cv2.solvePnPRansac(
            points, pixels, camera.matrix, None, iterationsCount=300, reprojectionError=limit, confidence=0.999,
            flags=cv2.SOLVEPNP_AP3P,
        )  # fmt: skip
        if not good or agree is None or not _enough(pixels[agree[:, 0]], len(seen), camera):
            return None
        points, pixels = points[agree[:, 0]], pixels[agree[:, 0]]
        fit = solve_pnp(points, pixels, np.zeros(len(points), bool), np.ones(len(points)), camera)
        covariance = VARIANCE_INFLATION * np.linalg.inv(fit.information) + COVARIANCE_FLOOR
    except (cv2.error, np.linalg.LinAlgError):
        return None
    if not _enough(pixels[fit.inliers], len(seen), camera) or not np.isfinite(covariance).all():
        return None
    shift = fit.i_from_j[:3, 3]
    if np.linalg.norm(shift) > np.median(points[:, 2]):
        return None  # farther off than what both see: rather a wrong match
    covariance[:3, :3] += DEPTH_ERROR**2 * (shift @ shift) * np.eye(3)
    return RelativePose(
        i_from_j=fit.i_from_j,
        inliers=float(fit.inliers.sum() / len(seen)),
        usable=float(known.mean()),
        residual=fit.residual,
        parallax=0.0,
        covariance=covariance,
        method="pnp",
    )


def features(frame: WindowFrame) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of the features of what a frame shows at rest, and their descriptors (N, 128)."""
    import cv2

    grey, scale = small_grey(frame.image, SIDE)
    usable = None if frame.at_rest is None else shrunk_mask(frame.at_rest, grey.shape).astype(np.uint8)
    keypoints, descriptors = cv2.SIFT_create(FEATURES, contrastThreshold=0.02).detectAndCompute(grey, usable)
    pixels = np.array([k.pt for k in keypoints]).reshape(-1, 2)
    return resized_pixels(pixels, 1 / scale), descriptors


def _matches(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of one image's features and of the other's that show the same."""
    import cv2

    (pixels_a, features_a), (pixels_b, features_b) = a, b
    if min(len(pixels_a), len(pixels_b)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    matcher = cv2.BFMatcher()
    pairs = [
        (m, n) for m, n in matcher.knnMatch(features_a, features_b, k=2) if m.distance < RATIO * n.distance
    ]
    back = {m.queryIdx: m.trainIdx for m in matcher.match(features_b, features_a)}
    mutual = np.array([(m.queryIdx, m.trainIdx) for m, _ in pairs if back[m.trainIdx] == m.queryIdx], int)
    mutual = mutual.reshape(-1, 2)
    return pixels_a[mutual[:, 0]], pixels_b[mutual[:, 1]]


def _enough(pixels: np.ndarray, matches: int, camera: Pinhole) -> bool:
    """Whether so many pixels, spread so far, agree with a pose that it is no accident."""
    cells = np.floor(CELLS * (pixels + 0.5) / [camera.width, camera.height]).astype(int)
    return len(pixels) >= max(FEWEST, SHARE * matches) and len(np.unique(cells, axis=0)) >= FEWEST_CELLS
