"""ROS domains that no other test run on this host uses."""

import fcntl
import os
import tempfile
from pathlib import Path

# 1..101 are safe on Linux (higher ones reach the ephemeral ports); 0 is where the user's own nodes live.
DOMAINS = range(1, 102)


def claim_domain():
    """(id, lock) of one that nobody has; it is one's own until the lock, a file, is closed. Raises RuntimeError."""
    start = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[start:], *DOMAINS[:start]):
        path = Path(tempfile.gettempdir()) / f"d4rt_ros_test_domain_{os.getuid()}_{domain}.lock"
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain, lock
        except OSError:
            lock.close()
    raise RuntimeError("other test runs on this host have all ROS domains from 1 to 101; wait for one")
