"""`d4rt benchmark soak`: for minutes or hours, all that happens to a robot's camera and node, with a verdict."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from d4rt_ros.cli import benchmark_node, soak_verdict
from d4rt_ros.cli.children import Children, own_domain, ros_arguments
from d4rt_ros.cli.outputs import path, writable_file
from d4rt_ros.cli.soak_schedule import Misfortune, schedule
from d4rt_ros.cli.soak_verdict import SECOND, Happened, Record

READY_LIMIT = 300.0  # seconds until the camera has rendered what it shows
WARM_UP = 10.0  # seconds of calm at first
CAMERA_FRAME = "camera_optical_frame"
COLUMNS = (
    ("min", 5), ("results/s", 9), ("ms 50 / 95 %", 12), ("MiB", 5), ("files", 5), ("threads", 7), ("restarts", 8),
    ("lost", 4), ("errors", 6), ("lost because", None),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("soak")
    group.add_argument("--minutes", type=float, default=30, help="how long (default %(default)g)")
    group.add_argument(
        "--interval", type=float, default=60, help="seconds between two rows (default %(default)g)"
    )
    group.add_argument("--json", type=path, metavar="FILE", help="keep figures and verdict in a file")


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """Rows as they come, what each misfortune did, the verdict."""
    from rich.table import Table

    if args.json:
        writable_file(args.json)  # now, and not after half an hour
    soak = Soak(args, args.minutes * 60)
    yield f"d4rt benchmark soak: {machine}"
    rows, first = [], True
    for row in soak.run():
        table = Table(show_header=first, box=None, padding=(0, 1))
        for (name, width), value in zip(COLUMNS, row, strict=True):
            justify = "left" if name == COLUMNS[-1][0] else "right"
            table.add_column(name, width=width, justify=justify, no_wrap=width is not None)
        table.add_row(*row)
        rows.append(row)
        first = False
        yield table
    record = soak.record
    table = Table("misfortune", "times", "result after", "pose known after", title="what happened")
    outcomes = soak_verdict.outcomes(record)
    for row in outcomes:
        table.add_row(*row)
    yield table
    verdict = soak_verdict.verdict(record)
    if args.json:
        figures = {
            "machine": machine,
            "good": verdict.good,
            "criteria": [dataclasses.asdict(criterion) for criterion in verdict.criteria],
            "intervals": [dict(zip([name for name, _ in COLUMNS], row, strict=True)) for row in rows],
            "misfortunes": [
                dict(zip(("misfortune", "times", "result after", "pose known after"), row, strict=True))
                for row in outcomes
            ],
            "lost": soak_verdict.lost_shares(record.notes),
        }
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    yield verdict


class Soak:
    """The schedule's misfortunes, one after the other and again, for `seconds`. After `run`, record has everything."""

    def __init__(
        self, args: argparse.Namespace, seconds: float, warm_up: float = WARM_UP,
        width: int = 640, height: int = 480, rate: float = 30.0,
    ) -> None:  # fmt: skip
        self._args, self._seconds, self._warm_up = args, seconds, warm_up
        self._camera = {"width": width, "height": height, "rate": rate, "frame_id": CAMERA_FRAME}
        self._began: list[tuple[Misfortune, int]] = []
        self._acted: list[tuple[int, int]] = []
        self._sampled = 0

    def run(self) -> Iterator[list[str]]:
        """Rows of figures, one an interval. Raises RuntimeError where the node does not start."""
        from d4rt_ros.ros.listening.robot import Robot

        domain, environment = own_domain()
        with tempfile.TemporaryDirectory() as logs, Children(Path(logs), environment) as children:
            self._start(children)
            robot = Robot(domain, (self._camera["width"], self._camera["height"]))
            try:
                children.wait_for(lambda: robot.notes.results, benchmark_node.START_LIMIT, "no result")
                children.wait_for(robot.ask_small, benchmark_node.START_LIMIT, "no answer")
                self._misfortunes = schedule(robot.window_seconds, CAMERA_FRAME)
                begin = time.time_ns()
                self.record = Record(robot.notes, [], [], begin, begin, begin, True, [])
                shown = begin
                for _ in self._happen(children, robot):
                    now = time.time_ns()
                    self._sample(children, robot, now)
                    if now - shown >= self._args.interval * SECOND:
                        yield soak_verdict.interval_row(self.record, shown, now)
                        shown = now
                if (now := time.time_ns()) - shown > SECOND:
                    yield soak_verdict.interval_row(self.record, shown, now)
                self._finish(children, now)
            finally:
                robot.close()

    def _start(self, children: Children) -> None:
        from d4rt_ros.ros.listening.faulty_camera import READY

        compressed = "image_transport:=compressed" in self._args.set
        camera = ros_arguments(self._camera | {"compressed": compressed})
        children.start("camera", "d4rt_ros.ros.listening.faulty_camera", camera)
        benchmark_node.start_node(children, self._args)
        children.wait_for(lambda: children.says("camera", READY), READY_LIMIT, "no images")

    def _happen(self, children: Children, robot) -> Iterator[None]:
        """Everything that happens, a step at a time; ends when the time is over or a process has ended.

        Calm is longer where there is time for it: the schedule comes round once in the time given, or every five
        minutes.
        """
        least = sum(m.seconds + m.calm for m in self._misfortunes)
        longer = max((min(self._seconds - self._warm_up, 300) - least) / len(self._misfortunes), 0)
        end = time.monotonic() + self._seconds
        yield from self._wait(self._warm_up, children, robot)
        for misfortune in cycle(self._misfortunes):
            left = end - time.monotonic()
            if left < misfortune.seconds + misfortune.calm or self._ended(children):
                break
            self._began.append((misfortune, time.time_ns()))
            if misfortune.fault:
                children.tell("camera", f"{misfortune.fault} {misfortune.seconds}")
                yield from self._wait(misfortune.seconds, children, robot)
            else:
                misfortune.act(robot)
            self._acted.append((self._began[-1][1], time.time_ns()))
            yield from self._wait(misfortune.calm + longer, children, robot)
        yield from self._wait(end - time.monotonic(), children, robot)

    def _wait(self, seconds: float, children: Children, robot) -> Iterator[None]:
        """Steps of calm, with a small question a second."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._ended(children):
            yield
            time.sleep(max(min(0.2, end - time.monotonic()), 0))
        if children.told_to_end:
            raise RuntimeError("told to end")

    def _ended(self, children: Children) -> list[str]:
        return [name for name in ("camera", "node") if children.status(name) is not None]

    def _sample(self, children: Children, robot, now: int) -> None:
        if now - self._sampled < SECOND or self._ended(children):
            return
        self._sampled = now
        self.record.resources.append((now, children.resources("node")))
        robot.ask_small()

    def _finish(self, children: Children, now: int) -> None:
        """Put the times of what happened into the record; the camera tells those of its faults."""
        ended = [f"the {name} ended: {children.last_words(name, 3)}" for name in self._ended(children)]
        ended += [f"a traceback of the {n}" for n in ("camera", "node") if children.says(n, "Traceback")]
        told = camera_faults(children.log("camera").read_text(errors="replace"))
        happened = []
        followings = [began for _, began in islice(self._began, 1, None)] + [now]
        for (misfortune, _), times, following in zip(self._began, self._acted, followings, strict=False):
            begin, end = next(told, times) if misfortune.fault else times
            lost = None
            if misfortune.lost:
                after, until = misfortune.lost
                lost_end = end if until is None else begin + round(until * SECOND)
                lost = begin + round(after * SECOND), min(lost_end, following)
            happened.append(Happened(misfortune.name, begin, end, following, lost))
        # The first round takes every buffer into use; where there is only one, its first half has to do.
        first_round = len(self._began) < 2 * len(self._misfortunes)
        begin = self.record.begin
        warm = begin + (now - begin) // 2 if first_round else self._began[len(self._misfortunes)][1]
        self.record = dataclasses.replace(
            self.record, happened=happened, warm=warm, end=now, first_round=first_round, ended=ended
        )


def camera_faults(log: str) -> Iterator[tuple[int, int]]:
    """Begin and end, ns, of each fault that the camera has told of in its log."""
    lines = (line.split() for line in log.splitlines())
    return ((int(words[2]), int(words[3])) for words in lines if len(words) == 4 and words[0] == "fault")
