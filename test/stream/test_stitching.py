"""Windows of an exact scene, each in a unit of its own."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole, invert, rotation_angle
from d4rt_ros.stream import stitching
from d4rt_ros.stream.stitching import StitchError, begin, scaled_step, stitch, unit_ratio
from d4rt_ros.tasks import relative_pose

COUNT, FRAMES, HOP = 40, 6, 3
POSES = wandering_camera(COUNT, 0.5)
BALL = np.array([-1.2, 0.3, 3.5]) + 0.05 * np.arange(COUNT)[:, None] * [1.0, -0.2, 0.1]
PERIOD = 66_666_667


def window(first, unit=1.0, change=None, **room):
    """A scene that answers in a unit of `unit` metres, and its stamps."""
    frames = np.arange(first, first + FRAMES)

    def altered(answer):
        answer.xyz[:] /= unit
        answer.displacements[:] /= unit
        if change:
            change(answer)

    return Altered(AnalyticScene(POSES[frames], BALL[frames], seed=first, **room), altered), PERIOD * frames


def stitched(units, camera=CAMERA, **room):
    """Windows HOP frames apart, and where their newest frames' cameras truly are."""
    scene, stamps = window(0, units[0], **room)
    windows = [begin(scene, stamps[-1])]
    for k, unit in enumerate(units[1:], start=1):
        scene, stamps = window(HOP * k, unit, **room)
        windows.append(stitch(windows[-1], scene, stamps, camera))
    newest = FRAMES - 1 + HOP * np.arange(len(units))
    return windows, BODY_FROM_OPTICAL @ invert(POSES[newest[0]]) @ POSES[newest]


@pytest.fixture
def wholly_kept(monkeypatch):
    """The scale does not go back to the model's own."""
    monkeypatch.setattr(stitching, "KEPT", 1.0)


def test_windows_of_any_unit_make_one_world(wholly_kept):
    units = 2.0 * np.exp(np.random.default_rng(0).normal(0, 0.7, 10))
    windows, truth = stitched(units)
    for one, pose, unit in zip(windows, truth, units):
        pose = pose.copy()
        pose[:3, 3] /= units[0]
        np.testing.assert_allclose(one.pose.world_from_camera, pose, atol=1e-4)
        assert one.scale == pytest.approx(unit / units[0], rel=1e-4)


def test_the_transform_takes_answers_into_the_world(wholly_kept):
    windows, truth = stitched([1.0, 2.0, 0.5])
    scene, _ = window(2 * HOP, 0.5)
    answer = scene.query(u=[10.0, 80.0], v=[20.0, 50.0], t_src=-1, t_tgt=-1, t_cam=-1)
    expected = 0.5 * answer.xyz @ truth[-1][:3, :3].T + truth[-1][:3, 3]
    np.testing.assert_allclose(windows[-1].world_from_window.apply(answer.xyz), expected, atol=1e-3)


def test_noise_and_gross_errors_do_little_and_the_covariance_grows(wholly_kept):
    windows, truth = stitched(np.exp(np.linspace(0, 1, 8)), noise=0.02, spoiled=0.05)
    off = windows[-1].pose.world_from_camera[:3, 3] - truth[-1][:3, 3]
    assert off @ np.linalg.solve(windows[-1].pose.covariance[:3, :3], off) < 3**2
    assert np.linalg.norm(off) < 0.3
    turn = rotation_angle(windows[-1].pose.world_from_camera[:3, :3].T @ truth[-1][:3, :3])
    assert turn < np.radians(3)
    assert windows[-1].scale == pytest.approx(np.e, rel=0.05)
    assert (
        windows[-1].pose.covariance[0, 0]
        > windows[2].pose.covariance[0, 0]
        > windows[0].pose.covariance[0, 0]
    )
    assert 0.01 < windows[2].scale_sigma < windows[-1].scale_sigma < 0.3


def test_without_a_camera_it_is_estimated(wholly_kept):
    windows, truth = stitched([1.0, 2.0, 0.5], camera=None)
    np.testing.assert_allclose(windows[-1].pose.world_from_camera, truth[-1], atol=0.01)


def test_the_frame_to_join_at_may_be_older():
    first, second, third = (window(k) for k in (0, 1, 4))
    before = begin(first[0], first[1][-1])
    near, far = (stitch(before, *one, CAMERA) for one in (second, third))
    assert near.stamp == second[1][-1] and far.stamp == third[1][-1]
    truth = BODY_FROM_OPTICAL @ invert(POSES[FRAMES - 1]) @ POSES[FRAMES + 3]
    np.testing.assert_allclose(far.pose.world_from_camera, truth, atol=1e-4)


