"""The TF of a whole recording: where any frame was in any other, at any time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import invert
from d4rt_ros.io.pose_track import PoseTrack, pose_track


@dataclass(frozen=True)
class RecordedTransforms:
    """parents: each frame's parent. moving: parent_from_child of /tf, by child. fixed: the same of /tf_static."""

    parents: dict[str, str]
    moving: dict[str, PoseTrack]
    fixed: dict[str, np.ndarray]

    def root(self, frame: str) -> str:
        """The frame that has no parent, above this one."""
        return self._ancestors(frame)[-1]

    def path(self, target: str, source: str) -> tuple[list[str], list[str]] | None:
        """The frames whose transforms to their parents lead from source, and from target, up to where both
        meet; None where they are not connected."""
        up, down = self._ancestors(source), self._ancestors(target)
        meeting = next((frame for frame in up if frame in down), None)
        return meeting and (up[: up.index(meeting)], down[: down.index(meeting)])

    def moves(self, target: str, source: str) -> bool:
        """Whether anything between the two frames is more than a fixed mounting."""
        return any(child in self.moving for side in self.path(target, source) or () for child in side)

    def at(self, target: str, source: str, stamp: float, gap: float) -> np.ndarray | None:
        """target_from_source (4, 4), interpolated between transforms at most `gap` seconds apart (PoseTrack);
        None where they are not connected, or not at that time."""
        path = self.path(target, source)
        sides = [self._to_ancestor(side, stamp, gap) for side in path] if path else [None]
        return None if any(side is None for side in sides) else invert(sides[1]) @ sides[0]

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self.parents and self.parents[chain[-1]] not in chain:
            chain.append(self.parents[chain[-1]])
        return chain

    def _to_ancestor(self, children: list[str], stamp: float, gap: float) -> np.ndarray | None:
        pose = np.eye(4)
        for child in children:
            step = self.fixed[child] if child in self.fixed else self.moving[child].at(stamp, gap)
            if step is None:
                return None
            pose = step @ pose
        return pose


def recorded_transforms(transforms: Iterable[tuple[object, bool]]) -> RecordedTransforms:
    """From geometry_msgs/TransformStamped messages, each with whether it is static.

    Transforms that are not finite are left out. A frame that changes its parent keeps the last one.
    """
    parents: dict[str, str] = {}
    rows: dict[str, list] = defaultdict(list)
    static: dict[str, bool] = {}
    for message, is_static in transforms:
        parent, child = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
        if parents.get(child) != parent:
            rows[child] = []
        parents[child], static[child] = parent, is_static
        p, q, stamp = message.transform.translation, message.transform.rotation, message.header.stamp
        rows[child].append((stamp.sec + stamp.nanosec * 1e-9, p.x, p.y, p.z, q.x, q.y, q.z, q.w))
    moving, fixed = {}, {}
    for child, values in rows.items():
        table = np.array(values, np.float64)
        track = pose_track(table[:, 0], table[:, 1:4], table[:, 4:])
        if not len(track.stamps):
            del parents[child]
        elif static[child]:
            fixed[child] = track.at(track.stamps[-1], 0.0)
        else:
            moving[child] = track
    return RecordedTransforms(parents, moving, fixed)
