"""How the camera moved between two frames of a window, robust to what moves in the scene.

"pnp": points of either frame, and the pixels of the other at which the model sees them.
"rigid": the same points at the same time (t_tgt = t_src, so that nothing has moved), in both camera frames; what a
model that cannot tell where a point goes is always asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.geometry.alignment import AlignmentError
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, is_rigid, pose_matrix, transform
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.tasks.batch import Batch, Task, answered
from d4rt_ros.tasks.intrinsics import IntrinsicsError, camera_of
from d4rt_ros.tasks.pose_fit import solve_pnp, solve_rigid
from d4rt_ros.tasks.questions import frame_index, frame_indices, pixel_grid, questions, usable

METHODS = ("pnp", "rigid")
MIN_POINTS = 12
# Of a grid: what two frames must share, and what of this must agree, for one to be placed by the other alone.
ENOUGH_SEEN, ENOUGH_AGREE = 0.25, 0.5
# A pose is never surer than 2 mm and 0.1 degrees.
COVARIANCE_FLOOR = np.diag([0.002**2] * 3 + [np.radians(0.1) ** 2] * 3)
# A pose that is less sure than this (rad), or than the depth of the points, is none.
UNDETERMINED_ROTATION = 0.5
# Neighbouring answers of a network err alike: so many points weigh as one.
VARIANCE_INFLATION = 16.0


class PoseError(ValueError):
    """Answers that do not determine a pose."""


@dataclass(frozen=True)
class RelativePose:
    """The pose of camera j in the frame of camera i.

    i_from_j: (4, 4) float64.
    inliers: share, 0..1, of the usable points that agree with the pose.
    usable: share, 0..1, of the grid that was usable: finite, confident, and for "pnp" seen in both frames.
    residual: RMS of the inliers, in pixels ("pnp") or as a share of the depth ("rigid").
    parallax: median shift in pixels that the translation alone gives the inliers.
    covariance: (6, 6), x y z (the model's unit) and turns about x y z (rad), about the axes of frame i.
    method: "pnp" or "rigid".
    """

    i_from_j: np.ndarray
    inliers: float
    usable: float
    residual: float
    parallax: float
    covariance: np.ndarray
    method: str

    def scaled(self, factor: float) -> RelativePose:
        """The same in a unit of which the present one has so many."""
        lengths = np.array([factor] * 3 + [1.0] * 3)
        i_from_j = pose_matrix(self.i_from_j[:3, :3], factor * self.i_from_j[:3, 3])
        return replace(self, i_from_j=i_from_j, covariance=self.covariance * np.outer(lengths, lengths))


def relative_pose(
    scene,
    i: int,
    j: int,
    camera: Pinhole | None = None,
    method: str = "pnp",
    grid: tuple[int, int] = (12, 12),
) -> RelativePose:
    """The pose of camera j in the frame of camera i, from a grid (rows, columns) of points of either frame.

    camera: at `scene.size`; estimated from the same answers where None.
    Raises PoseError where too few points are usable or they do not determine a pose, ValueError for arguments
    that cannot be: a frame outside the window, an unknown method, a grid or a camera that is none of the scene's.
    """
    i, j = frame_index(scene, i), frame_index(scene, j)
    return answered(scene, pose_task(scene, i, j, method, grid)).pose(camera)


def camera_poses(
    scene, camera: Pinhole | None = None, method: str = "pnp", grid: tuple[int, int] = (12, 12)
) -> np.ndarray:
    """first_from_camera (T, 4, 4) of every frame, each straight from the first one and all in one call.

    A frame that shares too little with the first one is joined to the frame before it; PoseError where that
    fails too.
    """
    batch = Batch(scene)
    answers = [batch.add(pose_task(scene, 0, j, method, grid)) for j in frame_indices(scene)[1:]]
    batch.ask()
    poses = [np.eye(4)]
    for j, answer in enumerate(answers, start=1):
        try:
            direct = answer().pose(camera)
        except PoseError:
            direct = None
        if direct is not None and direct.usable >= ENOUGH_SEEN and direct.inliers >= ENOUGH_AGREE:
            poses.append(direct.i_from_j)
        else:
            poses.append(poses[-1] @ relative_pose(scene, j - 1, j, camera, method, grid).i_from_j)
    return np.stack(poses)


@dataclass(frozen=True, eq=False)
class PoseAnswers:
    """What the pose of a camera j in the frame of a camera i is made from.

    asked: the points of a grid of frame i, then those of frame j. here: where these are in their own time and camera.
    there: what the method needs of them in the other frame. size: (height, width) of the frames. method: see above.
    """

    asked: Queries
    here: Answer
    there: Answer
    size: tuple[int, int]
    method: str

    def pose(self, camera: Pinhole | None) -> RelativePose:
        """The pose; camera: see `relative_pose`, whose errors it raises."""
        return _pose(self.asked, self.here, self.there, self.size, self.method, camera)


def pose_task(scene, i: int, j: int, method: str, grid: tuple[int, int]) -> Task[PoseAnswers]:
    """`relative_pose`, with other tasks; the pose is fitted when it is asked for, since that takes a camera. i, j:
    0..T-1."""
    if method not in METHODS:
        raise ValueError(f"no pose method '{method}'; there are {', '.join(METHODS)}")
    method = method if scene.tells_motion else "rigid"
    u, v = (x.ravel() for x in pixel_grid(grid, scene.size))
    own, other = np.array([[i], [j]]), np.array([[j], [i]])
    asked = questions(u, v, own, own, own)
    here, there = yield [asked, questions(u, v, own, other if method == "pnp" else own, other)]
    return PoseAnswers(asked, here, there, scene.size, method)


def _pose(
    asked: Queries, here: Answer, there: Answer, size: tuple[int, int], method: str, camera: Pinhole | None
) -> RelativePose:
    camera = _estimated(here, asked, size) if camera is None else _checked_camera(camera, size)
    seen = _usable(here, there, size, method)
    if seen.sum() < MIN_POINTS:
        raise PoseError(
            f"{seen.sum()} of {len(seen)} points are usable in both frames; a pose needs {MIN_POINTS}. "
            "The views may not overlap, or the images may show nothing"
        )
    depth = here.xyz[seen, 2].astype(np.float64)
    # The rays are the camera's; only the depth is the model's.
    points = camera.backproject(np.stack([asked.u, asked.v], axis=1)[seen], depth)
    back = (np.arange(len(seen)) >= len(seen) // 2)[seen]
    weights = np.maximum(here.confidence[seen].astype(np.float64), 1e-3)
    try:
        if method == "pnp":
            fit = solve_pnp(points, there.uv[seen].astype(np.float64), back, weights, camera)
        else:
            fit = solve_rigid(here.xyz[seen], there.xyz[seen], back, weights)
        covariance = VARIANCE_INFLATION * np.linalg.inv(fit.information) + COVARIANCE_FLOOR
    except (np.linalg.LinAlgError, AlignmentError) as error:
        raise PoseError(f"the points do not determine a pose: {error}") from error
    _check(fit.i_from_j, covariance, float(np.median(depth)))
    return RelativePose(
        i_from_j=fit.i_from_j,
        inliers=float(fit.inliers.mean()),
        usable=float(seen.mean()),
        residual=fit.residual,
        parallax=_parallax(points[fit.inliers & ~back], fit.i_from_j, camera),
        covariance=covariance,
        method=method,
    )


def _check(i_from_j, covariance, depth: float) -> None:
    """Raise PoseError for a pose that is none."""
    if not (is_rigid(i_from_j) and np.isfinite(covariance).all()):
        raise PoseError("the pose came out non-finite; the model's answers do not fit a moving camera")
    shift, rotation = np.sqrt(np.diag(covariance)[:3].max()), np.sqrt(np.diag(covariance)[3:].max())
    if shift > depth or rotation > UNDETERMINED_ROTATION:
        raise PoseError(
            f"the points do not determine a pose: it is uncertain by {shift:.2g} at a depth of {depth:.2g}, "
            f"and by {np.degrees(rotation):.0f} degrees"
        )


def _checked_camera(camera, size: tuple[int, int]) -> Pinhole:
    if not isinstance(camera, Pinhole):
        raise ValueError(f"camera = {camera!r} is no Pinhole; give one at the scene's size, or None")
    if (camera.height, camera.width) != tuple(size):
        raise ValueError(
            f"the camera is one of {camera.width}x{camera.height} pixels and the scene's frames have "
            f"{size[1]}x{size[0]}; give the camera at the scene's size"
        )
    return camera


def _estimated(here: Answer, asked: Queries, size: tuple[int, int]) -> Pinhole:
    try:
        return camera_of(here, asked, size)
    except IntrinsicsError as error:
        raise PoseError(f"no camera was given and none can be estimated: {error}") from error


def _usable(here: Answer, there: Answer, size: tuple[int, int], method: str) -> np.ndarray:
    good = usable(here, in_front=True)
    if method == "rigid":
        return good & usable(there, in_front=False)
    (u, v), (height, width) = there.uv.T, size
    # Comparisons with NaN are false.
    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    return good & inside & (there.visibility > 0.5)


def _parallax(points, i_from_j, camera: Pinhole) -> float:
    j_from_i = invert(i_from_j)
    turned = points @ j_from_i[:3, :3].T
    shift = camera.project(transform(j_from_i, points)) - camera.project(turned)
    shift = shift[np.isfinite(shift).all(axis=1)]
    return float(np.median(np.linalg.norm(shift, axis=1))) if len(shift) else 0.0
