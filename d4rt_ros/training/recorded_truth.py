"""What is known of the answers to queries of recorded clips, and what is not."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.transforms import invert
from d4rt_ros.training.recorded_clips import RecordedClip

MARGIN = 0.25  # of the image: how far outside it the model is asked to say where a point went
# Relative difference of depth within which a point is the one that is seen there. Measured depth and poses are off by
# a few percent.
SAME_DEPTH = 0.05
# A surface counts as smooth where depth bends by less than this share of itself, and is not seen at a lower angle.
SMOOTH, LEAST_COSINE = 0.02, 0.2
AHEAD = 1e-3  # metres along z, at least, of what is in front of a camera


def answerable_times(times: np.ndarray, static: bool, posed: bool) -> np.ndarray:
    """Times (Q, 3) t_src, t_tgt, t_cam, changed to those that depth can answer.

    Things that move cannot be followed by depth: t_tgt = t_src. Cameras without poses cannot be told apart:
    t_cam = t_tgt = t_src.
    """
    src, tgt, cam = times.T
    if not posed:
        return np.stack((src, src, src), -1)
    if not static:
        return np.stack((src, src, np.where(cam == tgt, src, cam)), -1)
    return times


def depth_truth(clip: RecordedClip, uv: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """The truth, as `Examples` has it, of queries uv (Q, 2) at `answerable_times` (Q, 3), from depth and poses.

    A point of a static clip stays where it is. It is visible at t_tgt where the depth measured there is its own,
    hidden where that is less; where it is more, the point is not there any more, and nothing is known. Where no
    depth was measured, visibility is unknown.
    """
    src, tgt, cam = times.T
    pixels = clip.pixels(uv)
    depth = _depth_at(clip.depth, src, np.round(pixels))
    local = _backproject(clip.intrinsics[src], pixels, depth)
    relative = _relative_poses(clip)
    at_target = _apply(relative[tgt, src], local)
    pixel, ahead = _project(clip.intrinsics[tgt], at_target)
    same = tgt == src
    visible, sure, gone = _seen(clip, tgt, pixel, np.where(ahead, at_target[:, 2], np.nan))
    known = np.isfinite(depth) & ~(gone & ~same)
    normal, smooth = _normals(clip, src, pixels, local)
    return _in_units(clip, {
        "xyz": _apply(relative[cam, src], local),
        "displacement": np.zeros_like(local),
        "normal": np.einsum("qij,qj->qi", relative[cam, src][:, :3, :3], normal),
        "uv": clip.uv(pixel),
        "visibility": (visible | same).astype(np.float32),
        "knows_xyz": known,
        "knows_displacement": known,
        "knows_normal": known & smooth,
        "knows_uv": known & ahead,
        "knows_visibility": known & (sure | same),
    })  # fmt: skip


def track_candidates(clip: RecordedClip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tracks can be asked for where: (track, frame) (K, 2) of the visible points, their uv (K, 2), and
    whether their track moves (K,)."""
    points, visible = clip.tracks.points, clip.tracks.visible
    frames = np.arange(points.shape[1])
    local = np.einsum("tij,ntj->nti", invert(clip.world_from_camera)[:, :3], _homogeneous(points))
    pixel, ahead = _project(clip.intrinsics[frames], local)
    uv = clip.uv(pixel)
    good = visible & ahead & ((uv >= 0) & (uv <= 1)).all(-1)
    way = np.nanmax(np.linalg.norm(points - _first_known(points), axis=-1), axis=1, initial=0.0)
    track, frame = np.nonzero(good)
    return np.stack((track, frame), -1), uv[track, frame], way[track] > SMOOTH * clip.unit


