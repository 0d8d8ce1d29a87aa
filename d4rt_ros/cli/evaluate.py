"""`d4rt evaluate`: accuracy on held-out scenes, recorded frames or tracks, beside trivial answers."""

from __future__ import annotations

import argparse
import sys

from d4rt_ros.cli import evaluate_masks, evaluate_stream
from d4rt_ros.cli.outputs import path, wide_console, writable_file, writable_folder

DATA = {
    "scenes": "held-out procedural scenes: depth, motion, poses, visibility, confidence (the default)",
    "rgbd": "a folder of posed RGB-D frames, 7-Scenes or TUM RGB-D: depth, point cloud, the camera's path",
    "sintel": "MPI Sintel's folder `training` with final, depth and camdata_left: the same",
    "tapvid3d": "files of TAPVid-3D: points followed in the camera of each frame",
    "worldtrack": "files of WorldTrack: points followed in the world",
    "stream": "the online system over whole runs: procedural sequences, or a folder of posed RGB-D frames",
    "masks": "what moves, pixel by pixel: procedural sequences, or a folder of DAVIS's layout",
    "boundaries": "held-out scenes, where depth jumps: without RGB patches, with the encoder's, with full ones",
    "tracking": "held-out scenes: what it costs to track every pixel, where things move and where nothing does",
}
WITH_PATHS = "scenes", "rgbd", "sintel"  # whose figures have the errors of the camera's path
# Whose figures say where points go, or are of how D4RT's encoder is asked.
OF_MOTION = "tapvid3d", "worldtrack", "boundaries", "tracking"
STRIDE = 2  # of the frames of RGB-D recordings, which are taken at 15 to 30 Hz


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_options(parser)
    commands = parser.add_subparsers(dest="data", metavar="data")
    for name, text in DATA.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in ("rgbd", "sintel"):
            command.add_argument("folder", type=path)
        if name in ("tapvid3d", "worldtrack"):
            command.add_argument("files", type=path, nargs="+", metavar="file", help=".npz")
        if name == "stream":
            evaluate_stream.add_arguments(command)
        if name == "masks":
            evaluate_masks.add_arguments(command)
        # So that options may stand before and after the data; only what is given there replaces what is here.
        _add_options(command, default=argparse.SUPPRESS)


def _add_options(parser: argparse.ArgumentParser, **default) -> None:
    parser.add_argument("--checkpoint", type=path, help="weights; without it the embedded ones", **default)
    parser.add_argument("--clips", type=_positive, help="evaluate the first CLIPS clips only", **default)
    parser.add_argument("--json", type=path, metavar="FILE", help="write the figures as JSON too", **default)
    parser.add_argument(
        "--pictures",
        type=path,
        metavar="DIR",
        help="draw depth, paths and tracks of the first clips",
        **default,
    )
    parser.add_argument("--device", **{"default": "auto", **default})


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} clips; expected 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from d4rt_ros.evaluation.figures import save_figures
    from d4rt_ros.evaluation.trajectory import not_measured
    from d4rt_ros.runtime import load

    try:
        if args.json:
            writable_file(args.json)
        if args.pictures:
            writable_folder(args.pictures)
        figures, table = _evaluated(args, load(args.checkpoint, args.device))
        wide_console().print(table)
        if (args.data or "scenes") in WITH_PATHS and not_measured():
            print(f"d4rt evaluate: {not_measured()}", file=sys.stderr)
        if args.json:
            about = {"data": table.title, "checkpoint": str(args.checkpoint or "embedded")}
            save_figures(args.json, figures, **about)
    except (ValueError, OSError) as error:
        print(f"d4rt evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluated(args: argparse.Namespace, model):
    """The figures, dataclasses, and their table."""
    from d4rt_ros.evaluation.figures import figures_table

    data = args.data or "scenes"
    # A model that takes clips of any length does not know where a point goes.
    if model.num_frames is None and data in OF_MOTION:
        raise ValueError(f"{data}: this model cannot tell where a point goes; use a D4RT checkpoint")
    if data == "stream":
        return evaluate_stream.evaluated(args, model)
    if data == "masks":
        return evaluate_masks.evaluated(args, model)
    if data in ("scenes", "boundaries", "tracking"):
        return _on_scenes(args, data, model)
    rest = {"most": args.clips, "pictures": args.pictures}
    if data in ("rgbd", "sintel"):
        from d4rt_ros.evaluation.recorded import evaluate_recorded
        from d4rt_ros.evaluation.sintel import open_sintel
        from d4rt_ros.io.rgbd_folder import open_rgbd_folder

        sequences = [open_rgbd_folder(args.folder)] if data == "rgbd" else open_sintel(args.folder)
        figures = evaluate_recorded(model, sequences, STRIDE if data == "rgbd" else 1, **rest)
        return figures, figures_table(figures, f"{data}: {args.folder.resolve().name}")
    from d4rt_ros.evaluation.point_tracks import evaluate_tapvid3d, evaluate_worldtrack

    evaluate = evaluate_tapvid3d if data == "tapvid3d" else evaluate_worldtrack
    figures = evaluate(model, args.files, **rest)
    return figures, figures_table(
        figures, f"{data}: {len(args.files)} files, clips of {model.num_frames} frames"
    )


def _on_scenes(args: argparse.Namespace, data: str, model):
    from d4rt_ros.evaluation.figures import figures_table
    from d4rt_ros.evaluation.scenes import ANY_SIZE, PIXELS, evaluate_scenes, held_out
    from d4rt_ros.evaluation.sharpness import boundaries_table, evaluate_boundaries
    from d4rt_ros.evaluation.tracking import evaluate_tracking, tracking_table

    scenes, times = (x[: args.clips] for x in held_out())
    title = f"{len(scenes)} held-out procedural scenes"
    if data == "boundaries":
        grid = model.config.height, model.config.width
        figures = evaluate_boundaries(patched(model), scenes, times, model.num_frames, grid)
        return [figures], boundaries_table(figures, title)
    if data == "tracking":
        figures = evaluate_tracking(model.encode, scenes, times, model.num_frames)
        return figures, tracking_table(figures, "held-out procedural scenes")
    # Images have no fewer pixels than the encoder takes.
    pixels = ANY_SIZE if model.num_frames is None else max(PIXELS, model.config.height * model.config.width)
    figures = evaluate_scenes(
        lambda images, _: model.encode(images), scenes, times, pixels=pixels, pictures=args.pictures
    )
    return figures, figures_table(figures, title)


def patched(model):
    """The model's `encode`, with the source of the RGB patches as a second argument."""

    def encode(images, patch_source: str):
        model.patch_source = patch_source
        return model.encode(images)

    return encode
