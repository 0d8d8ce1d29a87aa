"""Training examples from procedural scenes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from d4rt_ros.scenes import (
    Rendering,
    Scenes,
    boundary_mask,
    concatenate,
    crop_camera,
    ground_truth,
    has_clear_view,
    render,
    sample_scenes,
    sample_times,
)
from d4rt_ros.training.augment import sample_windows
from d4rt_ros.training.config import TrainConfig
from d4rt_ros.training.draws import seed_of, uniform
from d4rt_ros.training.examples import Examples
from d4rt_ros.training.queries import NUMBERS, sample_queries

AT_ONCE = 256  # scenes whose parameters are drawn together, which is far cheaper per scene …
SLOTS = 8  # … for so many clips of a batch: processes that share a batch draw little that is not theirs
MARGIN = 0.25  # of the image: how far outside it the model is asked to say where a point went


@dataclass(frozen=True)
class Clips:
    """Rendered clips, and what is needed to know the truth of them. times: (B, T) seconds."""

    scenes: Scenes
    times: Tensor
    rendering: Rendering


@dataclass
class SceneSource:
    """A `Source` of new scenes: in every step, or in every `config.reuse`-th."""

    config: TrainConfig
    device: torch.device | str = "cpu"
    compile: bool = False
    # What was made last, by what it was made for: it saves making it again, and changes no result.
    _blocks: dict[int, tuple] = field(default_factory=dict)
    _rendered: tuple = (None, None)

    def __call__(self, step: int, clips: range) -> Examples:
        """See `examples.Source`."""
        made_for = (step // self.config.reuse, clips)
        if self._rendered[0] != made_for:
            self._rendered = made_for, self.clips(*made_for)
        numbers = uniform(self.config.seed, "queries", step, clips, self.config.queries.count, NUMBERS)
        names = tuple(f"scene {clip} of batch {made_for[0]}, seed {self.config.seed}" for clip in clips)
        return replace(ask(self._rendered[1], self.config, numbers), names=names)

    def clips(self, batch_number: int, clips: range) -> Clips:
        """The clips of a batch, rendered; batches are taken in turn, each for `config.reuse` steps."""
        scenes, times = self._scenes(batch_number, clips)
        window = sample_windows(self.config.crops, self.config.seed, batch_number, clips)
        scenes = crop_camera(scenes, window.to(self.device, non_blocking=True))
        size = self.config.model
        return Clips(scenes, times, render(scenes, times, size.height, size.width, compile=self.compile))

    def _scenes(self, batch_number: int, clips: range) -> tuple[Scenes, Tensor]:
        """Those of the clips of one batch, with the times of their frames."""
        slots = min(SLOTS, self.config.batch)
        batches = max(1, AT_ONCE // slots)
        parts = []
        for group in range(clips.start // slots, (clips.stop - 1) // slots + 1):
            scenes, times = self._block(group, batch_number // batches, slots * batches)
            first = batch_number % batches * slots - group * slots
            chosen = slice(
                first + max(clips.start, group * slots), first + min(clips.stop, (group + 1) * slots)
            )
            parts.append((scenes[chosen], times[chosen]))
        if len(parts) == 1:
            return parts[0]
        return concatenate([scenes for scenes, _ in parts]), torch.cat([times for _, times in parts])

    def _block(self, group: int, block: int, count: int) -> tuple[Scenes, Tensor]:
        """`count` scenes, in the order in which the group's clips of consecutive batches take them."""
        kept = self._blocks.get(group)
        if kept is None or kept[0] != block:
            config = self.config
            generator = torch.Generator().manual_seed(seed_of(config.seed, "scenes", group, block))
            scenes = sample_scenes(count, generator, config.scenes, self.device)
            times = sample_times(count, config.model.frames, generator, config.frame_interval)
            times = times.to(self.device)
            order = _with_stand_ins(has_clear_view(scenes, times).cpu())
            kept = self._blocks[group] = (block, scenes[order], times[order])
        return kept[1:]


def _with_stand_ins(good: Tensor) -> Tensor:
    """Indices of all, where one that is not good gives its place to a good one, which is then there twice."""
    order = torch.arange(len(good))
    stand_ins = good.nonzero()[:, 0]
    bad = (~good).nonzero()[:, 0]
    if len(stand_ins):
        order[bad] = stand_ins[torch.arange(len(bad)) % len(stand_ins)]
    return order


def ask(clips: Clips, config: TrainConfig, numbers: Tensor) -> Examples:
    """Queries of rendered clips with their truth. numbers: (B, Q, NUMBERS) in [0, 1), one row a query.

    Beside what `Examples` says, truth has `moving` (B, Q) bool: the point belongs to something that moves.
    """
    rendering = clips.rendering
    edges = boundary_mask(rendering.depth, rendering.primitive)
    uv, times = sample_queries(rendering.depth, edges, rendering.moving, config.queries, numbers)
    return Examples(rendering.rgb, clips.scenes.aspect, uv, times, truth_of(clips, uv, times))


def truth_of(clips: Clips, uv: Tensor, times: Tensor) -> dict[str, Tensor]:
    """See `Examples`. uv: (B, Q, 2); times: (B, Q, 3)."""
    truth = ground_truth(clips.scenes, clips.times, uv, *times.unbind(-1))
    unit = clips.rendering.depth.nanmean((1, 2, 3))[:, None, None]
    near = ((truth.uv > -MARGIN) & (truth.uv < 1 + MARGIN)).all(-1)  # NaN behind the camera: false
    return {
        "xyz": truth.xyz / unit, "displacement": truth.displacement / unit, "normal": truth.normal,
        "uv": truth.uv, "visibility": truth.visibility.float(), "moving": truth.moving,
        "knows_xyz": truth.valid, "knows_displacement": truth.valid, "knows_normal": truth.valid,
        "knows_uv": truth.valid & near, "knows_visibility": truth.valid,
    }  # fmt: skip
