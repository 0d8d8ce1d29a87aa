"""`d4rt finetune`: a model learns from your own robot's recording, and a table says what that was worth."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from d4rt_ros.cli.outputs import path, writable_folder

STRIDE = 2  # of the frames of held-out clips, as `d4rt evaluate rgbd` takes them
# Held-out clips: at most, which are held in memory; of these for a check during training; and procedural scenes.
CLIPS, CHECKED, SCENES = 12, 4, 8
# Errors that say when it is enough, by their keys in evaluation/figures.py; and what the table has besides.
CHECKS = ("depth", "rpe rotation")
LEAST_TURN = 0.2  # degrees from frame to frame: where a camera turns less, its rotation says nothing
ON_SCENES = (
    "depth AbsRel, median-scaled",
    "2D error of static points, px of 64",
    "2D error of moving points, px of 64",
)
FIGURES = ("depth", "delta", "depth S", "ate", "rpe translation", "rpe rotation", "cloud l1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recording",
        type=path,
        help="a ROS 2 bag with image, depth, camera_info and TF, or a folder of posed RGB-D frames (7-Scenes, TUM)",
    )
    parser.add_argument("--out", type=path, required=True, help="folder for weights.safetensors and the run")
    parser.add_argument(
        "--checkpoint",
        type=path,
        help="weights to start from, ours or OpenD4RT's; without it the embedded ones",
    )
    parser.add_argument(
        "--holdout", type=float, default=0.3, help="share of the recording, its end, to check on"
    )
    parser.add_argument("--steps", type=_positive, default=1000, help="at most")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="at most, beside measuring before and after"
    )
    parser.add_argument(
        "--patience", type=_positive, default=4, help="checks that may be no better than the best"
    )
    parser.add_argument("--batch", type=_positive, default=8, help="clips a step")
    parser.add_argument(
        "--scenes", type=float, default=0.25, help="share of procedural scenes, so that nothing is forgotten"
    )
    parser.add_argument(
        "--moving",
        action="store_true",
        help="not only the camera moves: learn depth, and motion from scenes alone",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=_positive, help="CPU threads")
    bag = parser.add_argument_group("of a bag", "by default what there is only one of")
    bag.add_argument("--image", metavar="TOPIC")
    bag.add_argument("--depth", metavar="TOPIC", help="registered to the image")
    bag.add_argument("--camera-info", metavar="TOPIC")
    bag.add_argument("--world", metavar="FRAME", help="the frame that stands still, such as odom or map")
    bag.add_argument("--camera", metavar="FRAME", help="the camera's optical frame")
    bag.add_argument("--no-poses", action="store_true", help="the bag has no TF: learn depth alone")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console

    from d4rt_ros.evaluation.trajectory import not_measured
    from d4rt_ros.training.loop import TrainingError

    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        for name in ("holdout", "scenes"):
            if not 0 <= getattr(args, name) < 1:
                raise ValueError(f"--{name} is {getattr(args, name)}; expected a share from 0 to less than 1")
        writable_folder(args.out)
        table, weights = _finetuned(args)
    except (ImportError, ValueError, OSError, TrainingError) as error:
        print(f"d4rt finetune: {error}", file=sys.stderr)
        return 1
    Console().print(table)
    if not args.no_poses and not_measured():
        print(f"d4rt finetune: {not_measured()}", file=sys.stderr)
    print(f"weights: {weights}; the node takes them as model.checkpoint, `d4rt evaluate` as --checkpoint")
    return 0


def _finetuned(args: argparse.Namespace):
    """The table of before and after, and the path of the weights."""
    from d4rt_ros.model.checkpoint import load_checkpoint
    from d4rt_ros.training.config import DataSet
    from d4rt_ros.training.finetune import finetune, finetune_config, split

    network = load_checkpoint(args.checkpoint)
    kind, recording = open_recording(args)
    learned, held_out = split(recording, args.holdout, network.config.frames)
    clips = held_out_clips(held_out, network.config.frames)
    few = clips[:: -(-len(clips) // CHECKED)]
    config = finetune_config(
        network.config, DataSet(kind, str(args.recording)), args.scenes, args.steps, args.batch, args.seed
    )
    print(f"{recording.name}: {len(learned)} frames to learn from, {len(held_out)} held out", flush=True)
    before = figures(network, clips, args.device)

    def measure(network) -> dict[str, tuple[float, float]]:
        depth, *turn = clip_figures(network, few, args.device, CHECKS)
        told = [depth, *(f for f in turn if f.baseline > LEAST_TURN)]
        return {f.name: (f.value, f.baseline) for f in told}

    weights = finetune(network, learned, config, args.out, measure, args.patience, args.minutes, args.device)
    after = figures(load_checkpoint(weights), clips, args.device)
    return before_after_table(before, after, recording.name), weights


def open_recording(args: argparse.Namespace):
    """(kind of data, RecordedSequence) of the command's arguments."""
    from d4rt_ros.io.rgbd_folder import open_rgbd_folder
    from d4rt_ros.io.ros_bag import BagNames, open_ros_bag

    path = args.recording
    if path.suffix in (".bag", ".db3", ".mcap") or (path / "metadata.yaml").is_file():
        names = BagNames(args.image, args.depth, args.camera_info, args.world, args.camera)
        return "bag", open_ros_bag(path, names, poses=not args.no_poses, static=not args.moving)
    sequence = open_rgbd_folder(path)
    return "rgbd", replace(sequence, static=not args.moving)


