"""`d4rt export`: a checkpoint as a folder of ONNX graphs, checked against torch."""

from __future__ import annotations

import argparse
import sys

from d4rt_ros.cli.outputs import path, writable_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=path, help="a checkpoint file; without it the embedded weights")
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="the folder to write")


def run(args: argparse.Namespace) -> int:
    from d4rt_ros.model.checkpoint import load_checkpoint
    from d4rt_ros.runtime.onnx_export import export_onnx

    try:
        writable_folder(args.out)
        errors = export_onnx(load_checkpoint(args.checkpoint), args.out)
    except (OSError, ValueError) as error:  # CheckpointError and OnnxError are ValueErrors
        print(f"d4rt export: {error}", file=sys.stderr)
        return 1
    for name, error in errors.items():
        print(f"{name:13} differs from torch's by {error:.1e} at most")
    print(f'wrote {args.out}; use it with d4rt_ros.load("{args.out}") or the parameter model.checkpoint')
    return 0
