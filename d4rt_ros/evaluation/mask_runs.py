"""Methods that say what moves, over sequences whose true masks are known, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from d4rt_ros.dynamics.attention import attention_masks
from d4rt_ros.evaluation.mask_baselines import frame_difference, nothing_moves, rigid_flow
from d4rt_ros.evaluation.mask_pictures import mask_picture
from d4rt_ros.evaluation.mask_scenes import LEAST, WITHIN, MaskScene
from d4rt_ros.evaluation.masks import (
    FrameScore,
    MaskFigure,
    SequenceScore,
    frame_score,
    mask_figure,
    sequence_score,
)
from d4rt_ros.evaluation.pictures import PICTURES
from d4rt_ros.io.frame import Frame
from d4rt_ros.stream import Pipeline, PipelineConfig, Stream
from d4rt_ros.stream.config import only

# From the frames of a sequence to a mask (H, W) bool for each; None where nothing is said, which counts as "at rest".
Method = Callable[[Sequence[Frame]], Iterable["np.ndarray | None"]]


@dataclass(frozen=True)
class MaskedSequence:
    """frames: gives the frames one after another, each with its true mask (H, W) bool. judged: numbers of the frames
    that count. least: share of the image that must move in a frame for J and F to be judged."""

    name: str
    frames: Callable[[], Iterator[tuple[Frame, np.ndarray]]]
    judged: range
    least: float = 0.0


def scene_sequence(scene: MaskScene) -> MaskedSequence:
    """Judged from when on the truth is of what was shown: nobody has seen what was half a second before the first."""
    return MaskedSequence(
        scene.name, scene.frames, range(int(np.ceil(WITHIN * scene.rate)), len(scene.times)), LEAST
    )


def online(model, dynamics: str) -> Method:
    """What the pipeline says of each frame when it comes. dynamics: as in PipelineConfig."""

    def masks(frames: Sequence[Frame]) -> Iterator[np.ndarray | None]:
        stream = Stream(Pipeline(model, PipelineConfig(dynamics=dynamics)))
        for frame in frames:
            result = stream.add(frame, only(masks=True))
            yield result.moving.mask if result is not None and result.moving is not None else None

    return masks


def attention(model) -> Method:
    """What the model's attention says by itself (VGGT4D), clip by clip; the whole sequence is one clip for a model that
    takes any number of frames."""

    def masks(frames: Sequence[Frame]) -> Iterator[np.ndarray]:
        count, length = len(frames), model.num_frames or len(frames)
        if count < length:
            raise ValueError(
                f"a sequence of {count} frames, and this model takes clips of {length}; attention needs a whole one"
            )
        prepared = [model.prepare(frame.image) for frame in frames]
        done = 0
        for start in range(0, count, length):
            start = min(start, count - length)  # the last clip shares frames with the one before
            yield from attention_masks(model, prepared[start : start + length])[done - start :]
            done = start + length

    return masks


def baselines() -> dict[str, Method]:
    """Masks without any network, by their names."""
    methods = {
        "nothing moves": nothing_moves,
        "frame difference after a homography": frame_difference,
        "optical flow against the rigid world": rigid_flow,
    }
    return {name: _of_images(method) for name, method in methods.items()}


def _of_images(method) -> Method:
    return lambda frames: method([frame.image for frame in frames])


def evaluate_masks(
    sequences: Iterable[MaskedSequence], count: int, methods: dict[str, Method], pictures: Path | None = None
) -> list[MaskFigure]:
    """The figures of methods, by their names, over `count` sequences. pictures: a folder for some of the first ones.

    Methods are given images, stamps and the camera, and nothing of the truth. Of two sequences the frames are in memory
    at a time: those of the next are made while this one is judged.
    """
    scores: dict[str, dict[str, SequenceScore]] = {name: {} for name in methods}
    with Progress() as bar:
        task = bar.add_task("masks", total=count)
        for number, (sequence, frames, truth) in enumerate(_loaded(sequences)):
            bar.update(task, description=sequence.name)
            said = {name: list(method(frames)) for name, method in methods.items()}
            for name, masks in said.items():
                scores[name][sequence.name] = sequence_score(_frame_scores(sequence, masks, truth))
            if pictures is not None and number < PICTURES:
                file = pictures / f"{sequence.name.replace(' ', '_').replace('/', '_')}_masks.png"
                mask_picture(file, [frame.image for frame in frames], said, truth, sequence.judged)
            bar.advance(task)
    return [mask_figure(name, scores[name]) for name in methods]


def _loaded(
    sequences: Iterable[MaskedSequence],
) -> Iterator[tuple[MaskedSequence, list[Frame], list[np.ndarray]]]:
    """Sequences with their frames, without truth, and true masks; the next one's are made meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for sequence in sequences:
            following = sequence, pool.submit(_load, sequence)
            if coming is not None:
                yield coming[0], *coming[1].result()
            coming = following
        if coming is not None:
            yield coming[0], *coming[1].result()


def _load(sequence: MaskedSequence) -> tuple[list[Frame], list[np.ndarray]]:
    frames, truth = zip(*sequence.frames())
    return [Frame(frame.image, frame.stamp, frame.camera) for frame in frames], list(truth)


def _frame_scores(sequence: MaskedSequence, masks: list, truth: list[np.ndarray]) -> list[FrameScore]:
    return [frame_score(masks[k], truth[k], sequence.least) for k in sequence.judged]
