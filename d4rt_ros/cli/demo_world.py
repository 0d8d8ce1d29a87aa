"""What a whole run of the demo gave, drawn: all points that were seen, and the camera's path beside the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.cli.demo_report import distances
from d4rt_ros.evaluation.run_path import path_length
from d4rt_ros.evaluation.trajectory import aligned_poses
from d4rt_ros.geometry import invert, pose_matrix, transform
from d4rt_ros.geometry.voxels import thinned
from d4rt_ros.stream.reconstruction import point_weights

AROUND, ABOVE = np.radians([20.0, 38.0])  # from where the cloud is looked at, beside where the camera was
BACK = 2.2  # from how far, in distances of the camera to what it saw
NEAR = 0.6  # of that distance, what is nearer stands in the way
FINEST = 0.8  # sides of the cubes of which each gets one point, in distances between a grid's points at median depth
SPLAT = 1.9  # sides of such a cube, that it is drawn large
CUT = 1.5  # % of the points, at each edge, that the view need not show
FRUSTUM = 0.18  # of that distance, how large the camera is drawn
GAP = 1.0  # seconds without a pose, across which no line is drawn
OURS, TRUE = "#ff7f0e", "black"


@dataclass(frozen=True, eq=False)
class World:
    """What was seen from N places, which are known.

    seconds: (N,) since the first. poses: (N, 4, 4) of the cameras; true_poses: (N, 4, 4), None where there is no truth,
    else the poses are aligned to them by one similarity. xyz (M, 3) float32, rgb (M, 3) uint8: of all of them; voxel:
    how far apart they are at least; depth: how far from the cameras in the median. corners: (4, 3) rays of an image's.
    """

    seconds: np.ndarray
    poses: np.ndarray
    true_poses: np.ndarray | None
    xyz: np.ndarray
    rgb: np.ndarray
    voxel: float
    depth: float
    corners: np.ndarray


def seen_world(recording) -> World | None:
    """Of a d4rt_ros.ros.listening.listener.Recording; None where no place is known from which anything was seen."""
    poses, truth = recording.main_poses(), recording.true_poses
    stamps = [s for s in poses if s in truth] if truth else list(poses)
    clouds = {s: cloud for s, cloud in recording.clouds.items() if s in set(stamps)}
    if len(stamps) < 2 or not clouds:
        return None
    path, true_path, unit = np.array([poses[s] for s in stamps]), None, 1.0
    if truth:
        aligned, true_path = aligned_poses(path, [truth[s] for s in stamps])
        size = np.sqrt(path[:, :3, 3].var(axis=0).sum())
        unit = np.sqrt(aligned[:, :3, 3].var(axis=0).sum()) / size if size > 0 else 1.0
        path = aligned
    at = dict(zip(stamps, path))
    depth = unit * np.median([np.nanmedian(cloud.xyz[..., 2]) for cloud in clouds.values()])
    apart = [np.nanmedian(np.linalg.norm(np.diff(c.xyz, axis=1), axis=-1)) for c in clouds.values()]
    voxel = float(FINEST * unit * np.median(apart))
    parts = (_points(cloud, unit, at[s]) for s, cloud in clouds.items())
    xyz, rgb = thinned(parts, voxel)
    seconds = (np.array(stamps) - stamps[0]) / 1e9
    return World(seconds, path, true_path, xyz, rgb, voxel, float(depth), _corners(clouds.values()))


def _corners(clouds) -> np.ndarray:
    rays = np.concatenate([(cloud.xyz / cloud.xyz[..., 2:]).reshape(-1, 3) for cloud in clouds])
    low, high = np.nanmin(rays, axis=0), np.nanmax(rays, axis=0)
    return np.array([low, [high[0], low[1], 1], high, [low[0], high[1], 1]])


def _points(cloud, unit: float, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weights = point_weights(cloud.xyz[..., 2], cloud.confidence)
    return transform(pose, unit * cloud.xyz.reshape(-1, 3)), cloud.rgb.reshape(-1, 3), weights.ravel()


def view_of(world: World) -> np.ndarray:
    """(4, 4) view_from_world of someone who looks at what the cameras saw from behind and above them."""
    turned = Rotation.from_matrix(world.poses[:, :3, :3]).mean().as_matrix()
    middle = pose_matrix(turned, world.poses[:, :3, 3].mean(axis=0))
    pivot = np.array([0, 0, world.depth])
    # Turned about what is looked at: first to the side, then from above.
    turn = Rotation.from_euler("x", ABOVE).as_matrix() @ Rotation.from_euler("y", AROUND).as_matrix()
    view = pose_matrix(turn, BACK * pivot - turn @ pivot)
    return view @ invert(middle)


def draw_cloud(axes, world: World) -> None:
    """The points in perspective, far ones first, with the path and the camera at its end."""
    view = view_of(world)
    near = NEAR * BACK * world.depth
    points = transform(view, world.xyz.astype(float))
    shown = points[:, 2] > near
    points, rgb = points[shown], world.rgb[shown]
    order = np.argsort(-points[:, 2])
    points, rgb = points[order], rgb[order]
    pixels = points[:, :2] / points[:, 2:]
    low, high = np.percentile(pixels, (CUT, 100 - CUT), axis=0)
    path = _projected(view, world.poses[:, :3, 3])
    low, high = np.minimum(low, np.nanmin(path, axis=0)), np.maximum(high, np.nanmax(path, axis=0))
    box = axes.get_window_extent()
    aspect = box.width / box.height
    half = 0.52 * max(high[1] - low[1], (high[0] - low[0]) / aspect)
    middle = (low + high) / 2
    sides = SPLAT * world.voxel / points[:, 2] * 72 * box.height / axes.figure.dpi / (2 * half)
    axes.set_facecolor("0.13")
    axes.scatter(*pixels.T, s=np.maximum(sides, 0.5) ** 2, c=rgb / 255, marker="s", linewidths=0)
    for part in _unbroken(world.seconds):
        axes.plot(*path[part].T, color=OURS, linewidth=1.4)
    edges = np.vstack([np.zeros(3), FRUSTUM * world.depth * world.corners])
    seen = _projected(view, transform(world.poses[-1], edges))
    for a, b in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        axes.plot(*seen[[a, b]].T, color="white", linewidth=0.8, alpha=0.8)
    axes.set(xlim=middle[0] + np.array([-1, 1]) * half * aspect, ylim=middle[1] + np.array([1, -1]) * half)
    bare(axes)


def bare(axes) -> None:
    """Without anything around it."""
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def _projected(view: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    points = transform(view, xyz)
    return points[:, :2] / np.where(points[:, 2:] > 1e-6, points[:, 2:], np.nan)


def draw_path(axes, world: World) -> None:
    """Both paths along the two axes of most motion."""
    places = (world.poses if world.true_poses is None else world.true_poses)[:, :3, 3]
    across, along = np.sort(np.argsort(np.ptp(places, axis=0))[-2:])
    unit = "" if world.true_poses is None else ", m"
    for part in _unbroken(world.seconds):
        if world.true_poses is not None:
            axes.plot(places[part, across], places[part, along], color=TRUE, linewidth=2.6)
        ours = world.poses[part, :3, 3]
        axes.plot(ours[:, across], ours[:, along], color=OURS, linewidth=1.1)
    axes.set(xlabel=f"{'xyz'[across]}{unit}", ylabel=f"{'xyz'[along]}{unit}")
    axes.axis("equal")
    _small(axes)


def error_title(world: World) -> str:
    off = distances(world.poses, world.true_poses)
    way = path_length(world.true_poses)
    return f"its error: {100 * np.sqrt((off**2).mean()):.1f} cm of {way:.1f} m"


def draw_error(axes, world: World) -> None:
    """How far the camera is from where it truly is, over the whole run."""
    error = 100 * distances(world.poses, world.true_poses)
    for part in _unbroken(world.seconds):
        axes.plot(world.seconds[part], error[part], color=OURS, linewidth=1.1)
    axes.set(xlabel="s", ylabel="cm", xlim=(0, world.seconds[-1]), ylim=(0, 1.1 * error.max() or 1))
    _small(axes)


def _small(axes) -> None:
    axes.tick_params(labelsize=8, length=2)
    axes.locator_params(nbins=4)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 1


def _unbroken(seconds: np.ndarray) -> list[np.ndarray]:
    """Numbers of the poses, in parts that are not interrupted for longer than GAP."""
    return np.split(np.arange(len(seconds)), np.flatnonzero(np.diff(seconds) > GAP) + 1)
