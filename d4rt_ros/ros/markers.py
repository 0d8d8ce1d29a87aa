"""~/markers: trajectory, keyframes, tracks with tails and the pose's uncertainty, for RViz to draw.

Every sort is one marker with a name and a number of its own, so that each message replaces the last; what is not sent
again goes by itself. All are in the world and locked to it, so that a correction of the map moves them along. A Point
costs 3 us to make, so that those of one place are one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from d4rt_ros.geometry import Pinhole, pose_matrix
from d4rt_ros.ros import messages
from d4rt_ros.stream import Pose, StreamTracks

LIFETIME = 5  # seconds; slower than that no model gives results
MOST_TAIL = 6  # positions of a track's tail
MOST_KEYFRAMES = 50
REMEMBERED = 300  # results that may turn out to be keyframes
SIGMAS = 2.0  # of the ellipsoid: 74 % of what a pose may be lies within, in three dimensions

# In the model's unit of length, about the mean depth of a window.
THIN, THICK, FRUSTUM = 0.004, 0.015, 0.06
FAST = 0.5  # a second: what moves so is drawn in the last colour

TRAJECTORY, KEYFRAME = ColorRGBA(r=0.3, g=0.8, b=1.0, a=1.0), ColorRGBA(r=1.0, g=0.8, b=0.2, a=0.9)
UNCERTAIN = ColorRGBA(r=0.8, g=0.4, b=1.0, a=0.35)
# Of a frustum, between its tip and its corners.
EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))
COLOURS = 30, 230  # of OpenCV's Turbo, whose ends are too dark for RViz's background
UNKNOWN_SPEED = np.array([0.6, 0.6, 0.6])


@dataclass(frozen=True)
class Drawing:
    """What is drawn, in the world; what is None or empty is not.

    path: where the camera, or the base, was. keyframes: (K, 4, 4) world_from_camera. camera: what the frusta are of.
    tracks: positions (N, T, 3) in the world. pose: (4, 4) of whose uncertainty covariance, (6, 6) about the world's
    axes, tells. unit: metres in the model's unit of length, by which sizes go.
    """

    path: Sequence[Point] = ()
    keyframes: np.ndarray | None = None
    camera: Pinhole | None = None
    tracks: StreamTracks | None = None
    pose: np.ndarray | None = None
    covariance: np.ndarray | None = None
    unit: float = 1.0


class Keyframes:
    """Where the camera was at the frames that later ones were placed from, as far as these gave results themselves."""

    def __init__(self) -> None:
        self._results: deque = deque(maxlen=REMEMBERED)  # stamp and world_from_camera
        self._kept: dict[int, np.ndarray] = {}

    @property
    def poses(self) -> np.ndarray:
        """(K, 4, 4), oldest first."""
        return np.array(list(self._kept.values())).reshape(-1, 4, 4)

    def add(self, stamp: int, pose: Pose) -> None:
        """A pose that is trusted."""
        self._results.append((stamp, pose.world_from_camera))
        if pose.keyframe is not None and pose.keyframe not in self._kept:
            self._kept |= {stamp: place for stamp, place in self._results if stamp == pose.keyframe}
            while len(self._kept) > MOST_KEYFRAMES:
                del self._kept[next(iter(self._kept))]


def marker_array(header, drawn: Drawing, new_world: bool = False) -> MarkerArray:
    """What RViz shows from now on; what is not finite is left out. new_world: all that was drawn before goes."""
    made = [
        _trajectory(drawn),
        _keyframes(drawn),
        *_tracks(drawn),
        _uncertainty(drawn),
    ]
    markers = [marker for marker in made if marker is not None]
    for marker in markers:
        marker.header, marker.lifetime, marker.frame_locked = header, Duration(sec=LIFETIME), True
    if new_world:
        markers.insert(0, Marker(header=header, action=Marker.DELETEALL))
    return MarkerArray(markers=markers)


def speed_colours(velocities: np.ndarray, fast: float) -> np.ndarray:
    """(N, 3) in 0..1 of velocities (N, 3): from blue for what stands still to red for `fast` and more; grey where it is
    not known."""
    import cv2

    speeds = np.linalg.norm(velocities, axis=1)
    known = np.isfinite(speeds)
    levels = np.interp(np.where(known, speeds, 0.0) / fast, [0, 1], COLOURS).astype(np.uint8)
    if not len(levels):
        return np.empty((0, 3))
    colours = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1] / 255
    return np.where(known[:, None], colours, UNKNOWN_SPEED)


def frusta(poses: np.ndarray, camera: Pinhole, depth: float) -> np.ndarray:
    """The tip and the four corners (K, 5, 3) of what cameras (K, 4, 4) see up to a depth."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    corners = [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]
    shape = np.concatenate([np.zeros((1, 3)), camera.backproject(corners, np.full(4, depth))])
    return np.einsum("kij,nj->kni", poses[:, :3, :3], shape) + poses[:, None, :3, 3]


