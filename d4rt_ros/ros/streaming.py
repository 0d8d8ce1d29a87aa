"""One model on one camera's stream: frames come in one thread, are followed in another, and windows are encoded in the
worker's."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import replace
from typing import Callable

import numpy as np

from d4rt_ros.geometry import Region
from d4rt_ros.model.protocol import NoAttentionError
from d4rt_ros.ros.diagnostics import WARN, Statistics
from d4rt_ros.ros.interest import Interest
from d4rt_ros.ros.publishing import Publishers
from d4rt_ros.ros.scale_inputs import ScaleInputs
from d4rt_ros.ros.status import STARTING, STOPPED, StatusTopic
from d4rt_ros.ros.windows import EncodedWindow, kept, told
from d4rt_ros.ros.worker import Worker
from d4rt_ros.stream import Frame, Outputs, Pipeline, PipelineConfig, Result, WindowFrame, only, window_of
from d4rt_ros.stream.config import ATTENTIVE
from d4rt_ros.stream.scale import ScaleMeasurement

MOST_WAITING = 4  # images before the one that comes, at a camera that is faster than they can be followed


class _Deaf:
    """Hears a model's attention (model.protocol.AttentionListener), and keeps nothing of it."""

    def begin(self, layers, rows, columns):
        pass

    attention = begin

    def features(self, tokens):
        pass


def check_attention(model, method: str) -> None:
    """Raises ValueError with a sentence where the attention of a model, which this method needs, cannot be heard. It
    encodes a clip to see: call it in the model's thread."""
    clip = [model.prepare(np.zeros((56, 70, 3), np.uint8))] * (model.num_frames or 2)
    try:
        model.encode(clip, listener=_Deaf())
    except NoAttentionError as error:
        raise ValueError(
            f"dynamics.method is {method}, and {error}; or set dynamics.method to motion, which needs none"
        ) from None


