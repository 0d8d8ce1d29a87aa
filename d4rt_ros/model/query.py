"""The one question and its answer, as numpy arrays in the user's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.arguments import real_array

NAMES = ("u", "v", "t_src", "t_tgt", "t_cam")


class QueryError(ValueError):
    """A query that cannot be asked of this scene."""


@dataclass(frozen=True)
class Queries:
    """N checked queries.

    u, v: (N,) float64 pixels of frame t_src (integer = pixel centre, x right, y down).
    t_src, t_tgt, t_cam: (N,) int64 in 0 (oldest) .. T-1 (newest).
    """

    u: np.ndarray
    v: np.ndarray
    t_src: np.ndarray
    t_tgt: np.ndarray
    t_cam: np.ndarray

    def __len__(self) -> int:
        return len(self.u)


@dataclass(frozen=True)
class Answer:
    """Where the points are.

    xyz: (N, 3) float32, the point at time t_tgt in the optical camera frame of t_cam.
    uv: (N, 2) float32, its pixel in frame t_tgt.
    visibility: (N,) float32, probability that it is seen in frame t_tgt.
    confidence: (N,) float32 in 0..1, how far `xyz` is to be trusted.
    normals: (N, 3) float32, unit surface normal at t_tgt in the frame of t_cam, facing the camera of t_src.
    displacements: (N, 3) float32, X(t_tgt) - X(t_src), both in the camera frame of t_cam.
    """

    xyz: np.ndarray
    uv: np.ndarray
    visibility: np.ndarray
    confidence: np.ndarray
    normals: np.ndarray
    displacements: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)


def check_queries(u, v, t_src, t_tgt, t_cam, num_frames: int, size: tuple[int, int]) -> Queries:
    """Broadcast the five fields together and check them against a scene.

    `size` is (height, width) of the frames that the pixels speak of. Negative times count from the newest
    frame. Raises QueryError where lengths do not broadcast, a pixel is not finite or outside the image, a
    time is not an integer or outside the window.
    """
    fields = broadcast_queries(u, v, t_src, t_tgt, t_cam)
    u, v = (_pixels(name, x, n) for name, x, n in (("u", fields[0], size[1]), ("v", fields[1], size[0])))
    return Queries(u, v, *(_times(n, x, num_frames) for n, x in zip(NAMES[2:], fields[2:])))


def broadcast_queries(u, v, t_src, t_tgt, t_cam) -> list[np.ndarray]:
    """The five fields as arrays of one shape, not yet copied and not looked into.

    Raises QueryError for what is no array of numbers, and for lengths that do not broadcast.
    """
    fields = [
        np.atleast_1d(real_array(x, name, dtype=None, error=QueryError))
        for name, x in zip(NAMES, (u, v, t_src, t_tgt, t_cam))
    ]
    try:
        return np.broadcast_arrays(*fields)
    except ValueError:
        raise QueryError(
            f"{', '.join(NAMES)} have lengths {[x.size for x in fields]}; give arrays of one length, or single "
            "values"
        ) from None


def _pixels(name: str, values: np.ndarray, count: int) -> np.ndarray:
    if values.dtype.kind == "b":
        raise QueryError(f"{name} has type {values.dtype}; pixels are numbers")
    values = values.astype(np.float64, copy=False).reshape(-1)
    # Half a pixel beyond the outer centres is still the image; NaN fails the comparison too.
    bad = ~((values >= -0.5) & (values <= count - 0.5))
    if bad.any():
        raise QueryError(f"{name} = {values[bad][0]} is outside the image; pixels run from 0 to {count - 1}")
    return values


def _times(name: str, values: np.ndarray, num_frames: int) -> np.ndarray:
    values = values.reshape(-1)
    if values.dtype.kind not in "iu":
        raise QueryError(f"{name} has type {values.dtype}; frame numbers are integers")
    bad = (values < -num_frames) | (values >= num_frames)
    if bad.any():
        raise QueryError(
            f"{name} = {values[bad][0]} is outside the window; its {num_frames} frames are 0 (oldest) to "
            f"{num_frames - 1}, or -1 (newest) to -{num_frames}"
        )
    return np.where(values < 0, values + num_frames, values).astype(np.int64)
