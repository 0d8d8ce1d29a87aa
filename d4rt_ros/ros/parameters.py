"""The node's parameters: defaults, descriptions, ranges, and which may change while the node runs."""

from __future__ import annotations

import difflib
import re
from array import array
from dataclasses import dataclass
from typing import Callable

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from d4rt_ros.geometry import RegionError
from d4rt_ros.ros.interest import region_of
from d4rt_ros.ros.scale_inputs import DEPTH_FROM
from d4rt_ros.ros.transforms import TF_MODES
from d4rt_ros.stream import PipelineConfig
from d4rt_ros.stream.config import DYNAMICS, REFINEMENTS, SCALE_SOURCES


@dataclass(frozen=True)
class Setting:
    """One parameter. `bounds` holds for the number or for each number of an array of `length`;
    `choices` are the texts that are allowed, N standing for a number.

    live: a change takes effect at once; else it is refused while the node is configured.
    """

    default: object
    description: str
    bounds: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()
    length: int = 0
    live: bool = True


SETTINGS = {
    "autostart": Setting(True, "Configure and activate at start, without a lifecycle manager.", live=False),
    "image_transport": Setting(
        "raw",
        "Which topic the images come from: raw is `image`, compressed is `image/compressed`.",
        choices=("raw", "compressed"),
        live=False,
    ),
    "image.reliability": Setting(
        "auto",
        "How images are subscribed to; auto: reliable where the publisher offers it, else best effort.",
        choices=("auto", "reliable", "best_effort"),
        live=False,
    ),
    "image.rectified": Setting(
        "auto",
        "Whether the images are rectified already; auto: by the topic's name (rect) and by the camera_info's "
        "coefficients. Raw ones are rectified by the node.",
        choices=("auto", "true", "false"),
        live=False,
    ),
    "roi": Setting(
        [0, 0, 0, 0],
        "The region of interest, x, y, width, height in pixels of the image topic: cloud, depth image and tracks are "
        "of it alone; width and height 0: the whole image. The topic roi sets it too; the last one counts.",
        bounds=(0, 65535),
        length=4,
    ),
    "mask.file": Setting(
        "",
        "An image of the image topic's size whose pixels are not 0 where nothing may be taken from: the robot's own "
        "body, a gripper, a watermark. The topic mask masks besides it; empty: no file.",
        live=False,
    ),
    "model.checkpoint": Setting(
        "",
        "The weights: a .safetensors file, OpenD4RT's opend4rt.ckpt, or a folder that `d4rt export` wrote; "
        "empty: those in the package.",
        live=False,
    ),
    "model.backend": Setting(
        "auto",
        "What runs the model; auto: torch for a file, ONNX Runtime for a folder of `d4rt export`.",
        choices=("auto", "torch", "onnx"),
        live=False,
    ),
    "model.device": Setting(
        "auto",
        "Where the model runs; auto: the first GPU, else the CPU.",
        choices=("auto", "cpu", "cuda", "cuda:N"),
        live=False,
    ),
    "model.precision": Setting(
        "auto",
        "Numbers that the model computes with; auto: what the device does best.",
        choices=("auto", "fp32", "bf16", "fp16"),
        live=False,
    ),
    "model.patch_source": Setting(
        "encoder",
        "Where a query's patch of colours is taken from: the frames as small as the encoder saw them, the "
        "frames at their own resolution (sharper edges on a fine grid), or none.",
        choices=("encoder", "frames", "none"),
        live=False,
    ),
    "model.threads": Setting(
        0,
        "CPU threads of the model; 0: all cores but one, which follows the images.",
        bounds=(0, 256),
        live=False,
    ),
    "window.frames": Setting(
        0, "Frames of a window; 0: as many as the model was trained for.", bounds=(0, 256), live=False
    ),
    "window.stride": Setting(2, "Every how many images one is kept.", bounds=(1, 100)),
    "window.hop": Setting(1, "After how many kept images a new window is due.", bounds=(1, 256)),
    "window.max_gap": Setting(
        10.0,
        "Longest time between two images of one window, in periods of the stream itself; after a longer one the "
        "window starts anew.",
        bounds=(2, 1000),
    ),
    "recover.seconds": Setting(
        5.0,
        "How long the camera's place in the old world is looked for once it is lost; then a new world begins.",
        bounds=(0, 3600),
    ),
    "scale.source": Setting(
        "fixed",
        "What says how many metres a unit of the model is. none: nothing; fixed: scale.metres; depth: a depth camera, "
        "a laser scanner or a range sensor; tf: the robot's own motion; height: the camera's height above the ground.",
        choices=SCALE_SOURCES,
        live=False,
    ),
    "scale.metres": Setting(
        0.0,
        "Metres in the model's unit of length for scale.source fixed, applied to everything alike; 0: not known.",
        bounds=(0, 1000),
        live=False,
    ),
    "scale.depth_from": Setting(
        "image",
        "What scale.source depth hears: image: depth images on `depth`; scan, range, cloud: topics of these names.",
        choices=DEPTH_FROM,
        live=False,
    ),
    "scale.tf_frame": Setting(
        "odom",
        "The fixed frame in which scale.source tf sees the camera move; not one that we publish.",
        live=False,
    ),
    "scale.height": Setting(
        0.0,
        "Metres of the camera above the ground for scale.source height; 0: by TF, above scale.ground_frame.",
        bounds=(0, 100),
        live=False,
    ),
    "scale.ground_frame": Setting(
        "base_footprint", "A frame on the ground, for scale.source height without scale.height.", live=False
    ),
    "depth.size": Setting(
        [36, 48], "Rows and columns of the depth image and the cloud.", bounds=(2, 2160), length=2
    ),
    "depth.rate": Setting(
        10.0,
        "Results a second to reach, where need be by asking fewer points of the depth grid (a quarter at least), most "
        "where depth changes fast, and interpolating the rest; 0: ask every point.",
        bounds=(0, 1000),
    ),
    "refine": Setting(
        "pixels",
        "How the model's proposals become poses and depth. pixels: corrected by points followed in the full images; "
        "none: windows of the model alone, joined where they overlap.",
        choices=REFINEMENTS,
        live=False,
    ),
    "dynamics.method": Setting(
        "motion",
        "What says what moves. motion: the pixels and points that disagree with a rigid world; attention: what the "
        "model attends to (VGGT4D), not of an exported model; both; off: nothing, and what tells of it is silent.",
        choices=DYNAMICS,
    ),
    "dynamics.release": Setting(
        1.0, "Seconds after which a thing that has stopped is at rest again.", bounds=(0, 60)
    ),
    "tracks.max": Setting(300, "Most points that are followed at a time.", bounds=(50, 5000), live=False),
    "tracks.unseen": Setting(
        2.0,
        "Seconds after which a point that is no longer seen is given up; one that comes back earlier keeps its id.",
        bounds=(0, 60),
        live=False,
    ),
    "tracks.rows": Setting(9, "Rows of the grid of tracked points.", bounds=(2, 256)),
    "tracks.cols": Setting(12, "Columns of the grid of tracked points.", bounds=(2, 256)),
    "pose.method": Setting(
        "pnp",
        "How the camera's motion is found: pnp from predicted pixels and depth, rigid from two point sets.",
        choices=("pnp", "rigid"),
    ),
    "path.length": Setting(1000, "Poses kept in the path.", bounds=(1, 10000)),
    "odometry.when_lost": Setting(
        "inflate",
        "What ~/odometry is while the pose is not trusted; inflate: the last pose with a variance that a filter "
        "rejects, silent: nothing.",
        choices=("inflate", "silent"),
    ),
    "frames.world": Setting(
        "",
        "The frame that poses and tracks are given in, continuous (REP 105's odom); empty: world, in a namespace "
        "NAMESPACE/world.",
        live=False,
    ),
    "frames.map": Setting(
        "map",
        "The frame in which the world is corrected (REP 105's map), broadcast as the world's parent where the robot's "
        "own TF has no frame of that name; map: in a namespace NAMESPACE/map; empty: none.",
        live=False,
    ),
    "frames.base": Setting("base_link", "The robot's frame, for tf.publish world_to_base.", live=False),
    "tf.publish": Setting(
        "auto",
        "What is broadcast on /tf. auto: what gives no frame a second parent. camera_to_world: inverted, where the "
        "camera has a parent frame already; world_to_base: through the robot's own transform of base to camera.",
        choices=TF_MODES,
        live=False,
    ),
    "query.max_points": Setting(
        1_000_000, "Most points that one service request may ask for.", bounds=(1, 5_000_000)
    ),
    "query.history": Setting(
        2.0,
        "Seconds for which encoded windows are kept, so that services answer about the recent past; 0: the newest "
        "alone.",
        bounds=(0, 60),
    ),
}


