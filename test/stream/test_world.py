import numpy as np
import pytest
from analytic_scene import wandering_camera

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, is_rigid, pose_from_quaternion
from d4rt_ros.stream.world import LOST_COVARIANCE, World
from d4rt_ros.tasks import RelativePose


def step(i_from_j, covariance=None):
    covariance = np.diag([1e-4] * 3 + [1e-6] * 3) if covariance is None else covariance
    return RelativePose(i_from_j, 1.0, 1.0, 0.1, 5.0, covariance, "pnp")


def chained(steps, covariance=None):
    """A world whose keyframe went through the steps."""
    world = World()
    for k, pose in enumerate(steps):
        world.move(step(pose, covariance))
        world.set_keyframe(k)
    return world


def test_it_begins_at_the_camera_with_x_forward():
    world = World()
    np.testing.assert_array_equal(world.camera.world_from_camera, BODY_FROM_OPTICAL)
    assert world.keyframe_stamp is None
    assert (np.diag(world.camera.covariance) > 0).all() and world.camera.covariance.max() < 1e-4


def test_steps_are_measured_from_the_keyframe():
    poses = wandering_camera(5)
    world = World()
    for k in (1, 2):
        world.move(step(invert(poses[0]) @ poses[k]))
    world.set_keyframe(2)
    for k in (3, 4):
        world.move(step(invert(poses[2]) @ poses[k]))
    truth = BODY_FROM_OPTICAL @ invert(poses[0]) @ poses[-1]
    np.testing.assert_allclose(world.camera.world_from_camera, truth, atol=1e-9)
    assert world.keyframe_stamp == 2


def test_a_long_chain_stays_rigid():
    turn = pose_from_quaternion([1e-3, 2e-3, 3e-3, 1]).astype(np.float32).astype(float)
    assert is_rigid(chained([turn] * 5000).camera.world_from_camera, 1e-9)


def test_the_covariance_is_what_sampled_errors_give():
    """Against the scatter of chains of two steps whose errors are drawn from the steps' covariances."""
    rng = np.random.default_rng(0)
    steps = [
        pose_from_quaternion([0.1, 0.2, 0, 1], [1, 0, 2.0]),
        pose_from_quaternion([0, -0.3, 0.1, 1], [0, 1, 1.0]),
    ]
    covariance = np.diag([1e-4, 4e-4, 1e-4, 1e-4, 2e-4, 4e-4])
    camera = chained(steps, covariance).camera
    errors = []
    for _ in range(4000):
        chain = BODY_FROM_OPTICAL
        for pose in steps:
            error = rng.normal(size=6) * np.sqrt(np.diag(covariance))
            turned = pose_from_quaternion([*error[3:] / 2, 1])[:3, :3] @ pose[:3, :3]
            noisy = pose.copy()
            noisy[:3, :3], noisy[:3, 3] = turned, pose[:3, 3] + error[:3]
            chain = chain @ noisy
        turn = chain[:3, :3] @ camera.world_from_camera[:3, :3].T
        turn = (turn - turn.T)[[2, 0, 1], [1, 2, 0]] / 2
        errors.append(np.r_[chain[:3, 3] - camera.world_from_camera[:3, 3], turn])
    sampled = np.cov(np.array(errors).T)
    np.testing.assert_allclose(camera.covariance, sampled, atol=0.08 * np.diag(sampled).max())
    np.testing.assert_allclose(np.diag(camera.covariance), np.diag(sampled), rtol=0.1)


def test_a_lost_way_keeps_the_pose_and_costs_certainty():
    world = chained([wandering_camera(2)[1]])
    before = world.camera
    world.lose()
    np.testing.assert_array_equal(world.camera.world_from_camera, before.world_from_camera)
    np.testing.assert_allclose(world.camera.covariance - before.covariance, LOST_COVARIANCE)
    assert LOST_COVARIANCE[0, 0] == pytest.approx(1.0)
