"""~/objects/markers: moving bodies as boxes with their ids and velocities, for RViz to draw."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from d4rt_ros.dynamics.objects import Objects
from d4rt_ros.ros.markers import LIFETIME

BOX, ARROW = ColorRGBA(r=1.0, g=0.3, b=0.2, a=0.35), ColorRGBA(r=1.0, g=0.9, b=0.2, a=1.0)
TEXT = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
THINNEST = 0.02  # of a box's longest side: RViz refuses a size of nothing
LETTERS, SHAFT, HEAD = 0.3, 0.05, 0.12  # of a box's longest side
SECONDS = 1.0  # of the velocity's arrow


class ObjectMarkers:
    """What is drawn now: bodies that go are deleted."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, int]] = set()  # the markers' names and numbers
        self._world: int | None = None

    def drawn(self, header, objects: Objects | None, world: int) -> MarkerArray | None:
        """What changes where these bodies are seen in this world, which is header.frame_id; None where nothing does.
        objects: None where what moves is not known: then nothing is shown."""
        markers = [] if objects is None else _markers(objects)
        now = {(marker.ns, marker.id) for marker in markers}
        if objects is not None and world != self._world:
            gone = [Marker(action=Marker.DELETEALL)]
            self._world = world
        else:
            gone = [Marker(ns=ns, id=i, action=Marker.DELETE) for ns, i in sorted(self._shown - now)]
        self._shown = now
        for marker in gone + markers:
            marker.header, marker.lifetime, marker.frame_locked = header, Duration(sec=LIFETIME), True
        return MarkerArray(markers=gone + markers) if gone or objects is not None else None


def _markers(objects: Objects) -> list[Marker]:
    made = []
    for identity, centroid, extent, velocity in zip(
        objects.ids.tolist(), objects.centroids, objects.extents, objects.velocities
    ):
        number, longest = identity % 2**31, float(max(extent.max(), 1e-6))
        size = np.maximum(extent, THINNEST * longest)
        box = _marker("box", number, Marker.CUBE, BOX, centroid)
        box.scale = _vector(size)
        text = _marker(
            "id", number, Marker.TEXT_VIEW_FACING, TEXT, centroid + [0, 0, size[2] / 2 + LETTERS * longest]
        )
        text.text, text.scale.z = str(identity), LETTERS * longest
        made += [box, text]
        if np.isfinite(velocity).all():
            arrow = _marker("velocity", number, Marker.ARROW, ARROW)
            arrow.points = [_point(centroid), _point(centroid + SECONDS * velocity)]
            arrow.scale = _vector([SHAFT * longest, HEAD * longest, 0.0])
            made.append(arrow)
    return made


def _marker(sort: str, number: int, kind: int, colour: ColorRGBA, place=(0.0, 0.0, 0.0)) -> Marker:
    marker = Marker(ns=sort, id=number, type=kind, action=Marker.ADD, color=colour)
    marker.pose.position, marker.pose.orientation.w = _point(place), 1.0
    return marker


def _point(place) -> Point:
    x, y, z = map(float, place)
    return Point(x=x, y=y, z=z)


def _vector(size) -> Vector3:
    x, y, z = map(float, size)
    return Vector3(x=x, y=y, z=z)
