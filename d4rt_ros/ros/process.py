"""How our programs begin and end: what is set before anything starts, and an end that always comes in time.

`prepare` takes SIGINT and SIGTERM at once, since importing what follows takes seconds. It is light for the same reason.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Callable

LIMIT = 1.5  # seconds from the first signal to the end, whatever still computes
QUIET = 5.0  # seconds between two messages of what goes wrong

_prepared = False
_told = threading.Event()  # the process was told to end
_lock = threading.Lock()
_listeners: list[Callable[[], None]] = []


def run(module: str) -> int:
    """`main()` of a module that is heavy to import; what it returns is the exit status."""
    prepare()
    status = import_module(module).main()
    if told():
        # ROS is cleaned up. A worker may still be in the middle of a window, in C++ code that nothing can interrupt,
        # and Python's own end would wait for it, or crash under it.
        _exit(status)
    return status


def prepare() -> None:
    """Call in the main thread, before others are started and torch is imported. A second call does nothing."""
    global _prepared
    if _prepared:
        return
    _prepared = True
    _share_one_arena()
    _take_signals()
    # Torch's threads otherwise spin for milliseconds while they wait for each other, and where the cores have
    # other work too one window then takes thirty times as long. Not at all is too little: it costs a tenth.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # The model gives the interpreter away at each of a window's hundreds of operations and has to get it back
    # from the executor's threads, which may keep it for this long each time: at the default of 5 ms a window
    # takes three times as long.
    sys.setswitchinterval(5e-5)


def told() -> bool:
    """Whether the process was told to end."""
    return _told.is_set()


def on_signal(callback: Callable[[], None]) -> None:
    """Have `callback()` called, in another thread, when the process is told to end; at once where it was already.

    Until the first of these, a signal ends the process at once: there is nothing to clean up yet.
    """
    with _lock:
        _listeners.append(callback)
        late = told()
    if late:
        callback()


def spin(executor, node) -> None:
    """Spin until the executor is shut down, over whatever goes wrong that no callback caught: a robot needs us to
    go on."""
    from rclpy.executors import ExternalShutdownException

    while True:
        try:
            return executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            return None
        except Exception as error:
            if told():  # the executor's parts go while its threads still use them
                return None
            # An entity that was destroyed while the executor gathered what to wait for is none to tell of.
            if type(error).__name__ != "InvalidHandle" and node.context.ok():
                node.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=QUIET)


def _share_one_arena() -> None:
    """Have all threads allocate from one arena. No effect without glibc.

    glibc gives each thread an arena of its own, and each keeps what was largest in it: with an executor's threads
    memory grows for minutes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-8, 1)  # M_ARENA_MAX of glibc's malloc.h


def _take_signals() -> None:
    """SIGINT and SIGTERM tell the process to end; a second one changes nothing (`ros2 launch` sends one beside the
    terminal's). Give rclpy.init SignalHandlerOptions.NO, or it takes them back.

    Python runs a signal's handler in the main thread, between two steps of it, which may be seconds apart. What
    the C library's handler writes into a pipe another thread reads at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end, args=(reader,), name="end", daemon=True).start()


def _end(reader: int) -> None:
    while os.read(reader, 1)[0] not in (signal.SIGINT, signal.SIGTERM):
        pass
    with _lock:
        _told.set()
        listeners = list(_listeners)
    if not listeners:
        _exit(0)
    # In a thread of their own: whatever they wait for, the end comes.
    threading.Thread(target=lambda: [tell() for tell in listeners], daemon=True).start()
    time.sleep(LIMIT)
    _exit(0)


def _exit(status: int) -> None:
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(0.2)  # whoever reads may be slow, or a thread may hold the stream
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
