"""`d4rt benchmark`: the running node's rates, latencies and memory on this machine; and the model alone."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from d4rt_ros.cli import (
    benchmark_cues,
    benchmark_lifecycle,
    benchmark_masking,
    benchmark_messages,
    benchmark_model,
    benchmark_node,
    benchmark_scenes,
    benchmark_soak,
    benchmark_world,
)
from d4rt_ros.cli.outputs import wide_console

# What can be measured: the module that does, and what `d4rt benchmark --help` says of it. A module gives, by
# tables(args, machine), what rich prints; a Verdict among that is the exit status.
WHAT = {
    "node": (
        benchmark_node,
        "camera and node in processes of their own: first result, rates, latencies, memory",
    ),
    "soak": (benchmark_soak, "for --minutes, all that happens to a robot's camera, with a verdict"),
    "lifecycle": (benchmark_lifecycle, "starts, stops and lifecycle cycles under image load, with a verdict"),
    "messages": (benchmark_messages, "conversions alone"),
    "model": (benchmark_model, "encoding and queries"),
    "precision": (benchmark_model, "what bf16 and fp16 change of the answers about a video"),
    "cues": (benchmark_cues, "what moves by attention: its cost beside the encoder, and the published way's"),
    "masking": (benchmark_masking, "poses with and without moving tokens left out early"),
    "world": (benchmark_world, "the online system beside the network, frame by frame, and offline"),
    "scenes": (benchmark_scenes, "training clips"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=WHAT, help="; ".join(f"{name}: {text}" for name, (_, text) in WHAT.items())
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (default %(default)g)")
    parser.add_argument("--checkpoint", default="", help="weights; the embedded ones by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node"
    )
    for module in dict.fromkeys(module for module, _ in WHAT.values()):
        getattr(module, "add_arguments", lambda _: None)(parser)


def run(args: argparse.Namespace) -> int:
    console, passed = wide_console(), True
    try:
        for table in WHAT[args.what][0].tables(args, machine()):
            console.print(table)
            passed = passed and getattr(table, "good", True)
    except (RuntimeError, ImportError, ValueError, OSError) as error:
        print(f"d4rt benchmark: {error}", file=sys.stderr)
        return 1
    return 0 if passed else 1


def machine() -> str:
    """What was measured on: the processor's name and the number of cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
