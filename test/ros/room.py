"""A furnished room that is quick to look at from anywhere, and a model that knows how far everything is.

Its axes are those of a camera that looks ahead: x right, y down, z forward; its middle is the origin; metres, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, pose_matrix, transform
from d4rt_ros.model.query import Answer, check_queries

CAMERA = Pinhole(170.0, 170.0, 103.5, 79.5, 208, 160)  # sees 63 degrees across
LOW, HIGH = (-2.6, -1.4, -2.8), (2.8, 1.1, 3.0)
# x y z of the lower and the upper corner.
FURNITURE = (
    ((-1.5, 0.3, 1.2), (-0.6, 1.1, 2.0)),
    ((0.5, -0.2, 1.6), (1.1, 1.1, 2.4)),
    ((1.6, 0.0, -0.4), (2.4, 1.1, 0.6)),
    ((-0.9, 0.1, -2.2), (0.3, 1.1, -1.6)),
    ((-2.3, -0.3, -0.8), (-1.8, 1.1, 0.2)),
)
TEXELS = 110  # a metre


@lru_cache
def texture(seed: int) -> np.ndarray:
    """(512, 512, 3) float32: blots of several sizes, in the colour of one paint."""
    random = np.random.default_rng(seed)
    grey = sum(
        cv2.resize(
            random.uniform(-a, a, (n, n)).astype(np.float32), (512, 512), interpolation=cv2.INTER_CUBIC
        )
        for n, a in ((16, 25), (32, 45), (64, 45))
    )
    return np.clip(115 + grey[..., None] * random.uniform(0.6, 1.0, 3), 2, 253).astype(np.float32)


@dataclass(frozen=True)
class Box:
    """low, high: (3,) corners. velocity: (3,) metres a second. inside: it is seen from inside, as a room is."""

    low: tuple
    high: tuple
    seed: int
    velocity: tuple = (0.0, 0.0, 0.0)
    inside: bool = False


class Room:
    """place: rooms of two places look different, and are furnished alike. mover: a box beside the others."""

    def __init__(self, place: int = 0, mover: Box | None = None) -> None:
        boxes = [Box(LOW, HIGH, 100 * place, inside=True)]
        boxes += [Box(*b, 100 * place + 10 * i) for i, b in enumerate(FURNITURE, 1)]
        self.boxes = [*boxes, mover] if mover else boxes

    def cast(self, origin: np.ndarray, rays: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Where rays (N, 3) first meet something: how many times their length away (N,), and at which face (N,)."""
        x, away = np.ascontiguousarray(rays.T), np.full(len(rays), np.inf)
        face = np.zeros(len(rays), int)
        with np.errstate(divide="ignore", invalid="ignore"):
            for b, box in enumerate(self.boxes):
                start = origin - seconds * np.array(box.velocity)
                for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
                    for side, end in enumerate((box.low[axis], box.high[axis])):
                        if ((side == 0) == (start[axis] < end)) == box.inside:
                            continue  # its other side is seen
                        s = (end - start[axis]) / x[axis]
                        u, v = start[i] + s * x[i], start[j] + s * x[j]
                        on = (s > 1e-3) & (s < away) & (u >= box.low[i]) & (u <= box.high[i])
                        on &= (v >= box.low[j]) & (v <= box.high[j])
                        away[on], face[on] = s[on], 6 * b + 2 * axis + side
        return away, face

    def seen(self, pose: np.ndarray, seconds: float = 0.0, camera: Pinhole = CAMERA):
        """An image (H, W, 3) uint8 from world_from_camera (4, 4), and its depth (H, W)."""
        size = camera.height, camera.width
        rays = camera.backproject_map(np.ones(size)).reshape(-1, 3) @ pose[:3, :3].T
        depth, face = self.cast(pose[:3, 3], rays, seconds)
        at = (pose[:3, 3] + depth[:, None] * rays).T.reshape(3, *size)
        rgb = np.zeros((*size, 3), np.float32)
        for f in np.unique(face):
            box, here = self.boxes[f // 6], (face == f).reshape(size)
            u, v = (
                (TEXELS * (at[i] - seconds * box.velocity[i]) + 256).astype(np.float32)
                for i in range(3)
                if i != f % 6 // 2
            )
            rgb[here] = cv2.remap(
                texture(box.seed + f % 6), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )[here]
        return rgb.astype(np.uint8), depth.reshape(size).astype(np.float32)


@dataclass(frozen=True)
class Moment:
    """What an image was taken of."""

    room: Room
    pose: np.ndarray
    seconds: float
    camera: Pinhole


class RoomScene:
    """Moments, oldest first, with their images, answered exactly, in units of `unit` metres."""

    nbytes, queries_per_second = 0, None

    tells_motion = True

    def __init__(self, moments, frames, unit: float) -> None:
        self.moments, self.frames, self.unit = moments, frames, unit
        self.num_frames, self.size = len(frames), frames[0].shape[:2]

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        q = check_queries(u, v, t_src, t_tgt, t_cam, self.num_frames, self.size)
        xyz, moved = np.zeros((2, len(q), 3))
        for t in np.unique(q.t_src):
            rows, now = q.t_src == t, self.moments[t]
            rays = now.camera.backproject(np.stack([q.u, q.v], -1)[rows], np.ones(rows.sum()))
            depth, face = now.room.cast(now.pose[:3, 3], rays @ now.pose[:3, :3].T, now.seconds)
            velocity = np.array([box.velocity for box in now.room.boxes])[face // 6]
            later = np.array([m.seconds for m in self.moments])[q.t_tgt[rows]] - now.seconds
            moved[rows] = velocity * later[:, None]
            xyz[rows] = transform(now.pose, rays * depth[:, None]) + moved[rows]
        uv, seen = np.zeros((len(q), 2)), np.zeros(len(q))
        for t in np.unique(q.t_tgt):
            rows, then = q.t_tgt == t, self.moments[t]
            local = transform(invert(then.pose), xyz[rows])
            uv[rows] = then.camera.project(local)
            rays = (local / local[:, 2:]) @ then.pose[:3, :3].T
            nearest = then.room.cast(then.pose[:3, 3], rays, then.seconds)[0]
            seen[rows] = (local[:, 2] > 0) & (nearest > 0.99 * local[:, 2])
        for t in np.unique(q.t_cam):
            rows, from_world = q.t_cam == t, invert(self.moments[t].pose)
            xyz[rows], moved[rows] = transform(from_world, xyz[rows]), moved[rows] @ from_world[:3, :3].T
        one, ahead = np.ones(len(q), np.float32), np.tile(np.float32([0, 0, -1]), (len(q), 1))
        floats = (a.astype(np.float32) for a in (xyz / self.unit, uv, seen))
        return Answer(*floats, one, ahead, (moved / self.unit).astype(np.float32))


class RoomModel:
    """Knows every image that it was told of by its bytes.

    unit: metres in its unit of length. encoded: windows so far.
    """

    between_chunks = queries_per_second = None

    def __init__(self, num_frames: int = 6, unit: float = 1.0) -> None:
        self.num_frames, self.unit, self.encoded = num_frames, unit, 0
        self._moments: dict[bytes, Moment] = {}

    def tell(self, image: np.ndarray, moment: Moment) -> None:
        self._moments[image.tobytes()] = moment

    def prepare(self, image):
        return image

    def encode(self, frames) -> RoomScene:
        self.encoded += 1
        return RoomScene([self._moments[image.tobytes()] for image in frames], frames, self.unit)


def standing(x=0.0, y=0.0, z=0.0, yaw=0.0, pitch=0.0) -> np.ndarray:
    """world_from_camera (4, 4) of a camera there, turned to the right and up by so many degrees."""
    return pose_matrix(Rotation.from_euler("YX", [yaw, pitch], degrees=True).as_matrix(), [x, y, z])


def strolling(k: float, rate: float = 15.0) -> np.ndarray:
    """The same of a hand that sways, at image k: 0.2 to 0.3 m and 10 degrees a second."""
    t = k / rate
    return standing(
        0.25 * np.sin(1.1 * t),
        0.06 * np.sin(1.7 * t),
        0.12 * np.sin(0.8 * t),
        6 * np.sin(0.9 * t),
        2 * np.sin(1.3 * t),
    )
