"""A camera and the node. `ros2 launch d4rt_ros demo.launch.py` or `... video:=clip.mp4 rviz:=true`"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from d4rt_ros.ros.launching import end_with, is_true, refuse_unknown_arguments

LAUNCH = Path(get_package_share_directory("d4rt_ros")) / "launch"

ARGUMENTS = {
    "video": ("", "a video file, a folder of images or a webcam (webcam:0); empty: a procedural scene"),
    "calibration": ("", "of the video's camera: fx fy cx cy, or a file; empty: the node estimates it"),
}
OF_NODE = ("namespace", "image", "camera_info", "use_sim_time", "log_level")


def generate_launch_description():
    description = LaunchDescription()
    description.add_action(OpaqueFunction(function=refuse_unknown_arguments, args=[description, __file__]))
    for name, (default, text) in ARGUMENTS.items():
        description.add_action(DeclareLaunchArgument(name, default_value=default, description=text))
    # What refuses comes before whatever starts: launch would leave behind a node that it was about to start.
    description.add_action(OpaqueFunction(function=refuse_compressed))
    # All arguments of that file are arguments of this one.
    node = PythonLaunchDescriptionSource(str(LAUNCH / "d4rt.launch.py"))
    description.add_action(IncludeLaunchDescription(node))
    description.add_action(OpaqueFunction(function=start_camera))
    return description


def refuse_compressed(context):
    if context.launch_configurations.get("image_transport") == "compressed":
        raise ValueError("image_transport:=compressed: the cameras of the demo publish raw images alone")


def start_camera(context):
    value = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *OF_NODE)}
    # Two robots' cameras are two frames.
    frame = f"{value['namespace'].strip('/')}/camera_optical_frame".lstrip("/")
    parameters = {"frame_id": frame, "use_sim_time": is_true(value["use_sim_time"])}
    executable = "d4rt_scene_camera"
    if value["video"]:
        executable = "d4rt_video_camera"
        parameters |= {"source": value["video"], "loop": True}
        if value["calibration"]:
            parameters["camera_info"] = value["calibration"]
    camera = Node(
        package="d4rt_ros",
        executable=executable,
        name="camera",
        namespace=value["namespace"],
        parameters=[parameters],
        remappings=[(name, value[name]) for name in ("image", "camera_info")],
        ros_arguments=["--log-level", value["log_level"]],
        output="screen",
        on_exit=end_with,
    )
    return [camera]
