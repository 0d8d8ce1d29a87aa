"""What the node says on the terminal of what its diagnostics find: a line when it begins, a line when it is over."""

from __future__ import annotations

import time
from typing import Callable

from d4rt_ros.ros.diagnostics import ERROR, WARN, Problem

# Seconds that a problem lasts before it is said; others are said at once.
PATIENCE = {"silence": 5.0, "uncalibrated": 5.0, "publishers": 2.0, "mask": 2.0}
# What is said when it is over; of others nothing is.
OVER = {
    "silence": "images arrive",
    "uncalibrated": "the camera is calibrated",
    "camera_info": "camera_info is used",
    "lost": "the images arrive again",
    "mask": "the images are masked",
    "frozen": "the image changes again",
    "trust": "the pose is trusted again",
}
ELSEWHERE = {"failure", "state", "window", "dropped"}  # said where they happen
QUIET = 20.0  # seconds between two lines of one kind, so that what comes and goes does not fill the terminal
QUIET_EVENT = 5.0  # the same, of what happens


class Terminal:
    """Remembers what was said. open() -> whether anything can be said now. Times are seconds of a steady clock."""

    def __init__(self, logger, open: Callable[[], bool]) -> None:
        self._logger, self._open = logger, open
        self._since: dict[str, float] = {}
        self._said: set[str] = set()  # kinds that were said and are not over
        self._last: dict[str, float] = {}

    def warn(self, kind: str, sentence: str) -> None:
        """Say what happens now, unless something of its kind was said just now."""
        now = time.monotonic()
        if now - self._last.get(kind, -QUIET_EVENT) >= QUIET_EVENT and self._open():
            self._last[kind] = now
            self._logger.warning(sentence)

    def tell(self, problems: list[Problem], now: float) -> None:
        """Say what is new among the problems, and what is over."""
        kinds = {problem.kind for problem in problems}
        for problem in problems:
            kind = problem.kind
            since = self._since.setdefault(kind, now)
            quiet = now - self._last.get(kind, -QUIET) < QUIET
            if kind in ELSEWHERE or kind in self._said or quiet or now - since < PATIENCE.get(kind, 0.0):
                continue
            self._said.add(kind)
            self._last[kind] = now
            # (rclpy wants each severity on a line of its own.)
            if problem.level == ERROR:
                self._logger.error(problem.sentence)
            elif problem.level == WARN:
                self._logger.warning(problem.sentence)
            else:
                self._logger.info(problem.sentence)
        for kind in set(self._since) - kinds:
            del self._since[kind]
            if kind in self._said:
                self._said.remove(kind)
                if kind in OVER:
                    self._logger.info(OVER[kind])
