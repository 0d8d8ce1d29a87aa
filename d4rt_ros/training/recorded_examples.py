"""Training examples from recorded sequences."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.scenes import boundary_mask
from d4rt_ros.training.augment import sample_windows
from d4rt_ros.training.config import TrainConfig
from d4rt_ros.training.draws import uniform
from d4rt_ros.training.examples import Examples
from d4rt_ros.training.queries import NUMBERS, sample_queries
from d4rt_ros.training.recorded_clips import OVERSIZE, RecordedClip, cut_clip, reduced
from d4rt_ros.training.recorded_truth import answerable_times, depth_truth, track_candidates, track_truth

ATTEMPTS = 20  # clips that are tried for a place in the batch before the data counts as useless
CACHE_BYTES = 512 * 2**20  # of reduced frames: a short recording is decoded once
# Share of a clip's queries that ask for its tracks, where it has any; half of these for tracks that move.
TRACKED = 0.5

log = logging.getLogger(__name__)


@dataclass
class RecordedSource:
    """A `Source` of clips of recorded sequences, each as likely as it is long.

    A clip that cannot be used is counted in `skipped`, by what was wrong, and another one takes its place; sequences
    that are shorter than a clip are left out, and counted too. Raises RecordedError where no sequence is long enough,
    or where ATTEMPTS clips in a row cannot be used.
    """

    sequences: list[RecordedSequence]
    config: TrainConfig
    device: torch.device | str = "cpu"
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self):
        size = self.config.model
        for sequence in self.sequences:
            if len(sequence) < size.frames:
                self._skip(
                    f"{sequence.name}: has {len(sequence)} frames; the model's clips have {size.frames}"
                )
        self.sequences = [sequence for sequence in self.sequences if len(sequence) >= size.frames]
        if not self.sequences:
            raise RecordedError(next(iter(self.skipped), "no sequences are given; expected one or more"))
        frame_bytes = OVERSIZE**2 * size.height * size.width * 7  # three of colour, four of depth a pixel
        self._read = lru_cache(max(size.frames, CACHE_BYTES // frame_bytes))(self._read_frame)
        self._made: tuple = (None, None)
        self._threads = ThreadPoolExecutor(os.cpu_count())

    def __call__(self, step: int, clips: range) -> Examples:
        """See `examples.Source`."""
        made_for = (step // self.config.reuse, clips)
        if self._made[0] != made_for:
            windows = sample_windows(self.config.crops, self.config.seed, *made_for).numpy()
            made = self._threads.map(lambda c, w: self._clip(made_for[0], c, w), clips, windows)
            self._made = made_for, list(made)
        numbers = uniform(self.config.seed, "queries", step, clips, self.config.queries.count, NUMBERS)
        return ask(self._made[1], self.config, numbers, self.device)

    def _clip(self, batch_number: int, clip: int, window: np.ndarray) -> RecordedClip:
        for attempt in range(ATTEMPTS):
            chosen = self._choose(batch_number, clip, attempt)
            try:
                return self._cut(*chosen, window)
            except RecordedError as error:
                self._skip(str(error))
                last = error
        raise RecordedError(f"{ATTEMPTS} clips in a row cannot be used; the last one: {last}")

    def _skip(self, reason: str) -> None:
        if reason not in self.skipped:
            log.warning("skipped: %s", reason)
        self.skipped[reason] += 1

    def _choose(self, batch_number: int, clip: int, attempt: int) -> tuple[int, list[int]]:
        """(sequence, frames): evenly from all frames, then a stride log-uniform in its range, then the start."""
        one = range(clip, clip + 1)
        numbers = uniform(self.config.seed, f"recorded {attempt}", batch_number, one, 3)
        which, stride, start = numbers[0].tolist()
        ends = np.cumsum([len(sequence) for sequence in self.sequences])
        number = int(np.searchsorted(ends, which * ends[-1], side="right"))
        count, frames = len(self.sequences[number]), self.config.model.frames
        longest = (count - 1) // (frames - 1) if frames > 1 else 1
        low, high = (min(limit, longest) for limit in self.config.stride)
        # The whole numbers from low to high, as though each were half a step wide to both sides.
        step = round(math.exp(math.log(low - 0.5) + stride * (math.log(high + 0.5) - math.log(low - 0.5))))
        step = min(max(step, low), high)
        first = int(start * (count - (frames - 1) * step))
        return number, [first + i * step for i in range(frames)]

    def _cut(self, number: int, frames: list[int], window: np.ndarray) -> RecordedClip:
        size = self.config.model.height, self.config.model.width
        return cut_clip(self.sequences[number], frames, window, size, lambda i: self._read(number, i))

    def _read_frame(self, number: int, i: int):
        return reduced(self.sequences[number].frame(i), self.config.model.height, self.config.model.width)


def ask(clips: list[RecordedClip], config: TrainConfig, numbers: Tensor, device="cpu") -> Examples:
    """Queries of clips with their truth. numbers: (B, Q, NUMBERS) in [0, 1), one row a query."""
    depth = torch.from_numpy(np.stack([clip.small_depth() for clip in clips]))
    edges = boundary_mask(depth, torch.zeros_like(depth))
    uv, times = sample_queries(depth, edges, torch.zeros_like(edges), config.queries, numbers)
    asked = [_ask_one(clip, *(a.numpy() for a in arrays)) for clip, *arrays in zip(clips, uv, times, numbers)]
    uv, times, truths = zip(*asked)
    truth = {name: _stack([t[name] for t in truths], device) for name in truths[0]}
    aspect = torch.tensor([clip.aspect for clip in clips], dtype=torch.float32, device=device)
    rgb = _stack([clip.rgb for clip in clips], device)
    names = tuple(clip.name for clip in clips)
    return Examples(rgb, aspect, _stack(uv, device), _stack(times, device), truth, names)


def _ask_one(clip: RecordedClip, uv: np.ndarray, times: np.ndarray, numbers: np.ndarray):
    """(uv, times, truth) of one clip: of its tracks where it has any, of its depth for the rest."""
    count = len(uv)
    track, place = _draw_tracks(clip, numbers[count - round(TRACKED * count) :, 0])
    rest = count - len(track)
    by_depth = answerable_times(times[:rest], clip.static, clip.world_from_camera is not None)
    truth = depth_truth(clip, uv[:rest], by_depth)
    if not len(track):
        return uv, by_depth, truth
    by_track = np.concatenate((track[:, 1:], times[rest:, 1:]), -1)
    other = track_truth(clip, track[:, 0], by_track)
    truth = {name: np.concatenate((truth[name], other[name])) for name in truth}
    return np.concatenate((uv[:rest], place)).astype(np.float32), np.concatenate((by_depth, by_track)), truth


def _draw_tracks(clip: RecordedClip, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(track, frame) (K, 2) and uv (K, 2) of visible points; K is len(rank), or 0 where there are none.

    rank: (K,) in [0, 1). The first half is of tracks that move, where there are any.
    """
    if clip.tracks is not None and clip.world_from_camera is not None:
        track, uv, moving = track_candidates(clip)
        if len(track):
            pick = (rank * len(track)).astype(int)
            of_moving, half = np.flatnonzero(moving), len(rank) // 2
            if len(of_moving):
                pick[:half] = of_moving[(rank[:half] * len(of_moving)).astype(int)]
            return track[pick], uv[pick]
    return np.empty((0, 2), int), np.empty((0, 2))


def _stack(arrays, device) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(device, non_blocking=True)
