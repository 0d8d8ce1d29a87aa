"""`d4rt <command>`: dispatch to the command's module, which is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings

import d4rt_ros

# Module in d4rt_ros.cli -> what `d4rt --help` says of it.
COMMANDS = {
    "demo": "see it run: a camera, the node, and a measured report with a picture",
    "reconstruct": "a video as the camera's path, a cloud, depth and tracks",
    "convert": "write a checkpoint of OpenD4RT as one small file of ours",
    "train": "train a model on procedural scenes",
    "finetune": "let a model learn from your own recording: a bag, or a folder of RGB-D frames",
    "evaluate": "measure a model's accuracy on held-out scenes",
    "export": "write a checkpoint as ONNX graphs, checked against torch",
    "benchmark": "measure latency and throughput on this machine",
}
# What commands need beside what the node needs; setup.py's extra [tools].
TOOLS = ("rich", "matplotlib")


def main(argv: list[str] | None = None) -> int:
    """Run a command; gives the exit status: 0, 1 after a sentence on what went wrong, 130 where interrupted.

    Raises SystemExit: 2 for arguments that are wrong, 0 for --help and --version.
    """
    if argv is None:
        argv = sys.argv[1:]
        # What readers lose (rows of a list, the end of a video) is a sentence here, without the line that warns of it.
        warnings.showwarning = lambda message, *_, **__: print(f"d4rt: {message}", file=sys.stderr)
    parser = argparse.ArgumentParser(
        prog="d4rt",
        description="4D geometry from a camera, for ROS 2.",
        epilog="Exit status: 0 done, 1 it failed and says why, 2 wrong arguments, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"d4rt_ros {d4rt_ros.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    chosen = next((word for word in argv if not word.startswith("-")), None)
    module = None
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        if name == chosen:
            module = importlib.import_module(f"d4rt_ros.cli.{name}")
            module.add_arguments(command)
    args = parser.parse_args(argv)
    if module is None:
        parser.print_help()
        return 0
    try:
        return module.run(args)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TOOLS:
            raise
        print(
            f"d4rt {chosen}: it needs {' and '.join(TOOLS)}: pip install {' '.join(TOOLS)}", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
