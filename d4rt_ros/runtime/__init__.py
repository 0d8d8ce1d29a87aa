"""Where the model runs: `load` gives a Model, a Model encodes frames into a Scene, a Scene answers queries."""

from d4rt_ros.runtime.scene import FrameError, PreparedFrame, Scene
from d4rt_ros.runtime.torch_model import Model, load

__all__ = ["FrameError", "Model", "PreparedFrame", "Scene", "load"]
