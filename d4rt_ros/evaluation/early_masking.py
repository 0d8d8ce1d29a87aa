"""Whether early-stage masking helps: the pose between the ends of a window in which much moves, with and without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from d4rt_ros.dynamics.attention import attention_masks
from d4rt_ros.evaluation.mask_scenes import MaskScene
from d4rt_ros.geometry import invert, rotation_angle
from d4rt_ros.model.protocol import Model
from d4rt_ros.tasks import PoseError, depth_map, relative_pose

# What is masked: nothing, what moves in truth, what attention says moves.
MASKS = "nothing", "true masks", "attention's masks"
STRIDE = 2  # every other frame of a sequence
FRAMES = 8  # of a model that takes any number
DEPTH = 30, 40


def pose_errors(model: Model, sequences: Iterable[MaskScene]) -> Iterator[np.ndarray]:
    """(3, 2) a window of the end of each sequence, by MASKS: the newest camera's pose in the oldest one's frame is off
    by degrees, and by a share of the mean depth. NaN where no pose was found.

    The model's unit is taken from its depth of the oldest frame.
    """
    count = model.num_frames or FRAMES
    for sequence in sequences:
        chosen = range(len(sequence.times))[::-STRIDE][:count][::-1]
        if len(chosen) < count:
            raise ValueError(f"{sequence.name} has {len(chosen)} frames {STRIDE} apart, the window {count}")
        frames, masks = zip(*(sequence.frame(n) for n in chosen))
        images = np.stack([frame.image for frame in frames])
        given = None, np.stack(masks), attention_masks(model, images)
        yield np.stack([_errors(model.encode(images, mask=mask), frames) for mask in given])


def _errors(scene, frames) -> tuple[float, float]:
    oldest, newest = frames[0], frames[-1]
    depth, height, width = oldest.depth, *oldest.depth.shape
    v, u = (np.rint(np.linspace(0, n - 1, k)).astype(int) for n, k in zip((height, width), DEPTH))
    unit = np.nanmedian(depth[v[:, None], u] / depth_map(scene, 0, DEPTH))
    try:
        method = "pnp" if scene.tells_motion else "rigid"
        found = relative_pose(scene, 0, -1, oldest.camera, method).i_from_j
    except PoseError:
        return np.nan, np.nan
    true = invert(oldest.world_from_camera) @ newest.world_from_camera
    shift = np.linalg.norm(unit * found[:3, 3] - true[:3, 3]) / np.nanmean(depth)
    return float(np.degrees(rotation_angle(found[:3, :3].T @ true[:3, :3]))), float(shift)
