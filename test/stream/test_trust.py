"""What is trusted, through the stream: an exact model answers nonsense as surely as what is true."""

import numpy as np
import pytest
from analytic_scene import CAMERA
from analytic_stream import PERIOD, AnalyticModel, frame, image, pose_error, run, stream_of

from d4rt_ros.geometry import BODY_FROM_OPTICAL, pose_from_quaternion
from d4rt_ros.stream import Frame, Outputs, PipelineConfig, only

SHAPE = (CAMERA.height, CAMERA.width, 3)


def clipped(image):
    return np.clip(image, 0, 255).astype(np.uint8)


def black(k, rng):
    return np.zeros(SHAPE, np.uint8)


def white(k, rng):
    return np.full(SHAPE, 255, np.uint8)


def flicker(k, rng):
    return np.full(SHAPE, 40 + 60 * (k % 3), np.uint8)


def new_noise(k, rng):
    return rng.integers(0, 255, SHAPE, dtype=np.uint8)


def soft_noise(k, rng):
    """New in every frame, and not white."""
    import cv2

    return clipped(128 + 12 * (cv2.GaussianBlur(rng.normal(0, 40, SHAPE), (0, 0), 2.0)))


def dark_sensor(k, rng):
    return clipped(rng.normal(4, 3, SHAPE))


def gradient(k, rng):
    return clipped(np.linspace(30, 220, SHAPE[1])[None, :, None] + rng.normal(0, 2, SHAPE))


def still_noise(k, rng):
    """A pattern that every frame has, over black, and a little noise."""
    return clipped(np.abs(np.random.default_rng(0).normal(0, 40, SHAPE)) + rng.normal(0, 2, SHAPE))


def heavy_blur(k, rng):
    import cv2

    return clipped(cv2.GaussianBlur(image(k), (0, 0), 12))


CONTENTLESS = [black, white, flicker, new_noise, soft_noise, dark_sensor, gradient, still_noise, heavy_blur]


def show(stream, images, first, outputs=Outputs(), period=PERIOD):
    """The results of images, as frames from number `first` on."""
    added = (stream.add(Frame(i, period * (first + k + 1), CAMERA), outputs) for k, i in enumerate(images))
    return [result for result in added if result is not None]


@pytest.mark.parametrize("outputs", [Outputs(), only(points=True)], ids=["all", "cloud only"])
@pytest.mark.parametrize("kind", CONTENTLESS, ids=lambda kind: kind.__name__)
def test_images_without_content_are_not_trusted(kind, outputs):
    rng = np.random.default_rng(1)
    stream = stream_of(AnalyticModel())
    good = run(stream, range(8), outputs)[-1][1]
    assert not good.problem
    results = show(stream, [kind(k, rng) for k in range(10)], 8, outputs)
    # Within one window; here at once.
    for result in results:
        assert result.problem and not result.trusted
        assert result.points is None and result.tracks is None and result.scene is None
        assert len(result.reason) > 30
        if outputs.pose:
            assert result.pose.step is None and result.pose.reason == result.problem
            np.testing.assert_array_equal(result.pose.world_from_camera, good.pose.world_from_camera)
            np.testing.assert_array_equal(result.pose.covariance, 1e6 * np.eye(6))


@pytest.mark.parametrize("kind", [black, new_noise, still_noise], ids=lambda kind: kind.__name__)
def test_a_world_does_not_begin_with_nothing(kind):
    rng = np.random.default_rng(1)
    stream = stream_of(AnalyticModel(), PipelineConfig(recover_seconds=0.0))
    results = show(stream, [kind(k, rng) for k in range(12)], 0)
    assert results and all(result.problem and not result.trusted for result in results)
    np.testing.assert_array_equal(results[-1].pose.world_from_camera, BODY_FROM_OPTICAL)
    good = run(stream, range(12, 20))
    assert good[-1][1].trusted and good[-1][1].pose.world == 0
    # Lost for as long as something else is in the window, and no longer.
    assert [result.trusted for _, result in good] == [False] * 5 + [True] * 3


