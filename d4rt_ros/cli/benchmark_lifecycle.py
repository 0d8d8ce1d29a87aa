"""`d4rt benchmark lifecycle`: the node's process started and stopped, and its lifecycle gone round, under images."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d4rt_ros.cli import benchmark_node
from d4rt_ros.cli.children import Children, Resources, own_domain, ros_arguments
from d4rt_ros.cli.verdict import Criterion, Verdict, growth

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4  # of lifecycle_msgs/Transition
ACTIVE = "active: images from"  # the node's log
END_LIMIT = 2.0  # seconds from Ctrl-C to the end of the process
MEMORY_LIMIT = 0.02  # growth from the first tenth of the cycles to the last, as a share
FLAT = 2  # files and threads more than at first
START_LIMIT = benchmark_node.START_LIMIT
RESULT_LIMIT = 30.0  # seconds until a cycle's first result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("lifecycle")
    group.add_argument("--starts", type=int, default=100, help="of the process (default %(default)s)")
    group.add_argument("--cycles", type=int, default=50, help="of the lifecycle (default %(default)s)")


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    from d4rt_ros.ros.listening.robot import Robot
    from d4rt_ros.ros.rendered_loop import LOOP_IS_CLOSED

    yield f"d4rt benchmark lifecycle: {machine}"
    domain, environment = own_domain()
    with tempfile.TemporaryDirectory() as logs, Children(Path(logs), environment) as children:
        camera = {
            "width": benchmark_node.WIDTH,
            "height": benchmark_node.HEIGHT,
            "rate": float(benchmark_node.RATE),
            "detail": 0.25,  # their load counts, not what they show
        }
        children.start("camera", "d4rt_ros.ros.scene_camera", ros_arguments(camera))
        children.wait_for(
            lambda: children.says("camera", LOOP_IS_CLOSED), benchmark_node.RENDER_LIMIT, "no images"
        )
        criteria = []
        if args.starts:
            criteria += starts(children, args)
        if args.cycles:
            robot = Robot(domain, (benchmark_node.WIDTH, benchmark_node.HEIGHT))
            try:
                criteria += cycles(children, robot, args)
            finally:
                robot.close()
    yield Verdict(
        f"{args.starts} starts and stops, {args.cycles} lifecycle cycles under image load", criteria
    )


def starts(children: Children, args: argparse.Namespace) -> list[Criterion]:
    """Every second start is stopped once it is active; the others later by and by, from the moment on at which the
    process hears signals (Python itself takes a moment before that)."""
    wrong, stopped, active = [], [], []
    for number in range(args.starts):
        benchmark_node.start_node(children, args)
        children.wait_for(lambda: children.hears_signals("node"), START_LIMIT, "no program")
        began = time.monotonic()
        typical = np.median(active) if active else 5.0
        if number % 2 == 0:
            children.wait_for(lambda: children.says("node", ACTIVE), START_LIMIT, "not active")
            active.append(time.monotonic() - began)
        else:
            time.sleep(typical * (number + 0.5) / args.starts)
        interrupted = time.monotonic()
        children.end("node", patience=10)
        stopped.append(time.monotonic() - interrupted)
        if children.status("node") or children.says("node", "Traceback"):
            after = interrupted - began
            words = children.last_words("node", 1)
            wrong.append(
                f"start {number}, stopped after {after:.1f} s: status {children.status('node')}, {words}"
            )
    slow = sum(seconds > END_LIMIT for seconds in stopped)
    found = f"{np.median(stopped):.1f} s in the median, {max(stopped):.1f} s at most"
    return [
        Criterion(
            "every stop ends with status 0 and no traceback", not wrong, "; ".join(wrong[:3]) or "all do"
        ),
        Criterion(f"every stop takes less than {END_LIMIT:g} s", not slow, found),
        Criterion("from its first moment to active", None, f"{np.median(active):.1f} s in the median"),
    ]


def cycles(children: Children, robot, args: argparse.Namespace) -> list[Criterion]:
    """configure, activate, a result, deactivate, cleanup; what the process holds after each."""
    benchmark_node.start_node(children, args, autostart="false")
    held: list[Resources] = []
    for _ in range(args.cycles):
        done = robot.change_state(CONFIGURE) and robot.change_state(ACTIVATE)
        before = len(robot.notes.results)
        if done:
            children.wait_for(lambda: len(robot.notes.results) > before, RESULT_LIMIT, "no result of a cycle")
        done = done and robot.change_state(DEACTIVATE) and robot.change_state(CLEANUP)
        if not done or children.status("node") is not None:
            break
        held.append(children.resources("node"))
    refused = [answer for answer in robot.notes.answers if not answer.good]
    complete = len(held) == args.cycles and not refused
    found = f"{len(held)} complete" + "".join(f"; {a.service}: {a.told}" for a in refused[:2])
    clean = not children.says("node", "Traceback")
    return [
        Criterion(f"{args.cycles} lifecycle cycles", complete and clean, found),
        *growth_criteria(held),
    ]


def growth_criteria(held: list[Resources]) -> list[Criterion]:
    """After the first fifth, in which every buffer is used for the first time."""
    rest = held[len(held) // 5 :]
    if len(rest) < 4:
        return [Criterion("memory, files, threads", None, "too few cycles")]
    memory = [h.memory for h in rest]
    share = growth(range(len(rest)), memory)
    found = f"{share:+.2%} of {np.median(memory) / 2**20:.0f} MiB"
    criteria = [Criterion(f"memory grows by less than {MEMORY_LIMIT:.0%}", share < MEMORY_LIMIT, found)]
    for name in ("files", "threads"):
        counts = [getattr(h, name) for h in rest]
        flat = bool(np.median(counts[-3:]) <= np.median(counts[:3]) + FLAT)
        criteria.append(
            Criterion(f"{name} stay", flat, f"{counts[0]} -> {counts[-1]}, at most {max(counts)}")
        )
    return criteria
