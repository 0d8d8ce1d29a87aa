"""`d4rt <command>`: dispatch to the command's module, which is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys

# Module in d4rt_ros.cli -> what `d4rt --help` says of it.
COMMANDS = {
    "demo": "see it run: a camera, the node, and a measured report with a picture",
    "convert": "write a checkpoint of OpenD4RT as one small file of ours",
    "train": "train a model on procedural scenes",
    "finetune": "let a model learn from your own recording: a bag, or a folder of RGB-D frames",
    "evaluate": "measure a model's accuracy on held-out scenes",
    "export": "write a checkpoint as ONNX graphs, checked against torch",
    "benchmark": "measure latency and throughput on this machine",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="d4rt", description="4D geometry from a camera, for ROS 2.")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    chosen = argv[0] if argv and argv[0] in COMMANDS else None
    module = None
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        if name == chosen:
            module = importlib.import_module(f"d4rt_ros.cli.{name}")
            module.add_arguments(command)
    args = parser.parse_args(argv)
    try:
        return module.run(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
