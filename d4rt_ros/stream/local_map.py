"""Landmarks and keyframes: what a camera's pose is measured against, and what refines depth.

A landmark is a followed point whose depth the model proposed in the keyframe where it was found, its anchor. The
newest keyframes are adjusted together (`geometry.bundle`), the model's log depth being the prior; older ones are held
where they were, which carries the scale. A depth leaves the model's only as far as parallax allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.bundle import Adjusted, Bundle, BundleError, adjust
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.resection import GaussianPose, Resection, ResectionError, resect
from d4rt_ros.geometry.transforms import invert, pose_matrix
from d4rt_ros.stream.dense import sample_depth
from d4rt_ros.stream.focal import FocalLength, Sighting
from d4rt_ros.stream.landmarks import LANDMARK, positions, rows_of, seen_from
from d4rt_ros.stream.scale_drift import ScaleDrift
from d4rt_ros.stream.tracker import TrackedPoints

SIDE = 320  # pixels of an image's larger side that the numbers of pixels here speak of
PIXEL_SIGMA = 1.0  # of a followed point, with what the camera's model leaves out
DRIFT_SIGMA = 0.25  # of what it drifts by, in all images alike
ALIKE_SIGMA = 1.0  # pixels, of what neighbours drift by alike
PRIOR_SIGMA = 0.5  # of the model's log depth, point by point
FIT_ERROR = 0.05  # of a landmark's log depth, with what the adjustment leaves out
SURE = 0.4  # sd of the log depth of landmarks that correct others
ITERATIONS = 5  # of a pose: from 15 degrees off it ends where eight do, within a tenth of its sd
HIDDEN = 0.4  # of log depth: a landmark that differs so much from the model's surface is hidden, or wrong
KEYFRAMES, HELD = 8, 2  # that are adjusted together; how many of the oldest of these are held
REMEMBERED = 40  # keyframes whose landmarks are kept
AGREES = 0.3  # weight of a landmark that is at rest
FEWEST = 10  # landmarks that a pose needs
ENOUGH = 30  # that cannot all be wrong by accident
MOVED, MOVED_LITTLE = 10.0, 2.0  # pixels of median motion that make a keyframe; the less after LATE images
SOON, LATE = 2, 8
KNOWN = 0.7  # share of the points that are landmarks, below which there is a keyframe
NEAR = 60.0  # pixels over which landmarks tell how wrong the model's depth is
LOCAL_SIGMA = 0.1  # of the model's log depth from one landmark to the next
MANY = 60  # landmarks, much surer than that, that are believed about the model's depth as a whole
OFFSET_SIGMA = 0.15  # of how wrong it is as a whole, beside what they tell
CONTRADICTED = 0.5  # of log depth: the model is not so wrong as a whole, rather what is followed moves
CALIBRATED_FOCAL_SIGMA = 0.02  # of the focal length of a camera that was calibrated
SCALE_SIGMA = 0.03  # of the log of the map's scale, with what the adjustment leaves out


@dataclass(frozen=True)
class View:
    """What an image shows of the map. points: N followed ones. pose: map_from_camera (4, 4). said: (N,) the model's log
    depth of the points, NaN where it is not known."""

    points: TrackedPoints
    pose: np.ndarray
    said: np.ndarray


@dataclass(frozen=True)
class Keyframe:
    """number: counts keyframes. images: counts the images up to it. points: what was followed there."""

    number: int
    images: int
    points: TrackedPoints


class LocalMap:
    """camera: of all images; its focal length is refined.

    focal: what is known of it where the camera was not calibrated, else None.
    given: the camera as it was calibrated, None where it was not. poses: map_from_camera (4, 4) of the keyframes, by
    number. growth: (6, 6) by which the covariance of the camera's pose grows a second, about the map's axes. offset:
    log of what the model's depth must be multiplied by, as a whole.
    """

    def __init__(self, camera: Pinhole, calibrated: bool) -> None:
        self.camera = camera
        self.focal = None if calibrated else FocalLength(camera)
        self.given = camera if calibrated else None
        self.landmarks = np.zeros(0, LANDMARK)
        self.keyframes: list[Keyframe] = []
        self.poses: dict[int, np.ndarray] = {}
        self.growth = np.zeros((6, 6))
        self.offset = 0.0
        self._drift = ScaleDrift()
        self._next = 0

    @property
    def focal_sigma(self) -> float:
        """Standard deviation of the logarithm of the focal length."""
        return self.focal.sigma if self.focal else CALIBRATED_FOCAL_SIGMA

    @property
    def unit(self) -> float:
        """Pixels of the image in one of those of which the constants speak."""
        return max(self.camera.width, self.camera.height) / SIDE

    @property
    def usual_offset(self) -> float:
        """What `offset` is on the whole, over time."""
        return self._drift.offset

    def use(self, camera: Pinhole) -> bool:
        """The next images are of this calibrated camera: it has zoomed, or is known only now. Returns whether it is,
        so that what images show means another pose."""
        if camera == self.given:
            return False
        known = self.given is not None
        if known:  # what was seen through the other lens is where it was
            self.landmarks["pixel"] = reprojected(self.landmarks["pixel"], self.camera, camera)
            self.keyframes = [
                replace(k, points=replace(k.points, pixels=reprojected(k.points.pixels, self.camera, camera)))
                for k in self.keyframes
            ]
        self.camera = self.given = camera
        self.focal = None
        return not known

    def project(self, rows: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N,) of landmarks in an image; NaN behind it."""
        return seen_from(positions(self.landmarks[rows], self.poses, self.camera)[0], pose, self.camera)

    def at_rest(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of some points are landmarks that are at rest (N,) bool, as far as is known, and the rows of these."""
        rows = rows_of(self.landmarks, ids)
        rest = rows >= 0
        rest[rest] = self.landmarks["weight"][rows[rest]] > AGREES
        return rest, rows[rest]

    def expected(self, ids: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) where an image taken there shows these points; NaN for what is no landmark at rest."""
        rest, rows = self.at_rest(ids)
        pixels = np.full((len(ids), 2), np.nan)
        pixels[rest] = self.project(rows, pose)[0]
        return pixels

    def resect(
        self, points: TrackedPoints, start: np.ndarray, prior: GaussianPose | None = None
    ) -> tuple[Resection | None, int]:
        """The pose of an image from the landmarks that it shows, None where there is none; and how many these are."""
        ids, pixels = points.ids[points.seen], points.pixels[points.seen]
        rest, rows = self.at_rest(ids)
        if len(rows) < FEWEST:
            return None, len(rows)
        where, spread = positions(self.landmarks[rows], self.poses, self.camera)
        try:
            sigma = PIXEL_SIGMA * self.unit
            fit = resect(where, spread, pixels[rest], self.camera, start, sigma, prior, ITERATIONS)
        except ResectionError:
            fit = None
        return fit, len(rows)

    # Keyframes

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

    def add_keyframe(self, view: View, images: int) -> dict[int, np.ndarray]:
        """Make an image, the `images`-th, a keyframe, and adjust.

        Returns the motions (4, 4) of the keyframes, by number: what was measured from one moves with it.
        """
        number, self._next = self._next, self._next + 1
        before = {**self.poses, number: view.pose}
        self.poses[number] = view.pose
        self._bear(view, number)
        self.keyframes = [*self.keyframes, Keyframe(number, images, view.points)][-KEYFRAMES:]
        if len(self.keyframes) > 1:
            self._adjust()
            self._undo_drift(View(view.points, self.poses[number], view.said))
        if self.focal and self.focal.add(Sighting(view.points, self.poses[number], view.said + self.offset)):
            self._refocus(self.focal.camera, self.poses[number])
        self._forget(number - REMEMBERED, view.points.ids)
        return {n: pose @ invert(before[n]) for n, pose in self.poses.items()}

    def begin_again(self, view: View) -> None:
        """The next keyframe is not adjusted together with those before it, and what contradicts the model in it is
        forgotten."""
        self.keyframes = []
        rows = rows_of(self.landmarks, view.points.ids)
        use = view.points.seen & (rows >= 0)
        off = np.log(self.project(rows[use], view.pose)[1]) - view.said[use] - self._drift.offset
        self.landmarks = np.delete(self.landmarks, rows[use][~(np.abs(off) < CONTRADICTED)])

    def forget(self, ids: np.ndarray) -> None:
        """These points are no landmarks."""
        self.landmarks = self.landmarks[~np.isin(self.landmarks["id"], ids)]

    def contradicted(self, view: View) -> bool:
        """Whether the depths of what is followed are none that the model could be so wrong about: then rather the pose
        is wrong, since it follows something that moves."""
        _, values, _ = self.known(view)
        return len(values) >= ENOUGH and abs(np.median(values) - self._drift.offset) > CONTRADICTED

    # How wrong the model's depth is

    def known(self, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the followed points that are sure landmarks: pixels (N, 2), log of their depth minus the model's (N,) and
        its standard deviation (N,)."""
        rows = rows_of(self.landmarks, view.points.ids)
        use = view.points.seen & (rows >= 0) & np.isfinite(view.said)
        use[use] = self._is_sure(rows[use])
        values = np.log(self.project(rows[use], view.pose)[1]) - view.said[use]
        ahead = np.isfinite(values)
        sigmas = np.sqrt(self.landmarks["variance"][rows[use]])
        return view.points.pixels[use][ahead], values[ahead], sigmas[ahead]

    def known_elsewhere(
        self, view: View, log_depth: np.ndarray, corner: np.ndarray, size: tuple[int, int], offset: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of landmarks that lie in view and are not followed any more.

        log_depth: (h, w) the model's, on a grid over a part of the image from pixel `corner` (x, y) on, of `size`
        (height, width). offset: how wrong it is as a whole.
        """
        rows = np.flatnonzero(~np.isin(self.landmarks["id"], view.points.ids[view.points.seen]))
        rows = rows[self._is_sure(rows)]
        pixels, depth = self.project(rows, view.pose)
        values = np.log(depth) - sample_depth(log_depth, np.nan_to_num(pixels - corner, nan=-1.0), size)
        near = np.abs(values - offset) < HIDDEN  # of NaN this is false
        sigmas = np.sqrt(self.landmarks["variance"][rows[near]] + 0.05**2)
        return pixels[near], values[near], sigmas

    def believed(self, values: np.ndarray, sigmas: np.ndarray) -> tuple[np.ndarray, float]:
        """`known` values (N,) as far as they are believed, and how far that is, 0..1.

        Few landmarks, or such of little parallax, err alike: with the pose, with what moves, with the past scale. What
        they say then is drawn towards the usual error of the model. Each counts by its share of what it and the model
        know of its depth.
        """
        count = float((1.0 / (1.0 + (sigmas / LOCAL_SIGMA) ** 2)).sum())
        share = min(count / MANY, 1.0)
        return self.usual_offset + share * (values - self.usual_offset), share

    def error_near(self, view: View, pixels: np.ndarray) -> np.ndarray:
        """How wrong the model's log depth is at pixels (N, 2), by the sure landmarks around."""
        at, values, sigmas = self.known(view)
        values, _ = self.believed(values, sigmas)
        if len(values) >= FEWEST:
            self.offset = float(np.median(values))
        information = 1.0 / (sigmas**2 + LOCAL_SIGMA**2) / (1.0 + ((values - self.offset) / 0.6) ** 2) ** 2
        distance = cdist(pixels, at, "sqeuclidean") / (NEAR * self.unit) ** 2
        weight = np.exp(-0.5 * distance) * information
        return (weight @ values + self.offset / OFFSET_SIGMA**2) / (weight.sum(axis=1) + 1 / OFFSET_SIGMA**2)

    def _is_sure(self, rows: np.ndarray) -> np.ndarray:
        weight, variance = self.landmarks["weight"][rows], self.landmarks["variance"][rows]
        return (weight > AGREES) & (variance < SURE**2)

    # What a keyframe does

    def _bear(self, view: View, number: int) -> None:
        """Landmarks of the points that are none, with the model's depth as it is corrected around."""
        points = view.points
        new = points.seen & (rows_of(self.landmarks, points.ids) < 0) & np.isfinite(view.said)
        born = np.zeros(new.sum(), LANDMARK)
        born["id"], born["keyframe"], born["pixel"] = points.ids[new], number, points.pixels[new]
        born["prior"] = view.said[new] + self.error_near(view, points.pixels[new])
        born["log_depth"], born["weight"], born["variance"] = born["prior"], 1.0, PRIOR_SIGMA**2
        landmarks = np.concatenate([self.landmarks, born])
        self.landmarks = landmarks[np.argsort(landmarks["id"])]

    def _adjust(self) -> None:
        keyframes = self.keyframes
        rows = [rows_of(self.landmarks, k.points.ids) for k in keyframes]
        shown = [(r >= 0) & k.points.seen for r, k in zip(rows, keyframes)]
        frames = np.concatenate([np.full(s.sum(), k.number) for s, k in zip(shown, keyframes)])
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
                prior_sigma=np.full(len(landmarks), PRIOR_SIGMA),
                frames=np.searchsorted(numbers, frames),
                landmarks=which,
                pixels=np.concatenate([k.points.pixels[s] for s, k in zip(shown, keyframes)]),
                camera=self.camera,
                focal_sigma=0.0 if self.given is None else CALIBRATED_FOCAL_SIGMA,
                focal_prior=self.given and self.given.fx,
                pixel_sigma=PIXEL_SIGMA * self.unit,
                drift_sigma=DRIFT_SIGMA * self.unit,
            ))  # fmt: skip
        except BundleError:
            return  # what was, stands
        self.camera = fit.camera
        landmarks["log_depth"] = fit.log_depth
        # What is followed drifts about as its neighbours do, which the adjustment does not know.
        drift = (ALIKE_SIGMA * self.unit / np.maximum(fit.parallax, 1e-3)) ** 2
        landmarks["variance"] = np.minimum(fit.log_depth_variance + drift + FIT_ERROR**2, PRIOR_SIGMA**2)
        seen = np.bincount(which, fit.weights > 0, len(used))
        mean = np.bincount(which, fit.weights, len(used)) / np.maximum(seen, 1)
        landmarks["weight"] = np.where(seen > 0, mean, landmarks["weight"])
        self.landmarks[used] = landmarks
        self.poses.update((n, pose) for n, pose in zip(numbers, fit.poses) if n in free)
        self._note_growth(fit, int(np.searchsorted(numbers, free[-1])))

    def _note_growth(self, fit: Adjusted, newest: int) -> None:
        """By what is doubtful of the newest keyframe's pose, in the fit's row `newest`, against the last one held."""
        held, last = self.keyframes[min(HELD, len(self.keyframes) - 1) - 1], self.keyframes[-1]
        way = fit.poses[newest][:3, 3] - self.poses[held.number][:3, 3]
        covariance = fit.pose_covariance[newest].copy()
        covariance[:3, :3] += SCALE_SIGMA**2 * np.outer(way, way)
        self.growth = covariance / max((last.points.stamp - held.points.stamp) / 1e9, 1e-3)

    def _undo_drift(self, view: View) -> None:
        """Bring the map's scale back towards the model's, around the camera."""
        _, values, sigmas = self.known(view)
        if len(values) < FEWEST:
            return
        seconds = (view.points.stamp - self.keyframes[-2].points.stamp) / 1e9
        information = float((1.0 / (sigmas**2 + LOCAL_SIGMA**2)).sum())
        drift, centre = self._drift.seen(float(np.median(values)), information, seconds), view.pose[:3, 3]
        for number, pose in self.poses.items():
            self.poses[number] = pose.copy()
            self.poses[number][:3, 3] = centre + np.exp(-drift) * (pose[:3, 3] - centre)
        self.landmarks["log_depth"] -= drift
        self.landmarks["prior"] -= drift

    def _refocus(self, camera: Pinhole, here: np.ndarray) -> None:
        """Go on with another focal length. Depths stay: what turns or shifts the image of the camera `here` (4, 4) does
        so by as much as before, and what seems to be less of a turn and of a way is less of it."""
        ratio = self.camera.fx / camera.fx
        share, from_map = np.array([ratio, ratio, 1.0]), invert(here)
        for number, pose in self.poses.items():
            step = from_map @ pose
            turn = Rotation.from_matrix(step[:3, :3]).as_rotvec()
            turned = Rotation.from_rotvec(share * turn).as_matrix()
            self.poses[number] = here @ pose_matrix(turned, share * step[:3, 3])
        self.camera = camera

    def _forget(self, oldest: int, alive: np.ndarray) -> None:
        self.landmarks = self.landmarks[
            (self.landmarks["keyframe"] >= oldest) | np.isin(self.landmarks["id"], alive)
        ]
        used = {*self.landmarks["keyframe"].tolist(), *(k.number for k in self.keyframes)}
        self.poses = {n: pose for n, pose in self.poses.items() if n in used}


def reprojected(pixels: np.ndarray, camera: Pinhole, other: Pinhole) -> np.ndarray:
    """Where another camera at the same place has what one has at pixels (N, 2)."""
    return other.project(camera.backproject(pixels, np.ones(len(pixels))))
