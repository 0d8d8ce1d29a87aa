"""`d4rt evaluate`: accuracy on held-out scenes, or on a folder of posed RGB-D frames, beside trivial answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, help="a .safetensors file; without it the embedded weights"
    )
    parser.add_argument(
        "--rgbd",
        type=Path,
        metavar="FOLDER",
        help="depth against a sensor's: a folder of frame-NNNNNN.color.jpg and .depth.png (7-Scenes)",
    )
    parser.add_argument("--clips", type=int, help="evaluate on the first CLIPS held-out scenes only")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from d4rt_ros.evaluation.rgbd import RgbdError, evaluate_rgbd
    from d4rt_ros.evaluation.scenes import evaluate_scenes, figures_table, held_out
    from d4rt_ros.model.checkpoint import CheckpointError
    from d4rt_ros.runtime import load

    try:
        model = load(args.checkpoint, args.device)
        if args.rgbd:
            figures, title = evaluate_rgbd(model, args.rgbd), f"depth on {args.rgbd.name}"
        else:
            scenes, times = held_out()
            count = args.clips or len(scenes)
            figures = evaluate_scenes(lambda images, _: model.encode(images), scenes[:count], times[:count])
            title = f"{count} held-out procedural scenes"
    except (CheckpointError, RgbdError, ValueError) as error:
        print(f"d4rt evaluate: {error}", file=sys.stderr)
        return 1
    Console().print(figures_table(figures, title))
    return 0
