"""What the launch files share: arguments looked at before anything starts, and what ends a launch."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path

import yaml

from d4rt_ros.io.transform_tree import frame_name
from d4rt_ros.paths import expanded, undefined
from d4rt_ros.ros.broadcasting import world_frame

OF_LAUNCH = ("launch-prefix", "launch-prefix-filter")  # words of every `ros2 launch`


def parameters_file(text: str, config: Path) -> Path:
    """The file that a params_file argument names: from the current folder, or by its name from `config`.

    Raises ValueError with where it was looked for: launch itself would start the node with its defaults.
    """
    name = expanded(text)
    places = [name.absolute()] + ([] if name.is_absolute() else [config / name])
    for place in places:
        if place.is_file() and os.access(place, os.R_OK):
            return place
    problem = next((f"{p} is a folder" for p in places if p.is_dir()), "")
    problem = problem or next((f"{p} may not be read" for p in places if p.exists()), "no such file")
    known = ", ".join(sorted(p.name for p in config.glob("*.yaml")))
    raise ValueError(
        f"params_file:={text}: {problem}{undefined(text)}; looked for {' and '.join(map(str, places))}; "
        f"the package has {known}"
    )


def fixed_frame(file: Path, namespace: str) -> str:
    """The frame of poses, for RViz to stand in: what a file of parameters says of frames.world for a node d4rt in this
    namespace, else the node's default."""
    sections, given = yaml.safe_load(file.read_text()) or {}, ""
    full_name = f"/{namespace.strip('/')}/d4rt".replace("//", "/")
    for name in ("/**", "d4rt", full_name):  # the later ones win
        values = (sections.get(name) or {}).get("ros__parameters") or {}
        given = values.get("frames.world") or (values.get("frames") or {}).get("world") or given
    return frame_name(world_frame(given, namespace))


def unknown_arguments(given: list[str], known: list[str], launch_file: str) -> str:
    """A sentence on arguments NAME:=VALUE that a launch file does not know, or "".

    Nothing is said where another launch file was started that includes this one: it may have its own arguments.
    """
    if not any(Path(word).name == Path(launch_file).name for word in sys.argv):
        return ""
    names = [word.partition(":=")[0] for word in given]
    sentences = []
    for name in names:
        if name not in known and name not in OF_LAUNCH:
            near = difflib.get_close_matches(name, known, 1)
            sentences.append(
                f"{name}:= is no argument of it" + (f"; did you mean {near[0]}:=?" if near else "")
            )
    if sentences:
        sentences.append(f"it takes {', '.join(known)}")
    return "; ".join(sentences)


def refuse_unknown_arguments(context, description, launch_file: str) -> None:
    """For an OpaqueFunction before all others. Raises ValueError."""
    known = [argument.name for argument in description.get_launch_arguments()]
    problem = unknown_arguments(context.argv, known, launch_file)
    if problem:
        raise ValueError(f"{Path(launch_file).name}: {problem}")


def end_with(event, context):
    """For a Node's on_exit: the launch ends with the node, with an error where the node's end was one."""
    if context.is_shutdown:
        return None
    if event.returncode:
        # Shutdown alone would end with success. launch prints the sentence and ends everything, with status 1.
        raise RuntimeError(f"{event.process_name} ended with exit code {event.returncode}")
    from launch.actions import Shutdown

    return [Shutdown(reason=f"{event.process_name} has ended")]


def is_true(text: str) -> bool:
    return text.lower() == "true"
