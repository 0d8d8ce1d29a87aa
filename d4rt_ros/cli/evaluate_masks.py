"""`d4rt evaluate masks`: what moves, pixel by pixel, on procedural scenes or a folder of DAVIS's layout."""

from __future__ import annotations

import argparse

from d4rt_ros.cli.outputs import path

# As in evaluation.mask_scenes, which is not imported before it is needed.
KINDS = {
    "moving": "things move, and things rest (the default)",
    "static": "only the camera moves: how much is masked that rests",
    "large": "over a fifth of the image moves",
}
METHODS = {
    "motion": "pixels that disagree with a rigid world",
    "attention": "the model's attention alone (VGGT4D)",
    "both": "the two together",
}
SEQUENCES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=path, nargs="?", help="of DAVIS: JPEGImages and Annotations; else procedural sequences"
    )
    kinds = "; ".join(f"{name}: {text}" for name, text in KINDS.items())
    parser.add_argument("--kind", choices=KINDS, default="moving", help=f"of procedural sequences: {kinds}")
    methods = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
    parser.add_argument(
        "--method", choices=METHODS, nargs="+", default=["motion"],
        help=f"what is to say what moves: {methods} (default motion)",
    )  # fmt: skip
    parser.add_argument(
        "--sequences",
        type=_positive,
        help=f"the first SEQUENCES only (default {SEQUENCES} procedural ones, or all)",
    )
    parser.add_argument(
        "--tuning",
        action="store_true",
        help="other procedural sequences: those that parameters are chosen with",
    )


def evaluated(args: argparse.Namespace, model):
    """The figures, and a table of them. Raises ValueError, saying what is wrong."""
    from d4rt_ros.evaluation.mask_runs import attention, baselines, evaluate_masks, online, scene_sequence
    from d4rt_ros.evaluation.mask_scenes import HELD_OUT_SEED, TUNING_SEED, mask_scenes
    from d4rt_ros.evaluation.masks import mask_table

    methods = {name: attention(model) if name == "attention" else online(model, name) for name in args.method}
    if args.folder:
        from d4rt_ros.evaluation.davis import open_davis

        sequences = open_davis(args.folder)[: args.sequences]
        count, what = len(sequences), f"{args.folder.resolve().name}, {len(sequences)} sequences"
    else:
        count = args.sequences or SEQUENCES
        seed = TUNING_SEED if args.tuning else HELD_OUT_SEED
        sequences = map(scene_sequence, mask_scenes(args.kind, count, seed))
        what = f"{count} procedural sequences ({args.kind}{', to tune with' * args.tuning})"
    figures = evaluate_masks(sequences, count, methods | baselines(), args.pictures)
    return figures, mask_table(figures, f"masks: {what}")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return int(text)
