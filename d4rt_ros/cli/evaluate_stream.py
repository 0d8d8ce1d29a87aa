"""`d4rt evaluate stream`: whole runs of the online system, with refinement by the pixels and without."""

from __future__ import annotations

import argparse

from d4rt_ros.cli.outputs import path

# As in evaluation.run_truth, which is not imported before it is needed.
KINDS = {
    "moving": "things move, and the camera (the default)",
    "static": "only the camera moves",
    "panning": "only the camera moves, and only turns",
    "standing": "everything stands still for 4 s in the middle",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=path,
        nargs="?",
        help="of RGB-D frames, 7-Scenes or TUM RGB-D; else procedural sequences",
    )
    kinds = "; ".join(f"{name}: {text}" for name, text in KINDS.items())
    parser.add_argument("--kind", choices=KINDS, default="moving", help=f"of procedural sequences: {kinds}")
    parser.add_argument(
        "--sequences", type=_positive, default=2, help="how many of them (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others have the next ones")
    parser.add_argument(
        "--frames", type=_positive, help="of each sequence (default 100), or of the folder (default all)"
    )
    parser.add_argument(
        "--stride",
        type=_positive,
        default=1,
        help="take every STRIDE-th frame: more motion from one to the next",
    )
    parser.add_argument(
        "--rate",
        type=float,
        help="Hz of the folder's frames that are taken; without it their stamps are right",
    )
    parser.add_argument(
        "--size", type=_positive, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"),
        help="of the images of procedural sequences (default 320 240)",
    )  # fmt: skip
    parser.add_argument(
        "--uncalibrated", action="store_true", help="as without camera_info: the focal length is estimated"
    )


def evaluated(args: argparse.Namespace, model):
    """The figures, and a table of them. Raises ValueError, saying what is wrong, where there is nothing to follow."""
    from rich.table import Table

    from d4rt_ros.evaluation.run_truth import procedural_run, recorded_run
    from d4rt_ros.evaluation.stream_runs import evaluate_runs, run_table, sigma_table
    from d4rt_ros.stream import PipelineConfig

    if args.rate is not None and not args.rate > 0:
        raise ValueError(f"--rate {args.rate}; frames come at more than 0 Hz")
    if args.folder:
        from d4rt_ros.io.rgbd_folder import open_rgbd_folder

        run = recorded_run(open_rgbd_folder(args.folder), args.frames, args.stride, args.rate)
        runs, count, what = [run], 1, f"{args.folder.resolve().name}, {run.count} frames"
    else:
        frames = args.frames or 100
        seeds = range(args.seed, args.seed + args.sequences)
        runs = (procedural_run(args.kind, seed, frames, args.stride, *args.size) for seed in seeds)
        count = args.sequences
        what = f"{count} procedural sequences ({args.kind}) of {frames} frames"
    configs = PipelineConfig(refine="pixels"), PipelineConfig(refine="none")
    figures, sigmas = evaluate_runs(model, runs, count, configs, calibrated=not args.uncalibrated)
    camera = "camera not known" if args.uncalibrated else "camera known"
    table = Table.grid()
    table.title = f"stream: {what}, {camera}"
    table.add_row(run_table(figures))
    if sigmas:
        table.add_row(sigma_table(sigmas))
    return [*figures, *sigmas], table


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return int(text)
