"""Which transform the node broadcasts, so that no frame of the robot's TF gets a second parent."""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from d4rt_ros.io.transform_tree import TransformTree, frame_name

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
UNNAMED_CAMERA = "camera"  # for images without a frame_id, which TF would refuse
LISTENING = 1.0  # seconds after which whoever has a transform to say has been heard


@dataclass(frozen=True)
class Broadcast:
    """What is broadcast, and of which frame the pose is.

    kind: one of TF_MODES but auto. child: whose pose the odometry and the path are, the camera or the base; None: no
    pose may be published at all. problems: (level of diagnostics, sentence).
    """

    kind: str
    child: str | None
    problems: tuple[tuple[bytes, str], ...] = ()


@dataclass(frozen=True)
class FrameNames:
    """world: of poses and tracks, continuous (REP 105's odom). base: the robot's. camera: the images'. map: what the
    world is corrected in; "": none."""

    world: str
    base: str
    camera: str
    map: str = ""


def chosen(mode: str, names: FrameNames, robot: TransformTree, listened: float) -> Broadcast:
    """What tf.publish `mode` means beside the robot's own transforms, heard for `listened` seconds."""
    if names.camera == names.world:
        sentence = (
            f"the images' frame_id '{names.camera}' is the name of frames.world too, so no pose is published; give "
            "frames.world, or the camera's frame_id, another name"
        )
        return Broadcast("none", None, ((ERROR, sentence),))
    if mode == "auto":
        return _automatic(names, robot, listened)
    child = names.base if mode == "world_to_base" else names.camera
    return Broadcast(mode, child, _faults(mode, names, robot))


def _automatic(names: FrameNames, robot: TransformTree, listened: float) -> Broadcast:
    above = robot.ancestors(names.camera)[1:]
    if not above and listened < LISTENING:
        return Broadcast("none", None)
    if names.camera in robot.ancestors(names.world):
        sentence = _silent(f"'{names.world}' is below '{names.camera}' on TF already")
        return Broadcast("none", names.camera, ((WARN, sentence),))
    if not above:
        return Broadcast("world_to_camera", names.camera)
    if names.base not in above:
        what = f"'{names.camera}' has the parent '{above[0]}' on TF, and frames.base '{names.base}' is not above it"
        return Broadcast("none", names.camera, ((WARN, _silent(f"{what}, but: {', '.join(above)}")),))
    parent = robot.parent(names.base)
    if parent is not None:
        sentence = _silent(
            f"where '{names.base}' is in '{parent}' is on TF already. ~/odometry is that of '{names.base}'; if nothing "
            f"else says where the robot is, set frames.base to '{above[-1]}'"
        )
        return Broadcast("none", names.base, ((OK, sentence),))
    if names.base in robot.ancestors(names.world):
        sentence = _silent(f"'{names.world}' is below '{names.base}' on TF already")
        return Broadcast("none", names.base, ((WARN, sentence),))
    return Broadcast("world_to_base", names.base)


def _silent(reason: str) -> str:
    return f"nothing is broadcast on /tf: {reason}"


def _faults(mode: str, names: FrameNames, robot: TransformTree) -> tuple:
    """What is wrong with a mode that was asked for by name."""
    parent, child = {
        "world_to_camera": (names.world, names.camera),
        "camera_to_world": (names.camera, names.world),
        "world_to_base": (names.world, names.base),
    }.get(mode, (None, None))
    other = None if child is None else robot.parent(child)
    if other is None:
        return ()
    sentence = (
        f"'{child}' has two parents on TF, '{other}' and, by tf.publish {mode}, '{parent}': all that hangs on it jumps "
        "between them; set tf.publish to auto or none"
    )
    return ((ERROR, sentence),)


def map_fault(names: FrameNames, kind: str, robot: TransformTree) -> tuple[bytes, str] | None:
    """Why `names.map` is not ours to publish beside the robot's own transforms and a broadcast of `kind`: a level of
    diagnostics and a sentence; None where it is.

    A robot that localises itself has a map: ours is another, and would tie its world to a place where it is not.
    """
    if names.map in (names.camera, names.base):
        what = "the images' frame_id" if names.map == names.camera else "frames.base"
        return WARN, _no_map(names, f"that is the name of {what} too")
    if robot.knows(names.map):
        return OK, _no_map(names, f"the robot's TF has a '{names.map}'; give ours another name, frames.map")
    if (parent := robot.parent(names.world)) is not None:
        return OK, _no_map(names, f"'{names.world}' has the parent '{parent}' on TF already")
    if kind == "camera_to_world":
        return OK, _no_map(names, f"by tf.publish {kind} the camera is the parent of '{names.world}'")
    return None


def _no_map(names: FrameNames, reason: str) -> str:
    return f"'{names.map}' -> '{names.world}' is not broadcast on /tf: {reason}"


def map_frame(given: str, namespace: str) -> str:
    """frames.map; "map" is in the namespace /a/b "a/b/map", so that two robots have two; "" is none."""
    return f"{namespace.strip('/')}/map".lstrip("/") if given == "map" else given


def world_frame(given: str, namespace: str) -> str:
    """frames.world; where it is empty, "world", in the namespace /a/b "a/b/world", so that two robots have two."""
    return given or f"{namespace.strip('/')}/world".lstrip("/")


def mended(name: str, what: str, default: str = "") -> tuple[str, str]:
    """A frame's name as TF takes it, and what was wrong with it, or "". Raises ValueError where none is left."""
    plain = frame_name(name) or default
    if not plain:
        raise ValueError(f"{what} is '{name}'; it must name a frame, such as base_link")
    if plain == name:
        return plain, ""
    wrong = "begins with a slash, which TF refuses" if frame_name(name) else "names no frame"
    return plain, f"{what} is '{name}': it {wrong}; '{plain}' is taken"
