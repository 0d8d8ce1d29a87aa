"""What a calibration means for an image, and what is refused."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import CameraError, CameraModel, Pinhole, resized_matrix

K = np.array([[500.0, 0, 315], [0, 505, 243], [0, 0, 1]])
P = np.array([[430.0, 0, 322, 0], [0, 432, 238, 0], [0, 0, 1, 0]])
D = (-0.3, 0.1, 1e-3, -2e-3, 0.0)
NONE = np.zeros((3, 4))
TURN = cv2.Rodrigues(np.array([0.01, -0.03, 0.01]))[0]


def model(
    matrix=K, distortion=D, name="plumb_bob", rotation=np.eye(3), projection=P, size=(640, 480), **rest
):
    matrix, projection = np.array(matrix, float), np.array(projection, float)
    return CameraModel(*size, matrix, tuple(distortion), name, np.array(rotation, float), projection, **rest)


def same(camera: Pinhole, matrix):
    np.testing.assert_allclose(camera.matrix, np.asarray(matrix)[:, :3], rtol=1e-12)


def test_resized_matrices_see_the_same():
    matrix = np.array([[60.0, 0, 30], [0, 62, 18], [0, 0, 1]])
    point = np.array([0.3, -0.2, 2.0])
    u, v = Pinhole.from_matrix(matrix, 64, 40).project(point)
    small = Pinhole.from_matrix(resized_matrix(matrix, (40, 64), (10, 32)), 32, 10).project(point)
    # A pixel's edges, at u ± 0.5, are halved; its centre with them.
    np.testing.assert_allclose(small, [(u + 0.5) / 2 - 0.5, (v + 0.5) / 4 - 0.5])
    assert resized_matrix(np.stack([P] * 2), (40, 64), (20, 32)).shape == (2, 3, 4)


def test_a_rectified_image_has_p():
    for rectified, distortion in ((True, D), (None, ()), (None, (0.0,) * 5)):
        view = model(distortion=distortion).view(640, 480, rectified)
        same(view.camera, P)
        assert view.lens is None and not view.note


def test_a_raw_image_is_rectified_to_p():
    for rectified in (None, False):
        view = model(rotation=TURN).view(640, 480, rectified)
        same(view.camera, P)
        assert view.lens.camera == view.camera and not view.lens.fisheye
        np.testing.assert_array_equal(view.lens.matrix, K)
        np.testing.assert_allclose(view.lens.rotation, TURN, atol=1e-9)
        assert view.lens.distortion == D[:4]  # what is zero at the end says nothing


def test_a_raw_image_that_nothing_bends_is_taken_as_it_is():
    view = model(distortion=()).view(640, 480, False)
    same(view.camera, K)
    assert view.lens is None


def test_a_rotation_alone_is_rectified_too():
    assert model(distortion=(), rotation=TURN).view(640, 480).lens is not None
    assert model(distortion=(), rotation=TURN).view(640, 480, True).lens is None


def test_without_p_or_k_the_other_serves():
    for p in (NONE, np.eye(3, 4)):
        for rectified in (True, False):
            view = model(projection=p).view(640, 480, rectified)
            same(view.camera, K)
            assert not view.note and (view.lens is None) == rectified
    for k in (np.zeros((3, 3)), np.eye(3)):
        same(model(k, ()).view(640, 480).camera, P)
        same(model(k).view(640, 480, True).camera, P)
        with pytest.raises(CameraError, match="no camera matrix K"):
            model(k).view(640, 480)


def test_nothing_said_is_no_fault():
    for size in ((640, 480), (0, 0)):
        view = model(np.zeros((3, 3)), (), "", np.zeros((3, 3)), NONE, size).view(320, 200)
        assert view.camera is None and view.lens is None and not view.note


@given(
    st.integers(16, 1500), st.integers(16, 1500), st.integers(1, 4), st.integers(1, 4),
    st.floats(0.3, 5), st.floats(0.1, 0.9), st.floats(0.1, 0.9),
    st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.4, 0.6), st.floats(0.4, 0.6)),
)  # fmt: skip
def test_binning_and_regions_keep_the_rays(width, height, bx, by, focal, cx, cy, cut):
    """A point appears where averaging the binned pixels of the region puts it, of K and of P."""
    fx = focal * width
    k = np.array([[fx, 0, cx * width], [0, 1.1 * fx, cy * height], [0, 0, 1]])
    region = (int(cut[0] * width), int(cut[1] * height), int(cut[2] * width), int(cut[3] * height))
    size = region[2] // bx, region[3] // by
    assume(min(size) >= 2)
    made = model(k, (), projection=NONE, size=(width, height), binning=(bx, by), region=region)
    point = np.array([0.1, -0.2, 2.0])
    full = Pinhole.from_matrix(k, width, height).project(point)
    expected = (full - region[:2] - np.array([bx - 1, by - 1]) / 2) / [bx, by]
    for rectified in (None, False):
        camera = made.view(*size, rectified).camera
        np.testing.assert_allclose(camera.project(point), expected, rtol=1e-9, atol=1e-6)
        assert (camera.width, camera.height) == size


@pytest.mark.parametrize(
    "size, scale", [((320, 240), 0.5), ((1280, 960), 2), ((214, 160), None), ((640, 480), 1)]
)
def test_an_image_that_was_resized_as_a_whole(size, scale):
    view = model().view(*size)
    expected = resized_matrix(P[:, :3], (480, 640), size[::-1])
    same(view.camera, expected)
    if scale:  # by areas: pixel edges are scaled, not centres
        assert view.camera.fx == 430 * scale and view.camera.cx == pytest.approx(322.5 * scale - 0.5)
    np.testing.assert_allclose(view.lens.matrix, resized_matrix(K, (480, 640), size[::-1]))


def test_half_of_an_image_of_1280_has_half_its_focal_length():
    wide = [[1000.0, 0, 639.5], [0, 1000, 359.5], [0, 0, 1]]
    camera = model(wide, (), projection=NONE, size=(1280, 720)).view(640, 360).camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 500, 319.5, 179.5)


def test_binned_cut_and_rectified_is_the_full_views_part():
    """The lens of a region that is binned sends every pixel where the full image's lens does."""
    full = model(rotation=TURN).view(640, 480).lens
    part = model(rotation=TURN, binning=(2, 2), region=(100, 60, 400, 320)).view(200, 160).lens
    pixels = np.random.default_rng(0).uniform(0, 150, (50, 2))

    def in_full(small):
        return (small + 0.5) * 2 - 0.5 + [100, 60]

    np.testing.assert_allclose(in_full(part.to_image(pixels)), full.to_image(in_full(pixels)), atol=1e-6)
    np.testing.assert_allclose(in_full(part.to_view(pixels)), full.to_view(in_full(pixels)), atol=1e-6)


