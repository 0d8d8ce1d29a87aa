"""Asking ~/query as a user's node does, and how long that takes."""

from __future__ import annotations

import threading
import time

import numpy as np

from d4rt_ros.ros.messages import flat
from d4rt_ros.srv import Query


def timed_query(
    client, count: int, size: tuple[int, int], timeout: float
) -> tuple[Query.Response, float] | None:
    """Ask where `count` random pixels of the newest image of size (height, width) are; None where no answer came.

    The client's node must be spun by another thread. Returns the response and the seconds that it took.
    """
    height, width = size
    random = np.random.default_rng()
    request = Query.Request(
        u=flat(random.uniform(0, width - 1, count)), v=flat(random.uniform(0, height - 1, count)),
        t_src=flat([-1], "i"), t_tgt=flat([-1], "i"), t_cam=flat([-1], "i"),
    )  # fmt: skip
    done = threading.Event()
    start = time.perf_counter()
    future = client.call_async(request)
    future.add_done_callback(lambda _: done.set())
    return (future.result(), time.perf_counter() - start) if done.wait(timeout) else None
