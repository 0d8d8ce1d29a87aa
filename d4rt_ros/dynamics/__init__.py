"""What moves: by pixels that disagree with a rigid world, and by what a geometry transformer attends to."""

from d4rt_ros.dynamics.moving import Moving

__all__ = ["Moving"]
