"""~/status: whether what the node says may be acted on and, where not, why. Latched."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Callable

import numpy as np

from d4rt_ros.ros import messages, qos
from d4rt_ros.stream import Result

STARTING, TRACKING, LOST, BLIND, IDLE, STOPPED = range(6)  # as in msg/Status.msg
TOPIC = "~/status"
RATED = 5.0  # seconds of which the rate is a mean


@dataclass(frozen=True)
class Standing:
    """What Status.msg says but its header; see there."""

    state: int = STARTING
    reason: str = ""
    world: int = 0
    metric: bool = False
    metres: float = 1.0
    scale_sigma: float = math.nan
    scale_source: str = ""
    inliers: float = math.nan
    tracks: int = 0
    position_sigma: float = math.nan
    rotation_sigma: float = math.nan
    latency: float = math.nan
    rate: float = math.nan


def standing(result: Result, latency: float, rate: float = math.nan) -> Standing:
    """Of a result. latency: seconds from its image's receipt; rate: results a second."""
    scale, pose, tracks = result.scale, result.pose, result.tracks
    state = BLIND if result.problem else IDLE if pose is None else TRACKING if pose.trusted else LOST
    position, rotation = sigmas(pose.covariance) if result.trusted else (math.nan, math.nan)
    return Standing(
        state=state,
        reason=result.reason,
        world=0 if pose is None else pose.world,
        metric=scale.metric,
        metres=scale.metres,
        scale_sigma=scale.sigma,
        scale_source=scale.source if scale.metric else "",
        inliers=pose.step.inliers if result.trusted and pose.step is not None else math.nan,
        tracks=0 if tracks is None else int(np.count_nonzero(tracks.visible[:, -1])),
        position_sigma=position,
        rotation_sigma=rotation,
        latency=latency,
        rate=rate,
    )


def sigmas(covariance: np.ndarray) -> tuple[float, float]:
    """Standard deviations of position and rotation, each along the axis where it is largest, of a pose's (6, 6)."""
    parts = covariance[:3, :3], covariance[3:, 3:]
    return tuple(float(np.sqrt(max(np.linalg.eigvalsh(part)[-1], 0.0))) for part in parts)


class StatusTopic:
    """Publishes ~/status; for any thread. world: the name of the frame of poses."""

    def __init__(self, node, world: str) -> None:
        from d4rt_ros.msg import Status

        self.world = world
        self._node, self._type = node, Status
        self._publisher = qos.publisher(node, Status, TOPIC, qos.LATCHED)
        self._lock = threading.Lock()
        self._last: Standing | None = None
        self._times: deque[float] = deque()

    @property
    def listened(self) -> bool:
        """Whether somebody wants to know."""
        return self._publisher.get_subscription_count() > 0

    @property
    def state(self) -> int | None:
        """As it was told last."""
        return self._last and self._last.state

    def result(self, result: Result, latency: float, current: Callable[[], bool] = lambda: True) -> None:
        """A result is there, where it is still of the `current` world. latency: seconds since its image came."""
        with self._lock:
            now = time.monotonic()
            self._times.append(now)
            while len(self._times) > 2 and now - self._times[0] > RATED:
                self._times.popleft()
            rate = (len(self._times) - 1) / (now - self._times[0]) if len(self._times) > 1 else math.nan
            if current():
                self._publish(standing(result, latency, rate), result.stamp)

    def becomes(self, state: int, reason: str, current: Callable[[], bool] = lambda: True) -> None:
        """Without a result the state is this one now, for this reason."""
        with self._lock:
            before = self._last
            if (before is None or (before.state, before.reason) != (state, reason)) and current():
                self._times.clear()
                world = 0 if before is None else before.world
                self._publish(Standing(state, reason, world), self._node.get_clock().now().nanoseconds)

    def _publish(self, now: Standing, stamp: int) -> None:
        self._last = now
        if self._node.context.ok():
            header = messages.header_message(stamp, self.world)
            self._publisher.publish(self._type(header=header, **vars(now)))
