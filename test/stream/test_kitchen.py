"""The embedded model on real images: it is lost when it should be, and finds itself."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import d4rt_ros  # noqa: E402
from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole  # noqa: E402
from d4rt_ros.stream import Frame, Pipeline, PipelineConfig, Stream, only  # noqa: E402

KITCHEN = Path(__file__).parents[3] / "shared" / "data" / "kitchen"
CAMERA = Pinhole.centred(525.0, 525.0, 640, 480)
PERIOD = 1 / 15

pytestmark = pytest.mark.skipif(
    not KITCHEN.is_dir(), reason="real images are not here: ../shared/data is absent"
)


@lru_cache
def image(k):
    import cv2

    return cv2.imread(str(sorted(KITCHEN.glob("*.color.jpg"))[k]))[..., ::-1].copy()


@pytest.fixture(scope="module")
def model():
    return d4rt_ros.load()


def run(model, shown, **config):
    """Results of (seconds, image), with the pose alone."""
    stream = Stream(Pipeline(model, PipelineConfig(**config)))
    added = (stream.add(Frame(rgb, round(1e9 * (1 + t)), CAMERA), only(pose=True)) for t, rgb in shown)
    return [result for result in added if result is not None]


def kitchen(first, count, start):
    return [(start + k * PERIOD, image(first + k)) for k in range(count)]


def test_black_images_lose_it_at_once_and_it_finds_itself(model):
    black = [(10 * PERIOD + k * PERIOD, np.zeros((480, 640, 3), np.uint8)) for k in range(30)]
    results = run(model, [*kitchen(0, 10, 0.0), *black, *kitchen(10, 10, 40 * PERIOD)])
    good, lost, found = results[:3], results[3:33], results[40:]
    assert all(result.trusted for result in good) and len(found) == 3
    assert all(result.problem for result in lost) and lost[-1].frozen_seconds > 1.9
    for result in lost:
        np.testing.assert_array_equal(result.pose.world_from_camera, good[-1].pose.world_from_camera)
    assert all(result.trusted and result.pose.world == 0 for result in found)
    moved = found[0].pose.world_from_camera[:3, 3] - good[-1].pose.world_from_camera[:3, 3]
    assert (
        0 < np.linalg.norm(moved) < 0.2 and found[-1].pose.covariance[0, 0] > good[-1].pose.covariance[0, 0]
    )


def test_a_pause_of_two_seconds_is_bridged(model):
    results = run(model, [*kitchen(0, 10, 0.0), *kitchen(14, 10, 3.0)])
    assert [result.trusted for result in results] == [True] * 6 and results[-1].pose.world == 0
    assert results[3].window.stamps[0] >= 4e9


def test_after_two_minutes_and_elsewhere_a_new_world_begins(model):
    results = run(model, [*kitchen(0, 10, 0.0), *kitchen(70, 9, 120.0)])
    assert [result.pose.world for result in results] == [0, 0, 0, 1, 1]
    assert (
        all(result.trusted for result in results) and "one motion of the camera" in results[-1].pose.last_loss
    )
    np.testing.assert_allclose(results[3].pose.world_from_camera, BODY_FROM_OPTICAL)


def test_frames_dropped_do_no_harm(model):
    rng = np.random.default_rng(0)
    results = run(model, [shown for shown in kitchen(0, 30, 0.0) if rng.random() > 0.4])
    assert len(results) > 6 and all(result.trusted and result.pose.world == 0 for result in results)


def test_a_jump_of_the_exposure_loses_no_scene(model):
    """The model's own pose may suffer from it, and is then not trusted for a while."""
    results = run(model, [(t, rgb if t < 0.9 else rgb // 2) for t, rgb in kitchen(0, 28, 0.0)])
    assert all(not result.problem and result.pose.world == 0 for result in results)
    assert np.mean([result.trusted for result in results]) > 0.7 and results[-1].trusted


def test_windows_that_do_not_overlap_are_joined(model):
    """As where the model is so slow that windows are skipped."""
    results = run(model, kitchen(0, 36, 0.0), hop=9)
    assert len(results) == 4 and all(result.trusted and result.pose.world == 0 for result in results)