def track_truth(clip: RecordedClip, track: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """The truth of queries of points (Q,) of the clip's tracks. Normals are not known."""
    src, tgt, cam = times.T
    camera_from_world = invert(clip.world_from_camera)
    here, there = clip.tracks.points[track, src], clip.tracks.points[track, tgt]
    pixel, ahead = _project(clip.intrinsics[tgt], _apply(camera_from_world[tgt], there))
    uv = clip.uv(pixel)
    inside = ((uv >= 0) & (uv <= 1)).all(-1)
    xyz, before = _apply(camera_from_world[cam], there), _apply(camera_from_world[cam], here)
    known = np.isfinite(here).all(-1) & np.isfinite(there).all(-1)
    return _in_units(clip, {
        "xyz": xyz,
        "displacement": xyz - before,
        "normal": np.full_like(xyz, np.nan),
        "uv": uv,
        "visibility": (clip.tracks.visible[track, tgt] & ahead & inside).astype(np.float32),
        "knows_xyz": known,
        "knows_displacement": known,
        "knows_normal": np.zeros(len(track), bool),
        "knows_uv": known & ahead,
        "knows_visibility": known,
    })  # fmt: skip


def _in_units(clip: RecordedClip, truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Lengths in the clip's mean depth, all in float32; pixels far outside the image are not known."""
    with np.errstate(invalid="ignore"):
        truth["knows_uv"] &= ((truth["uv"] > -MARGIN) & (truth["uv"] < 1 + MARGIN)).all(-1)
    for name in ("xyz", "displacement"):
        truth[name] = truth[name] / clip.unit
    return {name: v if v.dtype == bool else v.astype(np.float32) for name, v in truth.items()}


def _relative_poses(clip: RecordedClip) -> np.ndarray:
    """(T, T, 4, 4): [a, b] takes points of camera b to camera a. Without poses all cameras count as one."""
    if clip.world_from_camera is None:
        return np.broadcast_to(np.eye(4), (len(clip.rgb), len(clip.rgb), 4, 4))
    return invert(clip.world_from_camera)[:, None] @ clip.world_from_camera[None]


def _seen(clip: RecordedClip, t: np.ndarray, pixel: np.ndarray, z: np.ndarray):
    """(visible, sure, gone), each (Q,): of points at pixels (Q, 2) of frames t (Q,) at depth z, NaN behind.

    The four pixels around count, since at an edge it is chance which one is met.
    """
    height, width = clip.depth.shape[1:]
    with np.errstate(invalid="ignore"):
        inside = ((pixel >= -0.5) & (pixel <= np.array((width, height)) - 0.5)).all(-1) & np.isfinite(z)
    pixel = np.where(inside[:, None], pixel, 0.0)
    around = np.stack([
        _depth_at(clip.depth, t, np.stack((side(pixel[:, 0]), other(pixel[:, 1])), -1))
        for side in (np.floor, np.ceil) for other in (np.floor, np.ceil)
    ])  # fmt: skip
    measured = np.isfinite(around).any(0)
    far = np.where(np.isfinite(around), around, -np.inf).max(0)
    near = np.where(np.isfinite(around), around, np.inf).min(0)
    with np.errstate(invalid="ignore"):
        visible = inside & measured & (z <= far * (1 + SAME_DEPTH))
        gone = inside & measured & (z < near * (1 - SAME_DEPTH))
    return visible, ~inside | measured, gone


def _normals(clip: RecordedClip, t: np.ndarray, pixels: np.ndarray, local: np.ndarray):
    """Unit normals (Q, 3) towards the camera, and whether the surface is smooth enough to have one (Q,).

    From the neighbours that are one pixel of the model away: nearer ones drown in a sensor's noise.
    """
    step = max(1, round(clip.depth.shape[2] / clip.rgb.shape[2]))
    centre = np.round(pixels)
    here = _depth_at(clip.depth, t, centre)
    sides, bends = [], []
    for offset in (np.array((step, 0)), np.array((0, step))):
        ends = [centre + offset, centre - offset]
        depths = [_depth_at(clip.depth, t, end, outside=np.nan) for end in ends]
        after, before = (_backproject(clip.intrinsics[t], e, d) for e, d in zip(ends, depths))
        sides.append(after - before)
        bends.append(np.abs(depths[0] + depths[1] - 2 * here) / here)
    normal = np.cross(*sides)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = normal / length
        cosine = -(normal * local).sum(-1) / np.linalg.norm(local, axis=-1)
        normal = normal * np.sign(cosine)[:, None]
        smooth = (np.maximum(*bends) < SMOOTH) & (np.abs(cosine) > LEAST_COSINE)
    return normal, smooth


def _depth_at(
    depth: np.ndarray, t: np.ndarray, pixel: np.ndarray, outside: float | None = None
) -> np.ndarray:
    """Depth (Q,) of frames t at whole pixels (Q, 2); beyond the border that of the border, or `outside`."""
    height, width = depth.shape[1:]
    x, y = pixel.astype(int).T
    found = depth[t, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].astype(np.float64)
    if outside is None:
        return found
    return np.where((x >= 0) & (x < width) & (y >= 0) & (y < height), found, outside)


def _backproject(intrinsics: np.ndarray, pixel: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Points (Q, 3) of pixels (Q, 2) at depth (Q,), of cameras (Q, 3, 3)."""
    focal, centre = intrinsics[:, (0, 1), (0, 1)], intrinsics[:, :2, 2]
    return np.concatenate(((pixel - centre) / focal * depth[:, None], depth[:, None]), -1)


def _project(intrinsics: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 2) of points (..., 3) in cameras (..., 3, 3), NaN where not in front; and whether in front."""
    z = points[..., 2]
    with np.errstate(invalid="ignore"):
        ahead = z > AHEAD
    focal, centre = intrinsics[..., (0, 1), (0, 1)], intrinsics[..., :2, 2]
    return points[..., :2] / np.where(ahead, z, np.nan)[..., None] * focal + centre, ahead


def _apply(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (Q, 3) through poses (Q, 4, 4)."""
    return np.einsum("qij,qj->qi", poses[:, :3, :3], points) + poses[:, :3, 3]


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate((points, np.ones(points.shape[:-1] + (1,))), -1)


def _first_known(points: np.ndarray) -> np.ndarray:
    """(N, 1, 3): where each track (N, T, 3) is first known."""
    first = np.isfinite(points).all(-1).argmax(1)
    return np.take_along_axis(points, first[:, None, None], axis=1)
