import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import (
    BODY_FROM_OPTICAL,
    adjoint,
    cross_matrix,
    interpolate,
    invert,
    is_rigid,
    nearest_rotation,
    pose_from_quaternion,
    pose_matrix,
    quaternion_from_pose,
    rotation_angle,
    transform,
)

numbers = st.floats(-10, 10, allow_nan=False)
vectors = arrays(np.float64, 3, elements=numbers)
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 1e-3)
poses = st.builds(pose_from_quaternion, quaternions, vectors)
angles = st.floats(0.0, np.pi)


def turn_about_z(angle):
    return pose_from_quaternion([0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


def test_a_known_rotation_and_shift():
    pose = pose_matrix([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [1, 2, 3])
    np.testing.assert_allclose(transform(pose, [[1, 0, 0], [0, 1, 0]]), [[1, 3, 3], [0, 2, 3]])


def test_optical_axes_in_the_body():
    right, down, forward = np.eye(3)
    np.testing.assert_array_equal(
        transform(BODY_FROM_OPTICAL, [forward, right, down]), [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    )
    assert is_rigid(BODY_FROM_OPTICAL)


@given(poses, poses, vectors)
def test_composition_and_inverse(a_from_b, b_from_c, point):
    np.testing.assert_allclose(
        transform(a_from_b @ b_from_c, point), transform(a_from_b, transform(b_from_c, point)), atol=1e-9
    )
    np.testing.assert_allclose(invert(a_from_b) @ a_from_b, np.eye(4), atol=1e-9)


@given(st.lists(poses, min_size=2, max_size=4))
def test_batches_are_the_single_ones(several):
    batch = np.stack(several)
    points = np.arange(len(several) * 15.0).reshape(-1, 5, 3)
    for k, pose in enumerate(several):
        np.testing.assert_allclose(invert(batch)[k], invert(pose))
        np.testing.assert_allclose(transform(batch, points)[k], transform(pose, points[k]))
        np.testing.assert_allclose(rotation_angle(batch)[k], rotation_angle(pose))
        np.testing.assert_allclose(
            pose_from_quaternion(quaternion_from_pose(batch))[k][:3, :3], pose[:3, :3], atol=1e-9
        )


def test_float32_points_stay_float32():
    assert transform(np.eye(4), np.zeros((2, 5, 3), np.float32)).dtype == np.float32
    assert transform(np.eye(4), np.zeros((5, 3), np.int64)).dtype == np.float64


@given(quaternions)
def test_quaternions_round_trip(quaternion):
    quaternion = quaternion / np.linalg.norm(quaternion)
    back = quaternion_from_pose(pose_from_quaternion(quaternion))
    assert back[3] >= 0
    # q and -q are one rotation.
    np.testing.assert_allclose(np.abs(back @ quaternion), 1.0, atol=1e-9)
    assert np.linalg.norm(back) == pytest.approx(1.0)


def test_quaternion_order_is_x_y_z_w():
    np.testing.assert_allclose(
        quaternion_from_pose(turn_about_z(np.pi / 2)), [0, 0, np.sqrt(0.5), np.sqrt(0.5)]
    )
    np.testing.assert_allclose(pose_from_quaternion([0, 0, 2, 2])[:2, :2], [[0, -1], [1, 0]], atol=1e-12)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1]])
def test_a_quaternion_without_direction_is_refused(bad):
    with pytest.raises(ValueError, match="direction"):
        pose_from_quaternion(bad)


@given(angles)
def test_rotation_angle(angle):
    assert rotation_angle(turn_about_z(angle)) == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize("angle", [1e-9, 1e-7, np.pi - 1e-9, np.pi])
def test_rotation_angle_keeps_its_digits_at_the_ends(angle):
    assert float(rotation_angle(turn_about_z(angle))) == pytest.approx(angle, rel=1e-6)


@given(poses, arrays(np.float64, (3, 3), elements=st.floats(-1e-3, 1e-3)))
def test_nearest_rotation_repairs(pose, noise):
    repaired = nearest_rotation(pose[:3, :3] + noise)
    assert is_rigid(pose_matrix(repaired), 1e-9)
    assert np.abs(repaired - pose[:3, :3]).max() < 1e-2


@given(poses, arrays(np.float64, (3, 3), elements=st.floats(-1e-3, 1e-3)))
def test_the_quaternion_of_a_rotation_that_has_drifted_is_a_unit_one_near_it(pose, noise):
    quaternion = quaternion_from_pose(pose[:3, :3] + noise)
    assert np.linalg.norm(quaternion) == pytest.approx(1.0, abs=1e-12)
    assert rotation_angle(pose_from_quaternion(quaternion)[:3, :3].T @ pose[:3, :3]) < 5e-3


@pytest.mark.parametrize("length", [5e-324, 1e-200, 1e-13, 1e200])
def test_a_quaternion_of_any_length_will_do(length):
    np.testing.assert_allclose(
        pose_from_quaternion(np.array([0, 0, 1, 1]) * length)[:2, :2], [[0, -1], [1, 0]], atol=1e-12
    )


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (4, 0)])
def test_batches_of_any_shape(shape):
    quaternions = np.broadcast_to([0.1, -0.2, 0.3, 0.9], (*shape, 4)) / np.sqrt(0.95)
    poses = pose_from_quaternion(quaternions, np.ones((*shape, 3)))
    assert poses.shape == (*shape, 4, 4)
    np.testing.assert_allclose(quaternion_from_pose(poses), quaternions)
    np.testing.assert_allclose(quaternion_from_pose(poses[..., :3, :3]), quaternions)
    np.testing.assert_allclose(rotation_angle(poses), np.full(shape, 2 * np.arccos(0.9 / np.sqrt(0.95))))


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.full((3, 3), np.nan), np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.inf)]
)
def test_a_matrix_that_is_no_rotation_has_no_quaternion(matrix):
    for function in (quaternion_from_pose, rotation_angle):
        with pytest.raises(ValueError, match="no rotation"):
            function(np.stack([np.eye(3), matrix]))