def ellipsoid(covariance: np.ndarray, sigmas: float) -> tuple[np.ndarray, np.ndarray]:
    """The rotation (3, 3) and the diameters (3,) of the ellipsoid so many sd around a position's covariance (3, 3)."""
    variances, axes = np.linalg.eigh(covariance)
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
    return axes, 2 * sigmas * np.sqrt(np.maximum(variances, 0.0))


def _trajectory(drawn: Drawing) -> Marker | None:
    if len(drawn.path) < 2:
        return None
    return _marker("trajectory", Marker.LINE_STRIP, list(drawn.path), 2 * THIN * drawn.unit, TRAJECTORY)


def _keyframes(drawn: Drawing) -> Marker | None:
    if drawn.keyframes is None or drawn.camera is None:
        return None
    poses = drawn.keyframes[np.isfinite(drawn.keyframes).all((1, 2))][-MOST_KEYFRAMES:]
    if not len(poses):
        return None
    corners = [_points(five) for five in frusta(poses, drawn.camera, FRUSTUM * drawn.unit)]
    edges = [five[i] for five in corners for edge in EDGES for i in edge]
    return _marker("keyframes", Marker.LINE_LIST, edges, THIN * drawn.unit, KEYFRAME)


def _tracks(drawn: Drawing) -> list[Marker]:
    """The points where they are now, and lines from where they were, of those that moved by more than their size."""
    tracks = drawn.tracks
    if tracks is None:
        return []
    positions = tracks.positions[:, -MOST_TAIL:]
    known = np.isfinite(positions).all(-1)
    here = np.flatnonzero(tracks.visible[:, -1] & known[:, -1])
    if not len(here):
        return []
    colours = _colours(speed_colours(tracks.velocities[here], FAST * drawn.unit))
    points = _points(positions[here, -1])
    heads = _marker("tracks", Marker.POINTS, points, THICK * drawn.unit, colours)
    heads.scale.y = heads.scale.x
    away = np.where(known[..., None], positions, 0) - np.where(known[:, -1:, None], positions[:, -1:], 0)
    moved = (np.linalg.norm(away, axis=-1) * known).max(axis=1) > THICK * drawn.unit
    ends, tints = [], []
    for row, head, colour in zip(here, points, colours):
        if moved[row]:
            line = [*_points(positions[row, :-1][known[row, :-1]]), head]
            ends += [end for pair in zip(line, line[1:]) for end in pair]
            tints += [colour] * (2 * len(line) - 2)
    tails = [_marker("tails", Marker.LINE_LIST, ends, THIN * drawn.unit, tints)] if ends else []
    return [heads, *tails]


def _uncertainty(drawn: Drawing) -> Marker | None:
    if drawn.pose is None or drawn.covariance is None:
        return None
    covariance = drawn.covariance[:3, :3]
    if not (np.isfinite(covariance).all() and np.isfinite(drawn.pose).all()):
        return None
    axes, diameters = ellipsoid(covariance, SIGMAS)
    marker = Marker(ns="uncertainty", type=Marker.SPHERE, action=Marker.ADD, color=UNCERTAIN)
    marker.pose = messages.pose_message(pose_matrix(axes, drawn.pose[:3, 3]))
    smallest = 1e-3 * drawn.unit  # RViz refuses a size of nothing
    marker.scale = Vector3(**dict(zip("xyz", map(float, np.maximum(diameters, smallest)))))
    return marker


def _marker(
    name: str, kind: int, points: list[Point], size: float, colour: ColorRGBA | list[ColorRGBA]
) -> Marker:
    """One colour, or one for each point."""
    marker = Marker(ns=name, type=kind, action=Marker.ADD, points=points)
    marker.pose.orientation.w, marker.scale.x = 1.0, size
    if isinstance(colour, list):
        marker.colors = colour
    else:
        marker.color = colour
    return marker


def _points(positions: np.ndarray) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in np.asarray(positions, float).tolist()]


def _colours(colours: np.ndarray) -> list[ColorRGBA]:
    return [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in colours.tolist()]
