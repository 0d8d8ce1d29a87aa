"""`d4rt reconstruct`: a video in; the camera's path, a cloud, depth and tracks out."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from d4rt_ros.cli.outputs import path, writable_file, writable_folder

if TYPE_CHECKING:
    from d4rt_ros.stream.reconstruction import Reconstruction

REASONS = 4  # that are told, the most frequent ones
NOTE = 48  # letters of one that the progress bar has room for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", help="a video file, a folder of images or of RGB-D frames, or a ROS 2 bag")
    parser.add_argument(
        "--out",
        type=path,
        required=True,
        metavar="DIR",
        help="folder for trajectory.txt (TUM RGB-D's format), cloud.ply, depth.npz and tracks.npz",
    )
    parser.add_argument("--checkpoint", type=path, help="weights; without it the embedded ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, …")
    parser.add_argument(
        "--camera-info",
        default="",
        help="'fx fy cx cy', or a calibration file; by default what a bag or a folder holds, else it is estimated",
    )
    parser.add_argument(
        "--mask",
        metavar="FILE",
        help="an image of the video's size, not 0 where nothing may be taken from: the robot's own body, a watermark",
    )
    parser.add_argument("--rate", type=float, help="of frames without times; by default what the video says")
    parser.add_argument("--image", metavar="TOPIC", help="of a bag; by default the only one with images")
    parser.add_argument(
        "--stride", type=int, default=1, help="use every STRIDE-th frame (default %(default)s)"
    )
    parser.add_argument(
        "--depth-size",
        type=int,
        nargs=2,
        default=(36, 48),
        metavar=("ROWS", "COLUMNS"),
        help="of the grid of depth, and so of the cloud's points (default 36 48)",
    )
    parser.add_argument(
        "--metres", type=float, default=0.0, help="in the model's unit of length; 0: not known"
    )
    parser.add_argument(
        "--refine", choices=("pixels", "none"), help="by the pixels of the full images, or the model alone"
    )
    parser.add_argument(
        "--online", action="store_true", help="of each frame what was known when it came, as the node has it"
    )
    parser.add_argument("--json", type=path, metavar="FILE", help="write the summary as JSON too")


def run(args: argparse.Namespace) -> int:
    """Exit status: 1, and a sentence, where nothing could be reconstructed or the video could not be read to its end;
    130 where it was interrupted. What was reconstructed until then is written all the same."""
    from rich.console import Console

    from d4rt_ros.io.masks import masked_frames, named_mask
    from d4rt_ros.io.opening import open_any
    from d4rt_ros.stream.offline import chosen
    from d4rt_ros.stream.recorder import Recorder

    try:
        writable_folder(args.out)
        if args.json:
            writable_file(args.json)
        source = open_any(args.video, args.camera_info, args.rate, args.image)
        options = {
            "checkpoint": args.checkpoint,
            "device": args.device,
            "stride": args.stride,
            "metres": args.metres,
        }
        options |= {"refine": args.refine} if args.refine else {}
        frames = masked_frames(source, *named_mask(args.mask)) if args.mask else source
        recorder = Recorder(*chosen(tuple(args.depth_size), options), args.online)
    except (ValueError, OSError) as error:
        print(f"d4rt reconstruct: {error}", file=sys.stderr)
        return 1
    began, status, ended, fault = time.monotonic(), 0, "", None
    try:
        follow(recorder, frames, source.count, Console(stderr=True))
    except KeyboardInterrupt:
        status, ended = 130, f"interrupted after {len(recorder)} frames"
    except (ValueError, OSError) as error:
        status, ended = 1, str(error)
    except Exception as error:  # ours, or a GPU's: hours of work are worth keeping all the same
        ended, fault = f"{type(error).__name__} with frame {len(recorder)}", error
    seconds = time.monotonic() - began
    if ended:
        kept = "; what is known so far is written" if len(recorder) else ""
        print(f"d4rt reconstruct: {ended}{kept}", file=sys.stderr)
    written = write(recorder.reconstruction(), args, seconds) if len(recorder) else 0
    if fault:
        raise fault
    return max(status, written)


def follow(recorder, frames: Iterable, count: int | None, console) -> None:
    """Have the recorder take all frames, with a bar that tells how fast, and how it goes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),  # a reason may hold what rich takes for markup
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, began = bar.add_task("reconstructing", total=count, note=""), time.monotonic()
        for frame in frames:
            recorder.add(frame)
            rate = len(recorder) / max(time.monotonic() - began, 1e-9)
            state = recorder.reason[:NOTE] or "trusted"
            bar.update(task, completed=len(recorder), note=f"{rate:.1f} frames/s, {state}")


def write(result: Reconstruction, args: argparse.Namespace, seconds: float) -> int:
    """Say what came out, and write it. Exit status: 1 where no frame could be placed, or nothing can be written."""
    told = summary(result, seconds)
    for line in lines(told, args.video):
        print(line, flush=True)
    try:
        files = [str(file) for file in result.save(args.out)]
        if args.json:
            args.json.write_text(
                json.dumps({"video": str(args.video), **told, "files": files}, indent=1) + "\n"
            )
    except OSError as error:
        print(f"d4rt reconstruct: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # of who does not want to wait; what is there is complete
        print(f"d4rt reconstruct: interrupted while writing to {args.out}", file=sys.stderr)
        return 130
    print(f"wrote {', '.join(files)}")
    return 0 if told["trusted"] else 1


def summary(result: Reconstruction, seconds: float) -> dict:
    """The figures of a reconstruction that took so long; what is not known is None."""
    return {
        "frames": len(result),
        "image_size": list(result.image_size),
        "frames_a_second": len(result) / max(seconds, 1e-9),
        "trusted": int(result.trusted.sum()),
        "worlds": len(np.unique(result.world[result.trusted])),
        "main_world_frames": int((result.world == result.main_world).sum()) if result.trusted.any() else 0,
        "path_length": result.path_length,
        "metric": result.metric,
        "scale_sigma": result.scale_sigma if math.isfinite(result.scale_sigma) else None,
        "points": len(result.points[0]),
        "tracks": len(result.tracks),
        "reasons": dict(Counter(_kind(reason) for reason in result.reason if reason).most_common()),
    }


def lines(told: dict, video: str) -> list[str]:
    """What a `summary` says, for people."""
    frames, trusted, (height, width) = told["frames"], told["trusted"], told["image_size"]
    unit = "m" if told["metric"] else "of the model's units (the scale is not known)"
    sigma = f", scale within {told['scale_sigma']:.1%}" if told["scale_sigma"] else ""
    out = [
        f"{video}: {frames} frames of {width}x{height}, {told['frames_a_second']:.1f} a second",
        f"placed: {trusted} frames ({trusted / frames:.0%}); path {told['path_length']:.3g} {unit}{sigma}",
        f"cloud: {told['points']:,} points; tracks: {told['tracks']:,}",
    ]
    if told["worlds"] > 1:
        out.append(
            f"{told['worlds']} worlds, which could not be joined: path and cloud are of the one with most frames "
            f"({told['main_world_frames']}); depth.npz has them all"
        )
    out += [
        f"not placed: {count} frames: {reason}" for reason, count in list(told["reasons"].items())[:REASONS]
    ]
    return out


def _kind(reason: str) -> str:
    """A reason without its numbers, so that frames of one kind are counted together."""
    return re.sub(r"\d+(\.\d+)?", "…", reason)