class Streaming:
    """Owns the window, the pipeline and the encoded windows that are kept. Raises ValueError with a sentence for a
    configuration that the model cannot do.

    warn(kind, sentence): tells the user, not too often of one kind. windows: what services answer from, the newest
    first. history: seconds for which they are kept. device: what the model runs on, "" where it does not say.
    interest: the region of the image that is looked at. status: where it is told how things are.
    """

    def __init__(
        self,
        model,
        worker: Worker,
        config: PipelineConfig,
        publishers: Publishers,
        statistics: Statistics,
        status: StatusTopic,
        warn: Callable[[str, str], None],
        depth_rate: float = 0.0,
        history: float = 0.0,
    ) -> None:
        self.pipeline, self._model = Pipeline(model, config), model
        self.window = window_of(self.pipeline)
        self.device = str(getattr(model, "device", ""))
        self.scale_inputs: ScaleInputs | None = None  # what measures the scale while the node is active
        self.windows: list[EncodedWindow] = []
        self.result: Result | None = None
        self.publishers = publishers
        self.interest = Interest(self._look_at)
        self._status = status
        self._depth_rate, self._history = depth_rate, history
        self._pose_wanted = False
        self._world_epoch = -1  # the epoch in which a world could begin
        self._worker, self._statistics, self._warn = worker, statistics, warn
        self._check_method(config.dynamics)
        # Images wait for the first, so nothing is published under it; who resets waits for the second as well, so
        # that nothing of before is published after.
        self._lock = threading.Lock()  # of the window, and of what a restart changes
        self._publishing = threading.Lock()
        # Images are followed and windows placed in turns, in two threads.
        self._pixels, self._state = Worker("d4rt pixels"), threading.Lock()
        self._waiting = 0  # images that came and have not been followed yet
        self._posed = -1  # ns, the newest image whose trusted pose was published
        model.between_chunks = worker.serve_pending

    @property
    def epoch(self) -> int:
        """Counts the restarts."""
        return self.window.restarts

    @property
    def depth_queries(self) -> int | None:
        """What the depth grid asks, so that its rate is kept; None: every point."""
        return self.pipeline.config.depth_queries

    @property
    def problems(self) -> list[tuple[bytes, str]]:
        """What the outputs have to say: (level of diagnostics, sentence)."""
        return [*self.publishers.problems, *self.interest.problems, *self._scale_problems()]

    @property
    def idle(self) -> bool:
        """Whether every image that came has been followed, and every window computed that was due."""
        return not self._waiting and self._worker.idle

    @property
    def history(self) -> str:
        """What is kept for services, "3 windows, 0.7 s, 12 MB"."""
        return told(self.windows)

    def _scale_problems(self) -> list[tuple[bytes, str]]:
        """Why the scale is not known, or what is odd about what measures it."""
        why = self.scale_inputs.problem if self.scale_inputs else ""
        return [(WARN, f"scale: {sentence}") for sentence in (self.pipeline.scale_problem, why) if sentence]

    def add(self, frame: Frame, frame_id: str) -> None:
        """Take a frame of the images' thread, with its frame_id as it came. Raises StampError where it is refused."""
        camera_frame = self.publishers.camera_frame(frame_id)
        window, received = self.window, time.monotonic()
        self.interest.see(frame.image.shape[:2], frame.lens)
        with self._lock:
            restarts = window.restarts
            due = window.add(frame)
            clip = window.clip()
            if window.restarts != restarts:
                self._forget()
                self._warn("restart", f"everything restarts: {window.restart_reason}")
            kept = bool(clip) and clip[-1].frame is frame
            image = clip[-1] if kept else WindowFrame(frame, window.restarts)
            # Images wait in order; of more than that, those that no window is due with are left out first.
            crowded = self._waiting >= (MOST_WAITING if due else MOST_WAITING // 2)
            self._waiting += not crowded
        if window.restarts != restarts:
            self._begin_anew(window.restart_reason)
        if crowded:
            self._statistics.count("skipped" if due else "not followed")
            return
        if kept:
            self.pipeline.prepared(image)
        self._pixels.ask(lambda: self._follow(image, clip if due else None, camera_frame, received))

    def reset(self, reason: str, ends: bool = False) -> bool:
        """Forget the window, the world and what was encoded; nothing of it is published once this returns. Returns
        whether there was anything to forget. ends: nothing follows for now."""
        with self._lock:
            anything = bool(len(self.window) or self.windows)
            self.window.reset(reason)
            self._forget()
        with self._publishing:  # what is being published now is out
            if not ends:
                self._begin_anew(reason)
            return anything

    def run(self, question: Callable):
        """What `question()` returns or raises, from the worker's thread, before the next window."""
        return self._worker.ask(question).result()

    def want_pose(self) -> None:
        """A service was asked for the world: compute the pose from now on, though nobody listens to it, until the node
        is configured anew. Who asks once asks again, and a pose that came and went would be lost in between."""
        self._pose_wanted = True

    def change(
        self,
        config: PipelineConfig,
        path_length: int,
        depth_rate: float,
        when_lost: str = "inflate",
        history: float = 0.0,
    ) -> None:
        """Take a new configuration of window and pipeline, the path's length, the depth's rate, what odometry is while
        the pose is not trusted, and for how long windows are kept. Raises ValueError with a sentence for what the model
        cannot do."""
        if config.dynamics != self.pipeline.config.dynamics:
            self._check_method(config.dynamics)
        with self._lock:
            self.window.change(config.stride, config.hop, config.max_gap)
            self.publishers.change(path_length, when_lost)
            # As many queries as were fitted to the rate, until the next window fits them anew; the region is apart.
            now = self.pipeline.config
            self.pipeline.change(replace(config, depth_queries=now.depth_queries, region=now.region))
            self._depth_rate, self._history = depth_rate, history

    def _check_method(self, method: str) -> None:
        """Raises ValueError with a sentence where the model cannot say what moves by this dynamics.method."""
        if method not in ATTENTIVE:
            return
        try:
            self.run(lambda: check_attention(self._model, method))
        except RuntimeError as error:  # of the worker, which has stopped, or of a GPU
            raise ValueError(f"dynamics.method {method} cannot be tried: {error}") from None

    def _look_at(self, region: Region | None) -> None:
        with self._lock:
            self.pipeline.change(replace(self.pipeline.config, region=region))

    def _begin_anew(self, reason: str) -> None:
        self._status.becomes(STARTING, f"everything begins anew: {reason}")

    def close(self) -> None:
        """Images are followed no more."""
        self._pixels.stop()

    def _forget(self) -> None:
        self._worker.discard()
        self.windows, self.result, self._posed = [], None, -1
        self._statistics.count("restarts")

    def _follow(
        self, image: WindowFrame, clip: list[WindowFrame] | None, camera_frame: str, received: float
    ) -> None:
        """Publish where an image was taken, and have the window computed that is due with it."""
        current = lambda: image.epoch == self.epoch  # noqa: E731
        try:
            with self._state:
                result = self.pipeline.follow(image) if current() else None
            if result is not None:
                with self._publishing:
                    if current():
                        self._publish_pose(result, current)
        except Exception as error:
            self._statistics.problem("failures", f"{type(error).__name__}: {error}")
            self._warn("failure", f"following an image failed, the next is tried: {traceback.format_exc()}")
        if clip is not None and current():
            if self._worker.offer(lambda: self._compute(clip, camera_frame, received)):
                self._statistics.count("skipped")
        with self._lock:
            self._waiting -= 1

    def _publish_pose(self, result: Result, current: Callable[[], bool]) -> None:
        self.publishers.publish_pose(result, current)
        if result.trusted:
            self._posed = result.stamp

    def _compute(self, clip: list[WindowFrame], camera_frame: str, received: float) -> None:
        """The worker's job: publish what a window shows. Whatever goes wrong, the next window is tried."""
        try:
            if self.publishers.follow_tf(camera_frame) and clip[-1].epoch == self.epoch:
                reason = "by what TF says now, the pose is published of another frame"
                self.reset(reason)
                self._warn("restart", f"everything restarts: {reason}")
                return
            wanted = self._wanted(clip)
            begin = time.monotonic()
            with self._state:
                seen = self.pipeline.track(clip)
            proposal = self.pipeline.encode(seen, wanted)
            with self._state:
                result = self.pipeline.place(seen, proposal)
                result = self.pipeline.scaled(result, self._measured_scale(result, clip, camera_frame))
            if self.pipeline.scale_note:
                self._warn("scale", self.pipeline.scale_note)
            if result.points is not None:
                self._fit_depth(time.monotonic() - begin)
            self._finish(result, clip, camera_frame, received)
        except Exception as error:
            self._statistics.problem("failures", f"{type(error).__name__}: {error}")
            self._warn("failure", f"computing a window failed, the next is tried: {traceback.format_exc()}")
            failure = f"computing a window failed, {type(error).__name__}: {error}"
            self._status.becomes(STOPPED, failure, lambda: clip[-1].epoch == self.epoch)
        else:
            self._statistics.result(time.monotonic() - received)

    def _measured_scale(
        self, result: Result, clip: list[WindowFrame], camera_frame: str
    ) -> list[ScaleMeasurement]:
        inputs = self.scale_inputs
        return inputs.measurements_for(result, camera_frame, clip[-1].frame.lens) if inputs else []

    def _wanted(self, clip: list[WindowFrame]) -> Outputs:
        """What to compute of a window. Where a world begins with it, it begins where the pose that is published says;
        as long as nobody knows that, no world begins and no pose is made up."""
        wanted = self.publishers.wanted(self._pose_wanted or self._status.listened)
        if self.pipeline.config.dynamics == "off":
            wanted = replace(wanted, masks=False, objects=False)
        if (inputs := self.scale_inputs) is not None:
            wanted |= inputs.wanted
        if wanted.world:
            start = self.publishers.start_pose(clip[-1].stamp)
            # Where it is not known, that of a moment ago is good enough for a world that was lost and begins anew.
            if start is not None:
                self.pipeline.start_at(start)
                self._world_epoch = clip[-1].epoch
            elif self._world_epoch != clip[-1].epoch:
                wanted = only(points=wanted.points)
        return wanted

    def _fit_depth(self, took: float) -> None:
        """Ask the next window's depth grid as many points as the wanted rate leaves time for."""
        with self._lock:
            self.pipeline.fit_depth(1.0 / self._depth_rate if self._depth_rate else None, took)

    def _finish(self, result: Result, clip: list[WindowFrame], camera_frame: str, received: float) -> None:
        epoch, lenses = clip[-1].epoch, tuple(frame.frame.lens for frame in clip)
        window = EncodedWindow(replace(result, points=None), camera_frame, lenses)
        with self._publishing:
            with self._lock:
                if epoch != self.epoch:  # restarted meanwhile: the result is of the world before
                    return
                self.result = result
                self.windows = kept([window, *self.windows], self._history)
            current = lambda: epoch == self.epoch  # noqa: E731
            # Else it was published when the image came, unless only the model, or the first window, could say it.
            if not self.pipeline.follows or result.trusted and result.stamp > self._posed:
                self._publish_pose(result, current)
            self.publishers.publish_window(result, lenses, current)
            self._status.result(result, time.monotonic() - received, current)
