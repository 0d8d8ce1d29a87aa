"""The one thread that owns the model."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import Callable

PATIENCE = 10.0  # seconds that what runs may take to its end; a window of the largest models takes fewer


class Worker:
    """Runs questions, in order, and jobs, of which only the newest waits.

    A job is a window to compute; one that has not begun is replaced by the next. Questions are short and go
    first: before a job, and within it wherever it calls `serve_pending`. All run in one thread, because a compiled
    model does not work from two.
    """

    def __init__(self, name: str) -> None:
        self._condition = threading.Condition()
        self._questions: deque[tuple[Callable, Future]] = deque()
        self._asked: Future | None = None  # of the question that is being answered
        self._job: Callable[[], None] | None = None
        self._working = self._stopping = False
        self._answering = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, question: Callable) -> Future:
        """Have `question()` answered; the future holds what it returns or raises."""
        future: Future = Future()
        with self._condition:
            if self._stopping:
                _fail(future)
                return future
            self._questions.append((question, future))
            self._condition.notify()
        return future

    def offer(self, job: Callable[[], None]) -> bool:
        """Have `job()` done next, instead of one that still waits. Returns whether there was one.

        A job must not raise.
        """
        with self._condition:
            if self._stopping:
                return False
            replaced, self._job = self._job is not None, job
            self._condition.notify()
        return replaced

    def discard(self) -> None:
        """Forget the job that waits."""
        with self._condition:
            self._job = None

    def serve_pending(self) -> None:
        """Called from within a job: answer the questions that wait now, no more, so that the job goes on."""
        if self._answering:  # a question is a decode too and pauses as well
            return
        self._answering = True
        try:
            for _ in range(len(self._questions)):
                self._answer_one()
        finally:
            self._answering = False

    @property
    def idle(self) -> bool:
        """Whether nothing is being done and nothing waits."""
        with self._condition:
            return not (self._questions or self._job or self._working)

    def stop(self, patience: float = PATIENCE) -> bool:
        """Drop what waits, tell whoever asked, and end the thread once what runs has finished.

        Waits for that for `patience` seconds; whether it has ended. One that has not ends by itself, later.
        """
        with self._condition:
            self._stopping, self._job = True, None
            futures = [future for _, future in self._questions]
            self._questions.clear()
            if self._asked is not None:
                futures.append(self._asked)
            self._condition.notify()
        for future in futures:
            _fail(future)
        if threading.current_thread() is not self._thread:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._questions or self._job or self._stopping)
                if self._stopping:
                    return
            self.serve_pending()
            with self._condition:
                job, self._job = self._job, None
                self._working = job is not None
            if job is not None:
                job()
            self._working = False

    def _answer_one(self) -> None:
        with self._condition:
            if not self._questions:  # stopped meanwhile
                return
            question, future = self._questions.popleft()
            self._asked = future
        try:
            result = question()
        except BaseException as error:  # whoever asked gets it
            _settle(future.set_exception, error)
        else:
            _settle(future.set_result, result)
        finally:
            self._asked = None


def _fail(future: Future) -> None:
    _settle(future.set_exception, RuntimeError("the worker has stopped"))


def _settle(settle: Callable, value) -> None:
    try:
        settle(value)
    except InvalidStateError:
        pass  # the worker was stopped meanwhile, and whoever asked was told
