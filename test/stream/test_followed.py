"""What was said of the past stays; the world comes back to the map while the camera moves."""

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import invert
from d4rt_ros.geometry.transforms import pose_matrix
from d4rt_ros.stream.followed import RETURN, Followed, returning

GAP = pose_matrix(Rotation.from_rotvec([0.0, 0.02, 0.01]).as_matrix(), [0.05, -0.02, 0.03])
STEP = pose_matrix(Rotation.from_rotvec([0.0, 0.01, 0.0]).as_matrix(), [0.03, 0.0, 0.01])


def followed(pose: np.ndarray) -> Followed:
    return Followed(1, 0, 0, pose, pose, np.eye(6))


def distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    gap = invert(a) @ b
    return np.linalg.norm(gap[:3, 3]), Rotation.from_matrix(gap[:3, :3]).magnitude()


def test_a_camera_that_stands_stands():
    pose = pose_matrix(translation=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(returning(followed(pose), pose, pose @ GAP), pose, atol=1e-12)


def test_a_moving_camera_comes_back_little_by_little_and_stays():
    world = target = np.eye(4)
    target = target @ GAP
    before = distance(world, target)
    for _ in range(60):
        last, target = followed(world), target @ STEP
        plain = world @ STEP
        world = returning(last, plain, target)
        added, gap = distance(plain, world), distance(world, target)
        assert added[0] <= RETURN * np.linalg.norm(STEP[:3, 3]) + 1e-12
        assert added[1] <= RETURN * 0.01 + 1e-12
        # The angle that is left turns the way of the step a little.
        assert gap[0] <= before[0] + 0.001 and gap[1] <= before[1] + 1e-9
        before = gap
    np.testing.assert_allclose(world, target, atol=1e-9)
    np.testing.assert_allclose(world[:3, :3] @ world[:3, :3].T, np.eye(3), atol=1e-12)
