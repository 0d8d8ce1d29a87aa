"""Paths as people write them: with ~ and with environment variables."""

from __future__ import annotations

import os
import re
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ~, ~user, $NAME and ${NAME} replaced; what is not defined stays as it is written."""
    return Path(os.path.expanduser(os.path.expandvars(path)))


def undefined(path: str | Path) -> str:
    """What a sentence about a path that is not there adds where a variable or a home in it has no value, else ""."""
    left = os.path.expanduser(os.path.expandvars(path))
    names = ["$" + (plain or braced) for plain, braced in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", left)]
    names += re.findall(r"^~[^/]*", left)
    return f" ({', '.join(names)} is not defined here)" if names else ""
