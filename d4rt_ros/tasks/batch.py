"""Several tasks in one call to a scene, which costs as much as 100 queries.

A task is a generator: it yields the queries that it asks, as many parts as it likes, and gets their answers, one a
part; it may go on asking, and returns what it makes of them. On its own it is `answered(scene, task)`; with others:

    batch = Batch(scene)
    depth = batch.add(point_map_task(scene, -1, (36, 48)))
    where = batch.add(track_task(scene, u, v, t_src, -1))
    batch.ask()
    depth(), where()
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from d4rt_ros.model.protocol import Scene
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.tasks.questions import ask

T = TypeVar("T")
Task = Generator[list[Queries], list[Answer], T]


class Batch:
    """Tasks that ask `scene` together."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._tasks: list[Task] = []
        self._results: list = []

    def add(self, task: Task[T]) -> Callable[[], T]:
        """Have a task asked as well. Returns what gives its result, after `ask`."""
        place = len(self._tasks)
        self._tasks.append(task)
        return lambda: self._results[place]

    def ask(self) -> None:
        """One call for what all tasks ask first, one more for what some then go on asking, and so forth."""
        self._results = [None] * len(self._tasks)
        answers: list[list[Answer] | None] = [None] * len(self._tasks)
        waiting = list(range(len(self._tasks)))
        while waiting:
            asked = {}
            for place in waiting:
                try:
                    asked[place] = self._tasks[place].send(answers[place])
                except StopIteration as end:
                    self._results[place] = end.value
            waiting = list(asked)
            given = iter(ask(self.scene, *(part for parts in asked.values() for part in parts)))
            for place, parts in asked.items():
                answers[place] = [next(given) for _ in parts]


def cropped(task: Task[T], x: int, y: int) -> Task[T]:
    """A task whose image is a part of the scene's, from column x and row y on, with other tasks of the whole."""
    answers = None
    while True:
        try:
            parts = task.send(answers)
        except StopIteration as end:
            return end.value
        answers = yield [replace(part, u=part.u + x, v=part.v + y) for part in parts]
        answers = [replace(answer, uv=answer.uv - np.float32([x, y])) for answer in answers]


def answered(scene: Scene, task: Task[T]) -> T:
    """The result of one task."""
    batch = Batch(scene)
    result = batch.add(task)
    batch.ask()
    return result()
