"""`d4rt evaluate masks`: what moves, pixel by pixel, on procedural scenes or a folder of DAVIS's layout."""

from __future__ import annotations

import argparse
from dataclasses import replace

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
SEQUENCES = {"masks": 50, "poses": 12, "swept": 4}  # procedural ones
PATH_SECONDS = 4.0  # of a sequence by which a path is judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=path, nargs="?", help="of DAVIS: JPEGImages and Annotations; else procedural sequences"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--poses", action="store_const", dest="what", const="poses", default="masks",
        help="not how good masks are, but the camera's path with nothing masked, with masks and with true masks",
    )  # fmt: skip
    what.add_argument(
        "--swept", action="store_const", dest="what", const="swept",
        help="a body crosses the view: how many static points of 10 s lie in the space that it swept",
    )  # fmt: skip
    kinds = "; ".join(f"{name}: {text}" for name, text in KINDS.items())
    parser.add_argument("--kind", choices=KINDS, help=f"of procedural sequences: {kinds}; with --poses large")
    methods = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
    parser.add_argument(
        "--method",
        choices=METHODS,
        action="append",
        help=f"what is to say what moves, once or more: {methods} (default motion)",
    )
    counts = ", ".join(f"{count} for {name}" for name, count in SEQUENCES.items())
    parser.add_argument(
        "--sequences", type=_positive, help=f"the first so many only (default {counts}; all of a folder)"
    )
    parser.add_argument(
        "--tuning",
        action="store_true",
        help="other procedural sequences: those that parameters are chosen with",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="render with torch.compile: a minute's wait or two, then faster by far (needs a C++ compiler)",
    )


def evaluated(args: argparse.Namespace, model):
    """The figures, and a table of them. Raises ValueError, saying what is wrong."""
    wanted = list(dict.fromkeys(args.method or ["motion"]))
    if args.what == "masks":
        return _masks(args, model, wanted)
    if args.folder or len(wanted) > 1 or args.pictures:
        raise ValueError(f"--{args.what} takes procedural sequences, one --method, and makes no pictures")
    if args.what == "swept" and args.kind:
        raise ValueError("--swept has sequences of its own, and no --kind")
    return _poses(args, model, *wanted) if args.what == "poses" else _swept(args, model, *wanted)


def _masks(args: argparse.Namespace, model, wanted: list[str]):
    from d4rt_ros.evaluation.mask_runs import attention, baselines, evaluate_masks, online, scene_sequence
    from d4rt_ros.evaluation.masks import mask_table

    methods = {name: attention(model) if name == "attention" else online(model, name) for name in wanted}
    if args.folder:
        from d4rt_ros.evaluation.davis import open_davis

        if args.kind or args.tuning:
            raise ValueError("--kind and --tuning are of procedural sequences, and a folder is given")
        sequences = open_davis(args.folder)[: args.sequences]
        count, what = len(sequences), f"{args.folder.resolve().name}, {len(sequences)} sequences"
    else:
        scenes, count, what = _scenes(args, "moving")
        sequences = map(scene_sequence, scenes)
    figures = evaluate_masks(sequences, count, methods | baselines(), args.pictures)
    return figures, mask_table(figures, f"masks: {what}")


def _poses(args: argparse.Namespace, model, method: str):
    from d4rt_ros.evaluation.mask_effects import evaluate_paths, path_table

    scenes, count, what = _scenes(args, "large", seconds=PATH_SECONDS)
    figures = evaluate_paths(model, scenes, count, method)
    return figures, path_table(figures, f"paths: {what}")


def _swept(args: argparse.Namespace, model, method: str):
    from d4rt_ros.evaluation.swept import SEED, TUNING_SEED, crossings, evaluate_swept, swept_table

    count = args.sequences or SEQUENCES["swept"]
    scenes = (
        replace(crossing, scene=replace(crossing.scene, compile=args.compile))
        for crossing in crossings(count, TUNING_SEED if args.tuning else SEED)
    )
    figures = evaluate_swept(model, scenes, count, method)
    return figures, swept_table(figures, f"swept space: {count} sequences in which a body crosses the view")


def _scenes(args: argparse.Namespace, kind: str, **options):
    """The procedural sequences that are asked for, how many, and what they are called."""
    from d4rt_ros.evaluation.mask_scenes import HELD_OUT_SEED, TUNING_SEED, mask_scenes

    count, kind = args.sequences or SEQUENCES[args.what], args.kind or kind
    seed = TUNING_SEED if args.tuning else HELD_OUT_SEED
    name = f"{count} procedural sequences ({kind}{', to tune with' * args.tuning})"
    scenes = (replace(scene, compile=args.compile) for scene in mask_scenes(kind, count, seed, **options))
    return scenes, count, name


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return int(text)
