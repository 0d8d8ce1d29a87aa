"""`d4rt benchmark`: the running node's rates, latencies and memory on this machine; and the model alone."""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from d4rt_ros.cli import benchmark_model, benchmark_scenes
from d4rt_ros.cli.children import Children
from d4rt_ros.cli.demo import own_domain, quoted, ros_arguments

WIDTH, HEIGHT, RATE = 640, 480, 30
START_LIMIT = 90.0  # seconds until the first result
SETTLE = 3.0  # seconds that are not counted after a change


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["node", "messages", "model", "precision", "scenes"],
        help="node: camera and node in processes of their own; messages: conversions alone; model: encoding and "
        "queries; precision: what bf16 and fp16 change of the answers about a video; scenes: training clips",
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (default %(default)g)")
    parser.add_argument("--checkpoint", default="", help="weights; the embedded ones by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node"
    )
    benchmark_model.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console()
    try:
        for table in tables(args):
            console.print(table)
    except (RuntimeError, ImportError, ValueError) as error:
        print(f"d4rt benchmark: {error}", file=sys.stderr)
        return 1
    return 0


def tables(args: argparse.Namespace) -> Iterator:
    from rich.table import Table

    if args.what in ("model", "precision"):
        yield from benchmark_model.tables(args, machine())
        return
    if args.what == "scenes":
        yield from benchmark_scenes.tables(args, machine())
        return
    rows = message_rows() if args.what == "messages" else node_rows(args)
    table = Table("figure", "value", title=f"d4rt benchmark {args.what}: {machine()}")
    for row in rows:
        table.add_row(*row)
    yield table


def machine() -> str:
    """What was measured on: the processor's name and the number of cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def message_rows() -> list[tuple[str, str]]:
    from d4rt_ros.ros.measure import message_costs

    costs = message_costs()
    rows = [(name, f"{value:.2f} ms") for name, value in costs.items()]
    return [*rows, ("sum, 640x480 image and 65,536 points", f"{sum(costs.values()):.2f} ms")]


def node_rows(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Measure three times: everything subscribed, with memory; queries meanwhile; the pose alone."""
    from d4rt_ros.ros.measure import EVERYTHING, POSE_ALONE, Probe
    from d4rt_ros.ros.qos import RELIABLE_IMAGES

    domain = random.SystemRandom().randint(1, 101)
    environment = own_domain(domain)
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as logs, Children(Path(logs), environment) as children:
        camera = {"width": WIDTH, "height": HEIGHT, "rate": float(RATE), "wait_for_subscribers": 1}
        node = {
            "model.device": quoted(args.device),
            "model.checkpoint": quoted(args.checkpoint),
            "tf.publish": "none",
            **RELIABLE_IMAGES,
        }
        node |= dict(setting.split(":=", 1) for setting in args.set)
        children.start("camera", "d4rt_ros.ros.scene_camera", ros_arguments(camera))
        children.start("node", "d4rt_ros.ros.node", ros_arguments(node))
        probe = Probe(domain)
        try:
            arrivals = probe.subscribe(EVERYTHING)
            wait_for_first(arrivals, children)
            all_rows = everything(arrivals, args.seconds, lambda: children.memory("node"))
            query_rows = queries(probe)
            probe.unsubscribe()
            arrivals = probe.subscribe(POSE_ALONE)
            pause(arrivals, args.seconds)
            pose = ("pose alone: results a second", f"{arrivals.rate('odometry'):.1f}")
            return [*all_rows, *query_rows, pose]
        finally:
            probe.close()


def wait_for_first(arrivals, children: Children) -> None:
    end = time.monotonic() + START_LIMIT
    while not all(arrivals.topics.values()):
        for name in ("camera", "node"):
            if children.status(name) is not None:
                raise RuntimeError(f"the {name} ended; its last words:\n{children.last_words(name)}")
        if time.monotonic() > end:
            raise RuntimeError(
                f"no result within {START_LIMIT:g} s; the node:\n{children.last_words('node')}"
            )
        time.sleep(0.1)


def pause(arrivals, seconds: float) -> None:
    """Let it settle, forget what came, and collect for some time."""
    time.sleep(SETTLE)
    for kept in arrivals.topics.values():
        kept.clear()
    time.sleep(seconds)


def everything(arrivals, seconds: float, memory) -> list[tuple[str, str]]:
    import numpy as np

    # A third of the time first, so that every buffer has been used before memory is compared.
    pause(arrivals, seconds / 3)
    before = memory()
    pause(arrivals, seconds)
    after = memory()
    rows = [("everything subscribed: results a second", f"{min(map(arrivals.rate, arrivals.topics)):.1f}")]
    for topic in arrivals.topics:
        latency = arrivals.latencies(topic)
        half = len(latency) // 2
        spread = "{:.0f} / {:.0f} ms".format(*np.percentile(latency, (50, 95)))
        rows.append((f"  ~/{topic}: latency from stamp, median / 95 %", spread))
        if topic == "points" and half:
            first, second = np.median(latency[:half]), np.median(latency[half:])
            rows.append(
                ("  ~/points: median latency, first half -> second half", f"{first:.0f} -> {second:.0f} ms")
            )
    growth = 100 * (after / before - 1)
    rows.append((f"memory (RSS), growth over {seconds:.0f} s", f"{after / 2**20:.0f} MiB, {growth:+.2f} %"))
    return rows


def queries(probe) -> list[tuple[str, str]]:
    import numpy as np

    rows = []
    for count, repeats in ((1, 100), (10_000, 15)):
        took = [1e3 * t for t in (probe.ask(count, WIDTH, HEIGHT) for _ in range(repeats)) if t is not None]
        if took:
            text = "{:.1f} / {:.1f} ms".format(*np.percentile(took, (50, 95)))
            rows.append((f"~/query, {count:,} points, everything subscribed, median / 95 %", text))
    return rows