def held_out_clips(sequence, frames: int) -> list:
    """(images (T, H, W, 3), ClipTruth) of at most CLIPS clips all over a sequence; those that cannot be used are
    named. Raises RecordedError where none can."""
    import numpy as np

    from d4rt_ros.evaluation.recorded import clip_frames, clip_truth
    from d4rt_ros.io.recorded import RecordedError

    stride = min(STRIDE, len(sequence) // frames)
    clips, problem = [], ""
    chosen_clips = clip_frames(len(sequence), frames, stride, sequence.name)
    for chosen in chosen_clips[:: -(-len(chosen_clips) // CLIPS)]:
        try:
            read = [sequence.frame(i) for i in chosen]
            clips.append(
                (
                    np.stack([f.image for f in read]),
                    clip_truth(read, f"{sequence.name}, frame {chosen[0]} on"),
                )
            )
        except RecordedError as error:
            problem = str(error)
            print(f"held out, but cannot be used: {problem}", file=sys.stderr)
    if not clips:
        raise RecordedError(f"{sequence.name}: no held-out clip can be used; the last one: {problem}")
    return clips


def figures(network, clips: list, device: str) -> list:
    """Figures of held-out clips, then of procedural scenes, whose names say so."""
    from d4rt_ros.evaluation.scenes import evaluate_scenes, held_out
    from d4rt_ros.runtime.torch_model import Model

    found = clip_figures(network, clips, device, FIGURES)
    scenes, times = (part[:SCENES] for part in held_out())
    if times.shape[1] != network.config.frames:  # they are kept for clips of one length
        return found
    model = Model(network, device)
    on_scenes = evaluate_scenes(lambda images, _: model.encode(images), scenes, times)
    return found + [replace(f, name=f"scenes: {f.name}") for f in on_scenes if f.name in ON_SCENES]


def clip_figures(network, clips: list, device: str, keys: tuple[str, ...]) -> list:
    """Figures of clips, of those keys of evaluation/figures.py that are known for them."""
    from d4rt_ros.evaluation.clip import evaluate_clip
    from d4rt_ros.evaluation.figures import add_records, figures_of
    from d4rt_ros.runtime.torch_model import Model

    model, records = Model(network, device), {}
    for images, truth in clips:
        add_records(records, evaluate_clip(model.encode(images), truth).records)
    return figures_of({key: records[key] for key in keys if key in records})


def before_after_table(before: list, after: list, name: str):
    """A rich Table of figures before and after, beside the trivial answer's."""
    from rich.table import Table

    table = Table("figure", "before", "after", "trivial answer", "n", title=f"{name}, held-out part")
    for old, new in zip(before, after):
        trivial = f"{new.baseline:.3f}  {new.baseline_name}"
        table.add_row(new.name, f"{old.value:.3f}", f"{new.value:.3f}", trivial, str(new.count))
    return table
