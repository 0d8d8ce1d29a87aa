"""One model on one camera's stream: frames come in one thread, windows are computed in the worker's."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import replace
from typing import Callable

from d4rt_ros.ros.diagnostics import Statistics
from d4rt_ros.ros.publishing import Publishers
from d4rt_ros.ros.queries import EncodedWindow
from d4rt_ros.ros.worker import Worker
from d4rt_ros.stream import Frame, Pipeline, PipelineConfig, Result, fitting_depth_queries


class Streaming:
    """Owns the pipeline and the newest encoded window.

    warn(kind, sentence): tells the user, not too often of one kind. encoded: what services answer from.
    """

    def __init__(
        self,
        model,
        worker: Worker,
        config: PipelineConfig,
        publishers: Publishers,
        world_frame: str,
        statistics: Statistics,
        warn: Callable[[str, str], None],
        depth_rate: float = 0.0,
    ) -> None:
        self.pipeline = Pipeline(model, config)
        self.encoded: EncodedWindow | None = None
        self.result: Result | None = None
        self.depth_queries: int | None = None  # of the newest window; None: every point of the grid
        self._depth_rate = depth_rate
        self._pose_wanted = False
        self._worker, self._publishers, self._world_frame = worker, publishers, world_frame
        self._statistics, self._warn = statistics, warn
        self._lock = threading.Lock()  # of the window, and of what a restart changes
        model.between_chunks = worker.serve_pending

    def add(self, frame: Frame, camera_frame: str) -> None:
        """Take a frame of the images' thread. Raises StampError for one that is refused."""
        window, received = self.pipeline.window, time.monotonic()
        with self._lock:
            restarts = window.restarts
            due = window.add(frame)
            clip = window.clip()
            if window.restarts != restarts:
                self._forget()
                self._warn("restart", f"everything restarts: {window.restart_reason}")
        if clip and clip[-1] is frame:  # it was kept
            frame.prepared = self.pipeline.model.prepare(frame.image)
        if due and self._worker.offer(lambda: self._compute(clip, camera_frame, received)):
            self._statistics.count("skipped")

    def reset(self, reason: str) -> None:
        """Forget the window, the world and the encoded scene."""
        with self._lock:
            self.pipeline.window.reset(reason)
            self._forget()

    def run(self, question: Callable):
        """What `question()` returns or raises, from the worker's thread, before the next window."""
        return self._worker.ask(question).result()

    def want_pose(self) -> None:
        """A service was asked for the world: compute the pose from now on, though nobody listens to it."""
        self._pose_wanted = True

    def change(self, window: dict, config: dict, path_length: int, depth_rate: float) -> None:
        """Take new values of the window's stride and hop, the pipeline's configuration, the path's length, the
        depth's rate."""
        with self._lock:
            for name, value in window.items():
                setattr(self.pipeline.window, name, value)
            self._publishers.limit_path(path_length)
            self.pipeline.config = replace(self.pipeline.config, **config)
            self._depth_rate = depth_rate

    def _forget(self) -> None:
        self._worker.discard()
        self.encoded = self.result = None
        self._publishers.restart()
        self._statistics.count("restarts")

    def _compute(self, clip: list[Frame], camera_frame: str, received: float) -> None:
        """The worker's job: publish what a window shows. Whatever goes wrong, the next window is tried."""
        try:
            wanted = self._publishers.wanted()
            begin = time.monotonic()
            result = self.pipeline.process(clip, replace(wanted, pose=wanted.pose or self._pose_wanted))
            if wanted.points:
                self._fit_depth(time.monotonic() - begin)
            self._finish(result, clip[-1].epoch, camera_frame)
        except Exception as error:
            self._statistics.problem("failures", f"{type(error).__name__}: {error}")
            self._warn("failure", f"computing a window failed, the next is tried: {traceback.format_exc()}")
        else:
            self._statistics.result(time.monotonic() - received)

    def _fit_depth(self, took: float) -> None:
        """Ask the next window's depth grid as many points as the wanted rate leaves time for."""
        with self._lock:
            config, rate = self.pipeline.config, self._depth_rate
            per_second = self.pipeline.model.queries_per_second if rate else None
            queries = fitting_depth_queries(config, 1.0 / rate, took, per_second) if per_second else None
            self.depth_queries = queries
            self.pipeline.config = replace(config, depth_queries=queries)

    def _finish(self, result: Result, epoch: int, camera_frame: str) -> None:
        with self._lock:
            if (
                epoch != self.pipeline.window.restarts
            ):  # restarted meanwhile: the result is of the world before
                return
            self.result = result
            self.encoded = EncodedWindow(
                result.scene, result.stamps, camera_frame, self._world_frame, result.world_from_camera
            )
            problem = self._publishers.publish(result, camera_frame)
        if problem:
            self._warn("transform", problem)
