import numpy as np
import pytest
from analytic_scene import wandering_camera

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, is_rigid, pose_from_quaternion
from d4rt_ros.stream.world import LOST_COVARIANCE, World
from d4rt_ros.tasks import RelativePose


def step(i_from_j, covariance=None):
    covariance = np.diag([1e-4] * 3 + [1e-6] * 3) if covariance is None else covariance
    return RelativePose(i_from_j, 1.0, 1.0, 0.1, 5.0, covariance, "pnp")


def test_it_begins_at_the_camera_with_x_forward():
    world = World()
    np.testing.assert_array_equal(world.world_from_camera, BODY_FROM_OPTICAL)
    world.begin(5)
    np.testing.assert_array_equal(world.world_from_camera, BODY_FROM_OPTICAL)
    assert (np.diag(world.covariance) > 0).all() and world.covariance.max() < 1e-4


def test_steps_are_chained():
    poses = wandering_camera(20)
    world = World()
    world.begin(0)
    for k in range(19):
        world.move(step(invert(poses[k]) @ poses[k + 1]), k + 1)
    np.testing.assert_allclose(
        world.world_from_camera, BODY_FROM_OPTICAL @ invert(poses[0]) @ poses[-1], atol=1e-9
    )
    assert world.stamp == 19


def test_a_long_chain_stays_rigid():
    turn = pose_from_quaternion([1e-3, 2e-3, 3e-3, 1]).astype(np.float32).astype(float)
    world = World()
    world.begin(0)
    for k in range(5000):
        world.move(step(turn), k)
    assert is_rigid(world.world_from_camera, 1e-9)


def test_the_covariance_is_what_sampled_errors_give():
    """Against the scatter of chains of two steps whose errors are drawn from the steps' covariances."""
    rng = np.random.default_rng(0)
    steps = [
        pose_from_quaternion([0.1, 0.2, 0, 1], [1, 0, 2.0]),
        pose_from_quaternion([0, -0.3, 0.1, 1], [0, 1, 1.0]),
    ]
    covariance = np.diag([1e-4, 4e-4, 1e-4, 1e-4, 2e-4, 4e-4])
    world = World()
    world.begin(0)
    world.covariance = np.zeros((6, 6))
    for k, pose in enumerate(steps):
        world.move(step(pose, covariance), k)
    errors = []
    for _ in range(4000):
        chain = BODY_FROM_OPTICAL
        for pose in steps:
            error = rng.normal(size=6) * np.sqrt(np.diag(covariance))
            turned = pose_from_quaternion([*error[3:] / 2, 1])[:3, :3] @ pose[:3, :3]
            noisy = pose.copy()
            noisy[:3, :3], noisy[:3, 3] = turned, pose[:3, 3] + error[:3]
            chain = chain @ noisy
        turn = chain[:3, :3] @ world.world_from_camera[:3, :3].T
        turn = (turn - turn.T)[[2, 0, 1], [1, 2, 0]] / 2
        errors.append(np.r_[chain[:3, 3] - world.world_from_camera[:3, 3], turn])
    sampled = np.cov(np.array(errors).T)
    np.testing.assert_allclose(world.covariance, sampled, atol=0.08 * np.diag(sampled).max())
    np.testing.assert_allclose(np.diag(world.covariance), np.diag(sampled), rtol=0.1)


def test_a_lost_way_keeps_the_pose_and_costs_certainty():
    world = World()
    world.begin(0)
    world.move(step(wandering_camera(2)[1]), 1)
    pose, covariance = world.world_from_camera.copy(), world.covariance.copy()
    world.begin(7)
    np.testing.assert_array_equal(world.world_from_camera, pose)
    np.testing.assert_allclose(world.covariance - covariance, LOST_COVARIANCE)
    assert world.stamp == 7 and LOST_COVARIANCE[0, 0] == pytest.approx(1.0)
