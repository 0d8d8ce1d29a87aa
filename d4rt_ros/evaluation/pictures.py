"""Pictures of an evaluation: depth beside the truth and its error, points followed, the camera's path."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d4rt_ros.evaluation.clip import ClipResult
from d4rt_ros.evaluation.trajectory import aligned_poses
from d4rt_ros.tasks import pixel_grid, tracks_of_points

PICTURES = 8  # of so many clips
TRACKS = (6, 8)  # rows and columns of points that are followed


def clip_pictures(stem: Path, images, result: ClipResult) -> None:
    """Write STEM_depth.png and, where the poses are known, STEM_path.png. images: T of (H, W, 3) uint8."""
    depth_picture(stem.with_name(f"{stem.name}_depth.png"), images[-1], result.depth, result.true_depth)
    if result.poses is not None:
        path_picture(stem.with_name(f"{stem.name}_path.png"), result.poses, result.true_poses)


def depth_picture(file: Path, image: np.ndarray, depth: np.ndarray, true_depth: np.ndarray) -> None:
    """The newest image, predicted and true depth (h, w) in metres on one scale of colours, and relative error."""
    figure, (axes,) = new_axes(1, 4, (14, 3))
    axes[0].imshow(image)
    axes[0].set_title("newest frame")
    near, far = np.nanpercentile(true_depth, (2, 98)) if np.isfinite(true_depth).any() else (0, 1)
    error = np.abs(depth / true_depth - 1)
    for ax, values, title, low, high, colours in (
        (axes[1], depth, "predicted depth, m", near, far, "turbo"),
        (axes[2], true_depth, "true depth, m", near, far, "turbo"),
        (axes[3], error, "relative error", 0, 0.5, "inferno"),
    ):
        figure.colorbar(ax.imshow(values, cmap=colours, vmin=low, vmax=high), ax=ax, shrink=0.8)
        ax.set_title(title)
    for ax in axes:
        ax.set_axis_off()
    save(figure, file)


def path_picture(file: Path, poses: np.ndarray, true_poses: np.ndarray) -> None:
    """Both paths (T, 4, 4), the predicted one aligned to the true one, along the two axes of most motion."""
    ours, theirs = (path[:, :3, 3] for path in aligned_poses(poses, true_poses))
    across, along = np.sort(np.argsort(np.ptp(theirs, axis=0))[-2:])
    figure, ((ax,),) = new_axes(1, 1, (5, 4))
    for path, style, name in ((theirs, "k.-", "true"), (ours, "C1.-", "predicted, aligned")):
        ax.plot(path[:, across], path[:, along], style, label=name)
        ax.plot(*path[0, [across, along]], style[:-2] + "o")
    ax.set(xlabel=f"{'xyz'[across]}, m", ylabel=f"{'xyz'[along]}, m")
    ax.axis("equal")
    ax.legend()
    save(figure, file)


def track_picture(file: Path, images, true_uv: np.ndarray, uv: np.ndarray) -> None:
    """On the newest image, tracks (N, T, 2) in pixels: where points went and where the model says."""
    figure, ((ax,),) = new_axes(1, 1, (8, 6))
    ax.imshow(images[-1])
    height, width = images[-1].shape[:2]
    for paths, style, name in ((true_uv, "w-", "true"), (uv, "C1-", "predicted")):
        for n, path in enumerate(paths):
            ax.plot(*path.T, style, linewidth=1, label=name if n == 0 else None)
            ax.plot(*path[-1], style[:-1] + ".", markersize=4)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    ax.set_axis_off()
    ax.legend(facecolor="0.5")
    save(figure, file)


def tracks_across(*scenes) -> list[np.ndarray]:
    """Pixels (N, T, 2) over the clip of a grid of points of the oldest frame, by each of the scenes."""
    found = []
    for scene in scenes:
        u, v = (x[1:-1, 1:-1].ravel() for x in pixel_grid(tuple(n + 2 for n in TRACKS), scene.size))
        found.append(tracks_of_points(scene, u, v, 0).uv)
    return found


def new_axes(rows: int, columns: int, size: tuple[float, float]):
    """(figure, axes (rows, columns)) of so many inches; needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
