"""The demo's picture: images with tracks, depth beside the truth, and the cloud seen from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS = 3
PANEL = 3.6  # inches wide
TILT = np.radians(50.0)  # of the view on the cloud, down from the camera's own


def draw(recording, path: Path) -> bool:
    """Write the picture; False where no record is complete."""
    records = chosen(recording.records)
    if not records:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truth = records[0].true_depth is not None
    titles = ["image and tracks", "depth", "true depth", "cloud from above"]
    titles = titles if truth else [t for t in titles if t != "true depth"]
    shape = records[0].image.shape
    width, height = PANEL, PANEL * shape[0] / shape[1]
    size = width * len(titles), height * len(records) + 0.35
    figure, grid = plt.subplots(len(records), len(titles), figsize=size, squeeze=False, facecolor="white")
    for axes, record in zip(grid, records, strict=True):
        low, high = depth_range(record)
        draw_tracks(axes[0], record.image, *record.tracks)
        draw_depth(axes[1], record.depth * scale(record), low, high)
        if truth:
            draw_depth(axes[2], record.true_depth, low, high)
        draw_cloud(axes[-1], *record.cloud, record.camera, record.depth.shape, shape)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=12)
    top = 1 - 0.32 / size[1]
    figure.subplots_adjust(left=0.004, right=0.996, bottom=0.006, top=top, wspace=0.015, hspace=0.02)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


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


def draw_cloud(axes, xyz, rgb, camera: np.ndarray, grid: tuple[int, int], shape: tuple[int, ...]) -> None:
    """An orthographic view from above and behind, with the camera's edges."""
    if not len(xyz):
        axes.axis("off")
        return
    pivot = np.array([0, 0, np.median(xyz[:, 2])])
    cos, sin = np.cos(TILT), np.sin(TILT)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    view = (xyz - pivot) @ turn.T
    order = np.argsort(-view[:, 2])  # far ones first
    corners = frustum(camera, grid, 0.35 * pivot[2])
    edges = (corners - pivot) @ turn.T
    points = np.vstack([view, edges])[:, :2]
    low, high = np.percentile(points, (1, 99), axis=0)
    low, high = np.minimum(low, edges[:, :2].min(0)), np.maximum(high, edges[:, :2].max(0))
    middle = (low + high) / 2
    aspect = shape[1] / shape[0]
    half = 0.51 * max(high[1] - low[1], (high[0] - low[0]) / aspect)
    per_metre = PANEL * 72 / aspect / (2 * half)  # typographic points on paper
    sides = np.clip(1.25 * per_metre * xyz[:, 2] / camera[0, 0], 1, 9)  # of what a cell of the grid covers
    axes.set_facecolor("0.13")
    axes.scatter(*view[order, :2].T, s=sides[order] ** 2, c=rgb[order] / 255, marker="s", linewidths=0)
    for a, b in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        axes.plot(*edges[[a, b], :2].T, color="white", linewidth=0.9, alpha=0.9)
    axes.set(xlim=middle[0] + np.array([-1, 1]) * half * aspect, ylim=middle[1] + np.array([1, -1]) * half)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def frustum(camera: np.ndarray, grid: tuple[int, int], depth: float) -> np.ndarray:
    """(5, 3): the camera's centre and the corners of its image at `depth`."""
    rows, columns = grid
    corners = np.array([[0, 0], [columns - 1, 0], [columns - 1, rows - 1], [0, rows - 1]], float)
    rays = (corners - camera[:2, 2]) / (camera[0, 0], camera[1, 1])
    return np.vstack([np.zeros(3), np.column_stack([rays * depth, np.full(4, depth)])])
