"""What an evaluation says: figures beside those of a trivial answer, as a table and as a file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

MIN_ROTATION = 5.0  # degrees; pairs that turn less say little of a rotation's error
# Key of a record -> what it is, whose answer stands beside it, and how records become one figure.
FIGURES = {
    "depth": ("depth AbsRel, median-scaled", "constant depth", np.mean),
    "delta": ("depth delta < 1.25 (higher is better)", "constant depth", np.mean),
    "depth S": ("depth AbsRel (S), one scale a clip", "constant depth", np.mean),
    "delta S": ("depth delta < 1.25 (S) (higher is better)", "constant depth", np.mean),
    "depth SS": ("depth AbsRel (SS), one scale and shift a clip", "constant depth", np.mean),
    "delta SS": ("depth delta < 1.25 (SS) (higher is better)", "constant depth", np.mean),
    "boundary accuracy": ("boundary error PDBE accuracy, px of 80x60", "edges anywhere", np.mean),
    "boundary completeness": ("boundary error PDBE completeness, px of 80x60", "no edges", np.mean),
    "uv static": ("2D error of static points, px of 64", "no motion", np.mean),
    "uv moving": ("2D error of moving points, px of 64", "no motion", np.mean),
    "displacement": ("3D displacement error of moving points / mean depth", "no motion", np.mean),
    "cosine": ("cosine of 3D displacement, median (higher is better)", "none", np.median),
    "rotation pnp": (f"rotation by PnP, pairs over {MIN_ROTATION:.0f} deg, deg", "identity", np.mean),
    "rotation rigid": (f"rotation by rigid alignment, pairs over {MIN_ROTATION:.0f} deg, deg", "identity", np.mean),
    "translation pnp": ("direction of translation by PnP, median, deg", "any", np.median),
    "translation rigid": ("direction of translation by rigid alignment, median, deg", "any", np.median),
    "focal": ("relative error of fx, median", "fx = width - 1", np.median),
    "ate": ("ATE of a clip (Sim3), m", "still camera", np.mean),
    "rpe translation": ("RPE-T, frame to frame, m", "still camera", np.mean),
    "rpe rotation": ("RPE-R, frame to frame, deg", "still camera", np.mean),
    "cloud l1": ("point cloud L1, m", "constant depth, still camera", np.mean),
    "cloud accuracy": ("point cloud accuracy, mean, m", "constant depth, still camera", np.mean),
    "cloud accuracy median": ("point cloud accuracy, median, m", "constant depth, still camera", np.mean),
    "cloud completeness": ("point cloud completeness, mean, m", "constant depth, still camera", np.mean),
    "cloud completeness median": (
        "point cloud completeness, median, m", "constant depth, still camera", np.mean,
    ),
    "confidence rank": ("rank correlation of doubt and depth error (higher is better)", "random", np.mean),
    "sparsification": ("sparsification error of depth (AUSE), over the oracle's", "random order", np.mean),
    "visible": ("visibility accuracy (higher is better)", "always visible", np.mean),
    "hidden": ("average precision of hidden points (higher is better)", "random", np.mean),
    "visibility calibration": ("calibration error of visibility (ECE)", "always visible", np.mean),
    "average_jaccard": ("TAPVid-3D AJ (higher is better)", "no motion, constant depth", np.mean),
    "average_pts_within_thresh": ("TAPVid-3D APD (higher is better)", "no motion, constant depth", np.mean),
    "occlusion_accuracy": ("TAPVid-3D OA (higher is better)", "always visible", np.mean),
    "world apd": ("WorldTrack APD (higher is better)", "no motion, constant depth", np.mean),
    "world epe": ("WorldTrack EPE, m", "no motion, constant depth", np.mean),
}  # fmt: skip

Records = dict[
    str, list[tuple[float, float]]
]  # by key of FIGURES: (model's, trivial answer's) of clips or pairs


@dataclass(frozen=True)
class Figure:
    """A measured figure: the mean or median over `count` clips, pairs or points, and the trivial answer's."""

    name: str
    value: float
    baseline: float
    baseline_name: str
    count: int


def figures_of(records: Records) -> list[Figure]:
    """The figures of all records, in the order of FIGURES."""
    figures = []
    for key, (name, baseline_name, summary) in FIGURES.items():
        if key in records:
            ours, theirs = (float(summary(column)) for column in np.asarray(records[key], np.float64).T)
            figures.append(Figure(name, ours, theirs, baseline_name, len(records[key])))
    return figures


def add_records(records: Records, more: dict) -> None:
    """Append to `records` a dict of (model's, trivial answer's) pairs, or of lists of them."""
    for key, pairs in more.items():
        records.setdefault(key, []).extend(pairs if isinstance(pairs, list) else [pairs])


def figures_table(figures: list[Figure], title: str):
    """A rich Table of the figures, each beside the trivial answer's."""
    from rich.table import Table

    table = Table("figure", "model", "trivial answer", "ratio", "n", title=title)
    for f in figures:
        ratio = f"{f.value / f.baseline:.2f}" if f.baseline else ""
        table.add_row(f.name, f"{f.value:.3f}", f"{f.baseline:.3f}  {f.baseline_name}", ratio, str(f.count))
    return table


def save_figures(path: Path, figures: list, **about) -> None:
    """Write figures (dataclasses) and what they are about as JSON; what is not finite is null. Raises OSError."""
    path.write_text(json.dumps(_plain({**about, "figures": [asdict(f) for f in figures]}), indent=1) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
