"""Landmarks and keyframes: what a camera's pose is measured against, and what refines depth.

A landmark is a followed point whose depth the model proposed in the keyframe where it was found, its anchor. The
newest keyframes are adjusted together (`geometry.bundle`), the model's log depth being the prior; older ones are held
where they were, which carries the scale. A depth leaves the model's only as far as parallax allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.bundle import Bundle, BundleError, adjust
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.resection import GaussianPose, Resection, ResectionError, resect
from d4rt_ros.geometry.transforms import adjoint, invert, pose_matrix
from d4rt_ros.stream.dense import sample_depth
from d4rt_ros.stream.landmarks import LANDMARK, positions, rows_of, seen_from
from d4rt_ros.stream.tracker import TrackedPoints

SIDE = 320  # pixels of an image's larger side that the numbers of pixels here speak of
PIXEL_SIGMA = 1.0  # of a followed point, with what the camera's model leaves out
PRIOR_SIGMA = 0.5  # of the model's log depth, point by point
SURE = 0.4  # sd of the log depth of landmarks that correct others
HIDDEN = 0.4  # of log depth: a landmark that differs so much from the model's surface is hidden, or wrong
KEYFRAMES, HELD = 8, 2  # that are adjusted together; how many of the oldest of these are held
REMEMBERED = 40  # keyframes whose landmarks are kept
AGREES = 0.3  # weight of a landmark that is at rest
FEWEST = 10  # landmarks that a pose needs
MOVED, MOVED_LITTLE = 10.0, 2.0  # pixels of median motion that make a keyframe; the less after LATE images
SOON, LATE = 2, 8
KNOWN = 0.7  # share of the points that are landmarks, below which there is a keyframe
NEAR = 60.0  # pixels over which landmarks tell how wrong the model's depth is
OFFSET_SIGMA = 0.3  # of how wrong it is as a whole, beside what they tell
CALIBRATED_FOCAL_SIGMA = 0.02  # of the focal length of a camera that was calibrated
FOCAL_SIGMA = 0.25  # of one that was not
FOCAL_MEMORY = 3.0  # by which its sd grows from keyframe to keyframe, since the windows overlap


@dataclass(frozen=True)
class Keyframe:
    """number: counts keyframes. images: counts the images up to it. points: what was followed there."""

    number: int
    images: int
    points: TrackedPoints


class LocalMap:
    """camera: of all images; its focal length is refined. covariances: (6, 6) of the keyframes' poses, by number."""

    def __init__(self, camera: Pinhole, calibrated: bool) -> None:
        self.camera = camera
        self.focal_sigma = CALIBRATED_FOCAL_SIGMA if calibrated else FOCAL_SIGMA
        self._least_focal_sigma, self._most_focal_sigma = 0.01, self.focal_sigma
        self.landmarks = np.zeros(0, LANDMARK)
        self.keyframes: list[Keyframe] = []
        self.poses: dict[int, np.ndarray] = {}
        self.covariances: dict[int, np.ndarray] = {}
        self.offset = 0.0  # log of what the model's depth must be multiplied by, as a whole
        self._next = 0

    @property
    def unit(self) -> float:
        """Pixels of the image in one of those of which the constants speak."""
        return max(self.camera.width, self.camera.height) / SIDE

    def project(self, rows: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N,) of landmarks in an image; NaN behind it."""
        return seen_from(positions(self.landmarks[rows], self.poses, self.camera)[0], pose, self.camera)

    def expected(self, ids: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) where an image taken there shows these points; NaN for what is no landmark at rest."""
        rows, pixels = rows_of(self.landmarks, ids), np.full((len(ids), 2), np.nan)
        known = rows >= 0
        known[known] = self.landmarks["weight"][rows[known]] > AGREES
        pixels[known] = self.project(rows[known], pose)[0]
        return pixels

    def resect(
        self, points: TrackedPoints, start: np.ndarray, prior: GaussianPose | None = None
    ) -> tuple[Resection | None, int]:
        """The pose of an image from the landmarks that it shows, None where there is none; and how many these are."""
        rows = rows_of(self.landmarks, points.ids)
        use = points.seen & (rows >= 0)
        use[use] = self.landmarks["weight"][rows[use]] > AGREES
        if use.sum() < FEWEST:
            return None, int(use.sum())
        where, spread = positions(self.landmarks[rows[use]], self.poses, self.camera)
        try:
            fit = resect(
                where, spread, points.pixels[use], self.camera, start, PIXEL_SIGMA * self.unit, prior
            )
        except ResectionError:
            fit = None
        return fit, int(use.sum())

    def is_due(self, points: TrackedPoints, images: int) -> bool:
        """Whether an image, the `images`-th, should become a keyframe."""
        if not self.keyframes:
            return True
        last = self.keyframes[-1]
        if images - last.images < SOON:
            return False
        ids, pixels = points.ids[points.seen], points.pixels[points.seen]
        before = last.points.ids[last.points.seen], last.points.pixels[last.points.seen]
        _, a, b = np.intersect1d(ids, before[0], return_indices=True)
        if not len(a) or (rows_of(self.landmarks, ids) >= 0).mean() < KNOWN:
            return True
        moved = np.median(np.linalg.norm(pixels[a] - before[1][b], axis=1)) / self.unit
        return moved > MOVED or (images - last.images >= LATE and moved > MOVED_LITTLE)

    def add_keyframe(
        self, points: TrackedPoints, images: int, pose: np.ndarray, covariance: np.ndarray, said: np.ndarray
    ) -> dict[int, np.ndarray]:
        """Make an image a keyframe and adjust. said: (N,) the model's log depth of its points, NaN where unknown.

        Returns the motions (4, 4) of the adjusted keyframes, by number: what was measured from one moves with it.
        """
        number, self._next = self._next, self._next + 1
        self.poses[number], self.covariances[number] = pose, covariance
        new = points.seen & (rows_of(self.landmarks, points.ids) < 0) & np.isfinite(said)
        born = np.zeros(new.sum(), LANDMARK)
        born["id"], born["keyframe"], born["pixel"] = points.ids[new], number, points.pixels[new]
        born["prior"] = said[new] + self.error_near(points, pose, said, points.pixels[new])
        born["log_depth"], born["weight"] = born["prior"], 1.0
        born["prior_sigma"], born["variance"] = PRIOR_SIGMA, PRIOR_SIGMA**2
        landmarks = np.concatenate([self.landmarks, born])
        self.landmarks = landmarks[np.argsort(landmarks["id"])]
        self.keyframes = [*self.keyframes, Keyframe(number, images, points)][-KEYFRAMES:]
        before = dict(self.poses)
        self._adjust()
        self._forget(number - REMEMBERED, points.ids)
        return {n: pose @ invert(before[n]) for n, pose in self.poses.items()}

    def begin_again(self) -> None:
        """The next keyframe is not adjusted together with those before it."""
        self.keyframes = []

    def known(self, points: TrackedPoints, pose: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the followed points that are sure landmarks: pixels (N, 2), log of their depth minus the model's (N,) and
        its standard deviation (N,)."""
        rows = rows_of(self.landmarks, points.ids)
        use = points.seen & (rows >= 0) & np.isfinite(said)
        use[use] = self._is_sure(rows[use])
        depth = self.project(rows[use], pose)[1]
        return points.pixels[use], np.log(depth) - said[use], np.sqrt(self.landmarks["variance"][rows[use]])

    def known_elsewhere(
        self,
        points: TrackedPoints,
        pose: np.ndarray,
        log_depth: np.ndarray,
        corner,
        size: tuple[int, int],
        offset: float,
    ) -> tuple[np.ndarray, ...]:
        """The same of landmarks that lie in view and are not followed any more. log_depth: (h, w) the model's, on a grid
        over a part of the image from pixel `corner` (x, y) on, of `size` (height, width); offset: how wrong it is as a
        whole."""
        rows = np.flatnonzero(~np.isin(self.landmarks["id"], points.ids[points.seen]))
        rows = rows[self._is_sure(rows)]
        pixels, depth = self.project(rows, pose)
        values = np.log(depth) - sample_depth(log_depth, np.nan_to_num(pixels - corner, nan=-1.0), size)
        near = np.abs(values - offset) < HIDDEN  # of NaN this is false
        sigmas = np.sqrt(self.landmarks["variance"][rows[near]] + 0.05**2)
        return pixels[near], values[near], sigmas

    def error_near(
        self, points: TrackedPoints, pose: np.ndarray, said: np.ndarray, pixels: np.ndarray
    ) -> np.ndarray:
        """How wrong the model's log depth is at pixels (N, 2), by the sure landmarks around."""
        at, values, sigmas = self.known(points, pose, said)
        good = np.isfinite(values)
        at, values, sigmas = at[good], values[good], sigmas[good]
        if len(values) >= FEWEST:
            self.offset = float(np.median(values))
        information = 1.0 / (sigmas**2 + 0.1**2) / (1.0 + ((values - self.offset) / 0.6) ** 2) ** 2
        distance = ((pixels[:, None] - at[None]) ** 2).sum(axis=2) / (NEAR * self.unit) ** 2
        weight = np.exp(-0.5 * distance) * information
        return (weight @ values + self.offset / OFFSET_SIGMA**2) / (weight.sum(axis=1) + 1 / OFFSET_SIGMA**2)

    def _is_sure(self, rows: np.ndarray) -> np.ndarray:
        landmarks = self.landmarks[rows]
        return (landmarks["weight"] > AGREES) & (landmarks["variance"] < SURE**2)

    def _adjust(self) -> None:
        keyframes = self.keyframes
        if len(keyframes) < 2:
            return
        rows = [rows_of(self.landmarks, k.points.ids) for k in keyframes]
        shown = [(r >= 0) & k.points.seen for r, k in zip(rows, keyframes)]
        frames = np.concatenate([np.full(s.sum(), k.number) for s, k in zip(shown, keyframes)])
        pixels = np.concatenate([k.points.pixels[s] for s, k in zip(shown, keyframes)])
        used, which = np.unique(np.concatenate([r[s] for r, s in zip(rows, shown)]), return_inverse=True)
        landmarks = self.landmarks[used]
        free = [k.number for k in keyframes[min(HELD, len(keyframes) - 1) :]]
        numbers = np.unique(np.concatenate([[k.number for k in keyframes], landmarks["keyframe"]]))
        try:
            fit = adjust(Bundle(
                poses=np.stack([self.poses[n] for n in numbers]),
                held=~np.isin(numbers, free),
                anchors=np.searchsorted(numbers, landmarks["keyframe"]),
                anchor_pixels=landmarks["pixel"],
                log_depth=landmarks["log_depth"],
                prior=landmarks["prior"],
                prior_sigma=landmarks["prior_sigma"],
                frames=np.searchsorted(numbers, frames),
                landmarks=which,
                pixels=pixels,
                camera=self.camera,
                focal_sigma=self.focal_sigma,
                pixel_sigma=PIXEL_SIGMA * self.unit,
            ))  # fmt: skip
        except BundleError:
            return  # what was, stands
        self.camera = fit.camera
        self.focal_sigma = float(
            np.clip(FOCAL_MEMORY * fit.focal_sigma, self._least_focal_sigma, self._most_focal_sigma)
        )
        landmarks["log_depth"] = fit.log_depth
        landmarks["parallax"] = np.maximum(landmarks["parallax"], fit.parallax)
        # Followed points drift by about a pixel, all observations of one alike.
        drift = (self.unit / np.maximum(landmarks["parallax"], 1e-3)) ** 2
        landmarks["variance"] = np.minimum(fit.log_depth_variance + drift, landmarks["prior_sigma"] ** 2)
        seen = np.bincount(which, fit.weights > 0, len(used))
        mean = np.bincount(which, fit.weights, len(used)) / np.maximum(seen, 1)
        landmarks["weight"] = np.where(seen > 0, mean, landmarks["weight"])
        self.landmarks[used] = landmarks
        self._take_poses(numbers, fit, free, keyframes[min(HELD, len(keyframes) - 1) - 1].number)

    def _take_poses(self, numbers: np.ndarray, fit, free: list[int], held: int) -> None:
        """Poses, and their covariances since the world began: those against the last held one, and its own."""
        for number, pose, covariance in zip(numbers, fit.poses, fit.pose_covariance):
            if number in free:
                lever = adjoint(pose_matrix(translation=self.poses[held][:3, 3] - pose[:3, 3]))
                self.poses[number] = pose
                self.covariances[number] = lever @ self.covariances[held] @ lever.T + covariance

    def _forget(self, oldest: int, alive: np.ndarray) -> None:
        self.landmarks = self.landmarks[
            (self.landmarks["keyframe"] >= oldest) | np.isin(self.landmarks["id"], alive)
        ]
        used = {*self.landmarks["keyframe"].tolist(), *(k.number for k in self.keyframes)}
        self.poses = {n: pose for n, pose in self.poses.items() if n in used}
        self.covariances = {n: c for n, c in self.covariances.items() if n in used}
