import numpy as np
import pytest
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera

from d4rt_ros.geometry import Pinhole
from d4rt_ros.tasks import IntrinsicsError, intrinsics


def test_exact_answers_give_the_exact_camera():
    scene = AnalyticScene(wandering_camera(4))
    for t in (None, 0, -1, [1, 2]):
        camera = intrinsics(scene, t)
        assert (camera.width, camera.height, camera.cx, camera.cy) == (97, 65, 48, 32)
        np.testing.assert_allclose([camera.fx, camera.fy], [90, 95], rtol=1e-4)
    assert scene.calls == 4


def test_square_pixels_share_one_focal_length():
    scene = AnalyticScene(wandering_camera(4), camera=Pinhole.centred(120, 120, 97, 65), noise=0.01)
    camera = intrinsics(scene, square_pixels=True)
    assert camera.fx == camera.fy == pytest.approx(120, rel=1e-3)


def test_noise_and_gross_errors_do_little():
    # Noise along the ray leaves z / x as it is; what moves it is an error across.
    rng = np.random.default_rng(0)

    def shake(answer):
        answer.xyz[:, :2] += 0.05 * rng.normal(size=(len(answer), 2))

    scene = AnalyticScene(wandering_camera(4), spoiled=0.2)
    camera = intrinsics(Altered(scene, shake))
    np.testing.assert_allclose([camera.fx, camera.fy], [90, 95], rtol=0.03)


def test_the_less_confident_half_does_not_count():
    def spoil(answer):
        answer.xyz[: len(answer) * 2 // 5, 0] *= 2
        answer.confidence[: len(answer) * 2 // 5] = 0.1

    assert intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil)).fx == pytest.approx(
        CAMERA.fx, rel=1e-4
    )


@pytest.mark.parametrize("kind", ["behind", "at infinity", "no confidence", "not finite"])
def test_points_that_are_not_usable_do_not_count_however_many_and_sure_they_are(kind):
    def spoil(answer):
        rows = np.arange(len(answer)) % 5 < 3
        answer.confidence[rows] = 1.0
        if kind == "behind":
            answer.xyz[rows] *= np.float32([-1, -1, -2])
        elif kind == "at infinity":
            answer.xyz[rows] *= np.float32([1e7, 1e7, 2e7])
        elif kind == "no confidence":
            answer.xyz[rows, 2] *= 2
            answer.confidence[rows] = np.nan
        else:
            answer.xyz[rows, 0] = np.nan
            answer.xyz[rows, 2] *= 2

    camera = intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil))
    np.testing.assert_allclose([camera.fx, camera.fy], [90, 95], rtol=1e-4)


def test_points_near_the_middle_of_the_image_do_not_count():
    """There x is small, and what it is off makes any focal length."""

    def spoil(answer):
        near = np.abs(answer.uv[:, 0] - 48) < 9.5
        answer.xyz[near, 0] += 0.05 * answer.xyz[near, 2] * np.sign(answer.xyz[near, 0])

    camera = intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil), size=(16, 30))
    assert camera.fx == pytest.approx(90, rel=1e-4)


def test_a_focal_length_is_positive():
    """A point on the other side of the image than its pixel says nothing."""

    def spoil(answer):
        answer.xyz[::5, :2] *= -1

    camera = intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil))
    np.testing.assert_allclose([camera.fx, camera.fy], [90, 95], rtol=1e-4)


def test_a_wide_image_has_its_own_middle():
    scene = AnalyticScene(wandering_camera(2), camera=Pinhole.centred(60, 70, 200, 40))
    np.testing.assert_allclose([getattr(intrinsics(scene), f) for f in ("fx", "fy")], [60, 70], rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_nothing_usable_is_said(value):
    def spoil(answer):
        answer.xyz[:, 2] = value

    with pytest.raises(IntrinsicsError, match="camera_info"):
        intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil))
