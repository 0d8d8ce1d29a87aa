"""The one thread that owns the model."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Callable


class Worker:
    """Runs questions, in order, and jobs, of which only the newest waits.

    A job is a window to compute; one that has not begun is replaced by the next. Questions are short and go
    first: before a job, and within it wherever it calls `serve_pending`. All run in one thread, because a compiled
    model does not work from two.
    """

    def __init__(self, name: str) -> None:
        self._condition = threading.Condition()
        self._questions: deque[tuple[Callable, Future]] = deque()
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
                future.set_exception(RuntimeError("the worker has stopped"))
                return future
            self._questions.append((question, future))
            self._condition.notify()
        return future

    def offer(self, job: Callable[[], None]) -> bool:
        """Have `job()` done next, instead of one that still waits. Returns whether there was one.

        A job must not raise.
        """
        with self._condition:
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

    def stop(self) -> None:
        """Finish what runs, drop what waits, end the thread."""
        with self._condition:
            self._stopping, self._job = True, None
            self._condition.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        while self._questions:
            self._questions.popleft()[1].set_exception(RuntimeError("the worker has stopped"))

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
        question, future = self._questions.popleft()
        try:
            future.set_result(question())
        except BaseException as error:  # whoever asked gets it
            future.set_exception(error)
