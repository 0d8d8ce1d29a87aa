"""A room with a moving ball, answered exactly from its equations: what tasks and the pipeline are tested
against.

Independent of d4rt_ros.scenes, and needs no torch.
"""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion
from d4rt_ros.model.query import Answer, check_queries

WALL = 5.0
CAMERA = Pinhole.centred(90.0, 95.0, 97, 65)


def wandering_camera(count: int, speed: float = 1.0) -> np.ndarray:
    """world_from_camera (count, 4, 4): turning about 6 degrees and going 0.11 m a frame, at speed 1."""
    k = speed * np.arange(count)[:, None]
    turn = k * [[0.01, 0.05, 0.005]] + [[0, 0.001, 0]]
    return pose_from_quaternion(np.hstack([turn, np.ones((count, 1))]), k * [[0.1, 0.03, -0.02]])


class AnalyticScene:
    """The room |x|, |y|, |z| < 5 and a ball that moves in it, in optical axes.

    poses: world_from_camera (T, 4, 4). ball: its centres (T, 3). noise: relative error of depth, and of
        pixels as a
    share of a quarter of the width. spoiled: share of answers that are wrong altogether. asked: calls so far.
    """

    tells_motion = True

    def __init__(self, poses, ball=None, radius=0.7, camera=CAMERA, noise=0.0, spoiled=0.0, seed=0):
        self.poses, self.camera, self.radius = np.asarray(poses), camera, radius
        self.num_frames, self.size = len(poses), (camera.height, camera.width)
        self.ball = ball_across(len(poses)) if ball is None else np.asarray(ball, float)
        self.noise, self.spoiled, self.rng = noise, spoiled, np.random.default_rng(seed)
        self.frames = self.rng.integers(0, 255, (len(poses), *self.size, 3), dtype=np.uint8)
        self.calls, self.nbytes, self.queries_per_second = 0, 0, None

    def relative(self, i: int, j: int) -> np.ndarray:
        """The true i_from_j."""
        return invert(self.poses[i]) @ self.poses[j]

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        self.calls += 1
        q = check_queries(u, v, t_src, t_tgt, t_cam, self.num_frames, self.size)
        rays = self.camera.backproject(np.stack([q.u, q.v], 1), np.ones(len(q)))
        origin, rays = self.poses[q.t_src, :3, 3], np.einsum("nij,nj->ni", self.poses[q.t_src, :3, :3], rays)
        depth, on_ball = self._cast(origin, rays, self.ball[q.t_src])
        moved = np.where(on_ball[:, None], self.ball[q.t_tgt] - self.ball[q.t_src], 0.0)
        point = origin + depth[:, None] * rays + moved
        seen = self._into(q.t_tgt, point)
        uv = np.nan_to_num(self.camera.project(seen), nan=-1000.0)
        eye = self.poses[q.t_tgt, :3, 3]
        first = self._cast(eye, point - eye, self.ball[q.t_tgt])[0]
        inside = ((uv > -0.51) & (uv < [self.camera.width - 0.49, self.camera.height - 0.49])).all(axis=1)
        visible = inside & (seen[:, 2] > 0) & (first > 1 - 1e-6)
        xyz, turned = self._into(q.t_cam, point), np.einsum("nji,nj->ni", self.poses[q.t_cam, :3, :3], moved)
        xyz = xyz * (1 + self.noise * self.rng.normal(size=(len(q), 1)))
        uv = uv + self.noise * self.camera.width / 4 * self.rng.normal(size=uv.shape)
        wrong = self.rng.random(len(q)) < self.spoiled
        xyz[wrong] = self.rng.uniform(-5, 5, (wrong.sum(), 3))
        uv[wrong] = self.rng.uniform(0, [self.camera.width, self.camera.height], (wrong.sum(), 2))
        f, n = np.float32, len(q)
        confidence = np.full(n, 0.9, f)
        normals = np.tile(f([0, 0, -1]), (n, 1))
        return Answer(xyz.astype(f), uv.astype(f), visible.astype(f), confidence, normals, turned.astype(f))

    def painted(self, t: int) -> np.ndarray:
        """(H, W, 3) uint8: what frame t looks like, walls and ball with waves of many lengths and directions."""
        v, u = np.mgrid[: self.camera.height, : self.camera.width].reshape(2, -1)
        rays = (
            self.camera.backproject(np.stack([u, v], 1).astype(float), np.ones(len(u)))
            @ self.poses[t, :3, :3].T
        )
        eye, ball = np.tile(self.poses[t, :3, 3], (len(u), 1)), np.tile(self.ball[t], (len(u), 1))
        depth, on_ball = self._cast(eye, rays, ball)
        point = eye + depth[:, None] * rays - np.where(on_ball[:, None], ball, 0.0)
        rng = np.random.default_rng(0)
        waves = rng.normal(size=(3, 40))
        waves *= 2 * np.pi / np.linalg.norm(waves, axis=0) / rng.uniform(0.5, 3.0, 40)
        grey = 128 + 22 * np.sin(point @ waves + rng.uniform(0, 7, 40)).sum(axis=1)
        grey = np.clip(grey, 0, 255).astype(np.uint8).reshape(*self.size, 1)
        return np.repeat(grey, 3, axis=2)

    def _into(self, t, point) -> np.ndarray:
        return np.einsum("nji,nj->ni", self.poses[t, :3, :3], point - self.poses[t, :3, 3])

    def _cast(self, origin, ray, ball) -> tuple[np.ndarray, np.ndarray]:
        """How many times `ray` it is to the first surface, and whether that is the ball."""
        with np.errstate(divide="ignore", invalid="ignore"):
            wall = np.where(ray == 0, np.inf, (np.copysign(WALL, ray) - origin) / ray).min(axis=1)
        a, b = (ray**2).sum(1), ((origin - ball) * ray).sum(1)
        inside = b**2 - a * (((origin - ball) ** 2).sum(1) - self.radius**2)
        near = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
        on_ball = (near > 1e-9) & (near < wall)
        return np.where(on_ball, near, wall), on_ball


def ball_across(count: int) -> np.ndarray:
    """Centres (count, 3) of a ball that crosses the first view and the next."""
    return np.array([-1.2, 0.3, 3.5]) + 0.12 * np.arange(count)[:, None] * [1.0, -0.2, 0.1]


class Altered:
    """A scene whose answers are changed by a function of them (in place) before they are given."""

    def __init__(self, scene, change):
        self._scene, self._change = scene, change

    def __getattr__(self, name):
        return getattr(self._scene, name)

    def query(self, **fields) -> Answer:
        answer = self._scene.query(**fields)
        self._change(answer)
        return answer
