"""Depth on real frames, against what a depth camera measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from d4rt_ros.evaluation.metrics import constant_depth_errors, depth_errors
from d4rt_ros.evaluation.scenes import Figure
from d4rt_ros.tasks import depth_map, pixel_grid

NO_DEPTH = (0, 65535)  # what 7-Scenes writes where the sensor saw nothing


class RgbdError(ValueError):
    """A folder that holds no usable RGB-D frames."""


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 metres from a 16-bit PNG of millimetres; NaN where the sensor saw nothing."""
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        raise RgbdError(f"{path}: not a readable 16-bit depth image with one channel")
    return np.where(np.isin(raw, NO_DEPTH), np.nan, raw / 1000.0).astype(np.float32)


def evaluate_rgbd(model, folder: Path, stride: int = 2) -> list[Figure]:
    """Depth of the newest frame of every window of a folder of NAME.color.* and NAME.depth.png.

    stride: every how many frames a window takes one. Each frame is median-scaled on its own, and compared at a
    grid of a quarter of the image's size.
    Raises RgbdError where the folder holds too few frames, or none with depth.
    """
    colours = sorted(p for p in folder.glob("*.color.*") if p.suffix in (".jpg", ".png"))
    depths = [p.with_name(p.name.split(".color.")[0] + ".depth.png") for p in colours]
    span = (model.num_frames - 1) * stride
    if len(colours) <= span or not all(p.exists() for p in depths):
        raise RgbdError(
            f"{folder}: needs more than {span} frames NAME.color.jpg, each with NAME.depth.png beside it; "
            f"found {len(colours)} and {sum(p.exists() for p in depths)}"
        )
    frames = [model.prepare(_read_colour(p)) for p in colours]
    records = []
    for last in range(span, len(frames)):
        scene = model.encode(frames[last - span : last + 1 : stride])
        height, width = scene.size
        size = (height // 4, width // 4)
        u, v = pixel_grid(size, scene.size)
        truth = read_depth(depths[last])[v.round().astype(int), u.round().astype(int)]
        predicted = depth_map(scene, -1, size).reshape(truth.shape)
        records.append((*depth_errors(predicted, truth), *constant_depth_errors(truth)))
    error, delta, constant_error, constant_delta = np.mean(records, 0)
    return [
        Figure("depth AbsRel, median-scaled", error, constant_error, "constant depth", len(records)),
        Figure(
            "depth delta < 1.25 (higher is better)", delta, constant_delta, "constant depth", len(records)
        ),
    ]


def _read_colour(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise RgbdError(f"{path}: not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
