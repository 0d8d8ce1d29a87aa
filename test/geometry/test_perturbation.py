import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d4rt_ros.geometry import Pinhole, invert, is_rigid, pose_from_quaternion, transform
from d4rt_ros.geometry.perturbation import columns, cross, observe, perturbation, perturbed

CAMERA = Pinhole(260.0, 250.0, 155.0, 122.0, 320, 240)
numbers = st.floats(-3, 3, allow_nan=False)
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 1e-3)
poses = st.builds(pose_from_quaternion, quaternions, arrays(np.float64, 3, elements=numbers))
steps = arrays(np.float64, 6, elements=st.floats(-1, 1, allow_nan=False))


def test_a_turn_is_about_the_worlds_axes_and_leaves_the_camera_where_it_is():
    pose = pose_from_quaternion([0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0])  # its x is the world's y
    turned = perturbed(pose, np.array([0.0, 0.0, 0.0, np.pi / 2, 0.0, 0.0]))
    np.testing.assert_array_equal(turned[:3, 3], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(turned[:3, :3] @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(perturbed(pose, np.eye(6)[1])[:3, 3], [1.0, 3.0, 3.0])


@given(poses, steps)
def test_perturbation_undoes_perturbed(pose, step):
    moved = perturbed(pose, step)
    assert is_rigid(moved)
    np.testing.assert_allclose(perturbation(moved, pose)[0], step, atol=1e-6)


@given(poses, steps)
def test_the_derivative_of_a_perturbation(mean, step):
    pose = perturbed(mean, 0.2 * step)
    _, derivative = perturbation(pose, mean)
    h = 1e-6
    ends = [[perturbation(perturbed(pose, s * h * e), mean)[0] for e in np.eye(6)] for s in (1, -1)]
    numeric = (np.array(ends[0]) - np.array(ends[1])).T / (2 * h)
    np.testing.assert_allclose(derivative, numeric, atol=1e-4)


@given(st.lists(poses, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_observed_pixels_and_their_derivatives(several, seed):
    several = np.stack(several)
    rng = np.random.default_rng(seed)
    count = len(several)
    local = CAMERA.backproject(rng.uniform(0, 240, (count, 2)), rng.uniform(0.5, 5, count))
    points = transform(several, local[:, None])[:, 0]

    def pixels(poses, points):
        return CAMERA.project(transform(invert(poses), points[:, None])[:, 0])

    rotations, centres = columns(several)
    seen, by_point, front = observe(rotations, centres, points.T, CAMERA)
    assert front.all()
    np.testing.assert_allclose(seen.T, pixels(several, points), atol=1e-6)
    rays = points.T - centres
    by_pose = np.concatenate([-by_point, cross(by_point, rays[:, None])])
    h = 1e-6
    for axis in range(3):
        shift = h * np.eye(3)[axis]
        numeric = (pixels(several, points + shift) - pixels(several, points - shift)) / (2 * h)
        np.testing.assert_allclose(by_point[axis].T, numeric, rtol=1e-4, atol=1e-3)
    for axis in range(6):
        step = h * np.eye(6)[[axis] * count]
        numeric = pixels(perturbed(several, step), points) - pixels(perturbed(several, -step), points)
        np.testing.assert_allclose(by_pose[axis].T, numeric / (2 * h), rtol=1e-4, atol=1e-3)


def test_what_is_behind_the_camera_or_in_its_plane_has_finite_numbers():
    points = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotation, centre = columns(np.eye(4)[None])
    pixels, by_point, front = observe(rotation, centre, points.T, CAMERA)
    assert front.tolist() == [False, False, True]
    assert np.isfinite(pixels).all() and np.isfinite(by_point).all()


def test_cross_products_lie_side_by_side():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 2, 5))
    np.testing.assert_allclose(cross(a, b), np.cross(a, b, axisa=0, axisb=0, axisc=0))