def half_covered(k):
    covered = image(k).copy()
    covered[:, : SHAPE[1] // 2] = 0
    return covered


def exposure(k):
    return clipped(image(k) * (0.5 if k % 3 else 1.0))


def noisy(k):
    return clipped(image(k) + np.random.default_rng(k).normal(0, 10, SHAPE))


@pytest.mark.parametrize("kind", [half_covered, exposure, noisy], ids=lambda kind: kind.__name__)
def test_bad_images_with_content_are_trusted(kind):
    model = AnalyticModel()
    stream = stream_of(model)
    images = []
    for k in range(16):
        images.append(kind(k).copy())
        images[-1][0, 0, 0] = k
    results = show(stream, images, 0)
    assert all(result.trusted for result in results)
    assert pose_error(results[-1], model.world_from_camera(5, 15))[1] < 0.02


def test_a_single_damaged_image_is_stepped_over():
    model = AnalyticModel()
    stream = stream_of(model)
    results = show(stream, [image(k) if k != 12 else white(k, None) for k in range(20)], 0)
    trusted = [result.trusted for result in results]
    assert trusted == [k != 12 for k in range(5, 20)]
    assert pose_error(results[-1], model.world_from_camera(5, 19))[1] < 0.02


@pytest.mark.parametrize("outputs", [Outputs(), only(points=True)], ids=["all", "cloud only"])
def test_a_cut_is_noticed(outputs):
    stream = stream_of(AnalyticModel(), PipelineConfig(recover_seconds=0.15))
    results = show(stream, [image(k) for k in [*range(10), *range(30, 40)]], 0, outputs)
    scene = [not result.problem for result in results]
    # No window that shows both places is trusted.
    assert scene == [True] * 5 + [False] * 5 + [True] * 5
    assert "changed to another view" in results[6].reason
    if outputs.pose:
        assert [result.pose.world for result in results] == [0] * 10 + [1] * 5
        assert "not known" in results[-1].pose.last_loss and results[-1].trusted
        assert not results[9].trusted and results[10].trusted
        np.testing.assert_array_equal(results[10].pose.world_from_camera, BODY_FROM_OPTICAL)


def test_a_model_that_the_images_contradict_is_not_trusted():
    """Its answers agree with each other, of another motion than the one that the images show."""
    model = AnalyticModel(speed=1.0)
    model.speed = 0.1  # of what is shown
    stream = stream_of(model, PipelineConfig(recover_seconds=60.0))
    results = run(stream, range(16))
    assert results[0][1].trusted  # the first one says nothing of motion
    contradicted = [result for _, result in results[4:]]
    assert np.mean([result.trusted for result in contradicted]) < 0.4
    assert any("contradict" in result.reason for result in contradicted)


def test_a_pose_found_again_after_a_gap_is_the_old_worlds():
    model = AnalyticModel()
    stream = stream_of(model)
    run(stream, range(12))
    # 2 s without images, while the camera moves a little.
    results = [stream.add(frame(k, stamp=PERIOD * (k + 61))) for k in range(13, 22)]
    results = [result for result in results if result is not None]
    assert len(results) == 4 and stream.window.gaps == 1
    for k, result in zip(range(18, 22), results):
        assert result.trusted and result.pose.world == 0
        degrees, metres = pose_error(result, model.world_from_camera(5, k))
        sigma = np.sqrt(np.diag(result.pose.covariance))
        assert degrees < 2 and metres < max(0.1, 3 * sigma[:3].max())
    assert results[0].pose.step is None and results[1].pose.step is not None


def test_after_a_gap_and_with_other_views_a_new_world_begins():
    stream = stream_of(AnalyticModel(), PipelineConfig(recover_seconds=5.0))
    run(stream, range(12))
    stream.pipeline.start_at(pose_from_quaternion([0, 0, 0, 1], [1, 2, 3]))
    results = [stream.add(frame(k, stamp=PERIOD * (k + 61))) for k in range(32, 40)]
    lost = [result for result in results if result is not None]
    assert not any(result.trusted for result in lost) and {result.pose.world for result in lost} == {0}
    assert all(not result.problem and result.points is not None for result in lost)
    assert all("not known" in result.reason and result.tracks is None for result in lost)
    later = [stream.add(frame(k, stamp=PERIOD * (k + 4000))) for k in range(0, 8)]
    first = [result for result in later if result is not None][0]
    assert first.trusted and first.pose.world in (0, 1)


def test_a_new_world_begins_at_the_start_pose():
    stream = stream_of(AnalyticModel(), PipelineConfig(recover_seconds=0.0))
    run(stream, range(12))
    start = pose_from_quaternion([0, 0, 1, 1], [1, 2, 3])
    stream.pipeline.start_at(start)
    results = [stream.add(frame(k, stamp=PERIOD * (k + 4000))) for k in range(32, 40)]
    first, *others = [result for result in results if result is not None]
    np.testing.assert_allclose(first.pose.world_from_camera, start)
    assert first.pose.world == 1 and first.trusted and all(r.trusted and r.pose.world == 1 for r in others)


def test_frozen_images_stand_still():
    model = AnalyticModel(noise=0.01)
    stream = stream_of(model)
    before = run(stream, range(10))[-1][1]
    results = show(stream, [image(9)] * 100, 10)
    for k, result in enumerate(results):
        assert result.trusted and result.pose.step is None and result.points is not None
        np.testing.assert_array_equal(result.pose.world_from_camera, before.pose.world_from_camera)
        np.testing.assert_array_equal(result.pose.covariance, before.pose.covariance)
        assert result.frozen_seconds == pytest.approx((k + 1) * PERIOD / 1e9)
    after = show(stream, [image(10), image(11)], 110)
    assert after[-1].trusted and after[-1].frozen_seconds == 0 and before.frozen_seconds == 0
    assert pose_error(after[-1], model.world_from_camera(5, 11))[1] < 0.3


def test_an_image_that_does_not_change_is_told_where_windows_do_not_overlap():
    stream = stream_of(AnalyticModel(), PipelineConfig(hop=20))
    result = show(stream, [image(9)] * 100, 0)[-1]
    assert result.frozen_seconds == pytest.approx(99 * PERIOD / 1e9 - 14 * PERIOD / 1e9, abs=0.4)


def test_lengths_are_in_metres_where_the_scale_is_known():
    start = pose_from_quaternion([0, 0.3, 0, 1], [1.0, 2.0, 3.0])
    results = []
    for metres in (0.0, 2.5):
        model = AnalyticModel(noise=0.005)
        stream = stream_of(model, PipelineConfig(metres=metres, depth_size=(9, 13)))
        stream.pipeline.start_at(start)
        results.append(run(stream, range(10))[-1][1])
    plain, metric = results
    assert (plain.scale.metric, metric.scale.metric, metric.scale.metres) == (False, True, 2.5)
    grown = np.outer([2.5] * 3 + [1] * 3, [2.5] * 3 + [1] * 3)
    np.testing.assert_allclose(metric.points.xyz, 2.5 * plain.points.xyz, rtol=1e-5)
    np.testing.assert_allclose(metric.tracks.velocities, 2.5 * plain.tracks.velocities, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(metric.pose.covariance, grown * plain.pose.covariance, rtol=1e-6)
    np.testing.assert_allclose(metric.pose.step.covariance, grown * plain.pose.step.covariance, rtol=1e-6)
    np.testing.assert_allclose(metric.pose.step.i_from_j[:3, 3], 2.5 * plain.pose.step.i_from_j[:3, 3])
    # The start is in metres already.
    moved = [result.pose.world_from_camera[:3, 3] - start[:3, 3] for result in results]
    np.testing.assert_allclose(moved[1], 2.5 * moved[0], atol=1e-9)
    # Tracks stay where the camera sees them.
    newest = metric.tracks.positions[:, -1]
    seen = (newest - metric.pose.world_from_camera[:3, 3]) @ metric.pose.world_from_camera[:3, :3]
    plain_seen = (
        plain.tracks.positions[:, -1] - plain.pose.world_from_camera[:3, 3]
    ) @ plain.pose.world_from_camera[:3, :3]
    np.testing.assert_allclose(seen, 2.5 * plain_seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "bad", [dict(metres=-1.0), dict(recover_seconds=-1.0), dict(max_gap=1.0), dict(metres=np.nan)]
)
def test_configurations_that_cannot_be(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        stream_of(AnalyticModel(), PipelineConfig(**bad))


def test_a_pose_weighs_answers_by_their_confidence():
    """Half of the answers are off by as much as noise, all to one side, and say that they are not sure."""

    def spoil(answer):
        answer.uv[::2, 0] += 0.7
        answer.confidence[::2] = 0.01

    # Of a camera that stands still. With equal weights the median is 1.1 degrees.
    model = AnalyticModel(change=spoil, noise=0.01, speed=0.0)
    stream = stream_of(model, PipelineConfig(pose_grid=(12, 11)))
    results = run(stream, range(14), only(pose=True))[1:]
    assert np.median([pose_error(result, BODY_FROM_OPTICAL)[0] for _, result in results]) < 0.8