def declare(node, state: Callable[[], str], changed: Callable[[dict], None]) -> None:
    """Declare every parameter, checked at start and whenever it is set.

    state() -> the node's: unconfigured, configuring, inactive, active or finalized. `changed` gets the new values of
    live parameters (see `values`) while the node is configured, and may raise ValueError with a sentence.
    Raises rclpy's InvalidParameterValueException with a sentence where a value given at start is wrong.
    """

    def check(given) -> SetParametersResult:
        ours = {p.name: p.value for p in given if p.name in SETTINGS}
        configured = state() not in ("unconfigured", "finalized")
        for name, value in ours.items():
            reason = refusal(name, value)
            if not reason and configured and not SETTINGS[name].live:
                if plain(name, value) != plain(name, node.get_parameter(name).value):
                    reason = (
                        f"{name} is read when the node is configured; "
                        f"deactivate and clean it up, set the parameter, configure it again"
                    )
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        try:
            if configured and ours:
                changed({name: plain(name, value) for name, value in ours.items()})
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    for name, setting in SETTINGS.items():
        node.declare_parameter(name, setting.default, _descriptor(setting))


def values(node) -> dict:
    """All parameters by name, in their settings' own types."""
    return {name: plain(name, node.get_parameter(name).value) for name in SETTINGS}


