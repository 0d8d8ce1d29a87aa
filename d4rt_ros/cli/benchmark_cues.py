"""`d4rt benchmark cues`: what attention cues cost beside the encoder, and what the published way costs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

PRESET = "base"


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """One table. Raises ValueError or RuntimeError with a sentence."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler is not silent by itself
    import torch
    from rich.table import Table

    from d4rt_ros.cli.benchmark_model import build, megabytes, milliseconds, numbers, random_clip
    from d4rt_ros.dynamics.cues import CueMiner, coarse_masks
    from d4rt_ros.evaluation.naive_cues import Recorder, naive_maps
    from d4rt_ros.evaluation.speed import allocation_peak, alternating_seconds
    from d4rt_ros.runtime.torch_model import chosen_device

    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"--threads is {args.threads}; it must be 1 or more")
        torch.set_num_threads(args.threads)
    device = chosen_device(args.device)
    if not args.preset and not args.checkpoint:
        args = argparse.Namespace(**{**vars(args), "preset": PRESET})
    precision = "auto" if args.precision == "all" else args.precision
    model, what = build(args, device, precision)
    if model.num_frames is None:
        raise ValueError(f"{what} is no D4RT, whose cost this tells; give a checkpoint or a --preset of one")
    images = random_clip(model.config)
    clip, recorded = [model.prepare(image) for image in images], Recorder()
    model.encode(clip, listener=recorded)
    names = (
        "encode",
        "cues: the five maps and Dyn",
        "the published way",
        "masks of the cues: k-means, threshold",
    )
    with torch.inference_mode():

        def mined():
            return recorded.play(CueMiner()).maps

        def published():
            return naive_maps(recorded)

        maps = mined()
        difference = abs(maps - published()).max()
        features = recorded.tokens.float().cpu().numpy().reshape(*maps.shape, -1)
        works = [
            lambda: model.encode(clip),
            mined,
            published,
            lambda: coarse_masks(maps, features, images.shape[1:3]),
        ]
        took = alternating_seconds(works, device, args.seconds)
        peaks = [allocation_peak(work, device) for work in works[:3]]
    c = model.config
    window = f"{c.frames} frames of {c.height}x{c.width}, {recorded.layers} global layers"
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else machine
    title = f"d4rt benchmark cues: {what}, {window}, {numbers(model)[0]}\n{place}, {torch.get_num_threads()} threads"
    table = Table("", "median", "of encode", "memory of tensors, peak", title=title)
    for name, seconds, peak in zip(names, took, [*map(megabytes, peaks), ""]):
        table.add_row(name, milliseconds(seconds), f"{100 * seconds / took[0]:.2f} %", peak)
    table.add_section()
    table.add_row("largest difference of the two ways", f"{difference:.1e}")
    yield table
