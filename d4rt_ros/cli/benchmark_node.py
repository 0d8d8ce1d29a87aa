"""`d4rt benchmark node`: a camera and the node as processes, measured from a third."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from d4rt_ros.cli.children import Children, own_domain, quoted, ros_arguments

WIDTH, HEIGHT, RATE = 640, 480, 30
START_LIMIT = 90.0  # seconds until the first result
RENDER_LIMIT = 600.0  # seconds until the camera has its own pace
SETTLE = 3.0  # seconds that are not counted after a change


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    from rich.table import Table

    table = Table("figure", "value", title=f"d4rt benchmark node: {machine}")
    for row in rows(args):
        table.add_row(*row)
    yield table


def rows(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The start, twice; then everything subscribed, with memory; queries meanwhile; the pose alone."""
    from d4rt_ros.ros.listening.probe import EVERYTHING, POSE_ALONE, Probe

    domain, environment = own_domain()
    with tempfile.TemporaryDirectory() as logs, Children(Path(logs), environment) as children:
        probe = Probe(domain)
        try:
            starts = []
            for _ in ("cold", "warm"):
                arrivals = probe.subscribe(EVERYTHING)
                starts.append(first_arrivals(children, probe, arrivals, args))
                if len(starts) == 1:
                    children.end("node", "camera")
                    probe.unsubscribe()
            wait_for_everything(arrivals, children)
            all_rows = everything(arrivals, args.seconds, lambda: children.resources("node").memory)
            query_rows = queries(probe)
            probe.unsubscribe()
            arrivals = probe.subscribe(POSE_ALONE)
            pause(arrivals, args.seconds)
            pose = ("pose alone: results a second", f"{arrivals.rate('odometry'):.1f}")
            return [*start_rows(starts), *all_rows, *query_rows, pose]
        finally:
            probe.close()


def start_node(children: Children, args: argparse.Namespace, **parameters) -> None:
    """The node, on a domain of its own, with the parameters of the command line last."""
    node = {
        "model.device": quoted(args.device),
        "model.checkpoint": quoted(args.checkpoint),
    }
    node |= parameters | dict(setting.split(":=", 1) for setting in args.set)
    children.start("node", "d4rt_ros.ros.node", ros_arguments(node))


def first_arrivals(children: Children, probe, arrivals, args: argparse.Namespace) -> tuple[float, float]:
    """Start both; seconds from then to the first image and to the first result."""
    began = time.time_ns()
    camera = {"width": WIDTH, "height": HEIGHT, "rate": float(RATE)}
    children.start("camera", "d4rt_ros.ros.scene_camera", ros_arguments(camera))
    start_node(children, args, **{"tf.publish": "none"})
    children.wait_for(lambda: arrivals.topics["points"], START_LIMIT, "no result")
    return tuple((arrivals.topics[topic][0][1] - began) / 1e9 for topic in ("/camera_info", "points"))


def start_rows(starts: list[tuple[float, float]]) -> list[tuple[str, str]]:
    return [
        (f"first {what} after start, first time / again", " / ".join(f"{seconds:.1f} s" for seconds in both))
        for what, both in zip(("image", "result"), zip(*starts, strict=True), strict=True)
    ]


def wait_for_everything(arrivals, children: Children) -> None:
    """Until every topic has come, and the camera has rendered what it repeats."""
    from d4rt_ros.ros.rendered_loop import LOOP_IS_CLOSED

    children.wait_for(lambda: all(arrivals.topics.values()), START_LIMIT, "not every result")
    children.wait_for(lambda: children.says("camera", LOOP_IS_CLOSED), RENDER_LIMIT, "no loop of images")


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
    rows = [("everything subscribed: results a second", f"{arrivals.rate('points'):.1f}")]
    for topic in arrivals.topics:
        if topic.startswith("/"):
            continue  # the camera's
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
