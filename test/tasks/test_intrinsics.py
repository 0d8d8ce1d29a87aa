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


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_nothing_usable_is_said(value):
    def spoil(answer):
        answer.xyz[:, 2] = value

    with pytest.raises(IntrinsicsError, match="camera_info"):
        intrinsics(Altered(AnalyticScene(wandering_camera(2)), spoil))
