"""TAPVid-3D's metrics: by hand, and the numbers of the benchmark's own implementation."""

import numpy as np
import pytest

from d4rt_ros.evaluation import tapvid3d
from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.tapvid import SCALINGS

FOCAL = (100.0, 100.0, 60.0, 40.0)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("kind", ["depth", "fixed"])
def test_the_reference_gives_the_same_numbers(shared, scaling, kind):
    d = np.load(shared / "golden" / "tapvid3d.npz")
    ours = tapvid3d(
        *(d[name] for name in ("gt_tracks", "gt_occluded", "pred_tracks", "pred_occluded", "intrinsics")),
        scaling=scaling,
        query_points=d["query_points"],
        fixed_thresholds=kind == "fixed",
    )
    reference = {k.split("|")[2]: float(d[k]) for k in d.files if k.startswith(f"{scaling}|{kind}|")}
    assert len(reference) == 13 and ours == pytest.approx(reference, abs=1e-9)


def some():
    """Two tracks over two frames at 2 m, where a pixel is 2 cm; the last of the four points is hidden.

    The first is exact, the second off by 7 cm (3.5 px), the third by 40 cm (20 px).
    """
    truth = np.array([[[0, 0, 2.0], [0, 0, 2]], [[1, 0, 2], [1, 0, 2]]])
    guess = truth + np.array([[[0, 0, 0], [0.07, 0, 0]], [[0, 0.4, 0], [0, 0, 0]]])
    return truth, np.array([[False, False], [False, True]]), guess


def test_by_hand():
    truth, hidden, guess = some()
    figures = tapvid3d(truth, hidden, guess, hidden, FOCAL, "none")
    assert [figures[f"pts_within_{n}"] for n in (1, 2, 4, 8, 16)] == pytest.approx([1 / 3] * 2 + [2 / 3] * 3)
    # One near of three, two wrongly placed: 1 / (3 + 2); then two near, one wrongly placed: 2 / (3 + 1).
    assert [figures[f"jaccard_{n}"] for n in (1, 2, 4, 8, 16)] == pytest.approx([0.2] * 2 + [0.5] * 3)
    assert figures["average_jaccard"] == pytest.approx(0.38) and figures["occlusion_accuracy"] == 1
    fixed = tapvid3d(truth, hidden, guess, hidden, FOCAL, "none", fixed_thresholds=True)
    assert [fixed[f"pts_within_{n}"] for n in (1, 2, 4, 8, 16)] == pytest.approx([1 / 3] * 2 + [2 / 3, 1, 1])


def test_what_is_wrongly_seen_or_hidden_costs_jaccard():
    truth, hidden, _ = some()
    wrong = np.array([[True, False], [False, False]])
    figures = tapvid3d(truth, hidden, truth, wrong, FOCAL, "none")
    # Two of three hit; the hidden point that is said to be seen is one more.
    assert figures["jaccard_16"] == pytest.approx(2 / 4) and figures["pts_within_16"] == 1
    assert figures["occlusion_accuracy"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("scaling", ["median", "mean", "per_trajectory"])
def test_a_scale_is_taken_out(scaling):
    truth, hidden, _ = some()
    figures = tapvid3d(truth, hidden, 3 * truth, hidden, FOCAL, scaling, np.array([[0, 0, 0], [0, 0, 0]]))
    assert figures["average_jaccard"] == 1
    one_each = truth * np.array([2.0, 5.0])[:, None, None]
    figures = tapvid3d(truth, hidden, one_each, hidden, FOCAL, scaling, np.array([[1, 0, 0], [0, 0, 0]]))
    assert (figures["average_jaccard"] == 1) == (scaling == "per_trajectory")


def test_what_cannot_be_compared():
    truth, hidden, guess = some()
    with pytest.raises(MetricError, match="unknown scaling 'best'"):
        tapvid3d(truth, hidden, guess, hidden, FOCAL, "best")
    with pytest.raises(MetricError, match=r"expected two of one \(N, T, 3\)"):
        tapvid3d(truth, hidden, guess[:1], hidden, FOCAL)
    with pytest.raises(MetricError, match=r"expected \(2, 2\)"):
        tapvid3d(truth, hidden[:1], guess, hidden, FOCAL)
    with pytest.raises(MetricError, match="needs query_points"):
        tapvid3d(truth, hidden, guess, hidden, FOCAL, "per_trajectory")
    with pytest.raises(MetricError, match="outside the video's 2"):
        tapvid3d(truth, hidden, guess, hidden, FOCAL, "per_trajectory", np.full((2, 3), 2))
    with pytest.raises(MetricError, match="nothing to compare"):
        tapvid3d(truth, ~np.zeros_like(hidden), guess, hidden, FOCAL)
    with pytest.raises(MetricError, match="scaling median is not determined"):
        tapvid3d(truth, hidden, guess, ~np.zeros_like(hidden), FOCAL)