@given(poses, poses, st.floats(0, 1))
def test_interpolate_goes_straight_and_turns_evenly_the_shorter_way(a, b, share):
    between = interpolate(a, b, share)
    assert is_rigid(between)
    np.testing.assert_allclose(between[:3, 3], (1 - share) * a[:3, 3] + share * b[:3, 3], atol=1e-9)
    whole = rotation_angle(invert(a) @ b)
    assert rotation_angle(invert(a) @ between) == pytest.approx(share * whole, abs=1e-7)
    assert rotation_angle(invert(between) @ b) == pytest.approx((1 - share) * whole, abs=1e-7)


@given(poses, poses)
def test_interpolate_begins_and_ends_at_its_poses(a, b):
    np.testing.assert_allclose(interpolate(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(interpolate(a, b, 1.0), b, atol=1e-7)
    shares = np.array([0.0, 0.25, 1.0])
    several = interpolate(a, b, shares)
    for share, pose in zip(shares, several, strict=True):
        np.testing.assert_allclose(pose, interpolate(a, b, share), atol=1e-12)
        np.testing.assert_allclose(interpolate(several, b, share)[1], interpolate(several[1], b, share))


def test_interpolate_keeps_small_turns():
    a, b = np.eye(4), turn_about_z(1e-9)
    assert rotation_angle(interpolate(a, b, 0.25)) == pytest.approx(0.25e-9, rel=1e-6)


@pytest.mark.parametrize("share", [-0.01, 1.01, np.nan, [0.5, 2.0]])
def test_interpolate_does_not_extrapolate(share):
    with pytest.raises(ValueError, match="0 .* to 1"):
        interpolate(np.eye(4), turn_about_z(1.0), share)


@given(vectors, vectors)
def test_cross_matrix(a, b):
    np.testing.assert_allclose(cross_matrix(a) @ b, np.cross(a, b), atol=1e-9)
    np.testing.assert_array_equal(cross_matrix(np.stack([a, b]))[1], cross_matrix(b))


def small_motion(twist):
    """The rigid transform of a small twist (vx vy vz wx wy wz)."""
    return pose_matrix(Rotation.from_rotvec(twist[3:]).as_matrix(), twist[:3])


@given(poses, arrays(np.float64, 6, elements=st.floats(-1, 1)))
def test_adjoint_is_the_derivative_of_moving_the_frame(a_from_b, twist):
    """A small motion that frame b measures as `twist` is, measured in frame a, a_from_b motion b_from_a."""
    step = 1e-6
    there, back = (a_from_b @ small_motion(s * step * twist) @ invert(a_from_b) for s in (1.0, -1.0))
    rate = (there - back) / (2 * step)
    expected = adjoint(a_from_b) @ twist
    np.testing.assert_allclose(rate[:3, 3], expected[:3], atol=1e-6)
    np.testing.assert_allclose(rate[:3, :3], cross_matrix(expected[3:]), atol=1e-6)


@given(poses, poses)
def test_adjoints_compose_as_their_poses(a_from_b, b_from_c):
    np.testing.assert_allclose(adjoint(a_from_b @ b_from_c), adjoint(a_from_b) @ adjoint(b_from_c), atol=1e-8)


def test_what_is_not_rigid():
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    scaled = np.diag([1.1, 1.1, 1.1, 1.0])
    nan = np.full((4, 4), np.nan)
    projective = np.eye(4)
    projective[3, 0] = 0.1
    for bad in (mirror, scaled, nan, projective, np.eye(3), np.eye(4)[None]):
        assert not is_rigid(bad)
    assert is_rigid(np.eye(4))
