"""What is known of a keyframe's image."""

import numpy as np
from analytic_scene import CAMERA

from d4rt_ros.stream import Frame, WindowFrame
from d4rt_ros.stream.relocation import KnownView


def test_depth_between_the_points_of_a_grid_and_nowhere_else():
    v, u = np.mgrid[0:65:8, 0:97:8]
    depth = 1.0 + u / 96 + v / 64
    depth[:3, :3] = np.nan
    landmarks = KnownView(WindowFrame(Frame(np.zeros((65, 97, 3), np.uint8), 0, CAMERA)), CAMERA, depth)
    pixels = np.stack([u, v], axis=-1).astype(float)
    np.testing.assert_allclose(landmarks.depth_at(pixels), depth, rtol=1e-5)
    np.testing.assert_allclose(landmarks.depth_at(pixels.reshape(-1, 2)), depth.ravel(), rtol=1e-5)
    some = np.array(
        [[44.0, 36.0], [96.4, 64.4], [4.0, 4.0], [-1.0, 40.0], [97.0, 40.0], [50.0, 65.0], [np.nan, 1.0]]
    )
    expected = [1 + 44 / 96 + 36 / 64, 3.0, np.nan, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(landmarks.depth_at(some), expected, rtol=1e-3)
