"""Tracks against files of which the model knows the truth, or nothing."""

import numpy as np
import pytest

from d4rt_ros.evaluation.point_tracks import evaluate_tapvid3d, evaluate_worldtrack
from d4rt_ros.io.recorded import RecordedError

CLIPS = [range(0, 4), range(4, 8)]


def test_the_truth_is_perfect_on_tapvid3d(true_model, track_file):
    model = true_model(CLIPS)
    jaccard, within, occlusion = evaluate_tapvid3d(model, [track_file()])
    # In the first clip points are asked for in its frame 0; in the second, in frame 5 of the file.
    assert model.asked == 2 and jaccard.count == 2
    assert min(jaccard.value, within.value, occlusion.value) > 0.97
    assert jaccard.baseline < 0.8 * jaccard.value and "TAPVid-3D AJ" in jaccard.name


def test_the_truth_is_perfect_on_worldtrack(true_model, track_file, tmp_path):
    model = true_model(CLIPS[:1])
    apd, epe = evaluate_worldtrack(model, [track_file()], most=1, pictures=tmp_path / "pictures")
    assert apd.value > 0.999 and epe.value < 1e-3 < epe.baseline
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["clip_0000.png"]


def test_what_never_moves_is_the_baseline(still_model, track_file):
    """But for the focal length, that the trivial model does not know."""
    for evaluate in (evaluate_tapvid3d, evaluate_worldtrack):
        for figure in evaluate(still_model, [track_file()]):
            assert figure.value == pytest.approx(figure.baseline, abs=0.35) and figure.count == 4


def test_a_still_camera_needs_no_extrinsics(still_model, track_file):
    assert evaluate_worldtrack(still_model, [track_file(extrinsics_w2c=None)])[0].count == 4


def test_files_without_a_clip(true_model, still_model, track_file):
    with pytest.raises(RecordedError, match="has 8 frames; a clip of this model needs 9"):
        evaluate_tapvid3d(true_model([], 9), [track_file()])
    unseen = track_file(visibility=np.zeros((8, 48), bool))
    for evaluate in (evaluate_tapvid3d, evaluate_worldtrack):
        with pytest.raises(RecordedError, match="none of the files has a clip"):
            evaluate(still_model, [unseen])
