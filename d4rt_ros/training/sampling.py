"""Training examples: clips of procedural scenes, and the queries asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from d4rt_ros.scenes import (
    Rendering,
    Scenes,
    boundary_mask,
    ground_truth,
    render,
    sample_pixels,
    sample_scenes,
    sample_times,
)
from d4rt_ros.training.config import QueryMix

SCENES_AT_ONCE = 256  # drawing parameters of many scenes together is far cheaper per scene


@dataclass(frozen=True)
class Clips:
    """A batch of rendered clips and what is needed to ask them queries."""

    scenes: Scenes
    times: Tensor
    rendering: Rendering

    @property
    def mean_depth(self) -> Tensor:
        """(B,) metres: the unit in which the model answers."""
        return self.rendering.depth.nanmean((1, 2, 3))


def clips(
    batch: int, frames: int, height: int, width: int, interval: tuple[float, float], generator, device="cpu",
    compile: bool = False,
) -> Iterator[Clips]:  # fmt: skip
    """Endless batches of clips of new scenes; interval: range of the seconds between frames."""
    while True:
        scenes = sample_scenes(max(SCENES_AT_ONCE, batch), generator, device=device)
        times = sample_times(len(scenes), frames, generator, interval).to(device)
        for start in range(0, len(scenes) - batch + 1, batch):
            chosen = slice(start, start + batch)
            rendering = render(scenes[chosen], times[chosen], height, width, compile=compile)
            yield Clips(scenes[chosen], times[chosen], rendering)


def sample_queries(clips: Clips, mix: QueryMix, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """uv (B, Q, 2) in [0, 1] and times (B, Q, 3) as t_src, t_tgt, t_cam."""
    rendering = clips.rendering
    edges = boundary_mask(rendering.depth, rendering.primitive)
    t_src, uv = sample_pixels(
        [(mix.near_edges, edges), (mix.on_moving, rendering.moving)], mix.count, generator
    )

    def draw(make, *limits) -> Tensor:
        return make(*limits, t_src.shape, generator=generator).to(t_src.device)

    t_tgt, t_cam = (draw(torch.randint, 0, rendering.depth.shape[1]) for _ in range(2))
    chance = draw(torch.rand)
    t_tgt = torch.where(chance < mix.same_all, t_src, t_tgt)
    t_cam = torch.where(chance < mix.same_all + mix.same_target_and_camera, t_tgt, t_cam)
    return uv, torch.stack((t_src, t_tgt, t_cam), -1)


def truth_of(clips: Clips, uv: Tensor, times: Tensor) -> dict[str, Tensor]:
    """The ground truth of queries as `composite_loss` wants it: lengths in units of the clip's mean depth."""
    truth = ground_truth(clips.scenes, clips.times, uv, *times.unbind(-1))
    unit = clips.mean_depth[:, None, None]
    inside = ((truth.uv > -0.25) & (truth.uv < 1.25)).all(-1)
    return {
        "xyz": truth.xyz / unit, "displacement": truth.displacement / unit, "uv": truth.uv,
        "visibility": truth.visibility.float(), "normal": truth.normal, "valid": truth.valid,
        "in_view": inside & truth.uv.isfinite().all(-1), "moving": truth.moving,
    }  # fmt: skip
