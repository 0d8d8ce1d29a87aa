"""`d4rt train`: weights from procedural scenes, from scratch or with an encoder that has seen videos."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from d4rt_ros.model.config import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for weights.safetensors, state.pt, log.jsonl"
    )
    parser.add_argument(
        "--steps", type=int, help="steps in all; the learning rate falls to its end over them"
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="sizes of the model")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    start.add_argument(
        "--init", type=Path, metavar="VIDEOMAE.pth", help="a VideoMAE's weights that the encoder starts from"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-compile", action="store_true", help="render scenes without torch.compile: no wait, slower"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from d4rt_ros.model.checkpoint import CheckpointError
    from d4rt_ros.training.config import TrainConfig
    from d4rt_ros.training.loop import TrainingError, train

    if args.threads:
        torch.set_num_threads(args.threads)
    config = TrainConfig(preset=args.preset, seed=args.seed)
    config = replace(config, steps=args.steps) if args.steps else config
    try:
        weights = train(
            config, args.out, args.device, args.resume, compile=not args.no_compile, init=args.init
        )
    except (CheckpointError, TrainingError) as error:
        print(f"d4rt train: {error}", file=sys.stderr)
        return 1
    print(f"weights: {weights}; measure them with `d4rt evaluate --checkpoint {weights}`")
    return 0
