"""Where the model runs: `load` gives a model, a model encodes frames into a Scene, a Scene answers queries."""

from d4rt_ros.runtime.loading import load
from d4rt_ros.runtime.scene import FrameError, PreparedFrame, Scene, SceneModel

__all__ = ["FrameError", "Model", "PreparedFrame", "Scene", "SceneModel", "load"]


def __getattr__(name: str):
    if name == "Model":  # on torch, which an exported model does without
        from d4rt_ros.runtime.torch_model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
