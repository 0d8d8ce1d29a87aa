"""A camera and the node. `ros2 launch d4rt_ros demo.launch.py` or `... video:=clip.mp4 rviz:=true`"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParameter

from launch import LaunchDescription

LAUNCH = Path(get_package_share_directory("d4rt_ros")) / "launch"

ARGUMENTS = {
    "video": ("", "a video file, a folder of images or a webcam (webcam:0); empty: a procedural scene"),
    "calibration": ("", "of the video's camera: fx fy cx cy, or a file; empty: the node estimates it"),
    "device": ("", "where the model runs: auto, cpu, cuda, ..."),
    "rviz": ("false", "also start RViz"),
}


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=d, description=t) for name, (d, t) in ARGUMENTS.items()
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH / "d4rt.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in ("device", "rviz")}.items(),
    )
    # Large images over best effort get lost on a busy machine, and these cameras publish reliably.
    reliable = SetParameter("qos_overrides./image.subscription.reliability", "reliable")
    return LaunchDescription([*arguments, reliable, OpaqueFunction(function=start_camera), node])


def start_camera(context):
    video, calibration = (LaunchConfiguration(name).perform(context) for name in ("video", "calibration"))
    if video:
        executable, parameters = "d4rt_video_camera", {"source": video, "loop": True}
        if calibration:
            parameters["camera_info"] = calibration
    else:
        executable, parameters = "d4rt_scene_camera", {}
    camera = Node(
        package="d4rt_ros", executable=executable, name="camera", parameters=[parameters], output="screen"
    )
    return [camera]
