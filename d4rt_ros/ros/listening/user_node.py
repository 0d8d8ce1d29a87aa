"""A user's ROS node beside ours: on a domain, and spun by a thread."""

from __future__ import annotations

import threading

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor


class UserNode:
    """node: an rclpy node whose callbacks run in a thread of their own, from construction to close().

    domain: the ROS domain.
    """

    def __init__(self, name: str, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        rclpy.shutdown(context=self._context)
        self._thread.join(timeout=1)
        self._executor.shutdown(timeout_sec=1)

    def _spin(self) -> None:
        while self._context.ok():
            try:
                self._executor.spin()
            except ExternalShutdownException:
                return
            except Exception as error:
                # A subscription that another thread destroyed while the executor looked at it.
                if type(error).__name__ != "InvalidHandle":
                    raise
