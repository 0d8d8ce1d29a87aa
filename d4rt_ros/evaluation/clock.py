"""What parts of a program take, call by call, without a change in it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module


class Clock:
    """Seconds by name, of all calls since `lap`; nested ones of other names count for both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def lap(self) -> dict[str, float]:
        """What was taken since the last lap, by name; it begins anew."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    def timed(self, name: str, work: Callable) -> Callable:
        """The same function, whose calls are timed."""

        @wraps(work)
        def measured(*args, **kwargs):
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return measured

    @contextmanager
    def watching(self, names: dict[str, str]) -> Iterator[None]:
        """Time functions of d4rt_ros meanwhile, wherever in the package they are used.

        names: "module:function" or "module:Class.method", the module without "d4rt_ros." -> the name to time it by.
        """
        undo: list[tuple[object, str, object]] = []
        try:
            for place, name in names.items():
                module, _, path = place.partition(":")
                owner, *rest = (import_module(f"d4rt_ros.{module}"), *path.split("."))
                for part in rest[:-1]:
                    owner = getattr(owner, part)
                work = getattr(owner, rest[-1])
                measured = self.timed(name, work)
                # A function is also in the modules that have imported it.
                owners = [owner] if len(rest) > 1 else _holders(rest[-1], work)
                for holder in owners:
                    undo.append((holder, rest[-1], work))
                    setattr(holder, rest[-1], measured)
            yield
        finally:
            for holder, attribute, work in reversed(undo):
                setattr(holder, attribute, work)


def _holders(attribute: str, work: Callable) -> list:
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("d4rt_ros")]
    return [module for module in modules if getattr(module, "__dict__", {}).get(attribute) is work]