def matrix(fx=500.0, fy=500.0, cx=320.0, cy=240.0, skew=0.0):
    return [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]


@pytest.mark.parametrize(
    "k, says",
    [
        (matrix(cx=-20), "centre is at -20, 240, outside the 640x480 images"),
        (matrix(cx=700), "outside"),
        (matrix(cy=480), "outside"),
        (
            matrix(fx=100, fy=100),
            "focal length is 100 pixels where images are 640 wide; expected 128 to 12800",
        ),
        (matrix(fx=2e4, fy=2e4), "focal length"),
        (matrix(fy=4000), "nearly equal"),
        (matrix(fx=-500), "positive"),
        (matrix(fx=0), "positive"),
        (matrix(fy=np.nan), "finite"),
        (matrix(cx=np.inf), "finite"),
        (matrix(skew=40), "skew"),
        (np.transpose(matrix()), "rows"),
        (np.eye(3), "focal lengths? (is|are) 1"),
    ],
)
def test_what_no_camera_has_is_refused(k, says):
    for rectified in (None, True, False):
        with pytest.raises(CameraError, match=says):
            model(k, (), projection=NONE).view(640, 480, rectified)
    # P that is as wrong does not count, but is told.
    p = np.hstack([k, np.zeros((3, 1))])
    view = model(projection=p).view(640, 480)
    same(view.camera, K)
    assert view.note.startswith("P is not used") or np.array_equal(k, np.eye(3))


