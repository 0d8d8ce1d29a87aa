"""The node on a camera. `ros2 launch d4rt_ros d4rt.launch.py image:=/camera/color/image_raw`"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from d4rt_ros.ros.launching import (
    end_with,
    fixed_frame,
    is_true,
    parameters_file,
    refuse_unknown_arguments,
)

CONFIG = Path(get_package_share_directory("d4rt_ros")) / "config"
SWITCH = ["true", "false", "True", "False"]
TF = ["auto", "none", "world_to_camera", "camera_to_world", "world_to_base"]
LEVELS = ["debug", "info", "warn", "error", "fatal"]

# Name -> default, description, choices. What is left empty never overrides what params_file says.
ARGUMENTS = {
    "image": ("image", "the camera's image topic", None),
    "camera_info": ("camera_info", "the camera's calibration topic", None),
    "image_transport": ("", "empty: what params_file says", ["", "raw", "compressed"]),
    "params_file": (
        "d4rt.yaml",
        "a YAML file with the node's parameters: a path, or the name of one of the package's, such as base.yaml",
        None,
    ),
    "checkpoint": ("", "the weights' file; empty: what params_file says", None),
    "device": ("", "auto, cpu, cuda, cuda:1, ...; empty: what params_file says", None),
    "tf": ("", "tf.publish, what is broadcast on /tf; empty: what params_file says", ["", *TF]),
    "use_sim_time": ("", "time from /clock; empty: what params_file says", ["", *SWITCH]),
    "namespace": ("", "the node's namespace", None),
    "respawn": ("false", "start the node again when it has died; if not, its end is the launch's", SWITCH),
    "log_level": ("info", "of the node", LEVELS),
    "rviz": ("false", "also start RViz", SWITCH),
}
# Argument -> the parameter that it overrides.
OVERRIDES = {
    "image_transport": "image_transport",
    "checkpoint": "model.checkpoint",
    "device": "model.device",
    "tf": "tf.publish",
    "use_sim_time": "use_sim_time",
}


def generate_launch_description():
    description = LaunchDescription()
    description.add_action(OpaqueFunction(function=refuse_unknown_arguments, args=[description, __file__]))
    for name, (default, text, choices) in ARGUMENTS.items():
        description.add_action(
            DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        )
    description.add_action(OpaqueFunction(function=start))
    return description


def start(context):
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {parameter: value[name] for name, parameter in OVERRIDES.items() if value[name]}
    if value["use_sim_time"]:
        overrides["use_sim_time"] = is_true(value["use_sim_time"])
    remappings = [
        ("image", value["image"]),
        ("image/compressed", value["image"] + "/compressed"),
        ("camera_info", value["camera_info"]),
    ]
    respawn, file = is_true(value["respawn"]), parameters_file(value["params_file"], CONFIG)
    node = Node(
        package="d4rt_ros",
        executable="d4rt_node",
        name="d4rt",
        namespace=value["namespace"],
        parameters=[str(file), overrides],
        remappings=remappings,
        ros_arguments=["--log-level", value["log_level"]],
        output="screen",
        respawn=respawn,
        respawn_delay=2.0,
        on_exit=None if respawn else end_with,
    )
    return [node, *rviz(value["namespace"], remappings, file)] if is_true(value["rviz"]) else [node]


def rviz(namespace, remappings, file):
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [
            LogInfo(msg="rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2): going on without it")
        ]
    node = Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(CONFIG / "d4rt.rviz"), "-f", fixed_frame(file, namespace)],
        remappings=remappings,
    )
    return [node]
