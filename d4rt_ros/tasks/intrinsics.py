"""The camera's focal lengths, from where the model puts the points of its pixels."""

from __future__ import annotations

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.tasks.depth import point_map_questions
from d4rt_ros.tasks.questions import ask, finite_rows, frame_index

# Nearer to the centre line than this share of the image, x is so small that its error is all there is.
NEAR_CENTRE = 0.1
MIN_POINTS = 8


class IntrinsicsError(ValueError):
    """Answers from which no focal length can be had."""


def intrinsics(
    scene, t=None, size: tuple[int, int] = (16, 16), square_pixels: bool = False
) -> Pinhole:
    """The camera at `scene.size`, its principal point in the middle of the image.

    t: the frame or frames to ask, all by default; the median is over all their points.
    square_pixels: one focal length for both axes, as nearly every real camera has.
    Raises IntrinsicsError where too few points are usable.
    """
    times = range(scene.num_frames) if t is None else [frame_index(scene, i) for i in np.atleast_1d(t)]
    parts = [point_map_questions(scene, i, size, i) for i in times]
    answers = ask(scene, *parts)
    u, v = (np.concatenate([getattr(p, axis) for p in parts]) for axis in "uv")
    xyz = np.concatenate([a.xyz for a in answers])
    confidence = np.concatenate([a.confidence for a in answers])
    return camera_of_points(xyz, confidence, u, v, scene.size, square_pixels)


def camera_of_points(
    xyz, confidence, u, v, image_size: tuple[int, int], square_pixels: bool = False
) -> Pinhole:
    """The camera that shows the points xyz (N, 3), of its own frame, at pixels u, v (N,).

    Only the more confident half counts.
    """
    height, width = image_size
    xyz, confidence = np.asarray(xyz, np.float64), np.asarray(confidence, np.float64)
    usable = finite_rows(xyz) & np.isfinite(confidence) & (xyz[:, 2] > 0)
    if usable.any():
        usable &= confidence >= np.median(confidence[usable])
    ratios = [
        _ratios(xyz[usable], axis, (pixels - (count - 1) / 2)[usable], count)
        for axis, (pixels, count) in enumerate(((u, width), (v, height)))
    ]
    if min(map(len, ratios)) < MIN_POINTS:
        raise IntrinsicsError(
            f"only {min(map(len, ratios))} points give a focal length; {MIN_POINTS} are needed, finite, in front of "
            "the camera and away from the image's middle; give a camera_info where the model cannot say"
        )
    fx, fy = (np.median(np.concatenate(ratios)),) * 2 if square_pixels else map(np.median, ratios)
    return Pinhole.centred(fx, fy, width, height)


def _ratios(xyz: np.ndarray, axis: int, offset: np.ndarray, count: int) -> np.ndarray:
    """The positive focal lengths z · offset / x of the points away from the centre line."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = xyz[:, 2] * offset / xyz[:, axis]
    return ratios[(np.abs(offset) > NEAR_CENTRE * count) & np.isfinite(ratios) & (ratios > 0)]
