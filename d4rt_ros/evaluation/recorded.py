"""How good a model is on recorded frames: depth, and where poses were measured too, point clouds and the path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.progress import track

from d4rt_ros.evaluation.clip import ClipTruth, evaluate_clip
from d4rt_ros.evaluation.figures import Figure, Records, add_records, figures_of
from d4rt_ros.evaluation.pictures import PICTURES, clip_pictures
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.recorded import RecordedError, RecordedSequence

ANY_LENGTH = 8  # frames of a clip, for a model that takes any number


def evaluate_recorded(
    model,
    sequences: Iterable[RecordedSequence],
    stride: int = 1,
    most: int | None = None,
    pictures: Path | None = None,
) -> list[Figure]:
    """Evaluate on clips that together hold every frame of the sequences once.

    A clip is as long as the model's, or of ANY_LENGTH frames where it takes any.

    stride: a clip takes every `stride`-th frame; so many clips lie in each other's gaps. Frames at the end of a
    sequence that fill no such block are left out. most: evaluate the first so many clips alone. pictures: a
    folder for pictures of the first clips.
    Raises RecordedError for a sequence that is shorter than a clip, frames that cannot be used or have no depth.
    """
    clips = [
        (sequence, frames)
        for sequence in sequences
        for frames in clip_frames(len(sequence), model.num_frames or ANY_LENGTH, stride, sequence.name)
    ][:most]
    records: Records = {}
    for n, (sequence, indices) in enumerate(track(clips, description="evaluating")):
        frames = [sequence.frame(i) for i in indices]
        truth = clip_truth(frames, f"{sequence.name}, frames {indices[0]} to {indices[-1]}")
        result = evaluate_clip(model.encode(np.stack([frame.image for frame in frames])), truth)
        add_records(records, result.records)
        if pictures is not None and n < PICTURES:
            clip_pictures(pictures / f"{sequence.name}_{n:03}", [frame.image for frame in frames], result)
    return figures_of(records)


def clip_frames(count: int, length: int, stride: int, name: str) -> list[list[int]]:
    """Frame numbers of each clip: see `evaluate_recorded`."""
    block = length * stride
    if count < block:
        raise RecordedError(
            f"{name}: has {count} frames; a clip of this model, {length} frames of which each is the {stride}th, "
            f"needs {block}"
        )
    return [
        list(range(start + first, start + block, stride))
        for start in range(0, count - block + 1, block)
        for first in range(stride)
    ]


def clip_truth(frames: list[Frame], where: str) -> ClipTruth:
    """What was measured beside the frames of a clip."""
    if any(frame.depth is None for frame in frames):
        raise RecordedError(f"{where}: a frame has no depth; expected depth to compare with")
    if not any(np.isfinite(frame.depth).any() for frame in frames):
        raise RecordedError(
            f"{where}: no pixel of any frame has depth; expected some in metres, not 0 or 65535"
        )
    poses = [frame.world_from_camera for frame in frames]
    return ClipTruth(
        np.stack([frame.depth for frame in frames]),
        frames[0].camera,
        None if any(pose is None for pose in poses) else np.stack(poses),
    )
