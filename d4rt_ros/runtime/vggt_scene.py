"""What VGGT says of a clip: maps and cameras of the network's own images, and answers in the user's pixels."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.transforms import invert, pose_matrix
from d4rt_ros.model.query import Answer, Queries, QueryError, broadcast_queries, check_queries
from d4rt_ros.model.vggt.images import FittedImage
from d4rt_ros.runtime.scene import check_memory

CHUNK = 1 << 15  # queries that are answered together, so that memory stays bounded
SAME_SURFACE = 1.1  # neighbouring pixels whose depths differ by less than this factor lie on one


class VGGTScene:
    """S frames in one pass, all arrays float32, of the h x w pixels that the network took (see VGGTModel.prepare).

    extrinsics: (S, 3, 4) [R | t], camera from world: x right, y down, z forward. The world is about the first camera.
    intrinsics: (S, 3, 3). As in VGGT they go with integer pixels: pixel (x, y) looks along K⁻¹ (x, y, 1), its
        principal point is (w/2, h/2), and depth · K⁻¹ (x, y, 1) is the point that `query` answers.
    depth: (S, h, w) along z. depth_confidence: (S, h, w), from 1 on.
    points: (S, h, w, 3) in the world, by a head of their own, and points_confidence: (S, h, w), from 1 on; None where
        the weights have no such head.
    frames: S images (H, W, 3) uint8, as they were given, whose pixels queries speak of.
    """

    tells_motion = False
    queries_per_second = None  # an answer is looked up

    def __init__(
        self,
        fitted: list[FittedImage],
        extrinsics: np.ndarray,
        intrinsics: np.ndarray,
        depth: np.ndarray,
        depth_confidence: np.ndarray,
        points: np.ndarray | None = None,
        points_confidence: np.ndarray | None = None,
        between_chunks=lambda: None,
    ):
        self.frames = [f.image for f in fitted]
        self.extrinsics, self.intrinsics = extrinsics, intrinsics
        self.depth, self.depth_confidence = depth, depth_confidence
        self.points, self.points_confidence = points, points_confidence
        self._scale, self._offset = fitted[0].scale, fitted[0].offset
        self._between_chunks = between_chunks
        self._camera_from_world = pose_matrix(extrinsics[:, :, :3], extrinsics[:, :, 3])
        self._world_from_camera = invert(self._camera_from_world)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that pixels speak of."""
        return self.frames[0].shape[:2]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """Of a frame what the network took, see model.protocol."""
        corner, extent = (0 - self._offset) / self._scale, np.array(self.depth.shape[:0:-1]) / self._scale
        return *corner.tolist(), *extent.tolist()

    @property
    def nbytes(self) -> int:
        maps = self.depth, self.depth_confidence, self.points, self.points_confidence
        return sum(m.nbytes for m in maps if m is not None)

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        """Where are the points seen at (u, v) of frames t_src, in the camera frames of t_cam? t_tgt is t_src.

        xyz is from the depth map, between its pixels where they lie on one surface and of the nearest elsewhere;
        confidence is 1 - 1/c of the map's c = 1 + exp(x), hence the sigmoid of x. Pixels that the network has not
        seen (outside a crop) and depths that are not finite are NaN, with visibility and confidence 0.
        Raises QueryError for what cannot be asked, above all another t_tgt.
        """
        fields = broadcast_queries(u, v, t_src, t_tgt, t_cam)
        check_memory(fields[0].size)
        q = check_queries(*fields, self.num_frames, self.size)
        if (q.t_src != q.t_tgt).any():
            raise QueryError("this model cannot tell where a point goes; use a D4RT checkpoint")
        parts = []
        for start in range(0, max(len(q), 1), CHUNK):
            self._between_chunks()
            part = slice(start, start + CHUNK)
            parts.append(
                self._answers(Queries(q.u[part], q.v[part], q.t_src[part], q.t_tgt[part], q.t_cam[part]))
            )
        return Answer(*(np.concatenate(x).astype(np.float32) for x in zip(*parts)))

    def _answers(self, q: Queries) -> tuple[np.ndarray, ...]:
        """Answer's fields."""
        pixels = np.stack((q.u, q.v), -1)
        places = (pixels + 0.5) * self._scale + self._offset - 0.5
        height, width = self.depth.shape[1:]
        end = np.array((width, height)) - 1
        nearest = np.clip(np.rint(places), 0, end).astype(int)
        with np.errstate(all="ignore"):  # what a network says may be infinite
            here = self._rays(places, q.t_src) * self._depths(places, nearest, q.t_src)[:, None]
            normals = self._normals(nearest, q.t_src)
            turn, shift = self._relative(q.t_src, q.t_cam)
            xyz = np.einsum("nij,nj->ni", turn, here) + shift
            normals = np.einsum("nij,nj->ni", turn, normals)
            confidence = 1 - 1 / self.depth_confidence[q.t_src, nearest[:, 1], nearest[:, 0]]
        known = np.isfinite(xyz.astype(np.float32)).all(1) & np.isfinite(confidence) & (here[:, 2] > 0)
        known &= (np.abs(places - end / 2) <= end / 2 + 0.5 + 1e-9).all(1)
        rows = known[:, None]
        return (
            np.where(rows, xyz, np.nan),
            np.where(rows, pixels, np.nan),
            known.astype(np.float32),
            np.where(known, confidence, 0),
            np.where(rows, normals, np.nan),
            np.where(rows, 0.0, np.nan) * np.ones(3),
        )

    def _rays(self, places: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(N, 3) with z = 1, NaN where a camera has no focal length. places: (N, 2) pixels of the network's images."""
        k = self.intrinsics[t].astype(np.float64)
        focal, centre = k[:, [0, 1], [0, 1]], k[:, :2, 2]
        focal = np.where(np.isfinite(focal) & (focal > 0), focal, np.nan)
        return np.concatenate(((places - centre) / focal, np.ones((len(places), 1))), 1)

    def _depths(self, places: np.ndarray, nearest: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(N,): between pixels by the inverse depth, which is linear on a plane."""
        end = np.array(self.depth.shape[:0:-1]) - 1
        places = np.clip(places, 0, end)
        low = np.minimum(places.astype(int), end - 1)
        x, y = (places - low).T
        x = np.stack((1 - x, x), -1)[:, None]
        y = np.stack((1 - y, y), -1)[:, :, None]
        columns, rows = (low.T[:, :, None] + np.arange(2)).astype(int)
        around = self.depth[t[:, None, None], rows[:, :, None], columns[:, None]].astype(np.float64)
        blended = 1 / (x * y / around).sum((1, 2))
        flat = around.max((1, 2)) <= SAME_SURFACE * around.min((1, 2))
        return np.where(flat, blended, self.depth[t, nearest[:, 1], nearest[:, 0]])

    def _normals(self, nearest: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(N, 3) of unit length, facing the camera: across each axis the neighbour that is nearer in depth."""

        def point(shift):
            place = nearest + shift
            return self._rays(place, t) * self.depth[t, place[:, 1], place[:, 0]].astype(np.float64)[:, None]

        middle, end, along = point(0), np.array(self.depth.shape[:0:-1]) - 1, []
        for axis in (0, 1):
            step = np.eye(2, dtype=int)[axis]
            at = nearest[:, axis : axis + 1]
            after = point(step * (at < end[axis])) - middle
            before = middle - point(-step * (at > 0))
            away = [
                np.where((at == edge) | np.isnan(d[:, 2:]), np.inf, np.abs(d[:, 2:]))
                for d, edge in ((before, 0), (after, end[axis]))
            ]
            along.append(np.where(away[0] < away[1], before, after))
        normal = np.cross(*along)
        normal *= np.where((normal * middle).sum(1) > 0, -1.0, 1.0)[:, None]
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)

    def _relative(self, t_src: np.ndarray, t_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (N, 3, 3) and translations (N, 3) from the cameras of t_src to those of t_cam."""
        pairs, index = np.unique(t_cam * self.num_frames + t_src, return_inverse=True)
        cam, src = np.divmod(pairs, self.num_frames)
        poses = self._camera_from_world[cam] @ self._world_from_camera[src]
        poses[cam == src] = np.eye(4)  # not but for rounding
        poses = poses[index.ravel()]
        return poses[:, :3, :3], poses[:, :3, 3]
