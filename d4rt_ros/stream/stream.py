"""Frames in, results out, where windows are due: for whoever has frames and no threads."""

from __future__ import annotations

from d4rt_ros.io.frame import Frame
from d4rt_ros.stream.config import Outputs
from d4rt_ros.stream.pipeline import Pipeline
from d4rt_ros.stream.results import Pose, Result
from d4rt_ros.stream.window import Window, WindowFrame


def window_of(pipeline: Pipeline) -> Window:
    """The window that a pipeline's clips come from. Raises ValueError for a configuration that cannot be."""
    config = pipeline.config
    return Window(pipeline.num_frames, config.stride, config.hop, config.max_gap)


class Stream:
    """A pipeline and its window.

    pose: where the newest image was taken, as it was known when it came; None where nothing is known of it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.window = pipeline, window_of(pipeline)
        self.pose: Pose | None = None

    def add(self, frame: Frame, outputs: Outputs = Outputs()) -> Result | None:
        """Take a frame; a result where a window is due. Raises StampError for a frame that is refused."""
        due = self.window.add(frame)
        clip = self.window.clip()
        kept = clip and clip[-1].frame is frame
        followed = self.pipeline.follow(clip[-1] if kept else WindowFrame(frame, self.window.restarts))
        result = self.pipeline.process(clip, outputs) if due else None
        known = followed or result
        self.pose = known.pose if known else None
        return result

    def reset(self) -> None:
        """Forget the window, and with its next clip the world."""
        self.window.reset()
