"""Programs that a command starts beside itself: they end with it, and what they print is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 8.0  # seconds that one may take to end by itself


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
        running = [p for p in self._processes.values() if p.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        signal.signal(signal.SIGTERM, self._handler)

    def _on_sigterm(self, *_) -> None:
        self.told_to_end = True

    def start(self, name: str, module: str, arguments: list[str]) -> None:
        """Run a module; what it prints goes to the file of that name among the logs."""
        with self.log(name).open("w") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def status(self, name: str) -> int | None:
        """Its exit status; None while it runs."""
        return self._processes[name].poll()

    def memory(self, name: str) -> int:
        """Its resident memory in bytes."""
        pages = Path(f"/proc/{self._processes[name].pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def last_words(self, name: str, lines: int = 12) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
