"""Procedural dynamic scenes with exact ground truth, for the demo, tests and training."""

from .oracle import Noise, OracleModel, OracleScene
from .rendering import Rendering, render
from .sampling import SceneConfig, sample_scenes, sample_times
from .scene import (
    Scenes,
    Shapes,
    camera_poses,
    concatenate,
    intrinsics,
    load_scenes,
    primitive_poses,
    save_scenes,
)
from .truth import Truth, boundary_mask, ground_truth, sample_pixels

__all__ = [
    "Noise", "OracleModel", "OracleScene", "Rendering", "SceneConfig", "Scenes", "Shapes", "Truth",
    "boundary_mask", "camera_poses", "concatenate", "ground_truth", "intrinsics", "load_scenes",
    "primitive_poses", "render", "sample_pixels", "sample_scenes", "sample_times", "save_scenes",
]  # fmt: skip
