import numpy as np
from analytic_scene import CAMERA, wandering_camera
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import BODY_FROM_OPTICAL, is_rigid, pose_from_quaternion, pose_matrix
from d4rt_ros.stream import Frame, WindowFrame
from d4rt_ros.stream.relocation import KnownView
from d4rt_ros.stream.stitching import Unit
from d4rt_ros.stream.world import LOST_COVARIANCE, World, WorldPose
from d4rt_ros.tasks import RelativePose


def step(i_from_j, covariance=None):
    covariance = np.diag([1e-4] * 3 + [1e-6] * 3) if covariance is None else covariance
    return RelativePose(i_from_j, 1.0, 1.0, 0.1, 5.0, covariance, "pnp")


def landmarks(stamp):
    frame = WindowFrame(Frame(np.zeros((65, 97, 3), np.uint8), stamp, CAMERA))
    return KnownView(frame, CAMERA, np.ones((9, 13)))


def chained(steps, covariance=None):
    """A world whose keyframe went through the steps."""
    world = World()
    world.set_keyframe(landmarks(0))
    for k, pose in enumerate(steps, start=1):
        world.place(world.keyframe.pose.moved(step(pose, covariance)), k)
        world.set_keyframe(landmarks(k))
    return world


def test_it_begins_at_the_camera_with_x_forward():
    world = World()
    np.testing.assert_array_equal(world.camera.world_from_camera, BODY_FROM_OPTICAL)
    assert world.keyframe is None and world.stamp is None and world.unit == Unit()
    assert (np.diag(world.camera.covariance) > 0).all() and world.camera.covariance.max() < 1e-4


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


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_the_covariance_of_a_moved_pose_is_the_numerical_one(seed):
    """The Jacobians of a chain of two steps, by differences: shifts, and turns about the world's axes."""
    rng = np.random.default_rng(seed)
    world, i_from_j = (
        pose_from_quaternion(rng.normal(size=4) + [0, 0, 0, 1e-3], rng.normal(size=3)) for _ in range(2)
    )
    parts = rng.normal(size=(2, 6, 6))
    covariances = 1e-4 * np.einsum("nij,nkj->nik", parts, parts)
    moved = WorldPose(world, covariances[0]).moved(step(i_from_j, covariances[1]))

    def perturbed(pose, change):
        return pose_matrix(
            Rotation.from_rotvec(change[3:]).as_matrix() @ pose[:3, :3], pose[:3, 3] + change[:3]
        )

    def chained_with(change):
        chain = perturbed(world, change[:6]) @ perturbed(i_from_j, change[6:])
        turn = Rotation.from_matrix(chain[:3, :3] @ moved.world_from_camera[:3, :3].T).as_rotvec()
        return np.r_[chain[:3, 3] - moved.world_from_camera[:3, 3], turn]

    small = 1e-5 * np.eye(12)
    jacobian = np.stack([(chained_with(d) - chained_with(-d)) / 2e-5 for d in small], axis=1)
    numerical = jacobian @ block_diag(*covariances) @ jacobian.T
    np.testing.assert_allclose(moved.covariance, numerical, rtol=1e-4, atol=1e-8)


def test_nothing_is_known_of_a_lost_pose():
    assert (np.diag(LOST_COVARIANCE) == 1e6).all()


def test_a_keyframe_is_where_the_camera_is_then_and_of_the_unit_of_then():
    start = pose_from_quaternion([0, 0, 1, 1], [1, 2, 3])
    world = World(start)
    world.set_keyframe(landmarks(5))
    there = world.keyframe.pose.moved(step(wandering_camera(3)[2]))
    world.place(there, 9)
    world.unit = Unit(2.0, 0.1)
    assert world.stamp == 9 and world.keyframe.stamp == 5 and world.keyframe.unit == Unit()
    np.testing.assert_array_equal(world.keyframe.pose.world_from_camera, start)
    np.testing.assert_allclose(world.camera.world_from_camera, start @ wandering_camera(3)[2])
    world.set_keyframe(landmarks(9))
    assert world.keyframe.pose is there and world.keyframe.unit.scale == 2.0
