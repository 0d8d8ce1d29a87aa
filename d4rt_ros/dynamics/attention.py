"""What moves in a clip by a model's attention alone."""

from __future__ import annotations

import numpy as np

from d4rt_ros.dynamics.cues import CueMiner, coarse_masks
from d4rt_ros.model.protocol import Model, Scene


def scene_masks(miner: CueMiner, scene: Scene) -> np.ndarray:
    """(T, H, W) bool, what moves in the frames of a scene that was encoded with this listener.

    Tokens of more than one frame say the same of all of these; of pixels that no token covers nothing moves. Raises
    CueError for a clip too short for cues.
    """
    x, y, width, height = (round(n) for n in scene.covered)
    found = coarse_masks(miner.maps, miner.patch_features, (height, width)).masks
    masks = np.zeros((len(found), *scene.size), bool)
    inside = found[:, max(-y, 0) :, max(-x, 0) :][:, : scene.size[0] - max(y, 0), : scene.size[1] - max(x, 0)]
    masks[:, max(y, 0) :, max(x, 0) :][:, : inside.shape[1], : inside.shape[2]] = inside
    return np.repeat(masks, scene.num_frames // len(masks), axis=0)


def attention_masks(model: Model, frames) -> np.ndarray:
    """(T, H, W) bool, what moves in these frames (as `model.encode` takes them), by the model's attention alone.

    Raises NoAttentionError for a model whose attention cannot be heard, CueError for a clip too short for cues.
    """
    miner = CueMiner()
    return scene_masks(miner, model.encode(frames, listener=miner))
