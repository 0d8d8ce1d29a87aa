"""Where the model runs: `load` gives a Model, a Model encodes frames into a Scene, a Scene answers queries."""

from d4rt_ros.runtime.torch_model import Model, PreparedFrame, Scene, load

__all__ = ["Model", "PreparedFrame", "Scene", "load"]
