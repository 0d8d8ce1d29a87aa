"""`d4rt benchmark model` and `d4rt benchmark precision`: the network alone, on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from d4rt_ros.cli import benchmark_precision, benchmark_vggt

BATCHES = (1, 512, 4096, 65536)
DEPTH_SIZES = (128, 256)
NAIVE_CHUNK = 512  # queries that both ways decode at a time when they are compared
NAIVE_MAP = 128  # rows and columns of the depth map of that comparison
H200 = 989, 4800  # TFLOP/s in bf16, GB/s, by its data sheet


@dataclass(frozen=True)
class Row:
    """A line of the table. `work`: its floors (evaluation.speed.Work), where it has any."""

    name: str
    seconds: float
    rate: str = ""
    work: object = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and precision")
    group.add_argument(
        "--preset",
        choices=["tiny", "base", "large", "giant", "vggt"],
        help="random weights of a size, for `model`",
    )
    group.add_argument(
        "--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16", "all"], help="%(default)s"
    )
    group.add_argument(
        "--frames", type=int, metavar="T", help="frames of a preset's window, or of a VGGT's pass"
    )
    group.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="size of a preset's or a VGGT's frames"
    )
    group.add_argument("--cuda-graphs", action="store_true", help="replay the work on a GPU as CUDA graphs")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads; torch's own choice by default")
    group.add_argument(
        "--against", choices=["naive"], help="ratios to the same weights used the straightforward way"
    )
    group.add_argument(
        "--peak-tflops", type=float, metavar="N",
        help=f"what the arithmetic floor assumes, for this precision (on a GPU {H200[0]}, an H200's in bf16)",
    )  # fmt: skip
    group.add_argument(
        "--bandwidth", type=float, metavar="GB/S",
        help=f"what the memory traffic floor assumes (on a GPU {H200[1]}, an H200's)",
    )  # fmt: skip
    group.add_argument("--video", help="for `precision`: a video file or a folder of images")


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    """The tables that were asked for, each as it is done. Raises ValueError or RuntimeError with a sentence."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler is not silent by itself
    import torch

    from d4rt_ros.runtime.torch_model import chosen_device

    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"--threads is {args.threads}; it must be 1 or more")
        torch.set_num_threads(args.threads)
    device = chosen_device(args.device)
    place = f"{machine}, {torch.get_num_threads()} threads"
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else place
    if args.what == "precision":
        yield benchmark_precision.table(args, place)
        return
    for name in ["fp32", "bf16", "fp16"] if args.precision == "all" else [args.precision]:
        if args.against:
            yield naive_table(args, device, name, place)
        else:
            yield speed_table(args, device, name, place)


def build(args: argparse.Namespace, device, precision: str):
    """(model, what it is): random weights of a preset, or those of a checkpoint."""
    from d4rt_ros.evaluation.speed import random_network
    from d4rt_ros.model.config import PRESETS
    from d4rt_ros.runtime import Model, load
    from d4rt_ros.runtime.torch_model import PRECISIONS

    if not args.preset:
        model = load(args.checkpoint or None, str(device), precision, cuda_graphs=args.cuda_graphs)
        if model.num_frames and (args.frames or args.size):
            raise ValueError("--frames and --size need a --preset; the window of a checkpoint is its own")
        return model, args.checkpoint or "embedded weights"
    if args.checkpoint:
        raise ValueError("--preset makes random weights and --checkpoint loads some; give one of them")
    precision = ("bf16" if device.type == "cuda" else "fp32") if precision == "auto" else precision
    if args.preset == "vggt":
        return benchmark_vggt.random_model(device, precision), "VGGT-1B, random weights"
    dtype = PRECISIONS[precision]
    config = PRESETS[args.preset]
    if args.frames is not None:
        config = replace(config, frames=args.frames)
    if args.size is not None:
        config = replace(config, height=args.size[0], width=args.size[1])
    network = random_network(config, device, dtype)
    return Model(network, device, dtype, cuda_graphs=args.cuda_graphs), f"{args.preset}, random weights"


