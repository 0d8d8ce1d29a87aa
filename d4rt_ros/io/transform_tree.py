"""TF as a tree: where any frame was in any other, live over the last seconds or in a whole recording."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import numpy as np

from d4rt_ros.geometry.transforms import invert
from d4rt_ros.io.pose_track import PoseTrack

# A live frame's stamp that lies further back than this is of another time: the clock was set back, a bag loops.
CLOCK_STEP = 1_000_000_000
# A live tree holds no more frames: of moving ones, that heard longest ago goes.
MOST_FRAMES = 2000
UNIT_TOLERANCE = 10e-3  # of a quaternion's squared length, as tf2's
NAMED_FRAMES = 20  # as many are listed in a sentence


class TransformError(LookupError):
    """A transform that is not known; says which, and what is missing."""


class NotHeardYet(TransformError):
    """A transform that is not known now, and may be in a moment."""


@dataclass
class Link:
    """A frame's way to its parent. fixed: of /tf_static, so that it holds at any time."""

    parent: str
    fixed: bool
    track: PoseTrack = field(default_factory=PoseTrack)


class TransformTree:
    """Every frame's transforms to its parent, and lookups between any two frames. Safe to use from several threads.

    history: ns for which the transforms of a moving frame are kept, and how old they are when another may take
    the frame's place; None: for ever, in a recording.
    """

    def __init__(self, history: int | None = None) -> None:
        self._history = history
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}  # by child, that heard longest ago first
        self.clock_steps = 0  # how often a frame's stamps went back, so that what was known of it is gone

    def insert(self, message, static: bool = False) -> str:
        """Add a geometry_msgs/TransformStamped. Returns in a sentence why it is left out, as tf2 does, or ""."""
        parent, child = frame_name(message.header.frame_id), frame_name(message.child_frame_id)
        p, q, stamp = message.transform.translation, message.transform.rotation, message.header.stamp
        pose = (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        fault = _fault(parent, child, pose)
        if fault:
            return f"the transform '{parent}' -> '{child}' on TF is left out: {fault}"
        with self._lock:
            return self._insert(parent, child, stamp.sec * 1_000_000_000 + stamp.nanosec, pose, static)

    def lookup(
        self, target: str, source: str, stamp: int | None = None, gap=math.inf, beyond=0
    ) -> np.ndarray:
        """target_from_source (4, 4) at `stamp` (ns; None: the newest of each part), interpolated between transforms
        at most `gap` ns apart and taken from the outermost at most `beyond` outside. Raises TransformError."""
        target, source = frame_name(target), frame_name(source)
        with self._lock:
            path = self._path(target, source)
            if path is None:
                known = self._frames()
                more = f" and {len(known) - NAMED_FRAMES} more" if len(known) > NAMED_FRAMES else ""
                listed = ", ".join(known[:NAMED_FRAMES]) or "none"
                raise TransformError(
                    f"TF does not connect '{source}' and '{target}'; it knows of: {listed}{more}"
                )
            up, down = (self._to_ancestor(side, stamp, gap, beyond) for side in path)
        return invert(down) @ up

    def parent(self, frame: str) -> str | None:
        """The frame above this one, None where it has none."""
        with self._lock:
            link = self._links.get(frame_name(frame))
            return link and link.parent

    def ancestors(self, frame: str) -> list[str]:
        """This frame, its parent, … up to the root."""
        with self._lock:
            return self._ancestors(frame_name(frame))

    def knows(self, frame: str) -> bool:
        """Whether anything was said of this frame, as a parent or as a child."""
        frame = frame_name(frame)
        with self._lock:
            return frame in self._links or any(link.parent == frame for link in self._links.values())

    def frames(self) -> list[str]:
        """All names, sorted."""
        with self._lock:
            return self._frames()

    def moves(self, target: str, source: str) -> bool:
        """Whether anything between the two frames is more than a fixed mounting."""
        with self._lock:
            path = self._path(frame_name(target), frame_name(source))
            return any(not self._links[child].fixed for side in path or () for child in side)

    def times(self) -> dict[str, tuple[int, int]]:
        """The oldest and the newest stamp (ns) of each moving frame."""
        with self._lock:
            return {c: (k.track.stamps[0], k.track.stamps[-1]) for c, k in self._links.items() if not k.fixed}

    def _insert(self, parent: str, child: str, stamp: int, pose: tuple, static: bool) -> str:
        link = self._links.pop(child, None)
        if link is None or link.parent != parent:
            circle = self._circle(parent, child, stamp)
            if circle:
                if link is not None:
                    self._links[child] = link
                return circle
            link = None
        stepped = (
            link is not None
            and self._history is not None
            and not (static or link.fixed)
            and stamp < link.track.stamps[-1] - CLOCK_STEP
        )
        self.clock_steps += stepped
        if link is None or static or link.fixed or stepped:
            link = Link(parent, static)
        self._links[child] = link
        link.track.insert(stamp, pose)
        if self._history is not None:
            link.track.forget_before(link.track.stamps[-1] - self._history)
            self._forget_frames()
        return ""

    def _circle(self, parent: str, child: str, stamp: int) -> str:
        """Why this link would close a circle, or "". A moving link in the way that is long out of date gives way."""
        chain = self._ancestors(parent)
        if child not in chain:
            return ""
        for frame in chain[: chain.index(child)]:
            link = self._links[frame]
            if self._history is not None and not link.fixed and link.track.stamps[-1] < stamp - self._history:
                del self._links[frame]
                return ""
        return (
            f"the transform '{parent}' -> '{child}' on TF is left out: it closes a circle, "
            f"{' -> '.join(reversed(chain[: chain.index(child) + 1]))} -> {child}"
        )

    def _forget_frames(self) -> None:
        if len(self._links) > MOST_FRAMES:
            oldest = next((child for child, link in self._links.items() if not link.fixed), None)
            self._links.pop(oldest or next(iter(self._links)))

    def _frames(self) -> list[str]:
        return sorted(set(self._links) | {link.parent for link in self._links.values()})

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:  # without circles, since none is let in
            chain.append(link.parent)
        return chain

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]] | None:
        """The frames whose transforms to their parents lead from source, and from target, up to where both
        meet; None where they are not connected."""
        up, down = self._ancestors(source), self._ancestors(target)
        meeting = next((frame for frame in up if frame in down), None)
        return None if meeting is None else (up[: up.index(meeting)], down[: down.index(meeting)])

    def _to_ancestor(self, children: list[str], stamp: int | None, gap, beyond) -> np.ndarray:
        pose = np.eye(4)
        for child in children:
            pose = self._to_parent(child, stamp, gap, beyond) @ pose
        return pose

    def _to_parent(self, child: str, stamp: int | None, gap, beyond) -> np.ndarray:
        link = self._links[child]
        stamps = link.track.stamps
        at = stamps[-1] if stamp is None or link.fixed else stamp
        pose = link.track.at(at, gap, beyond)
        if pose is None:
            error = NotHeardYet if at > stamps[-1] else TransformError
            raise error(
                f"TF knows '{child}' in '{link.parent}' from {stamps[0] / 1e9:.3f} to {stamps[-1] / 1e9:.3f} s, "
                f"not at {at / 1e9:.3f} s"
            )
        return pose


def frame_name(name: str) -> str:
    """A frame's name as TF has it: old drivers still write /camera."""
    return name.lstrip("/")


def _fault(parent: str, child: str, pose: tuple) -> str:
    if not (parent and child):
        return "it has no frame names" if not (parent or child) else "one of its frames has no name"
    if parent == child:
        return "it is of a frame to itself"
    if not all(map(math.isfinite, pose)):
        return "it is not finite"
    square = sum(x * x for x in pose[3:])
    if abs(square - 1.0) >= UNIT_TOLERANCE:
        return f"its quaternion has the length {math.sqrt(square):.3g}; a rotation has 1"
    return ""


def recorded_transforms(transforms) -> TransformTree:
    """The tree of a recording, from its geometry_msgs/TransformStamped messages, each with whether it is static.

    What is no transform is left out. A frame that changes its parent keeps the last one.
    """
    tree = TransformTree()
    for message, static in transforms:
        tree.insert(message, static)
    return tree
