"""`d4rt benchmark world`: what the online system costs beside the network, frame by frame, and what it keeps."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

WIDTH, HEIGHT, RATE = 320, 240, 15.0
SEED, LENGTH = (
    10,
    90,
)  # of the film: a procedural sequence in which about 250 points are followed, and its images
EVERY_FRAME = 60  # images after each of which a window is encoded; then only after every SELDOM-th
SELDOM = 10
OFFLINE = 30  # frames of the video that is reconstructed
SETTLED = 10  # frames that are not counted: the first window, and what is loaded on first use
MARKS = 4  # times at which memory is told, evenly over the second part
# What is timed, in the order of the table.
PARTS = {
    "stream.tracker:Tracker.follow": "following points",
    "geometry.resection:resect": "pose from landmarks",
    "geometry.bundle:adjust": "adjustment of keyframes",
    "stream.dense:correction": "correction of dense depth",
    "stream.pipeline:Pipeline.follow": "following an image, all of it",
    "stream.pipeline:Pipeline.place": "placing a window, all of it",
}
NETWORK = "network"  # what is not our own: preparing images, encoding and queries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("world")
    group.add_argument(
        "--images",
        type=int,
        default=300,
        metavar="N",
        help="of the film, again and again (default %(default)s)",
    )


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """Costs a frame, memory, and frames a second offline. Raises ValueError with a sentence."""
    import cv2
    import torch
    from rich.table import Table

    from d4rt_ros.runtime import load

    if args.images <= EVERY_FRAME:
        raise ValueError(f"--images {args.images}; more than {EVERY_FRAME} are needed")
    frames = film()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    model = load(args.checkpoint or None, args.device)
    place = f"{machine}, {torch.get_num_threads()} threads"
    costs, marks, points = followed(model, frames, args.images)

    title = f"d4rt benchmark world: {WIDTH}x{HEIGHT}, {points} points, a window after each image\n{place}"
    table = Table("ms a frame", "median", "95 %", "in frames", title=title)
    for name, values in costs.items():
        if len(values):
            middle, high = np.percentile(values, (50, 95))
            table.add_row(name, f"{1e3 * middle:.1f}", f"{1e3 * high:.1f}", str(len(values)))
        else:
            table.add_row(name, "-", "-", "0")
    yield table

    table = Table("memory after", "resident", title="the whole process, torch and the film included")
    for count, size in marks:
        table.add_row(f"{count:,} images", f"{size / 2**20:.0f} MiB")
    yield table

    table = Table("offline", "frames a second", title="reconstruct, with the network")
    table.add_row(f"{OFFLINE} frames of {WIDTH}x{HEIGHT}", f"{offline_rate(model, frames):.2f}")
    yield table


def film() -> list:
    """Frames of a procedural sequence in which things move."""
    from d4rt_ros.evaluation.run_truth import procedural_run

    return list(procedural_run("moving", SEED, LENGTH, width=WIDTH, height=HEIGHT).frames())


def repeated(frames: list, count: int) -> Iterator:
    """`count` frames of the film, forwards and backwards in turn, so that it never jumps; stamps go on."""
    from d4rt_ros.io.frame import Frame, even_stamp

    both = [*frames, *frames[-2:0:-1]]
    for k in range(count):
        frame = both[k % len(both)]
        yield Frame(frame.image, even_stamp(k, RATE), frame.camera)


def followed(model, frames: list, count: int) -> tuple[dict[str, list[float]], list[tuple[int, int]]]:
    """Seconds a frame of every part, in the frames in which there was one, and (images so far, bytes) of memory."""
    from d4rt_ros.evaluation.clock import Clock
    from d4rt_ros.evaluation.speed import resident_bytes
    from d4rt_ros.stream import Pipeline, Stream

    clock = Clock()
    stream = Stream(Pipeline(Clocked(model, clock)))
    costs: dict[str, list[float]] = {
        name: [] for name in (*PARTS.values(), "everything but the network", NETWORK)
    }
    at = {EVERY_FRAME + (count - EVERY_FRAME) * k // MARKS for k in range(MARKS + 1)}
    marks, points = [], [0]
    with clock.watching(PARTS):
        for number, frame in enumerate(repeated(frames, count), start=1):
            clock.lap()
            began = time.perf_counter()
            result = stream.add(frame)
            whole = time.perf_counter() - began
            if SETTLED < number <= EVERY_FRAME:
                parts = clock.lap()
                for name, seconds in parts.items():
                    costs[name].append(seconds)
                costs["everything but the network"].append(whole - parts.get(NETWORK, 0.0))
            if result is not None and result.tracks is not None:
                points.append(len(result.tracks.ids))
            if number == EVERY_FRAME:
                stream.window.hop = SELDOM
            if number in at:
                marks.append((number, resident_bytes()))
    return costs, marks, round(np.median(points))


def offline_rate(model, frames: list) -> float:
    from d4rt_ros.stream.recorder import Recorder

    recorder = Recorder(model)
    began = time.perf_counter()
    for frame in repeated(frames, OFFLINE):
        recorder.add(frame)
    return OFFLINE / (time.perf_counter() - began)


class Clocked:
    """A model whose work, and that of its scenes, is timed as NETWORK."""

    def __init__(self, model, clock) -> None:
        self._model, self._clock = model, clock
        self.prepare = clock.timed(NETWORK, model.prepare)

    def encode(self, frames):
        return ClockedScene(self._clock.timed(NETWORK, self._model.encode)(frames), self._clock)

    def __getattr__(self, name: str):
        return getattr(self._model, name)


class ClockedScene:
    """A scene of a Clocked model."""

    def __init__(self, scene, clock) -> None:
        self._scene = scene
        self.query = clock.timed(NETWORK, scene.query)

    def __getattr__(self, name: str):
        return getattr(self._scene, name)
