import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d4rt_ros.geometry import (
    BODY_FROM_OPTICAL,
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


def test_what_is_not_rigid():
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    scaled = np.diag([1.1, 1.1, 1.1, 1.0])
    nan = np.full((4, 4), np.nan)
    projective = np.eye(4)
    projective[3, 0] = 0.1
    for bad in (mirror, scaled, nan, projective, np.eye(3), np.eye(4)[None]):
        assert not is_rigid(bad)
    assert is_rigid(np.eye(4))
