"""`d4rt benchmark masking`: whether leaving moving tokens out early (VGGT4D's stage 2) makes poses better."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("masking")
    group.add_argument("--windows", type=int, default=40, help="of held-out scenes (default %(default)s)")


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """One table. Raises ValueError or RuntimeError with a sentence."""
    import numpy as np
    from rich.progress import track
    from rich.table import Table

    from d4rt_ros.evaluation.early_masking import MASKS, pose_errors
    from d4rt_ros.evaluation.mask_scenes import mask_scenes
    from d4rt_ros.runtime import load

    if args.windows < 1:
        raise ValueError(f"--windows is {args.windows}; it must be 1 or more")
    model = load(args.checkpoint or None, args.device)
    windows = pose_errors(model, mask_scenes("large", args.windows))
    errors = np.stack(list(track(windows, description="windows", total=args.windows)))
    what = args.checkpoint or "embedded weights"
    title = f"d4rt benchmark masking: {what}, {args.windows} windows in which over a fifth moves\n{machine}"
    table = Table(
        "kept out early", "turn off by, median", "place off by, of the depth", "better", title=title
    )
    for n, name in enumerate(MASKS):
        turn, place = np.nanmedian(errors[:, n], 0)
        better = (errors[:, n] < errors[:, 0]).mean(0)
        shares = "" if n == 0 else "turns in {:.0%}, places in {:.0%}".format(*better)
        table.add_row(name, f"{turn:.2f}°", f"{100 * place:.2f} %", shares)
    lost = np.isnan(errors).any(-1).sum(0)
    table.caption = "no pose: " + ", ".join(f"{name} {count}" for name, count in zip(MASKS, lost))
    yield table
