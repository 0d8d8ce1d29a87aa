"""One training run in several processes, started by `torchrun`: who does what, and what they tell each other."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from d4rt_ros.model.network import D4RT


class DistributedError(RuntimeError):
    """Processes that cannot train together as they were started or configured."""


@dataclass(frozen=True)
class Process:
    """One of `count` processes that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The one that writes files and prints."""
        return self.rank == 0

    def clips(self, batch: int) -> range:
        """Its part of a batch. Raises DistributedError where the processes cannot share it evenly."""
        if batch % self.count:
            raise DistributedError(
                f"batch: {batch} clips a step cannot be shared by {self.count} processes; give a multiple of it"
            )
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' values, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values


@contextmanager
def processes(device: str) -> Iterator[Process]:
    """This process among those that torchrun started (its environment variables say so), or the only one.

    device: cpu, or cuda: then each process of a machine has the GPU of its local rank. Within another such context
    the processes stay connected as they are.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Process(0, 1, torch.device(device))
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    connect = not dist.is_initialized()
    if connect:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), torch.device(device))
        if connect:
            gc.collect()  # modules that were shared, while those they talk to are still there
            dist.barrier()
    finally:
        if connect:
            dist.destroy_process_group()


class Step(nn.Module):
    """What is computed of a training step within one call, which is what torch can share among processes."""

    def __init__(self, network: D4RT):
        super().__init__()
        self.network = network

    def forward(
        self, video: Tensor, aspect: Tensor, frames: Tensor, uv: Tensor, times: Tensor
    ) -> dict[str, Tensor]:
        """See D4RT.encode and D4RT.decode."""
        return self.network.decode(self.network.encode(video, aspect), frames, uv, times)


def share(step: Step, process: Process, shard: bool) -> nn.Module:
    """`step` so that its gradients are the mean over all processes.

    shard: each process keeps a part of every tensor of the encoder's blocks and of the rest (FSDP), in place; else
    each keeps all of them. Raises DistributedError where torch is too old for the former.
    """
    if shard:
        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise DistributedError(f"shard: needs torch 2.6 or newer, this is {torch.__version__}") from None
        if process.count == 1 and not dist.is_initialized():
            raise DistributedError("shard: there is one process alone; start several with torchrun")
        mesh = dist.device_mesh.init_device_mesh(process.device.type, (process.count,))
        for block in step.network.encoder.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(step, mesh=mesh)
    if process.count > 1:
        gpu = [process.device] if process.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(step, device_ids=gpu)
    return step


def without_sharing(module: nn.Module, last: bool):
    """A context in which gradients add up in this process; those of the last part of a step are shared."""
    if isinstance(module, nn.parallel.DistributedDataParallel) and not last:
        return module.no_sync()
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which each process may keep a part. All processes must ask together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def own_part(tensor: Tensor) -> Tensor:
    """The part that this process keeps, sharing its memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


@torch.no_grad()
def set_whole(tensor: Tensor, value: Tensor) -> None:
    """Set a tensor to the whole value, of which each process keeps its part."""
    if hasattr(tensor, "to_local"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)