def test_what_real_cameras_have_is_taken():
    for k in (
        matrix(fx=500, fy=1000),
        matrix(skew=0.1),
        matrix(fx=140, fy=140),
        matrix(fx=1.2e4, fy=1.2e4),
        matrix(cx=40),
    ):
        assert model(k, (), projection=NONE).view(640, 480).camera.fx == k[0][0]


@pytest.mark.parametrize("size", [(640, 360), (480, 640), (320, 200), (30, 20), (641, 200)])
def test_an_image_of_another_shape_is_refused(size):
    with pytest.raises(CameraError, match="is for 640x480 pixels, the image has .* another shape"):
        model().view(*size)


def test_a_size_that_is_not_said_is_the_images_where_that_may_be():
    unsaid = model(matrix(), (), projection=NONE, size=(0, 0))
    assert unsaid.view(640, 480).camera.cx == 320
    for size, says in (((320, 240), "outside"), ((1280, 960), "far from the middle")):
        with pytest.raises(CameraError, match=says):
            unsaid.view(*size)


def test_a_region_outside_the_image_is_refused():
    with pytest.raises(
        CameraError, match="region of 640x480 pixels at 100, 0 is not inside the 640x480 image"
    ):
        model(region=(100, 0, 640, 480)).view(640, 480)


@pytest.mark.parametrize(
    "r", [2 * np.eye(3), np.diag([1.0, 1, -1]), np.full((3, 3), np.nan), np.ones((3, 3))]
)
def test_a_rotation_that_is_none_is_refused(r):
    with pytest.raises(CameraError, match="expected a rotation"):
        model(rotation=r).view(640, 480)
    assert model(rotation=np.zeros((3, 3))).view(640, 480).lens.rotation[0, 0] == 1


def test_k_and_p_that_contradict_each_other():
    half = P / 2 + np.diag([0, 0, 0.5, 0])[:3]
    for p in (half, np.diag([6, 6, 1.0]) @ P + [[0, 0, 320 - 6 * 322, 0], [0, 0, 240 - 6 * 238, 0], [0] * 4]):
        with pytest.raises(CameraError, match="contradict"):
            model(projection=p).view(640, 480, True)  # of which of them it is cannot be known
        view = model(projection=p).view(640, 480, False)  # K, D and the image are of one camera
        same(view.camera, K)
        assert "contradict" in view.note and "P is not used" in view.note


@pytest.mark.parametrize(
    "name, given, counts",
    [
        ("plumb_bob", D[:4], 4),
        ("plumb_bob", D[:4] + (0.01,), 5),
        ("plumb_bob", D[:4] + (0.01, 0, 0, 0), 5),
        ("PLUMB_BOB", D, 4),
        ("rational_polynomial", D[:4] + (0.01, 0.1, 0.01, 0.001), 8),
        ("rational_polynomial", D[:4] + (0.01, 0.1, 0.01, 0.001, 0, 0, 0, 0, 0, 0), 8),
        ("rational_polynomial", D, 4),
        ("thin_prism", D + (0,) * 3 + (1e-3,) * 4, 12),
        ("rational_polynomial", D + (0,) * 3 + (1e-3,) * 6, 14),
        ("", D, 5),
        ("equidistant", (0.01, 0.002, 0.001, 1e-4), 4),
        ("equidistant", (0.01, 0.002, 0.001, 1e-4, 0.0), 4),
        ("fisheye", (0.01, 0.002, 0, 0), 4),
    ],
)
def test_coefficients_that_mean_the_same_are_taken(name, given, counts):
    lens = model(distortion=given, name=name).view(640, 480).lens
    assert lens.distortion == tuple(given)[:counts] and lens.fisheye == (name in ("equidistant", "fisheye"))


