"""Points that are followed, judged against a world of which every pixel's way is known."""

import numpy as np
import pytest

from d4rt_ros.evaluation.run_tracks import (
    TrackRows,
    Whereabouts,
    lives,
    motion_errors,
    returns,
    survivals,
)

SIZE = 48, 64  # (height, width), so that a pixel of the image is one of 64 across and 64 / 48 down
STAMPS = np.round(np.arange(200) * 1e9 / 15).astype(np.int64)


def sliding(pixels, t_src, t_tgt):
    """All goes 0.1 pixels to the left from frame to frame, but what lies in the lower half, which moves, to the right;
    between columns 30 and 35 a post hides the upper half."""
    pixels = np.asarray(pixels, float)
    moving = pixels[:, 1] > 24
    there = pixels + np.stack([np.where(moving, 0.1, -0.1) * (t_tgt - t_src), 0 * t_src], 1)
    inside = ((there >= 0) & (there <= [63, 47])).all(1)
    hidden = ~moving & (there[:, 0] > 30) & (there[:, 0] < 30.5)
    return Whereabouts(there, inside & ~hidden, moving)


def followed(starts, frames, drift=0.0, rename=0, hide=False):
    """TrackRows of points that begin at pixels of frame 0; each frame they are `drift` pixels farther from the truth.
    rename: frames after which a point gets another id, 0: never. hide: not seen where the post hides it."""
    rows = []
    for k, start in enumerate(starts):
        for frame in range(frames):
            right = sliding([start], np.array([0]), np.array([frame]))
            if hide and not right.visible[0]:
                continue
            id = k + 1000 * (frame // rename if rename else 0)
            rows.append((id, frame, *(right.pixels[0] + [drift * frame, 0])))
    track, frame, x, y = np.array(rows).T
    return TrackRows(track.astype(int), frame.astype(int), np.stack([x, y], 1), np.ones(len(rows), bool))


def test_true_points_have_no_error_and_still_ones_have_the_motions():
    errors = motion_errors(followed([(50, 10), (10, 40)], 40), sliding, range(8, 40), SIZE)
    assert len(errors["static"]) == len(errors["moving"]) == 32 * 7
    assert max(errors["static"].max(), errors["moving"].max()) < 1e-9
    assert errors["no motion static"].mean() == pytest.approx(0.4)  # 0.1 to 0.7 pixels


def test_drift_within_a_window_is_an_error():
    errors = motion_errors(followed([(50, 10)], 40, drift=0.05), sliding, range(8, 40), SIZE)
    assert errors["static"].mean() == pytest.approx(0.2)  # 0.05 to 0.35
    assert not len(errors["moving"])


def test_pixels_are_of_a_square_image():
    rows = followed([(50, 10)], 40)
    off = TrackRows(
        rows.track, rows.frame, rows.pixel + np.stack([0 * rows.frame, 0.3 * (rows.frame % 2)], 1), rows.seen
    )
    errors = motion_errors(off, sliding, [20], SIZE)["static"]
    # Every second of the 7 frames before, and 64 / 48 of the image's own pixels.
    assert errors.mean() == pytest.approx(4 / 7 * 0.3 * 64 / 48)


def test_points_that_the_track_does_not_see_do_not_count():
    rows = followed([(50, 10), (52, 12)], 40)
    unseen = TrackRows(rows.track, rows.frame, rows.pixel, rows.track == 0)
    assert len(motion_errors(unseen, sliding, [20], SIZE)["static"]) == 7


def test_names_that_last_and_names_that_do_not():
    starts = [(50, 10), (55, 12), (60, 14), (10, 40)]
    kept = followed(starts, 150)
    assert lives(kept, sliding, range(8, 140, 8), SIZE).all()
    whole = survivals(kept, sliding, [0, 25], SIZE)
    assert whole.all() and len(whole) == 6  # what moves does not count
    renamed = followed(starts, 150, rename=60)
    assert not survivals(renamed, sliding, [0, 25], SIZE).any()
    living = lives(renamed, sliding, range(8, 140, 8), SIZE)
    assert 0.9 < living.mean() <= 1 and not lives(renamed, sliding, [59], SIZE).any()


def test_a_name_at_the_wrong_place_has_not_lasted():
    drifting = followed([(50, 10)], 150, drift=0.02)
    assert lives(drifting, sliding, [8], SIZE).all() and not survivals(drifting, sliding, [0], SIZE).any()


def test_points_that_leave_or_are_hidden_are_not_asked_for():
    assert not len(survivals(followed([(33, 10), (3, 12)], 150), sliding, [0], SIZE))


def test_points_come_back_under_their_name_or_do_not():
    starts = [(31 + 0.1 * k, 5.0 + k) for k in range(5)]
    good = followed(starts, 60, hide=True)
    came = returns(good, sliding, [0], SIZE, STAMPS)
    assert came.all() and len(came) == 5
    # The k-th is hidden from about frame 6 + k to frame 10 + k.
    since = good.frame - good.track
    new = TrackRows(good.track + 100 * (since > 8), good.frame, good.pixel, good.seen)
    assert not returns(new, sliding, [0], SIZE, STAMPS).any()
    kept = (since <= 8) | (since > 20)  # later than half a second
    late = TrackRows(good.track[kept], good.frame[kept], good.pixel[kept], good.seen[kept])
    came = returns(late, sliding, [0], SIZE, STAMPS)
    assert not came.any() and len(came) == 5


def test_an_occlusion_is_counted_once():
    good = followed([(31, 5)], 60, hide=True)
    assert len(returns(good, sliding, [0, 2, 4], SIZE, STAMPS)) == 1


def test_nothing_followed_is_nothing_judged():
    none = TrackRows(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, bool))
    assert not len(motion_errors(none, sliding, range(8, 40), SIZE)["static"])
    for judged in (lives(none, sliding, [8], SIZE), survivals(none, sliding, [0], SIZE)):
        assert not len(judged)
    assert not len(returns(none, sliding, [0], SIZE, STAMPS))
