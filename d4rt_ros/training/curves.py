"""The curves of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(log: Path, picture: Path) -> None:
    """Draw what a log.jsonl holds: the terms of the loss, each held-out figure beside its baseline, rate and speed.

    A log without a line gives no picture.
    """
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    stretches = [r for r in records if "figures" not in r]
    checks = [r for r in records if "figures" in r]
    if not records:
        return
    # Not pyplot: it would choose a window system, and keep figures for ever.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(checks[-1]["figures"]) if checks else []
    panels = 2 + len(names)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.6 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    steps = [r["step"] for r in stretches]
    told = ("step", "steps_per_s", "clips_per_s", "data_share", "lr")
    for name in (n for n in (stretches[-1] if stretches else {}) if n not in told):
        axes[0].plot(steps, [r.get(name) for r in stretches], label=name, lw=2 if name == "total" else 1)
    axes[0].set(title="loss, unweighted terms and total", yscale="log")
    axes[1].plot(steps, [r["clips_per_s"] for r in stretches], label="clips/s")
    axes[1].plot(steps, [100 * r["data_share"] for r in stretches], label="share of examples, %")
    axes[1].set(title="throughput", ylim=(0, None))
    for axis, name in zip(axes[2:], names):
        rows_of = [(r["step"], *r["figures"][name]) for r in checks if name in r["figures"]]
        axis.plot([r[0] for r in rows_of], [r[1] for r in rows_of], marker=".", label="model (averaged)")
        axis.axhline(rows_of[-1][2], color="grey", ls="--", label="trivial answer")
        axis.set(title=f"held out: {name}")
    for axis in axes[:panels]:
        axis.set_xlabel("step")
        if axis.has_data():
            axis.legend(fontsize="small")
    for axis in axes[panels:]:
        axis.set_axis_off()
    partial = picture.with_suffix(".part")
    figure.savefig(partial, dpi=90, format="png")
    partial.replace(picture)
