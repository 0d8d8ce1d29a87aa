"""D4RT for ROS 2: where is the point seen at (u, v) of frame t_src, at time t_tgt, in the camera frame of t_cam?"""

from pkgutil import extend_path

# The generated d4rt_ros.msg and d4rt_ros.srv may be installed elsewhere than a source checkout.
__path__ = extend_path(__path__, __name__)
