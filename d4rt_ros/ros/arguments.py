"""The command line's files of parameters, looked at before ROS reads them.

Its own words for what is wrong name a line of its source, and a file for another node it takes without a word.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

SECTION = "ros__parameters"


class ArgumentsError(ValueError):
    """What the command line says cannot be followed; a sentence."""


def parameter_files(arguments: list[str]) -> list[str]:
    """What `--params-file` names, between `--ros-args` and `--`."""
    files, of_ros, words = [], False, iter(arguments)
    for word in words:
        if word == "--ros-args":
            of_ros = True
        elif word == "--":
            of_ros = False
        elif of_ros and word == "--params-file":
            files.append(next(words, ""))
    return files


def check_files(arguments: list[str]) -> dict[str, list[str]]:
    """The nodes that each file of parameters is for, as written. Raises ArgumentsError."""
    return {file: nodes_of(file) for file in parameter_files(arguments)}


def check_names(files: dict[str, list[str]], node: str) -> None:
    """Raises ArgumentsError for a file with nothing for `node`, a fully qualified name."""
    for file, nodes in files.items():
        if not any(re.fullmatch(_pattern(name), node) for name in nodes):
            raise ArgumentsError(
                f"{file} has parameters for {', '.join(nodes)}, but this node is {node}; write its name there, or /** "
                "for any node"
            )


def nodes_of(file: str) -> list[str]:
    """The names of nodes, with wildcards as written, that a file has parameters for. Raises ArgumentsError."""
    try:
        content = yaml.safe_load(Path(file).read_text())
    except FileNotFoundError:
        raise ArgumentsError(f"{file}: no such file; --params-file must name a YAML file of parameters") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentsError(f"{file} cannot be read as a file of parameters: {_words(error)}") from None
    except yaml.YAMLError as error:
        raise ArgumentsError(f"{file} is not YAML: {_words(error)}") from None
    nodes = _nodes(content, "")
    if not nodes:
        raise ArgumentsError(
            f"{file} has no parameters: it must have a node's name or /**, below it {SECTION}, and below that the "
            "parameters"
        )
    return nodes


def complaint(error: Exception) -> str:
    """What ROS says of arguments that it cannot take, without where in its source it says so."""
    if type(error).__name__ == "UnknownROSArgsError":
        return f"there are no such ROS arguments: {error}"
    said = re.sub(r",? at /\S+:\d+", "", " ".join(str(error).split()))
    return f"{said.removeprefix('failed to initialize rcl: ')} (special characters need quotes: -p \"name:='value'\")"


def _nodes(content, prefix: str) -> list[str]:
    if not isinstance(content, dict):
        return []
    found = [prefix or "/"] if isinstance(content.get(SECTION), dict) else []
    for name, below in content.items():
        if name != SECTION:
            found += _nodes(below, f"{prefix}/{str(name).strip('/')}")
    return found


def _pattern(name: str) -> str:
    """A regular expression for the names that rcl takes for `name`: * is one part of it, ** any number."""
    parts = {"*": r"/\w+", "**": r"(/\w+)*"}
    return "".join(parts.get(part, "/" + re.escape(part)) for part in name.strip("/").split("/"))


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
