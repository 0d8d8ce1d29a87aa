"""Programs that a command starts beside itself: they end with it, and what they print is kept."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 1.2  # seconds that one may take to end by itself
PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Resources:
    """What a process holds. memory: resident, bytes. files, threads: numbers."""

    memory: int
    files: int
    threads: int


class Children:
    """Python modules in processes of their own, ended at the end of a `with` block, however it ends.

    told_to_end: whether SIGTERM came meanwhile; then leave the block.
    """

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self._logs = logs
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Children:
        self.told_to_end = False
        self._handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        return self

    def __exit__(self, *_) -> None:
        # Another Ctrl-C must not interrupt the ending, which takes no longer than PATIENCE.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.end(*self._processes)
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, self._handler)

    def _on_sigterm(self, *_) -> None:
        self.told_to_end = True

    def start(self, name: str, module: str, arguments: list[str]) -> None:
        """Run a module; what it prints goes to the file of that name among the logs."""
        with self.log(name).open("w") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def end(self, *names: str, patience: float | None = None) -> None:
        """Interrupt some as Ctrl-C does, and kill those that have not ended after `patience` seconds."""
        running = [self._processes[name] for name in names if self.status(name) is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        limit = time.monotonic() + (PATIENCE if patience is None else patience)
        for process in running:
            try:
                process.wait(timeout=max(limit - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in names:
            self._processes[name].stdin.close()

    def wait_for(self, condition, seconds: float, missing: str) -> None:
        """Until `condition()`. Raises RuntimeError where that takes too long, one ends, or we are told to end."""
        end = time.monotonic() + seconds
        while not condition():
            for name in self._processes:
                if self.status(name) is not None:
                    raise RuntimeError(f"the {name} ended; its last words:\n{self.last_words(name)}")
            if self.told_to_end:
                raise RuntimeError("told to end")
            if time.monotonic() > end:
                words = "\n".join(f"the {name}:\n{self.last_words(name)}" for name in self._processes)
                raise RuntimeError(f"{missing} within {seconds:g} s; {words}")
            time.sleep(0.05)

    def tell(self, name: str, line: str) -> None:
        """Write a line to its standard input. Raises OSError where it has ended."""
        self._processes[name].stdin.write(line.encode() + b"\n")
        self._processes[name].stdin.flush()

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def says(self, name: str, text: str) -> bool:
        """Whether it has printed this."""
        return text in self.log(name).read_text(errors="replace")

    def status(self, name: str) -> int | None:
        """Its exit status; None while it runs."""
        return self._processes[name].poll()

    def hears_signals(self, name: str) -> bool:
        """Whether it has got as far as to take SIGTERM itself; before, Python is still starting. False if it ended."""
        try:
            status = Path(f"/proc/{self._processes[name].pid}/status").read_text()
        except OSError:
            return False
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def resources(self, name: str) -> Resources:
        """What it holds now. Raises OSError where it has ended."""
        process = Path(f"/proc/{self._processes[name].pid}")
        pages = int((process / "statm").read_text().split()[1])
        files, threads = (len(os.listdir(process / folder)) for folder in ("fd", "task"))
        return Resources(pages * os.sysconf("SC_PAGE_SIZE"), files, threads)

    def last_words(self, name: str, lines: int = 12) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])


def own_domain() -> tuple[int, dict[str, str]]:
    """A ROS domain, and the environment variables that keep it apart from every other ROS 2 system, on this host.

    They are set for this process too, which must not have joined a domain yet.
    """
    domain = random.SystemRandom().randint(1, 101)
    if os.environ.get("ROS_DISTRO") == "humble":
        environment = {"ROS_DOMAIN_ID": str(domain), "ROS_LOCALHOST_ONLY": "1"}
    else:
        environment = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    os.environ.update(environment)
    return domain, environment


def ros_arguments(parameters: dict) -> list[str]:
    return ["--ros-args"] + [
        word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")
    ]


def quoted(text: str) -> str:
    """A string for the parameter parser, which would take 1.mp4 or *.jpg for something else."""
    return "'" + text.replace("'", "''") + "'"


def _die_with_parent() -> None:
    """In the new process: it is killed when the one that started it is gone, however it went. Linux alone."""
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except AttributeError:
        pass


_libc = ctypes.CDLL(None)  # before a process is forked, in which nothing may be loaded
