"""The node's services. They answer from the encoded windows that are kept, also while the next one is encoded."""

from __future__ import annotations

import threading
from typing import Callable

from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from d4rt_ros.ros import queries
from d4rt_ros.ros.diagnostics import Statistics
from d4rt_ros.ros.streaming import Streaming
from d4rt_ros.ros.transforms import TransformListener
from d4rt_ros.srv import Query, TrackPoints

# Each request that waits holds one of the executor's threads until it is answered; more are sent away at
# once, so that images and parameters are not kept waiting.
MOST_WAITING = 12


class Services:
    """~/query, ~/track_points and ~/reset of a node.

    streaming() -> what runs now, or None while the node is not active.
    """

    def __init__(
        self,
        node,
        streaming: Callable[[], Streaming | None],
        transforms: TransformListener,
        figures: Statistics,
    ) -> None:
        self._node, self._streaming, self._transforms, self._figures = node, streaming, transforms, figures
        self._places = threading.BoundedSemaphore(MOST_WAITING)
        group = ReentrantCallbackGroup()
        node.create_service(Query, "~/query", self._query, callback_group=group)
        node.create_service(TrackPoints, "~/track_points", self._track_points, callback_group=group)
        node.create_service(Trigger, "~/reset", self._reset)

    def _query(self, request, response):
        return self._answer(queries.answer_query, request, response)

    def _track_points(self, request, response):
        return self._answer(queries.answer_track_points, request, response)

    def _reset(self, request, response):
        streaming = self._streaming()
        if streaming is None:
            response.success, response.message = False, "the node is not active"
        elif streaming.reset("it was asked for"):
            response.success, response.message = True, "everything begins anew"
        else:
            response.success, response.message = False, "there is nothing to reset: no image is kept yet"
        return response

    def _answer(self, answer: Callable, request, response):
        self._figures.count("requests")
        if self._places.acquire(blocking=False):
            streaming = self._streaming()
            epoch = streaming and streaming.epoch
            try:
                answer(request, response, self._context(streaming))
            finally:
                self._places.release()
            if streaming and streaming.epoch != epoch:  # nothing of before a reset answers after it
                response = type(response)(status=queries.NOT_READY)
                response.message = "everything began anew meanwhile; ask again"
        else:
            response.status = queries.NOT_READY
            response.message = f"{MOST_WAITING} requests wait already; ask again later"
        if response.status != queries.OK:
            self._figures.count("requests refused")
        return response

    def _context(self, streaming: Streaming | None) -> queries.Context:
        return queries.Context(
            windows=streaming.windows if streaming else (),
            run=streaming.run if streaming else None,
            lookup=self._transforms.lookup,
            want_pose=streaming.want_pose if streaming else None,
            max_points=self._node.get_parameter("query.max_points").value,
            world_frame=streaming.publishers.world if streaming else "",
            map_frame=streaming.publishers.map if streaming else "",
        )
