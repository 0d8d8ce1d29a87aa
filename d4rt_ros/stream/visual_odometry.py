"""Where the camera is, by points that are followed in the pixels and whose depth the model proposes.

Every image is followed: its points by the tracker, its pose from the landmarks among them (`geometry.resection`). A
window's newest image, once the model has spoken of it, may become a keyframe: its new points become landmarks, at the
model's depth, and the newest keyframes are adjusted together (`geometry.bundle`). Older keyframes are held where they
were, which carries the scale.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry.bundle import Bundle, BundleError, adjust
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.resection import ResectionError, resect
from d4rt_ros.geometry.transforms import invert, pose_matrix
from d4rt_ros.stream.dense import Correction, correction, sample_depth
from d4rt_ros.stream.landmarks import LANDMARK, positions, rows_of, seen_from
from d4rt_ros.stream.tracker import TrackedPoints, Tracker

SIDE = 320  # pixels of an image's larger side that the numbers of pixels here speak of
PIXEL_SIGMA = 1.0  # of a followed point, in such pixels: with what the camera's model leaves out
PRIOR_SIGMA = 0.5  # of the model's log depth
SURE = 0.4  # sd of the log depth of landmarks that correct the dense depth
KEYFRAMES, HELD = 8, 2  # that are adjusted together, and how many of the oldest of these are held
REMEMBERED = 40  # keyframes whose landmarks are kept
RECENT = 64  # images whose poses are kept
AGREES = 0.3  # weight of a landmark that is at rest
FEWEST = 10  # landmarks that a pose needs
MOVED, MOVED_LITTLE = 10.0, 2.0  # pixels of median motion that make a keyframe, and after LATE images
LATE = 8


@dataclass
class Keyframe:
    """number: counts keyframes. stamp: ns. points: what was followed there. pose: world_from_camera (4, 4)."""

    number: int
    stamp: int
    points: TrackedPoints


@dataclass
class Followed:
    """An image by its pixels. pose: world_from_camera (4, 4) in the map, where the map has it now. world_from_camera:
    the continuous one, as it was said. covariance: (6, 6) of the pose against the landmarks. agree: how many landmarks
    agree, and the share of those that were seen."""

    stamp: int
    pose: np.ndarray
    world_from_camera: np.ndarray
    covariance: np.ndarray
    agree: int
    share: float


class VisualOdometry:
    def __init__(self, camera: Pinhole, start: np.ndarray, tracker: Tracker | None = None, **options) -> None:
        self.o = dict(px=PIXEL_SIGMA, psig=PRIOR_SIGMA, sure=SURE, pull=0.0, pool=0, old=1, hid=0.4, fuse=0, fsg=0.3, fsig=0.0, iters=3) | options
        self.camera, self.start, self.focal, self.fs = camera, start, camera.fx, []
        self.unit = max(camera.width, camera.height) / SIDE  # pixels of the image in one of the small
        self.tracker = tracker or Tracker()
        self.landmarks = np.zeros(0, LANDMARK)
        self.keyframes: list[Keyframe] = []
        self.poses: dict[int, np.ndarray] = {}
        self.recent: deque[Followed] = deque(maxlen=RECENT)
        self.offset = (0.0, 0.3)
        self.dense = []

    def follow(self, image: np.ndarray, stamp: int, fillable=None) -> Followed:
        predicted = self._predicted(stamp)
        rows = rows_of(self.landmarks, self.tracker.ids)
        expected = np.full((len(rows), 2), np.nan)
        expected[rows >= 0] = self._pixels(rows[rows >= 0], predicted)[0]
        self.tracker.follow(image, stamp, [expected] if len(self.recent) else [], fillable)
        found = self._resected(self.tracker.at(stamp), predicted)
        last = self.recent[-1] if self.recent else None
        world = found[0] if last is None else last.world_from_camera @ invert(last.pose) @ found[0]
        self.recent.append(Followed(stamp, found[0], world, *found[1:]))
        return self.recent[-1]

    def place(self, image: np.ndarray, stamp: int, log_depth: np.ndarray, said: np.ndarray) -> Correction:
        """log_depth: (h, w) of the model; said: (N,) the model's log depth of the points of that image."""
        points = self.tracker.at(stamp)
        if self._is_keyframe(points):
            self._add_keyframe(points, log_depth, said, image)
        found = self._correction(points, log_depth, said, image)
        if self.o["fuse"] and self.keyframes[-1].stamp == stamp:
            depth = np.exp(log_depth + found.log)
            xyz = self.camera.grid(depth.shape[1], depth.shape[0]).backproject_map(depth).reshape(-1, 3)
            self.dense = [*self.dense, (self.keyframes[-1].number, xyz[np.isfinite(xyz).all(1)])][-10:]
        if self.o["pool"]:
            rows = rows_of(self.landmarks, points.ids)
            use = points.seen & (rows >= 0) & np.isfinite(said)
            rows = rows[use]
            _, depth = self._pixels(rows, self.at(stamp).pose)
            m = self.landmarks[rows]
            field = _sampled(found.log, points.pixels[use], image.shape[:2])
            value = m["log_depth"] + said[use] + field - np.log(depth)
            ok = np.isfinite(value)
            share = 1 / np.minimum(m["said"] + 1, self.o["pool"])
            m["prior"] = np.where(ok, m["prior"] + share * (value - m["prior"]), m["prior"])
            m["said"] += ok
            self.landmarks[rows] = m
        return found

    def at(self, stamp: int) -> Followed | None:
        return next((f for f in self.recent if f.stamp == stamp), None)

    def _pixels(self, rows, pose):
        return seen_from(positions(self.landmarks[rows], self.poses, self.camera)[0], pose, self.camera)

    def _predicted(self, stamp: int) -> np.ndarray:
        """At constant velocity."""
        if len(self.recent) < 2:
            return self.recent[-1].pose if self.recent else self.start
        a, b = self.recent[-2], self.recent[-1]
        share = min((stamp - b.stamp) / (b.stamp - a.stamp), 2.0)
        step = invert(a.pose) @ b.pose
        turn = Rotation.from_matrix(step[:3, :3]).as_rotvec() * share
        return b.pose @ pose_matrix(Rotation.from_rotvec(turn).as_matrix(), share * step[:3, 3])

    def _resected(self, points: TrackedPoints, start: np.ndarray):
        rows = rows_of(self.landmarks, points.ids)
        use = points.seen & (rows >= 0)
        use[use] = self.landmarks["weight"][rows[use]] > AGREES
        if use.sum() < FEWEST:
            return start, np.eye(6), 0, 0.0
        where, spread = positions(self.landmarks[rows[use]], self.poses, self.camera)
        try:
            fit = resect(where, spread, points.pixels[use], self.camera, start, self.o["px"] * self.unit)
        except ResectionError:
            return start, np.eye(6), 0, 0.0
        agree = fit.weights > AGREES
        return fit.world_from_camera, fit.covariance, int(agree.sum()), float(agree.mean())

    def _is_keyframe(self, points: TrackedPoints) -> bool:
        if not self.keyframes:
            return True
        last = self.keyframes[-1]
        images = sum(last.stamp < f.stamp <= points.stamp for f in self.recent)
        if images < 2:
            return False
        known = rows_of(self.landmarks, points.ids[points.seen]) >= 0
        _, a, b = np.intersect1d(points.ids[points.seen], last.points.ids[last.points.seen], return_indices=True)
        if not len(a) or known.mean() < 0.7:
            return True
        moved = points.pixels[points.seen][a] - last.points.pixels[last.points.seen][b]
        moved = np.median(np.linalg.norm(moved, axis=1)) / self.unit
        return moved > MOVED or (images >= LATE and moved > MOVED_LITTLE)

    def _add_keyframe(self, points: TrackedPoints, log_depth, said, image) -> None:
        number = self.keyframes[-1].number + 1 if self.keyframes else 0
        known = self._correction(points, log_depth, said, image)
        self.poses[number] = self.at(points.stamp).pose.copy()
        new = points.seen & (rows_of(self.landmarks, points.ids) < 0) & np.isfinite(said)
        born = np.zeros(new.sum(), LANDMARK)
        born["id"], born["keyframe"], born["pixel"] = points.ids[new], number, points.pixels[new]
        born["prior"] = said[new] + (1 - self.o["pull"]) * _sampled(known.log, points.pixels[new], image.shape[:2])
        born["log_depth"], born["weight"] = born["prior"], 1.0
        born["said"] = 1
        born["prior_sigma"], born["variance"] = self.o["psig"], self.o["psig"] ** 2
        self.landmarks = np.concatenate([self.landmarks, born])
        self.landmarks = self.landmarks[np.argsort(self.landmarks["id"])]
        self.keyframes = [*self.keyframes, Keyframe(number, points.stamp, points)][-KEYFRAMES:]
        self._adjust()
        self._forget(number - REMEMBERED)

    def _adjust(self) -> None:
        keyframes = self.keyframes
        rows = [rows_of(self.landmarks, k.points.ids) for k in keyframes]
        good = [(r >= 0) & k.points.seen for r, k in zip(rows, keyframes)]
        frames = np.concatenate([np.full(g.sum(), k.number) for g, k in zip(good, keyframes)])
        which = np.concatenate([r[g] for r, g in zip(rows, good)])
        pixels = np.concatenate([k.points.pixels[g] for g, k in zip(good, keyframes)])
        used, which = np.unique(which, return_inverse=True)
        landmarks = self.landmarks[used]
        numbers = np.unique(np.concatenate([[k.number for k in keyframes], landmarks["keyframe"]]))
        free = [k.number for k in keyframes[min(HELD, len(keyframes) - 1):]]
        if len(keyframes) < 2:
            return
        before = {n: self.poses[n] for n in numbers}
        try:
            fit = adjust(Bundle(
                poses=np.stack([self.poses[n] for n in numbers]), held=~np.isin(numbers, free),
                anchors=np.searchsorted(numbers, landmarks["keyframe"]), anchor_pixels=landmarks["pixel"],
                log_depth=landmarks["log_depth"], prior=landmarks["prior"], prior_sigma=landmarks["prior_sigma"],
                frames=np.searchsorted(numbers, frames), landmarks=which, pixels=pixels, camera=self.camera,
                pixel_sigma=self.o["px"] * self.unit, focal_sigma=self.o["fsig"], focal_prior=self.focal if self.o["fsig"] else None,
            ), self.o["iters"])  # fmt: skip
        except BundleError:
            return
        landmarks["log_depth"] = fit.log_depth
        landmarks["parallax"] = np.maximum(landmarks["parallax"], fit.parallax)
        drift = (self.unit / np.maximum(landmarks["parallax"], 1e-3)) ** 2
        landmarks["variance"] = np.minimum(fit.log_depth_variance + drift, landmarks["prior_sigma"] ** 2)
        seen = np.bincount(which, fit.weights > 0, len(used))
        weight = np.bincount(which, fit.weights, len(used)) / np.maximum(seen, 1)
        landmarks["weight"] = np.where(seen > 0, weight, landmarks["weight"])
        self.landmarks[used] = landmarks
        self.camera = fit.camera
        self.fs.append((fit.camera.fx, fit.focal_sigma))
        self.poses.update(zip(numbers, fit.poses))
        stamps = [k.stamp for k in keyframes]
        for followed in self.recent:
            number = keyframes[max(np.searchsorted(stamps, followed.stamp, "right") - 1, 0)].number
            followed.pose = self.poses[number] @ invert(before[number]) @ followed.pose

    def _forget(self, oldest: int) -> None:
        keep = (self.landmarks["keyframe"] >= oldest) | np.isin(self.landmarks["id"], self.tracker.ids)
        self.landmarks = self.landmarks[keep]
        used = {*self.landmarks["keyframe"].tolist(), *(n for n, _ in self.dense), *(k.number for k in self.keyframes)}
        self.poses = {n: pose for n, pose in self.poses.items() if n in used}

    def _correction(self, points: TrackedPoints, log_depth, said, image) -> Correction:
        rows = rows_of(self.landmarks, points.ids)
        use = points.seen & (rows >= 0) & np.isfinite(said)
        use[use] = (self.landmarks["weight"][rows[use]] > AGREES) & (self.landmarks["variance"][rows[use]] < self.o["sure"] ** 2)
        _, depth = self._pixels(rows[use], self.at(points.stamp).pose)
        pixels, values, sigmas = points.pixels[use], np.log(depth) - said[use], np.sqrt(self.landmarks["variance"][rows[use]])
        if self.o["old"]:
            m = self.landmarks
            others = np.flatnonzero(~np.isin(m["id"], points.ids[points.seen]) & (m["weight"] > AGREES) & (m["variance"] < self.o["sure"] ** 2))
            px, d = self._pixels(others, self.at(points.stamp).pose)
            h, w = image.shape[:2]
            inside = (px[:, 0] >= 0) & (px[:, 0] <= w - 1) & (px[:, 1] >= 0) & (px[:, 1] <= h - 1)
            px, d, others = px[inside], d[inside], others[inside]
            value = np.log(d) - sample_depth(log_depth, px, (h, w))
            near = np.isfinite(value) & (np.abs(value - np.median(values) if len(values) else value) < self.o["hid"])
            pixels = np.concatenate([pixels, px[near]]); values = np.concatenate([values, value[near]])
            sigmas = np.concatenate([sigmas, np.sqrt(m["variance"][others[near]] + 0.05**2)])
        if self.o["fuse"]:
            h, w = image.shape[:2]
            for number, xyz in self.dense[-self.o["fuse"]:]:
                if number not in self.poses or number == self.keyframes[-1].number and self.keyframes[-1].stamp == points.stamp:
                    continue
                world = xyz @ self.poses[number][:3, :3].T + self.poses[number][:3, 3]
                px, d = seen_from(world, self.at(points.stamp).pose, self.camera)
                inside = np.isfinite(d) & (px[:, 0] >= 0) & (px[:, 0] <= w - 1) & (px[:, 1] >= 0) & (px[:, 1] <= h - 1)
                px, d = px[inside], d[inside]
                value = np.log(d) - sample_depth(log_depth, px, (h, w))
                near = np.isfinite(value) & (np.abs(value - np.median(values) if len(values) else value) < self.o["hid"])
                pixels = np.concatenate([pixels, px[near]]); values = np.concatenate([values, value[near]])
                sigmas = np.concatenate([sigmas, np.full(near.sum(), self.o["fsg"])])
        found = correction(log_depth, image, pixels, values, sigmas, self.offset)
        self.used = len(values)
        if use.sum() > 5:
            self.offset = (found.offset, 0.3)
        return found


def _sampled(grid: np.ndarray, pixels: np.ndarray, size) -> np.ndarray:
    import cv2

    x, y = (pixels * (np.array(grid.shape[::-1]) - 1) / (np.array(size[::-1]) - 1)).astype(np.float32).T[..., None]
    return cv2.remap(grid.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
