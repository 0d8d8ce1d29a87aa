"""Points followed through images of which every pixel's way is known: one textured picture, warped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.stream.tracker import Tracker

cv2 = pytest.importorskip("cv2")
HEIGHT, WIDTH = 180, 240
STEP = 66_666_667  # ns


def texture(seed=0, side=600):
    """(side, side, 3) uint8 with detail of every size."""
    rng = np.random.default_rng(seed)
    layers = (
        cv2.resize(rng.normal(size=(n, n, 3)), (side, side), interpolation=cv2.INTER_CUBIC) / n**0.5
        for n in (10, 30, 90, 200)
    )
    image = sum(layers)
    return np.clip(image / image.std() * 40 + 128, 0, 255).astype(np.uint8)


PAPER = texture()


def shot(shift, gain=1.0):
    """A view of the paper whose points lie `shift` pixels further right and down than they do in the first."""
    x, y = shift
    matrix = np.float64([[1, 0, x - 180], [0, 1, y - 210]])
    image = cv2.warpAffine(PAPER, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


@settings(max_examples=20)
@given(st.floats(-12, 12), st.floats(-12, 12))
def test_a_shifted_image_moves_every_point_by_the_shift(x, y):
    tracker = Tracker()
    tracker.follow(shot((0, 0)), 0)
    before = dict(zip(tracker.ids, tracker.pixels.copy()))
    tracker.follow(shot((x, y)), STEP)
    lived = [i for i, (id, seen) in enumerate(zip(tracker.ids, tracker.seen)) if seen and id in before]
    assert len(lived) > 0.7 * len(before)
    moved = tracker.pixels[lived] - np.array([before[id] for id in tracker.ids[lived]])
    error = np.linalg.norm(moved - [x, y], axis=1)
    assert np.median(error) < 0.1 and error.max() < 1.0
