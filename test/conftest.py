"""What every test may use: the reference data beside the repository, and a ROS 2 of its own."""

import os
import sys
from pathlib import Path

import pytest
from domains import claim_domain
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# Before torch or rclpy are imported, here and in the processes that tests start. One thread: tests are then
# repeatable, and do not fight for the cores with the node that they started.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# How long an example takes is the machine's, which may be busy.
settings.register_profile("d4rt", deadline=None)
settings.load_profile("d4rt")


def pytest_configure(config):
    config.d4rt_domain = claim_domain()
    os.environ["ROS_DOMAIN_ID"] = str(config.d4rt_domain[0])
    # Discovery stays on this host: since Iron by the first, in Humble by the second (deprecated since).
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"


def pytest_runtest_setup(item):
    # Tests kill processes, and what one leaves unfinished in shared memory would stop every later one.
    if "rclpy" in sys.modules:
        from d4rt_ros.ros.large_messages import remove_leftovers

        remove_leftovers()


@pytest.fixture(scope="session")
def ros_domain(request) -> int:
    """This test process's ROS_DOMAIN_ID; the environment already says it, to child processes too."""
    pytest.importorskip("rclpy", reason="needs ROS 2: pip install '.[ros]', or source a ROS 2")
    return request.config.d4rt_domain[0]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference answers (golden/) and real input (data/), not part of the repository."""
    folder = Path(os.environ.get("D4RT_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} is not there (set D4RT_SHARED to the folder)")
    return folder
