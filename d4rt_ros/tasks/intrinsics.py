"""The camera's focal lengths, from where the model puts the points of its pixels."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.tasks.batch import Task, answered
from d4rt_ros.tasks.questions import frame_indices, pixel_grid, questions, usable

# Nearer to the centre line than this share of the image, x is so small that its error is all there is.
NEAR_CENTRE = 0.1
MIN_POINTS = 8


class IntrinsicsError(ValueError):
    """Answers from which no focal length can be had."""


def intrinsics(scene, t=None, size: tuple[int, int] = (16, 16), square_pixels: bool = False) -> Pinhole:
    """The camera at `scene.size`, its principal point in the middle of the image.

    t: the frame or frames to ask, all by default; the median is over all their points.
    square_pixels: one focal length for both axes, as nearly every real camera has.
    Raises IntrinsicsError where too few points are usable.
    """
    return answered(scene, intrinsics_task(scene, frame_indices(scene, t), size, square_pixels))


def intrinsics_task(
    scene, times: list[int], size: tuple[int, int], square_pixels: bool = False
) -> Task[Pinhole]:
    """`intrinsics`, with other tasks. times: 0..T-1."""
    t = np.array(times)[:, None]
    u, v = pixel_grid(size, scene.size)
    asked = questions(u.ravel(), v.ravel(), t, t, t)
    [answer] = yield [asked]
    return camera_of(answer, asked, scene.size, square_pixels)


def camera_of(
    answer: Answer, asked: Queries, image_size: tuple[int, int], square_pixels: bool = False
) -> Pinhole:
    """The camera that shows points of its own frame (t_src = t_tgt = t_cam) at the pixels asked for.

    Only the more confident half counts.
    """
    height, width = image_size
    good = usable(answer, in_front=True)
    if good.any():
        good &= answer.confidence >= np.median(answer.confidence[good])
    xyz = answer.xyz[good].astype(np.float64)
    offsets = (asked.u[good] - (width - 1) / 2, asked.v[good] - (height - 1) / 2)
    ratios = [_ratios(xyz, axis, offsets[axis], image_size[1 - axis]) for axis in (0, 1)]
    if min(map(len, ratios)) < MIN_POINTS:
        raise IntrinsicsError(
            f"only {min(map(len, ratios))} points give a focal length, {MIN_POINTS} are needed: finite, in "
            "front of the camera, away from the image's middle; give a camera_info where the model fails"
        )
    fx, fy = (np.median(np.concatenate(ratios)),) * 2 if square_pixels else map(np.median, ratios)
    return Pinhole.centred(fx, fy, width, height)


def _ratios(xyz: np.ndarray, axis: int, offset: np.ndarray, count: int) -> np.ndarray:
    """The positive focal lengths z · offset / x of the points away from the centre line."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = xyz[:, 2] * offset / xyz[:, axis]
    return ratios[(np.abs(offset) > NEAR_CENTRE * count) & np.isfinite(ratios) & (ratios > 0)]
