"""`d4rt train`: weights from a recipe, from scratch, from other weights, or with an encoder that has seen videos."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from d4rt_ros.cli.outputs import OutputError, path, writable_folder
from d4rt_ros.model.config import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=path,
        required=True,
        help="folder for weights.safetensors, state.json, log.jsonl, curves.png",
    )
    parser.add_argument(
        "--config",
        type=path,
        help="a YAML file of what differs from the paper's recipe, or a recipe of the package: tiny (what there is "
        "without --preset and --config), paper (with a --preset)",
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="sizes of the model, instead of the config's"
    )
    parser.add_argument(
        "--steps", type=int, help="steps in all; the learning rate falls to its end over them"
    )
    parser.add_argument("--seed", type=int, help="instead of the config's")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from OUT/state.json, exactly")
    start.add_argument(
        "--init", type=path, metavar="VIDEOMAE.pth", help="a VideoMAE's weights that the encoder starts from"
    )
    start.add_argument(
        "--from", dest="start", type=path, metavar="WEIGHTS", help="weights that a new run starts from"
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu or cuda; with torchrun each process has a GPU of its own"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument(
        "--tensorboard", action="store_true", help="write for TensorBoard too, to OUT/tensorboard"
    )
    parser.add_argument(
        "--no-compile", action="store_true", help="render scenes without torch.compile: no wait, slower"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from d4rt_ros.io.recorded import RecordedError
    from d4rt_ros.model.checkpoint import CheckpointError
    from d4rt_ros.training.check import scene_check
    from d4rt_ros.training.checkpoints import CheckpointingError
    from d4rt_ros.training.config import TrainConfigError
    from d4rt_ros.training.loop import TrainingError, train
    from d4rt_ros.training.mixture import make_source

    if args.threads:
        torch.set_num_threads(args.threads)
    compile = not args.no_compile
    try:
        if args.out.exists() or not args.resume:  # else there is no run to go on with, which is said
            writable_folder(args.out)
        config = _config(args)
        network, config = _network(args, config)
        weights = train(
            config,
            args.out,
            partial(make_source, compile=compile),
            args.device,
            network,
            args.resume,
            partial(scene_check, compile=compile),
            args.tensorboard,
        )
    except (
        ImportError,
        CheckpointError,
        CheckpointingError,
        OutputError,
        RecordedError,
        TrainConfigError,
        TrainingError,
    ) as error:
        print(f"d4rt train: {error}", file=sys.stderr)
        return 1
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several of us
        print(f"weights: {weights}; measure them with `d4rt evaluate --checkpoint {weights}`")
    return 0


def _config(args: argparse.Namespace):
    """The file's or the recipe's, or without one that of the run to resume; then what the options change."""
    from d4rt_ros.training.checkpoints import saved_config
    from d4rt_ros.training.config import TrainConfig, load_config

    if args.resume and not args.config:
        config = TrainConfig.from_dict(saved_config(args.out))
    else:
        config = load_config(args.config or ("tiny" if args.preset in (None, "tiny") else "paper"))
    changes = {"steps": args.steps, "seed": args.seed, "model": PRESETS.get(args.preset)}
    return replace(config, **{name: value for name, value in changes.items() if value is not None})


def _network(args: argparse.Namespace, config):
    """The network that a new run starts with (None: a new one), and the configuration, with its sizes."""
    from d4rt_ros.model.checkpoint import load_checkpoint
    from d4rt_ros.model.network import D4RT
    from d4rt_ros.model.videomae import start_from_videomae

    if args.init:
        network = D4RT(config.model)
        print(f"{args.init}: {start_from_videomae(network, args.init)}", flush=True)
        return network, config
    if not args.start:
        return None, config
    network = load_checkpoint(args.start)
    if not (args.config or args.preset):
        return network, replace(config, model=network.config)
    return _resized(network, config.model, args.start), config


def _resized(network, model, path: Path):
    """The weights in a network of the sizes `model`, which may differ in what weights do not depend on."""
    from d4rt_ros.model.checkpoint import CheckpointError
    from d4rt_ros.model.network import D4RT
    from d4rt_ros.training.config import differences

    other = D4RT(model)
    try:
        other.load_state_dict(network.state_dict())
    except RuntimeError:
        changed = "; ".join(differences(network.config.to_dict(), model.to_dict()))
        raise CheckpointError(
            f"{path}: weights of a model of other sizes ({changed}, as configured)"
        ) from None
    return other
