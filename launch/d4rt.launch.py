"""The node on a camera. `ros2 launch d4rt_ros d4rt.launch.py image:=/camera/color/image_raw`"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("d4rt_ros"))

ARGUMENTS = {
    "image": ("image", "the camera's image topic"),
    "camera_info": ("camera_info", "the camera's calibration topic"),
    "checkpoint": ("", "the weights' file; empty: what params_file says"),
    "device": ("", "auto, cpu, cuda, cuda:1, ...; empty: what params_file says"),
    "params_file": (str(SHARE / "config" / "d4rt.yaml"), "a YAML file with the node's parameters"),
    "namespace": ("", "the node's namespace"),
    "rviz": ("false", "also start RViz"),
}


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=d, description=t) for name, (d, t) in ARGUMENTS.items()
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(SHARE / "config" / "d4rt.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=start_node), rviz])


def start_node(context):
    """An argument that is left empty must not override what the file of parameters says."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {f"model.{name}": value[name] for name in ("checkpoint", "device") if value[name]}
    node = Node(
        package="d4rt_ros",
        executable="d4rt_node",
        name="d4rt",
        namespace=value["namespace"],
        parameters=[value["params_file"], overrides],
        remappings=[
            ("image", value["image"]),
            ("image/compressed", value["image"] + "/compressed"),
            ("camera_info", value["camera_info"]),
        ],
        output="screen",
    )
    return [node]
