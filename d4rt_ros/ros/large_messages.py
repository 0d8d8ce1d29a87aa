"""Shared memory that holds what we publish: images and clouds otherwise get lost on the way to their listeners.

Fast DDS cuts a message into pieces that must all fit into the publisher's segment of shared memory, 512 KiB by default:
half an image of 640x480. What does not fit is lost or, where it is reliable, sent again while the next one presses.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
SEGMENT = 32 << 20  # bytes: 35 images of 640x480, 5 of 1920x1080, one of 3840x2160
LEAST_SEGMENT = 4 << 20  # fewer are not worth a profile of their own
SHARE = 4  # of what is free we take a quarter at most: other programs need some too

PORT_MADE = 1.0  # seconds in which a port is finished, and a thousand times so
LEFT_ALONE = 5.0  # seconds since a segment was written last in which its maker may not have locked it yet
INITIALISED = 2
_PORT = re.compile(r"fast(dds|rtps)_port\d+")
_SEGMENT = re.compile(r"fast(dds|rtps)_[0-9a-f]{16}")

# Whoever sets one of these has decided on transports already.
SETTINGS_OF_THE_USER = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
    "RMW_FASTRTPS_USE_QOS_FROM_XML",
    "RMW_FASTRTPS_PUBLICATION_MODE",
)
FILES_OF_THE_USER = (
    "DEFAULT_FASTDDS_PROFILES.xml",
    "DEFAULT_FASTRTPS_PROFILES.xml",
)  # read where we are started

PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com"><profiles>
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>shared_memory</transport_id><type>SHM</type><segment_size>{segment}</segment_size>
    </transport_descriptor>
    <transport_descriptor><transport_id>udp</transport_id><type>UDPv4</type></transport_descriptor>
  </transport_descriptors>
  <participant profile_name="large_messages" is_default_profile="true"><rtps>
    <userTransports>
      <transport_id>shared_memory</transport_id><transport_id>udp</transport_id>
    </userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
  </rtps></participant>
</profiles></dds>
"""


@contextmanager
def large_segment():
    """Create the process's first node within: it gets a segment that holds large messages, where nothing speaks
    against it. Gives the sentence to tell the user where it is smaller than it should be, else ""."""
    remove_leftovers()
    size, told = segment_size()
    if not size:
        yield told
        return
    # Fast DDS reads it when the first participant is made. It has another name since Fast DDS 3 (Kilted).
    fast_dds_2 = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    name = "FASTRTPS_DEFAULT_PROFILES_FILE" if fast_dds_2 else "FASTDDS_DEFAULT_PROFILES_FILE"
    with tempfile.NamedTemporaryFile("w", prefix="d4rt_ros_", suffix=".xml") as file:
        file.write(PROFILE.format(segment=size))
        file.flush()
        os.environ[name] = file.name
        try:
            yield told
        finally:
            del os.environ[name]  # programs that we start do not inherit a file that is gone


def segment_size() -> tuple[int, str]:
    """Bytes of the segment, 0 where Fast DDS is left as it is, and a sentence where there is too little room."""
    if os.environ.get("RMW_IMPLEMENTATION") not in (None, "", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"):
        return 0, ""
    if any(os.environ.get(name) for name in SETTINGS_OF_THE_USER):
        return 0, ""
    if any(Path(name).exists() for name in FILES_OF_THE_USER):
        return 0, ""
    if os.environ.get("ROS_DISTRO") == "humble" and os.environ.get("ROS_LOCALHOST_ONLY") == "1":
        return 0, ""  # Humble then adds its own transports to those of a profile, which would leave the host
    try:
        room = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0, ""  # no shared memory at all: Fast DDS takes UDP
    free = room.f_bavail * room.f_frsize
    size = min(SEGMENT, free // SHARE >> 20 << 20)
    if size == SEGMENT:
        return size, ""
    told = (
        f"{SHARED_MEMORY} has {free >> 20} MiB free, too little for large messages ({SEGMENT * SHARE >> 20} MiB are "
        "enough): images and clouds may get lost on the way; in a container, give it more (docker run "
        "--shm-size=512m) or the host's (--ipc=host)"
    )
    return (size if size >= LEAST_SEGMENT else 0), told


def remove_leftovers(folder: Path = SHARED_MEMORY) -> list[str]:
    """Remove what killed processes left in shared memory, and give the files' names.

    Fast DDS cleans up after none: each node that is killed leaves its segment, and one that is killed while it makes a
    port leaves it unfinished, so that whoever comes to that port waits for ever (boost's interprocess spins until the
    first word says that the memory is initialised). `fastdds shm clean` does the same by hand.
    """
    removed = []
    for file in sorted(folder.glob("fast[dr]*")) if folder.is_dir() else []:
        try:
            age = time.time() - file.stat().st_mtime
            if _PORT.fullmatch(file.name) and _unfinished(file):
                # One that is respawned comes right after: it must not wait for ever for what will never be finished.
                time.sleep(max(0.0, PORT_MADE - age))
                if not _unfinished(file):
                    continue
                file.unlink()
            elif (
                age > LEFT_ALONE
                and _SEGMENT.fullmatch(file.name)
                and _forsaken(lock := file.with_name(f"{file.name}_el"))
            ):
                file.unlink()
                lock.unlink()
            else:
                continue
        except OSError:  # another user's, or gone meanwhile
            continue
        removed.append(file.name)
    return removed


def _unfinished(port: Path) -> bool:
    """Whether the memory was never initialised: its first word is not boost's InitializedSegment."""
    with port.open("rb") as file:
        word = file.read(4)
    return len(word) < 4 or struct.unpack("=I", word)[0] != INITIALISED


def _forsaken(lock: Path) -> bool:
    """Whether the process that holds a segment's lock for as long as it lives is gone."""
    import fcntl

    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