@pytest.mark.parametrize(
    "name, given, says",
    [
        ("plumb_bob", (-0.3,), "plumb_bob has 4 or 5 distortion coefficients, found 1"),
        ("plumb_bob", D[:4] + (0.01, 0.1, 0.01, 0.001), "found 8"),
        ("rational_polynomial", D[:4] + (0.01, 0.1), "found 6"),
        ("equidistant", (0.01, 0.002, 0.001, 1e-4, 0.1), "has 4 .* found 5"),
        ("", (0.01, 0.002, 0.001, 1e-4), "without a name"),
        ("double_sphere", D, "'double_sphere' is not known"),
        ("plumb_bob", (np.nan, 0, 0, 0, 0), "finite"),
        ("plumb_bob", (np.inf, 0, 0, 0, 0), "finite"),
        ("plumb_bob", (1e300, 0, 0, 0, 0), "below"),
        ("plumb_bob", (-2.0, 0, 0, 0, 0), "fold .* of the image over"),
        ("plumb_bob", (0, 0, 0.5, 0, 0), "fold"),
        ("equidistant", (-2.0, 0, 0, 0), "fold"),
        ("plumb_bob", (50.0, 0, 0, 0, 0), "fills only"),
    ],
)
def test_coefficients_that_are_none_are_refused_where_they_count(name, given, says):
    for rectified in (None, False):
        with pytest.raises(CameraError, match=says):
            model(distortion=given, name=name).view(640, 480, rectified)
    same(model(distortion=given, name=name).view(640, 480, True).camera, P)


def test_an_unknown_model_that_bends_nothing_is_no_fault():
    for nothing in ((), (0.0,) * 7):
        same(model(distortion=nothing, name="none").view(640, 480).camera, P)


def test_a_fisheye_with_coefficients_of_zero_is_one_where_the_image_is_said_to_be_raw():
    ideal = model(distortion=(0.0,) * 4, name="equidistant")
    assert ideal.view(640, 480).lens is None  # as image_proc has it
    assert ideal.view(640, 480, False).lens.fisheye


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-1, 1),
    st.floats(-1000, 1000),
    st.sampled_from([0.0, 1.0, 320.0, 500.0]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    k=st.tuples(*[numbers] * 9),
    p=st.tuples(*[numbers] * 12),
    r=st.tuples(*[numbers] * 9),
    d=st.lists(numbers, max_size=15),
    name=st.sampled_from(["plumb_bob", "rational_polynomial", "thin_prism", "equidistant", "", "other"]),
    true=st.tuples(*[st.booleans()] * 3),
    size=st.sampled_from([(640, 480), (320, 240), (0, 0), (1, 1)]),
    binning=st.tuples(*[st.integers(0, 3)] * 2),
    region=st.tuples(*[st.integers(0, 700)] * 4),
    rectified=st.sampled_from([None, True, False]),
)
def test_whatever_is_said_there_is_a_camera_or_a_sentence(
    k, p, r, d, name, true, size, binning, region, rectified
):
    k, p, r = np.reshape(k, (3, 3)), np.reshape(p, (3, 4)), np.reshape(r, (3, 3))
    k, p, r = K if true[0] else k, P if true[1] else p, np.eye(3) if true[2] else r
    region = region if sum(region) % 2 else (0, 0, 0, 0)
    said = model(k, d, name, r, p, size, binning=binning, region=region)
    with np.errstate(all="ignore"):
        try:
            view = said.view(640, 480, rectified)
        except CameraError as error:
            assert str(error)
            return
    if view.camera is None:
        assert not k.any() and not p.any()
    if view.lens is not None:
        assert view.lens.rectify(np.zeros((480, 640, 3), np.uint8)).shape == (480, 640, 3)
