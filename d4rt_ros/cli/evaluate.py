"""`d4rt evaluate`: accuracy on held-out scenes, or on a folder of posed RGB-D frames, beside trivial answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, help="a .safetensors file; without it the embedded weights"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--rgbd",
        type=Path,
        metavar="FOLDER",
        help="depth against a sensor's: a folder of frame-NNNNNN.color.jpg and .depth.png (7-Scenes)",
    )
    kind.add_argument(
        "--boundaries",
        action="store_true",
        help="where depth jumps, on held-out scenes: without RGB patches, with the encoder's, with full ones",
    )
    kind.add_argument(
        "--tracking",
        action="store_true",
        help="what it costs to track every pixel of held-out scenes, of which some stand still",
    )
    parser.add_argument("--clips", type=int, help="evaluate on the first CLIPS held-out scenes only")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from d4rt_ros.evaluation.boundaries import boundaries_table, evaluate_boundaries
    from d4rt_ros.evaluation.rgbd import RgbdError, evaluate_rgbd
    from d4rt_ros.evaluation.scenes import evaluate_scenes, figures_table, held_out
    from d4rt_ros.evaluation.tracking import evaluate_tracking, tracking_table
    from d4rt_ros.model.checkpoint import CheckpointError
    from d4rt_ros.runtime import load

    try:
        model = load(args.checkpoint, args.device)
        if args.rgbd:
            table = figures_table(evaluate_rgbd(model, args.rgbd), f"depth on {args.rgbd.name}")
        else:
            scenes, times = held_out()
            count = args.clips or len(scenes)
            scenes, times = scenes[:count], times[:count]
            title = f"{count} held-out procedural scenes"
            if args.boundaries:
                grid = model.config.height, model.config.width
                figures = evaluate_boundaries(patched(model), scenes, times, model.num_frames, grid)
                table = boundaries_table(figures, title)
            elif args.tracking:
                figures = evaluate_tracking(model.encode, scenes, times, model.num_frames)
                table = tracking_table(figures, "held-out procedural scenes")
            else:
                figures = evaluate_scenes(lambda images, _: model.encode(images), scenes, times)
                table = figures_table(figures, title)
    except (CheckpointError, RgbdError, ValueError) as error:
        print(f"d4rt evaluate: {error}", file=sys.stderr)
        return 1
    Console().print(table)
    return 0


def patched(model):
    """The model's `encode`, with the source of the RGB patches as a second argument."""

    def encode(images, patch_source: str):
        model.patch_source = patch_source
        return model.encode(images)

    return encode