def test_windows_that_do_not_overlap_are_refused():
    scene, stamps = window(0)
    before = begin(scene, stamps[-1])
    with pytest.raises(StitchError, match="windows must overlap"):
        stitch(before, *window(FRAMES), CAMERA)
    with pytest.raises(ValueError, match="5 stamps of a window of 6"):
        stitch(before, scene, stamps[1:], CAMERA)
    with pytest.raises(StitchError, match="nothing to join"):
        stitch(before, scene, stamps, CAMERA)


def nothing(answer):
    answer.xyz[:] = np.nan


def nonsense(answer):
    answer.xyz[:, 2] = np.random.default_rng(0).uniform(0.5, 50.0, len(answer.xyz))


def wrong_pixels(answer):
    answer.uv[:] = np.random.default_rng(0).uniform(0, 60, answer.uv.shape)


@pytest.mark.parametrize(
    "change, message",
    [
        (nothing, "0 of 144 points of the shared frame are usable"),
        (nonsense, "ratio of their depths scatters by"),
        (wrong_pixels, "agree with the camera's motion|do not determine a pose|do not fit"),
    ],
)
def test_an_alignment_that_fails_says_why(change, message):
    scene, stamps = window(0)
    before = begin(scene, stamps[-1])
    with pytest.raises(StitchError, match=message):
        stitch(before, *window(HOP, change=change), CAMERA)


def test_errors_of_the_scale_do_not_add_up_for_ever():
    # One wrong join, as if all depths of a window were half of what they are, fades out.
    scene, stamps = window(0)
    before = replace(begin(scene, stamps[-1]), scale=2.0, scale_sigma=0.5)
    for k in range(1, 12):
        before = stitch(before, *window(HOP * k), CAMERA)
    assert before.scale == pytest.approx(2.0 ** (0.95**11), rel=1e-3) and before.scale_sigma < 0.3


def test_it_keeps_no_more_the_longer_the_world():
    windows, _ = stitched([1.0] * 8)
    assert len({one.depth.nbytes + one.confidence.nbytes for one in windows}) == 1


@given(st.floats(0.05, 20), st.integers(0, 1000), st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_the_ratio_of_units_is_found_among_gross_errors(ratio, seed, wrong):
    rng = np.random.default_rng(seed)
    now = rng.uniform(1, 10, 200)
    before = ratio * now * np.exp(0.02 * rng.normal(size=200))
    bad = rng.random(200) < wrong
    before[bad] *= np.exp(rng.normal(size=bad.sum()))
    before[:10] = np.nan
    found, sigma = unit_ratio(before, now, rng.uniform(0.2, 1, 200))
    assert abs(np.log(found / ratio)) < 0.02 and 0.01 <= sigma < 0.1


def test_what_is_not_confident_is_left_out():
    now = np.linspace(1, 5, 100)
    before = 2 * now * np.exp(0.05 * np.random.default_rng(0).normal(size=100))
    confidence = np.full(100, 0.9)
    before[:14], confidence[:14] = 20 * now[:14], 0.5
    assert unit_ratio(before, now, confidence) == unit_ratio(before[14:], now[14:], np.full(86, 0.9))
    with pytest.raises(StitchError, match="0 of 100"):
        unit_ratio(before, now, np.zeros(100))


def test_a_scaled_step_is_as_unsure_as_its_scale():
    step = relative_pose(AnalyticScene(POSES[:FRAMES], BALL[:FRAMES]), 0, 5, CAMERA)
    step = replace(step, covariance=np.diag([1e-4] * 3 + [1e-6] * 3))
    scaled = scaled_step(step, 3.0, 0.1)
    np.testing.assert_allclose(scaled.i_from_j[:3, 3], 3 * step.i_from_j[:3, 3])
    np.testing.assert_array_equal(scaled.i_from_j[:3, :3], step.i_from_j[:3, :3])
    along = scaled.i_from_j[:3, 3]
    expected = 9e-4 * along @ along + 0.01 * (along @ along) ** 2
    assert along @ scaled.covariance[:3, :3] @ along == pytest.approx(expected)
    np.testing.assert_allclose(scaled.covariance[3:, 3:], step.covariance[3:, 3:])


def test_a_camera_of_another_size_is_refused():
    scene, stamps = window(0)
    with pytest.raises(ValueError, match="camera"):
        stitch(begin(scene, stamps[-1]), *window(HOP), Pinhole.centred(90.0, 95.0, 640, 480))
