"""Queries are checked before anything is computed."""

import numpy as np
import pytest

from d4rt_ros.model.query import QueryError, check_queries

SIZE = (30, 40)  # height, width


def check(u=1.0, v=2.0, t_src=0, t_tgt=0, t_cam=0):
    return check_queries(u, v, t_src, t_tgt, t_cam, num_frames=5, size=SIZE)


def test_scalars_and_arrays_broadcast_and_negative_times_count_from_the_newest():
    queries = check(u=[1, 2, 3], t_src=-1, t_tgt=[0, -5, 4])
    assert len(queries) == 3
    assert queries.v.tolist() == [2, 2, 2]
    assert queries.t_src.tolist() == [4, 4, 4] and queries.t_tgt.tolist() == [0, 0, 4]


def test_empty_is_fine():
    assert len(check(u=np.zeros(0), v=np.zeros(0))) == 0


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"u": [1, 2], "v": [1, 2, 3]}, r"lengths \[2, 3, 1, 1, 1\]"),
        ({"u": np.nan}, "u = nan"),
        ({"v": np.inf}, "v = inf"),
        ({"u": 40}, "pixels run from 0 to 39"),
        ({"v": 30}, "pixels run from 0 to 29"),
        ({"u": -1}, "u = -1"),
        ({"t_tgt": 5}, "t_tgt = 5 is outside the window"),
        ({"t_cam": -6}, "t_cam = -6"),
        ({"t_src": 0.5}, "integers"),
    ],
)
def test_what_cannot_be_asked_is_said(bad, words):
    with pytest.raises(QueryError, match=words):
        check(**bad)
