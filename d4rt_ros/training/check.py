"""A few held-out figures, cheap enough to be asked for during training, so that each has a curve over time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from d4rt_ros.scenes import boundary_mask, render, sample_scenes, sample_times
from d4rt_ros.training.config import QueryMix, TrainConfig
from d4rt_ros.training.distributed import Process
from d4rt_ros.training.draws import uniform
from d4rt_ros.training.examples import Examples
from d4rt_ros.training.queries import NUMBERS, sample_queries
from d4rt_ros.training.scene_examples import Clips, truth_of

HELD_OUT_SEED = 987_654_321  # the seeds of scenes to train on are hashes: none of them is this small
GRID = 24  # points across and down that depth is asked at
POINTS = 512  # whose place at another time is asked for, half of them on what moves
# From what computes a step with the averaged weights to each figure: the model's, and a trivial answer's.
Check = Callable[[nn.Module], dict[str, tuple[float, float]]]


def scene_check(config: TrainConfig, process: Process, compile: bool = False) -> Check:
    """Figures on `config.check_clips` scenes, the same ones each time.

    Depth AbsRel, median-scaled, against a constant depth; the 2D error of visible points, in pixels of a 64x64 image,
    against no motion; the median cosine of the 3D displacement of moving points. What no clip shows is left out.
    """
    examples = _held_out(config, len(process.clips(config.batch)), process.device, compile)

    @torch.no_grad()
    def check(step: nn.Module) -> dict[str, tuple[float, float]]:
        records: dict[str, list[Tensor]] = {}
        for part in examples:
            video = part.rgb.movedim(-1, 2).float() / 255
            with torch.autocast(process.device.type, torch.bfloat16, enabled=config.precision != "fp32"):
                answer = step(video, part.aspect, part.rgb, part.uv, part.times)
            for name, value in _records(answer, part).items():
                records.setdefault(name, []).append(value)
        together = {name: torch.cat(values) for name, values in records.items()}
        return {name: _figure(name, pairs) for name, pairs in together.items() if len(pairs)}

    return check


def _held_out(config: TrainConfig, size: int, device: torch.device, compile: bool) -> list[Examples]:
    """The held-out clips with their queries, in batches of `size`, which training renders: the last may be smaller.

    A compiled renderer is made for one size of batch, so that the last one is rendered full.
    """
    generator, count = torch.Generator().manual_seed(HELD_OUT_SEED), config.check_clips
    scenes = sample_scenes(count, generator, config.scenes, device)
    times = sample_times(count, config.model.frames, generator, config.frame_interval).to(device)
    batches = []
    for start in range(0, count, size):
        index = torch.arange(start, start + size, device=device) % count
        pictures = render(
            scenes[index], times[index], config.model.height, config.model.width, compile=compile
        )
        numbers = uniform(HELD_OUT_SEED, "check", 0, range(start, start + size), POINTS, NUMBERS)
        batches.append(_questions(Clips(scenes[index], times[index], pictures), numbers)[: count - start])
    return batches


def _questions(clips: Clips, numbers: Tensor) -> Examples:
    """Clips with a grid of queries for depth in the middle frame, then points seen at other times."""
    rendering = clips.rendering
    batch, frames = rendering.depth.shape[:2]
    line = torch.linspace(0, 1, GRID, device=rendering.depth.device)
    v, u = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack((u, v), -1).flatten(0, 1).expand(batch, -1, -1)
    middle = torch.full((*grid.shape[:2], 3), frames // 2, device=grid.device)
    mix = QueryMix(count=POINTS, near_edges=0.0, on_moving=0.5, same_target_and_camera=1.0)
    edges = boundary_mask(rendering.depth, rendering.primitive)
    uv, times = sample_queries(rendering.depth, edges, rendering.moving, mix, numbers)
    uv, times = torch.cat((grid, uv), 1), torch.cat((middle, times), 1)
    return Examples(rendering.rgb, clips.scenes.aspect, uv, times, truth_of(clips, uv, times))


def _records(answer: dict[str, Tensor], asked: Examples) -> dict[str, Tensor]:
    """Pairs (…, 2) of the model's and the trivial error by figure; clips of depth, points of motion."""
    truth, uv, times = asked.truth, asked.uv, asked.times
    depth, points = slice(0, GRID**2), slice(GRID**2, None)
    z, known = truth["xyz"][:, depth, 2], truth["knows_xyz"][:, depth]
    guesses = answer["xyz"][:, depth, 2].clamp_min(1e-3), torch.ones_like(z)
    true_uv, moving = truth["uv"][:, points], truth["moving"][:, points]
    other = times[:, points, 0] != times[:, points, 1]
    seen = (truth["visibility"][:, points] > 0.5) & truth["knows_uv"][:, points] & other
    places = (answer["uv"][:, points], uv[:, points])
    pixels = torch.stack([64 * (place - true_uv).norm(dim=-1) for place in places], -1)
    shift = truth["displacement"][:, points]
    goes = seen & moving & (shift.norm(dim=-1) > 0.02)
    cosine = torch.nn.functional.cosine_similarity(answer["displacement"][:, points], shift, dim=-1)[goes]
    return {
        "depth AbsRel": torch.stack([_abs_rel(guess, z, known) for guess in guesses], -1),
        "static uv px": pixels[seen & ~moving],
        "moving uv px": pixels[seen & moving],
        "moving 3D cosine": torch.stack((cosine, torch.zeros_like(cosine)), -1),
    }


def _abs_rel(guess: Tensor, z: Tensor, known: Tensor) -> Tensor:
    """(B,) mean |guess / z - 1| of the known, after scaling by the ratio of medians."""
    hidden = torch.where(known, 1.0, torch.nan)
    scale = (z * hidden).nanmedian(1).values / (guess * hidden).nanmedian(1).values
    return ((guess * scale[:, None] / z - 1).abs() * hidden).nanmean(1)


def _figure(name: str, pairs: Tensor) -> tuple[float, float]:
    summary = pairs.nanmedian(0).values if "cosine" in name else pairs.nanmean(0)
    return tuple(summary.tolist())
