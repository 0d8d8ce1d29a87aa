"""WorldTrack's metrics by hand."""

import numpy as np
import pytest

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.worldtrack import world_track_errors

TRUTH = np.array([[[0, 0, 1.0], [0, 0, 2]], [[0, 3, 4], [0, 6, 8]]])  # 1, 2, 5 and 10 m away


def test_by_hand():
    guess = TRUTH + np.array([[[0, 0, 0], [0.2, 0, 0]], [[0, 0, 0], [0, 8, -6]]])  # all but one as far away
    guess[0, 1] = [0, 0, 2]
    apd, epe = world_track_errors(guess, TRUTH)
    assert apd == pytest.approx(3 / 4) and epe == pytest.approx(10 / 4)
    guess[0, 0, 0] = 0.4  # off by 0.4 m: within 0.5 and 1 alone
    assert world_track_errors(guess, TRUTH)[0] == pytest.approx((2 / 4 + 2 / 4 + 3 / 4 + 3 / 4) / 4)


def test_one_scale_for_all():
    assert world_track_errors(0.01 * TRUTH, TRUTH) == (1, pytest.approx(0))
    # The medians of both are 3.5; scaling each track on its own would leave no error.
    assert world_track_errors(TRUTH * np.array([1.0, 2.0])[:, None, None], TRUTH)[1] > 0.5


def test_what_is_not_finite():
    guess, truth = TRUTH.copy(), TRUTH.copy()
    guess[0, 0], truth[1, 1] = np.nan, np.nan
    assert world_track_errors(guess, truth) == (pytest.approx(2 / 3), pytest.approx(0))
    with pytest.raises(MetricError, match="no point"):
        world_track_errors(np.full_like(TRUTH, np.nan), TRUTH)
    with pytest.raises(MetricError, match="shapes"):
        world_track_errors(TRUTH[:1], TRUTH)