def random_clip(config):
    """A clip (T, H, W, 3) uint8 at the network's own size."""
    import numpy as np

    shape = (config.frames, config.height, config.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def title(model, what: str, place: str) -> str:
    c = model.config
    window = f"{c.frames} frames of {c.height}x{c.width}"
    return f"d4rt benchmark model: {what}, {window}, {numbers(model)[0]}\n{place}"


def numbers(model) -> tuple[str, int]:
    """What a model computes with, and the bytes of one number. An exported one: ONNX Runtime's business."""
    if not hasattr(model, "dtype"):
        return "ONNX Runtime", 4
    return str(model.dtype).removeprefix("torch."), model.dtype.itemsize


# Speed


def speed_table(args: argparse.Namespace, device, precision: str, place: str):
    from rich.table import Table

    from d4rt_ros.evaluation.speed import meta_network, parameters, peak_bytes, reset_peak

    reset_peak(device)
    start = peak_bytes(device)
    model, what = build(args, device, precision)
    if model.num_frames is None:
        return benchmark_vggt.table(model, what, args, place)
    rows = speed_rows(model, device, args.seconds)
    # A CPU's floors at a GPU's figures would say nothing.
    floors = device.type == "cuda" or bool(args.peak_tflops or args.bandwidth)
    peak, bandwidth = args.peak_tflops or H200[0], args.bandwidth or H200[1]
    heads = ["", "median", "rate"]
    if floors:
        heads += [
            f"arithmetic floor, {peak:g} TFLOP/s",
            f"traffic floor, {bandwidth:g} GB/s",
            "ratio to first",
        ]
    table = Table(*heads, title=title(model, what, place))
    for row in rows:
        extra = floor_cells(row, peak, bandwidth) if floors else []
        table.add_row(row.name, milliseconds(row.seconds), row.rate, *extra)
    table.add_section()
    network = meta_network(model.config)
    counts = [f"{parameters(part) / 1e6:.1f} M" for part in (network.encoder, network.decoder)]
    table.add_row("parameters: encoder, decoder", ", ".join(counts))
    table.add_row("memory: weights", megabytes(parameters(network) * numbers(model)[1]))
    kind = "allocated" if device.type == "cuda" else "resident, above the start"
    table.add_row(f"memory: peak with weights ({kind})", megabytes(peak_bytes(device) - start))
    return table


def speed_rows(model, device, seconds: float) -> list[Row]:
    import numpy as np

    from d4rt_ros.evaluation.speed import decode_work, encode_work, median_seconds
    from d4rt_ros.tasks import depth_map

    number = numbers(model)[1]
    clip = [model.prepare(frame) for frame in random_clip(model.config)]
    took = median_seconds(lambda: model.encode(clip), device, seconds)
    rows = [Row("encode", took, f"{len(clip) / took:,.0f} frames/s", encode_work(model.config, number))]
    scene = model.encode(clip)
    random, (height, width) = np.random.default_rng(1), scene.size
    asks = {}
    for count in BATCHES:
        u, v = random.uniform(0, width - 1, count), random.uniform(0, height - 1, count)
        times = random.integers(0, scene.num_frames, (3, count))
        name = "one query" if count == 1 else f"{count:,} queries"
        asks[name] = count, lambda u=u, v=v, times=times: scene.query(u, v, *times)
    for side in DEPTH_SIZES:
        asks[f"depth map {side}x{side}"] = side**2, lambda side=side: depth_map(scene, -1, (side, side))
    slowest = 0.0  # seconds a query, of the last batch
    for name, (count, ask) in asks.items():
        if slowest * count > seconds:
            rows.append(Row(name, float("nan"), f"left out: about {slowest * count:.0f} s"))
            continue
        took = median_seconds(ask, device, seconds)
        slowest = took / count if count > 1 else 0.0
        work = decode_work(model.config, count, model.chunk, number)
        rows.append(Row(name, took, f"{count / took:,.0f} queries/s", work))
    return rows


def floor_cells(row: Row, peak: float, bandwidth: float) -> list[str]:
    """The floors and how many times the arithmetic one was taken; peak in TFLOP/s, bandwidth in GB/s."""
    if row.work is None:
        return ["", "", ""]
    arithmetic, traffic = row.work.flops / (peak * 1e12), row.work.traffic / (bandwidth * 1e9)
    return [milliseconds(arithmetic), milliseconds(traffic), f"{row.seconds / arithmetic:.1f}"]


def milliseconds(seconds: float) -> str:
    return "" if seconds != seconds else f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


# Against the naive way


def naive_table(args: argparse.Namespace, device, precision: str, place: str):
    from rich.table import Table

    model, what = build(args, device, precision)
    if model.num_frames is None:
        raise ValueError(f"{what} is a VGGT, and the naive way is a D4RT's")
    if not hasattr(model, "network"):
        raise ValueError(f"{what} is an exported model; --against naive needs the checkpoint file")
    table = Table("", "naive", "ours", "ratio", title=title(model, f"{what}, against the naive way", place))
    for row in naive_rows(model, device, args.seconds):
        table.add_row(*row)
    return table


def naive_rows(model, device, seconds: float) -> list[tuple[str, ...]]:
    """Both ways on one memory, in turns: a depth map, one query, the memory of patches, the answers."""
    import torch

    from d4rt_ros.evaluation.naive import naive_decode, naive_encode, naive_patches
    from d4rt_ros.evaluation.speed import allocation_peak, alternating_seconds
    from d4rt_ros.model.decoder import sample_patches

    network, config = model.network, model.config
    side, chunk = NAIVE_MAP, NAIVE_CHUNK
    with torch.inference_mode():
        frames = torch.from_numpy(random_clip(config))[None].to(device)
        video, aspect = frames.movedim(-1, 2).float() / 255, torch.ones(1, device=device)
        memory = naive_encode(network, video.to(model.dtype), aspect)
        keys_values = network.encode(video.to(model.dtype), aspect)
        uv, times = depth_queries(side, config.frames - 1, device)

        def ours(uv, times):
            pieces = zip(uv.split(chunk, 1), times.split(chunk, 1))
            parts = [network.decode(keys_values, frames, *piece) for piece in pieces]
            return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}

        def naive(uv, times):
            return naive_decode(network, memory, video, uv, times, chunk)

        # The answers of the whole map are what warms up, too.
        one, other = naive(uv, times), ours(uv, times)
        rows, middle = [], slice(side * side // 2, side * side // 2 + 1)
        alone = ours(uv[:, middle], times[:, middle])
        pairs = [(one[name], other[name]) for name in one]
        pairs += [(one[name][:, middle], alone[name]) for name in one]
        difference = max(float((a - b).abs().max()) for a, b in pairs)
        for name, asked, limit in (
            ("one query", (uv[:, middle], times[:, middle]), seconds / 4),
            (f"depth map {side}x{side}, chunks of {chunk}", (uv, times), seconds),
        ):
            works = [lambda: naive(*asked), lambda: ours(*asked)]
            slow, fast = alternating_seconds(works, device, limit, warm_up=asked[0] is not uv)
            rows.append((name, milliseconds(slow), milliseconds(fast), f"{slow / fast:.1f}"))
        if config.rgb_patch:
            some = uv[:, :chunk], times[:, :chunk, 0], config.rgb_patch
            slow = allocation_peak(lambda: naive_patches(video, *some), device)
            fast = allocation_peak(lambda: sample_patches(frames, *some), device)
            rows.append(
                (f"memory of {chunk} patches", megabytes(slow), megabytes(fast), f"{slow / fast:.0f}")
            )
    return [*rows, ("largest difference of the answers", "", f"{difference:.1e}", "")]


def depth_queries(side: int, t: int, device):
    """uv (1, N, 2) and times (1, N, 3) of a depth map of frame t."""
    import torch

    axis = torch.linspace(0, 1, side, device=device)
    uv = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(1, -1, 2)
    return uv, torch.full((1, side * side, 3), t, dtype=torch.long, device=device)
