"""How long work takes, how much memory, and how little of both there could be."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.layers import initialise
from d4rt_ros.model.network import D4RT

STATUS = Path("/proc/self/status")


def random_network(
    config: ModelConfig, device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> D4RT:
    """A network of random weights that is allocated once, on `device` and at `dtype`."""
    with torch.device("meta"):
        network = D4RT(config)
    tables = dict(network.named_buffers())  # computed, even on the meta device
    for parameter in network.parameters():
        parameter.data = parameter.to(dtype)
    network.to_empty(device=device)
    torch.manual_seed(seed)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    initialise(network, config.initialisation)
    initialise(network.decoder.heads, "normal")
    for name, buffer in network.named_buffers():
        buffer.copy_(tables[name])
    return network.eval().requires_grad_(False)


def median_seconds(work: Callable, device: torch.device, limit: float, most: int = 50) -> float:
    """Median time of one call, after one that is not counted; stops after `limit` seconds or `most` calls."""
    return alternating_seconds([work], device, limit, most)[0]


def alternating_seconds(
    works: list[Callable], device: torch.device, limit: float, most: int = 50, warm_up: bool = True
) -> list[float]:
    """Median times of several works that take turns, so that a machine's moods meet them all alike."""
    times = [[] for _ in works]
    for work in works if warm_up else ():
        _timed(work, device)
    end = time.perf_counter() + limit
    while len(times[0]) < most and (not times[0] or time.perf_counter() < end):
        for kept, work in zip(times, works):
            kept.append(_timed(work, device))
    return [statistics.median(kept) for kept in times]


def _timed(work: Callable, device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


# Memory


def reset_peak(device: torch.device) -> None:
    """Start `peak_bytes` anew from what is held now."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # not Linux, or not allowed: the peak is then that since the process began


def peak_bytes(device: torch.device) -> int:
    """Most memory since `reset_peak`: allocated on a GPU, resident of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.is_file():
        lines = (line.split() for line in STATUS.read_text().splitlines())
        return next(int(line[1]) * 1024 for line in lines if line and line[0] == "VmHWM:")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if os.uname().sysname == "Darwin" else 1024
    )


def resident_bytes() -> int:
    """Memory of the whole process that is resident now; the most so far where there is no /proc."""
    if STATUS.is_file():
        lines = (line.split() for line in STATUS.read_text().splitlines())
        return next(int(line[1]) * 1024 for line in lines if line and line[0] == "VmRSS:")
    return peak_bytes(torch.device("cpu"))


def allocation_peak(work: Callable, device: torch.device) -> int:
    """Most bytes that the tensors made by `work` held at one time."""
    work()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        reset_peak(device)
        work()
        return peak_bytes(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


# Floors


@dataclass(frozen=True)
class Work:
    """What cannot be avoided. flops: floating-point operations (a multiply-add is two); traffic: bytes read."""

    flops: float
    traffic: float


def encode_work(config: ModelConfig, bytes_per_number: int) -> Work:
    """Encoding one window: its arithmetic, and each weight read once."""
    network = meta_network(config)
    with torch.device("meta"):
        video, aspect = torch.empty(1, config.frames, 3, config.height, config.width), torch.empty(1)
        flops = _count(lambda: network.encode(video, aspect))
    projections = [network.decoder.memory_proj, *(block.kv_proj for block in network.decoder.blocks)]
    weights = parameters(network.encoder) + sum(map(parameters, projections))
    return Work(flops, weights * bytes_per_number)


def decode_work(config: ModelConfig, queries: int, chunk: int, bytes_per_number: int) -> Work:
    """Answering queries: their arithmetic, and in every chunk each weight and the scene's keys and values."""
    network = meta_network(config)
    with torch.device("meta"):
        keys_values = network.decoder.project(torch.empty(1, tokens(config), config.encoder_width))
        frames = torch.empty(1, config.frames, config.height, config.width, 3, dtype=torch.uint8)
        uv, times = torch.empty(1, queries, 2), torch.empty(1, queries, 3, dtype=torch.long)
        flops = _count(lambda: network.decode(keys_values, frames, uv, times))
    blocks = network.decoder.blocks
    weights = parameters(network.decoder) - sum(parameters(block.kv_proj) for block in blocks)
    cached = sum(x.numel() for pair in keys_values for x in pair)
    return Work(flops, -(-queries // chunk) * (weights + cached) * bytes_per_number)


def tokens(config: ModelConfig) -> int:
    """Rows of the memory."""
    t, rows, columns = config.token_grid
    return t * rows * columns + int(config.aspect_token)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def meta_network(config: ModelConfig) -> D4RT:
    """A network of shapes without numbers, to count with."""
    with torch.device("meta"):
        network = D4RT(config)
    return network.to("meta").eval().requires_grad_(False)  # its tables too


def _count(work: Callable) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops()