def plain(name: str, value):
    """A value that was not refused, in its setting's own type: YAML and the command line write 0 for 0.0, and true, or
    off, where a text was meant."""
    default = SETTINGS[name].default
    if isinstance(default, float):
        return float(value)
    if isinstance(default, str) and isinstance(value, bool):
        return _meant(SETTINGS[name], value)
    return list(value) if isinstance(default, list) else value


def pipeline_config(values: dict) -> PipelineConfig:
    """The pipeline's configuration in the parameters' values. Raises ValueError with a sentence."""
    return PipelineConfig(
        frames=values["window.frames"] or None,
        stride=values["window.stride"],
        hop=values["window.hop"],
        max_gap=values["window.max_gap"],
        depth_size=tuple(values["depth.size"]),
        tracks_size=(values["tracks.rows"], values["tracks.cols"]),
        pose_method=values["pose.method"],
        recover_seconds=values["recover.seconds"],
        metres=values["scale.metres"] if values["scale.source"] == "fixed" else 0.0,
        scale_source=values["scale.source"],
        refine=values["refine"],
        dynamics=values["dynamics.method"],
        dynamics_release=values["dynamics.release"],
        tracks_max=values["tracks.max"],
        tracks_unseen_seconds=values["tracks.unseen"],
    )


def unknown(given) -> dict[str, str]:
    """Which of the names given at start are no parameters of ours or of every node, each with the nearest of
    ours, or ""."""
    common = ("use_sim_time", "qos_overrides.", "start_type_description_service", "logger_levels.")
    strange = [name for name in given if name not in SETTINGS and not name.startswith(common)]
    return {name: next(iter(difflib.get_close_matches(name, SETTINGS, 1)), "") for name in strange}


def refusal(name: str, value) -> str:
    """Why a value cannot be taken, in a sentence, or "". value: as rclpy gives it, of any type."""
    setting = SETTINGS[name]
    numbers = list(value) if isinstance(value, (list, tuple, array)) else [value]
    shown = (
        numbers
        if isinstance(value, (list, tuple, array))
        else f"'{value}'"
        if isinstance(value, str)
        else value
    )
    if wanted := _other_type(setting, value):
        return f"{name} is {shown}; it must be {wanted}"
    if isinstance(setting.default, str):
        text = plain(name, value)
        if setting.choices and not re.fullmatch("|".join(setting.choices).replace("N", r"\d+"), text):
            return f"{name} is '{text}'; it must be one of {', '.join(setting.choices)}"
        if name == "frames.base" and not text:
            return f"{name} is empty; it must name a frame"
        return ""
    if setting.length and len(numbers) != setting.length:
        return f"{name} is {shown}; it must be {setting.length} numbers, such as {setting.default}"
    if setting.bounds:
        low, high = setting.bounds
        if not all(low <= number <= high for number in numbers):  # NaN is within no bounds
            return f"{name} is {shown}; it must be {low} to {high}"
    if name == "roi":
        try:
            region_of(numbers)
        except RegionError as error:
            return f"{name} is {shown}: {error}; width and height 0 are the whole image"
    return ""


def _other_type(setting: Setting, value) -> str:
    """What a value must be where it is something else, or ""."""
    default = setting.default
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        meant = isinstance(value, bool) and _meant(setting, value)
        return "" if isinstance(value, str) or meant else "a text" + _choices(setting)
    if isinstance(default, float):
        return "" if isinstance(value, (int, float)) and not isinstance(value, bool) else "a number"
    if isinstance(default, int):
        return "" if type(value) is int else "a whole number"
    whole = isinstance(value, (list, tuple, array)) and all(type(number) is int for number in value)
    return "" if whole else f"{setting.length} whole numbers, such as {default}"


def _meant(setting: Setting, value: bool) -> str:
    """The choice that YAML reads as a truth value and not as a text: true, false, on, off; "" where there is none."""
    words = ("true", "on") if value else ("false", "off")
    return next((word for word in words if word in setting.choices), "")


def _choices(setting: Setting) -> str:
    return f", one of {', '.join(setting.choices)}" if setting.choices else ""


def _descriptor(setting: Setting) -> ParameterDescriptor:
    # Of dynamic type: rclpy would refuse 0 for 0.0 with a sentence that helps nobody. We check the types ourselves.
    descriptor = ParameterDescriptor(description=setting.description, dynamic_typing=True)
    if setting.choices:
        descriptor.additional_constraints = f"one of {', '.join(setting.choices)}"
    elif setting.bounds:
        descriptor.additional_constraints = f"{setting.bounds[0]} to {setting.bounds[1]}"
    if setting.bounds and not setting.length:
        low, high = setting.bounds
        if isinstance(setting.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        else:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor
