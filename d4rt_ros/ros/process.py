"""What a process that runs the node sets before it starts, and how it spins."""

from __future__ import annotations

import os
import sys

from rclpy.executors import Executor, ExternalShutdownException

from d4rt_ros.runtime.memory import share_one_arena

QUIET = 5.0  # seconds between two messages of what goes wrong


def prepare() -> None:
    """Call before threads are started and torch is imported."""
    # Torch's threads otherwise spin for milliseconds while they wait for each other, and where the cores have
    # other work too one window then takes thirty times as long. Not at all is too little: it costs a tenth.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # The model gives the interpreter away at each of a window's hundreds of operations and has to get it back
    # from the executor's threads, which may keep it for this long each time: at the default of 5 ms a window
    # takes three times as long.
    sys.setswitchinterval(5e-5)
    share_one_arena()


def spin(executor: Executor, node) -> None:
    """Spin until the end, over whatever goes wrong that no callback caught: a robot needs us to go on."""
    while True:
        try:
            return executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            return None
        except Exception as error:
            # An entity that was destroyed while the executor gathered what to wait for is none to tell of.
            if type(error).__name__ != "InvalidHandle" and node.context.ok():
                node.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=QUIET)
