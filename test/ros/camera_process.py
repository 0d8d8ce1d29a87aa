"""A camera node in a process of its own, and a subscriber to it, on a domain of their own."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import rclpy
from domains import claim_domain
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile


def end_limit():
    """Seconds that an end may take: twice what is promised, and more on a machine that has much else to do."""
    return 4.0 * (1 + os.getloadavg()[0] / os.cpu_count())


class RosProcess:
    """A program on a domain of its own, with a subscriber to it; a context manager that always ends it."""

    def __init__(self, *command, stdin=None):
        self.domain, self._lock = claim_domain()
        self._stdin = stdin
        self._command = [str(word) for word in command]
        self.messages = {}

    def __enter__(self):
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        environment.pop("RCUTILS_LOGGING_MIN_SEVERITY", None)
        self._log = tempfile.TemporaryFile()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=self._stdin,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)  # `ros2 launch` then ends what it started
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # and where it did not, nothing is left either
        except ProcessLookupError:
            pass
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self._log.close()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
        self._lock.close()

    def subscribe(self, message_type, topic, qos=10):
        """Keep every message of a topic in self.messages[topic]; reliable by default."""
        kept = self.messages.setdefault(topic, [])
        qos = qos if isinstance(qos, QoSProfile) else QoSProfile(depth=qos)
        return self.node.create_subscription(message_type, topic, kept.append, qos)

    def until(self, condition, seconds=20.0):
        """Receive until the condition holds; a failed test where it does not within the time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s; got {self.counts()}"
            self._executor.spin_once(timeout_sec=0.05)

    def until_there(self, *topics):
        """Until somebody publishes these topics: then one who subscribes gets them from the beginning."""
        self.until(lambda: all(self.node.count_publishers(topic) for topic in topics))

    def receive(self, seconds):
        """Receive for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def counts(self):
        return {topic: len(messages) for topic, messages in self.messages.items()}

    def finish(self, seconds=20.0):
        """Wait for its own end: (exit status, output)."""
        self.until(lambda: self.process.poll() is not None, seconds)
        before = None
        while before != (before := self.counts()):  # what is still on its way
            self.receive(0.3)
        return self.process.returncode, self.output()

    def output(self):
        self._log.seek(0)
        return self._log.read().decode()


class CameraProcess(RosProcess):
    """The module of a camera node with ROS parameters."""

    def __init__(self, module, remap=(), **parameters):
        words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        words += [word for rule in remap for word in ("-r", rule)]
        super().__init__(sys.executable, "-m", module, "--ros-args", *words)


def nanoseconds(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
