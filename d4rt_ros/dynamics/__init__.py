"""What moves: by pixels that disagree with a rigid world, and by what a geometry transformer attends to."""

from d4rt_ros.dynamics.motion import MotionFilter, Observation, points_moving
from d4rt_ros.dynamics.moving import Moving

__all__ = ["MotionFilter", "Moving", "Observation", "points_moving"]
