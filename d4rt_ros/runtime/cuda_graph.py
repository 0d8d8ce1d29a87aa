"""Hundreds of kernel launches as one: for small models and few queries the GPU otherwise waits for the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

SIZES = (64, 256, 1024)  # queries; more keep the GPU busy for longer than launching takes


def record(function: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
    """Record a function that takes and gives tensors at fixed places: (replay, its outputs)."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries allocate on their first calls, which no graph may hold
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph.replay, outputs


class CapturedFunction:
    """A function of tensors of fixed shapes, recorded at its first call. Gives copies of its outputs."""

    def __init__(self, function: Callable[..., list[Tensor]]):
        self._function = function
        self._inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if not self._inputs:
            self._inputs = [x.clone() for x in inputs]
            self._replay, self._outputs = record(lambda: self._function(*self._inputs))
        for mine, given in zip(self._inputs, inputs):
            mine.copy_(given, non_blocking=True)
        self._replay()
        return [x.clone() for x in self._outputs]


class CapturedDecoder:
    """decode(scene, queries) -> (N, size), with one graph for each of SIZES; fewer queries are padded.

    scene: tensors that are the same for all queries of a scene; queries: tensors of N rows.
    The scene that was asked last is copied to where the graphs read it.
    """

    def __init__(self, decode: Callable[[list[Tensor], list[Tensor]], Tensor]):
        self._decode = decode
        self._scene: list[Tensor] = []
        self._holds: Callable[[], Tensor | None] = lambda: None
        self._recorded: dict[int, tuple] = {}

    def __call__(self, scene: list[Tensor], queries: list[Tensor]) -> Tensor:
        count = len(queries[0])
        size = next((s for s in SIZES if s >= count), None)
        if size is None:
            return self._decode(scene, queries)
        self._hold(scene)
        if size not in self._recorded:
            # Padding is question 0, which can be asked.
            padded = [torch.zeros((size, *x.shape[1:]), dtype=x.dtype, device=x.device) for x in queries]
            self._recorded[size] = padded, *record(lambda: [self._decode(self._scene, padded)])
        padded, replay, (answer,) = self._recorded[size]
        for mine, given in zip(padded, queries):
            mine[:count].copy_(given, non_blocking=True)
        replay()
        return answer[:count].clone()

    def _hold(self, scene: list[Tensor]) -> None:
        if self._holds() is scene[0]:
            return
        if [x.shape for x in scene] == [x.shape for x in self._scene]:
            for mine, given in zip(self._scene, scene):
                mine.copy_(given, non_blocking=True)
        else:
            self._scene, self._recorded = [x.clone() for x in scene], {}
        self._holds = weakref.ref(scene[0])
