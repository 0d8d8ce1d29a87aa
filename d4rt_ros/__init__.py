"""D4RT for ROS 2: where is the point seen at (u, v) of frame t_src, at time t_tgt, in the camera frame of t_cam?

Importing this package is light, since every node that uses its messages does so: `load`, `reconstruct` and the
subpackages (`d4rt_ros.tasks`, `d4rt_ros.geometry`, …), and with them torch and OpenCV, are loaded on first use.
"""

from importlib import import_module
from pkgutil import extend_path

__version__ = "0.1.0"

# The generated d4rt_ros.msg and d4rt_ros.srv may be installed elsewhere than a source checkout.
__path__ = extend_path(__path__, __name__)

# What is offered here -> the module that has it.
_OFFERED = {
    "load": "runtime",
    "reconstruct": "stream.offline",
    "Reconstruction": "stream.reconstruction",
}
_SUBPACKAGES = (
    "dynamics",
    "evaluation",
    "geometry",
    "io",
    "model",
    "runtime",
    "scenes",
    "stream",
    "tasks",
    "training",
)


def __getattr__(name: str):
    if name in _OFFERED:
        return getattr(import_module(f"d4rt_ros.{_OFFERED[name]}"), name)
    if name in _SUBPACKAGES:
        return import_module(f"d4rt_ros.{name}")
    raise AttributeError(f"module 'd4rt_ros' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_OFFERED, *_SUBPACKAGES])
