"""`d4rt benchmark scenes`: how fast training clips are drawn and rendered on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

FRAMES = 8
SIDES = (64, 96)
DRAWN = 256  # scenes whose parameters are drawn at once
CLIPS_CPU, CLIPS_GPU = 8, 256  # that are rendered together
COMPILED = False, True  # both ways are timed


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """One table. Raises RuntimeError where the device is not there."""
    import torch
    from rich.table import Table

    from d4rt_ros.evaluation.speed import median_seconds
    from d4rt_ros.runtime.torch_model import chosen_device
    from d4rt_ros.scenes import render, sample_scenes, sample_times

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    device = chosen_device(args.device)
    on_gpu = device.type == "cuda"
    place = torch.cuda.get_device_name(device) if on_gpu else f"{machine}, {torch.get_num_threads()} threads"
    clips = CLIPS_GPU if on_gpu else CLIPS_CPU
    title = f"d4rt benchmark scenes: clips of {FRAMES} frames, {clips} at a time\n{place}"
    table = Table("", "a clip", "clips/s", title=title)

    def row(name: str, took: float, count: int) -> None:
        table.add_row(name, f"{1e3 * took / count:.2f} ms", f"{count / took:,.0f}")

    took = median_seconds(lambda: sample_scenes(DRAWN, 1, device=device), device, args.seconds / 4)
    row(f"parameters, {DRAWN} scenes at once", took, DRAWN)
    scenes = sample_scenes(clips, 1, device=device)
    times = sample_times(clips, FRAMES, torch.Generator().manual_seed(1)).to(device)
    for side in SIDES:
        for compile in COMPILED:
            took = median_seconds(
                lambda: render(scenes, times, side, side, compile=compile), device, args.seconds / 4
            )
            row(f"{side}x{side}{', compiled' * compile}", took, clips)
    yield table
