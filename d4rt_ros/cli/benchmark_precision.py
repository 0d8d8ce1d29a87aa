"""`d4rt benchmark precision`: what fewer bits change of the answers about a video."""

from __future__ import annotations

import argparse


def table(args: argparse.Namespace, place: str):
    """place: what it runs on. Raises ValueError with a sentence."""
    from rich.table import Table

    from d4rt_ros.evaluation.precision import answers, precision_error, read_clips
    from d4rt_ros.runtime import load

    if not args.video:
        raise ValueError("precision is told on real frames; give --video, a video file or a folder of images")
    if args.preset:
        raise ValueError("what random weights lose says nothing; leave out --preset, or give a --checkpoint")
    clips, found = None, {}
    for name in ["fp32", *(["bf16", "fp16"] if args.precision in ("auto", "all") else [args.precision])]:
        model = load(args.checkpoint or None, args.device, name)
        if model.num_frames is None:
            raise ValueError(
                f"{args.checkpoint} is a VGGT, which cannot tell where a point goes; use a D4RT checkpoint"
            )
        clips = clips or read_clips(args.video, model.num_frames)
        found[name] = answers(model, clips)
    what = args.checkpoint or "embedded weights"
    made = Table("against fp32", "depth, median / 95 %", "pixels, median / 95 %", "visibility agrees")
    made.title = f"d4rt benchmark precision: {what}, {len(clips)} windows of {args.video}\n{place}"
    for name in found:
        if name == "fp32":
            continue
        error = precision_error(found[name], found["fp32"])
        depth = "{:.3f} / {:.3f} %".format(*(100 * x for x in error.depth))
        pixels = "{:.3f} / {:.3f}".format(*error.pixels)
        made.add_row(name, depth, pixels, f"{100 * error.visibility:.2f} %")
    return made
