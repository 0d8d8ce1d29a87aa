"""`d4rt convert`: OpenD4RT's checkpoint, with its optimiser and model.yaml, as one file at the precision wanted."""

from __future__ import annotations

import argparse
import sys
import warnings

from d4rt_ros.cli.outputs import path, writable_file

PRECISIONS = ("bf16", "fp16", "fp32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=path, help="opend4rt.ckpt with its model.yaml beside it, or a .safetensors of ours"
    )
    parser.add_argument("out", type=path, help="the .safetensors file to write")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="bf16", help="of the weights written; default: bf16"
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from d4rt_ros.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
    from d4rt_ros.runtime.torch_model import PRECISIONS as TYPES

    console = Console(stderr=True)
    dtype = TYPES[args.precision]
    try:
        writable_file(args.out)
        with warnings.catch_warnings(record=True) as said, Progress(console=console, transient=True) as bar:
            warnings.simplefilter("always")
            task = bar.add_task(f"reading {args.checkpoint.name}", total=1.0)
            network = load_checkpoint(
                args.checkpoint, dtype, lambda fraction: bar.update(task, completed=fraction)
            )
            bar.update(task, description=f"writing {args.out.name}", total=None)
            save_checkpoint(args.out, network, dtype, {"source": args.checkpoint.name})
    except (CheckpointError, OSError) as error:
        print(f"d4rt convert: {error}", file=sys.stderr)
        return 1
    for warning in said:
        print(f"d4rt convert: {warning.message}", file=sys.stderr)
    for line in description(network):
        print(line)
    sizes = [path.stat().st_size / 1e6 for path in (args.checkpoint, args.out)]
    print(f"{args.checkpoint}: {sizes[0]:,.1f} MB -> {args.out}: {sizes[1]:,.1f} MB in {args.precision}")
    return 0


def description(network) -> list[str]:
    """Lines that tell a network's parameters and sizes."""
    c = network.config
    encoder, decoder = (
        sum(p.numel() for p in part.parameters()) / 1e6 for part in (network.encoder, network.decoder)
    )
    return [
        f"{encoder + decoder:,.1f} M parameters: encoder {encoder:,.1f} M, decoder {decoder:,.1f} M",
        f"clips of {c.frames} frames of {c.width}x{c.height} pixels, tokens of {'x'.join(map(str, c.patch))}",
        f"encoder: {c.encoder_layers} layers of width {c.encoder_width}, {c.encoder_heads} heads, "
        f"{c.attention} attention",
        f"decoder: {c.decoder_layers} layers of width {c.decoder_width}, {c.decoder_heads} heads",
    ]
