"""The demo's picture: some moments, and beside them what the whole run gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d4rt_ros.cli import demo_report, demo_world

ROWS = 3
TALL, SIDE = 2.5, 5.2  # inches: of a moment's pictures, and of what is beside them across
HEAD, FOOT, LEFT = 0.28, 0.4, 0.55  # inches: for a title, and for what is written at axes
PATH = 1.9  # inches: how tall the path is


def draw(recording, path: Path) -> bool:
    """Write the picture; False where no record is complete."""
    records = chosen(recording.records)
    if not records:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    world = demo_world.seen_world(recording)
    rows, columns = records[0].image.shape[:2]
    wide, moments = TALL * columns / rows, 2 if records[0].true_depth is None else 3
    size = moments * wide + (SIDE if world else 0), max(HEAD + len(records) * TALL, 2 * HEAD + 2.5 * PATH)
    figure = plt.figure(figsize=size, facecolor="white")

    def axes(left: float, top: float, width: float, height: float, title: str = ""):
        """A part of the picture, in inches from the upper left."""
        part = figure.add_axes(
            (left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1])
        )
        part.set_title(title, fontsize=11)
        return part

    for row, record in enumerate(records):
        titles = ["image and tracks", depth_title(recording), "true depth"] if row == 0 else [""] * 3
        cells = [
            axes(k * wide, HEAD + row * TALL, wide - 0.04, TALL - 0.04, titles[k]) for k in range(moments)
        ]
        low, high = depth_range(record)
        draw_tracks(cells[0], record.image, *record.tracks)
        draw_depth(cells[1], record.depth * scale(record), low, high)
        if moments == 3:
            draw_depth(cells[2], record.true_depth, low, high)
    if world:
        draw_world(axes, world, moments * wide, size[1])
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


def draw_world(axes, world: demo_world.World, left: float, height: float) -> None:
    """The cloud, and below it the path, with its error where there is a truth."""
    top = height - PATH - FOOT
    cloud = axes(left, HEAD, SIDE, top - 2 * HEAD, "all points of the run, and the path of the camera")
    demo_world.draw_cloud(cloud, world)
    wide = SIDE - LEFT - 0.1
    if world.true_poses is None:
        demo_world.draw_path(axes(left + LEFT, top, wide, PATH, "the camera's path"), world)
        return
    wide = (wide - LEFT) / 2
    demo_world.draw_path(axes(left + LEFT, top, wide, PATH, "path over the true one (black)"), world)
    demo_world.draw_error(axes(left + 2 * LEFT + wide, top, wide, PATH, demo_world.error_title(world)), world)


def depth_title(recording) -> str:
    error = demo_report.depth_error(recording.depths)
    return (
        f"depth: {error.ours:.0%} off (a constant: {error.baseline:.0%})"
        if error
        else "depth, near is bright"
    )


def chosen(records: list, count: int = ROWS) -> list:
    """Some, evenly over time; the first is left out where there are enough, since tracks are short there."""
    records = records[1:] if len(records) > count else records
    picks = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int))
    return [records[i] for i in picks]


def scale(record) -> float:
    """Brings the predicted depth to the true one's median, where there is one."""
    if record.true_depth is None:
        return 1.0
    return float(np.nanmedian(record.true_depth) / np.nanmedian(record.depth))


def depth_range(record) -> tuple[float, float]:
    """Metres of the colour scale's ends, the same for prediction and truth."""
    depth = record.depth if record.true_depth is None else record.true_depth
    if not np.isfinite(depth).any():
        return 1.0, 2.0
    low, high = np.nanpercentile(depth, (1, 97))
    return float(low), float(max(high, low + 1e-3))


def draw_depth(axes, depth: np.ndarray, low: float, high: float) -> None:
    """Near is bright; logarithmic, so that near things keep their shape; no depth is grey."""
    import matplotlib

    colours = matplotlib.colormaps["inferno_r"].with_extremes(bad="0.6")
    with np.errstate(divide="ignore", invalid="ignore"):
        axes.imshow(np.log(depth), cmap=colours, vmin=np.log(low), vmax=np.log(high), aspect="auto")
    axes.axis("off")


def draw_tracks(axes, image: np.ndarray, pixels: np.ndarray, visible: np.ndarray) -> None:
    """Each visible track's way through the window, coloured by where it is now."""
    from matplotlib.collections import LineCollection

    height, width = image.shape[:2]
    axes.imshow(image, aspect="auto")
    now = pixels[:, -1]
    seen = visible[:, -1] & np.isfinite(pixels).all((1, 2))
    colours = track_colours(now / (width, height))
    segments = np.stack([pixels[:, :-1], pixels[:, 1:]], 2)  # (N, T-1, 2, 2)
    fade = np.linspace(0.25, 1.0, segments.shape[1])
    for part, alpha in enumerate(fade):
        keep = seen & visible[:, part]
        lines = LineCollection(segments[keep, part], colors=colours[keep], alpha=alpha, linewidths=1.3)
        axes.add_collection(lines)
    axes.scatter(*now[seen].T, s=5, c=colours[seen], linewidths=0, zorder=3)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.axis("off")


def track_colours(place: np.ndarray) -> np.ndarray:
    """(N, 4) RGBA of places (N, 2) in 0..1: hue from left to right, lighter upwards."""
    import matplotlib

    colours = matplotlib.colormaps["hsv"](np.clip(np.nan_to_num(place[:, 0]), 0, 1) * 0.85)
    light = 0.55 * (1 - np.clip(np.nan_to_num(place[:, 1:]), 0, 1))
    colours[:, :3] = colours[:, :3] * (1 - light) + light
    return colours
