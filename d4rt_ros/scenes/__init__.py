"""Procedural dynamic scenes with exact ground truth, for the demo, tests and training."""

from d4rt_ros.scenes.motion import camera_poses, primitive_half_sizes, primitive_poses
from d4rt_ros.scenes.oracle import Noise, OracleModel, OracleScene
from d4rt_ros.scenes.rendering import Rendering, render
from d4rt_ros.scenes.sampling import SceneConfig, has_clear_view, sample_scenes, sample_times
from d4rt_ros.scenes.scene import (
    Scenes,
    Shapes,
    concatenate,
    crop_camera,
    intrinsics,
    load_scenes,
    save_scenes,
)
from d4rt_ros.scenes.truth import Truth, boundary_mask, ground_truth

__all__ = [
    "Noise", "OracleModel", "OracleScene", "Rendering", "SceneConfig", "Scenes", "Shapes", "Truth",
    "boundary_mask", "camera_poses", "concatenate", "crop_camera", "ground_truth", "has_clear_view", "intrinsics",
    "load_scenes", "primitive_half_sizes", "primitive_poses", "render", "sample_scenes", "sample_times",
    "save_scenes",
]  # fmt: skip
