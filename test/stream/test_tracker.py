"""Points followed through images of which every pixel's way is known: one textured picture, warped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4rt_ros.stream.tracker import KEPT, Tracker

cv2 = pytest.importorskip("cv2")
HEIGHT, WIDTH = 180, 240
STEP = 66_666_667  # ns


def texture(seed, side=600):
    """(side, side, 3) uint8 with detail of every size."""
    rng = np.random.default_rng(seed)
    layers = (
        cv2.resize(rng.normal(size=(n, n, 3)), (side, side), interpolation=cv2.INTER_CUBIC) / n**0.5
        for n in (10, 30, 90, 150)
    )
    image = sum(layers)
    return np.clip(image / image.std() * 40 + 128, 0, 255).astype(np.uint8)


PAPER, OTHER = texture(0), texture(1)


def way(shift=(0, 0), turn=0.0, zoom=1.0, width=WIDTH, height=HEIGHT):
    """(2, 3) where the pixels of the first view lie when the paper is turned (degrees), larger, and further on."""
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    matrix[:, 2] += shift
    return matrix


def shot(*args, width=WIDTH, height=HEIGHT, **kwargs):
    """A view of the paper."""
    matrix = way(*args, width=width, height=height, **kwargs)
    first = np.float64([[1, 0, -(600 - width) / 2], [0, 1, -(600 - height) / 2], [0, 0, 1]])
    return cv2.warpAffine(PAPER, matrix @ first, (width, height), flags=cv2.INTER_CUBIC)


def moved(pixels, *args, **kwargs):
    matrix = way(*args, **kwargs)
    return pixels @ matrix[:, :2].T + matrix[:, 2]


def followed(images, step=STEP, **kwargs):
    tracker = Tracker(**kwargs)
    for i, image in enumerate(images):
        tracker.follow(image, i * step)
    return tracker


def start(**kwargs):
    """A tracker of the first view, and where it has its points: ids (N,) and pixels (N, 2)."""
    tracker = followed([shot()], **kwargs)
    return tracker, tracker.ids.copy(), tracker.pixels.copy()


def again(tracker, ids):
    """Which of the ids (N,) are seen, and where they are (N, 2)."""
    where = {int(id): pixel for id, pixel, seen in zip(tracker.ids, tracker.pixels, tracker.seen) if seen}
    pixels = np.array([where.get(int(id), (np.nan, np.nan)) for id in ids])
    return np.isfinite(pixels).all(axis=1), pixels


def inside(pixels, margin=8):
    return ((pixels > margin) & (pixels < np.array([WIDTH, HEIGHT]) - margin)).all(axis=1)


@settings(max_examples=10)
@given(st.floats(-25, 25), st.floats(-25, 25))
def test_a_shifted_image_moves_every_point_by_the_shift(x, y):
    tracker, ids, pixels = start()
    tracker.follow(shot((x, y)), STEP)
    seen, now = again(tracker, ids)
    stay = inside(moved(pixels, (x, y)))
    assert seen[stay].mean() > 0.9
    error = np.linalg.norm(now - moved(pixels, (x, y)), axis=1)[seen]
    assert np.median(error) < 0.1 and (error < 1).mean() > 0.9


def test_points_keep_their_id_while_the_view_turns_and_nears():
    tracker, ids, pixels = start()
    for i in range(1, 41):
        tracker.follow(shot((0.8 * i, -0.4 * i), 0.6 * i, 1 + 0.008 * i), i * STEP)
    true = moved(pixels, (32, -16), 24, 1.32)
    seen, now = again(tracker, ids)
    assert seen[inside(true)].mean() > 0.8
    assert np.median(np.linalg.norm(now - true, axis=1)[seen]) < 1.5


def test_pixels_are_those_of_the_full_image():
    tracker = followed([shot(width=560, height=420)])
    ids, pixels = tracker.ids.copy(), tracker.pixels.copy()
    assert pixels[:, 0].max() > 500
    tracker.follow(shot((9, -7), width=560, height=420), STEP)
    seen, now = again(tracker, ids)
    assert np.median(np.abs(now - pixels - [9, -7])[seen]) < 0.15


@pytest.mark.parametrize("gain", [0.5, 1.6])
def test_exposure_that_jumps_loses_few(gain):
    tracker, ids, pixels = start()
    tracker.follow(np.clip(shot((3, 2)) * gain, 0, 255).astype(np.uint8), STEP)
    seen, now = again(tracker, ids)
    assert seen.mean() > 0.75
    assert np.median(np.abs(now - pixels - [3, 2])[seen]) < 0.15


def test_a_blurred_image_loses_few():
    tracker, ids, _ = start()
    for i in range(1, 6):
        tracker.follow(shot((2 * i, 0)), i * STEP)
    before = again(tracker, ids)[0]
    tracker.follow(cv2.blur(shot((12, 0)), (15, 1)), 6 * STEP)
    tracker.follow(shot((14, 0)), 7 * STEP)
    assert again(tracker, ids)[0].sum() > 0.85 * before.sum()


def test_large_motion_is_found_by_the_whole_image_or_by_who_expects_it():
    shift, turn = (-55, 30), 6
    tracker, ids, pixels = start()
    true = moved(pixels, shift, turn)
    stay = inside(true)
    tracker.follow(shot(shift, turn), STEP)
    assert again(tracker, ids)[0][stay].mean() > 0.4
    # A wrong guess beside the right one does no harm, whichever comes first.
    for guesses in ([true, pixels + 40], [pixels + 40, true]):
        told = start()[0]
        told.follow(shot(shift, turn), STEP, guesses)
        seen, now = again(told, ids)
        assert seen[stay].mean() > 0.8
        assert np.median(np.linalg.norm(now - true, axis=1)[seen]) < 0.3


def with_cover(image, left):
    """The image with a thing of another texture that hides 90 columns."""
    image = image.copy()
    left, right = max(left, 0), min(left + 90, WIDTH)
    if left < right:
        image[:, left:right] = OTHER[:HEIGHT, : right - left]
    return image


@pytest.mark.parametrize("told", [False, True])
def test_points_come_back_under_their_id_after_half_a_second_behind_something(told):
    tracker = followed([shot() for _ in range(8)])
    ids, pixels = tracker.ids.copy(), tracker.pixels.copy()
    hidden = (pixels[:, 0] > 80) & (pixels[:, 0] < 160)
    for i in range(8, 16):
        where = dict(zip(ids, moved(pixels, (i - 8, 0))))
        expected = [np.array([where.get(id, (np.nan, np.nan)) for id in tracker.ids])] if told else ()
        tracker.follow(with_cover(shot((i - 8, 0)), 75), i * STEP, expected)
    assert again(tracker, ids[hidden & (pixels[:, 0] < 145)])[0].mean() < 0.1
    tracker.follow(shot((8, 0)), 16 * STEP)
    seen, now = again(tracker, ids[hidden])
    assert seen.mean() > 0.5
    assert np.median(np.abs(now - pixels[hidden] - [8, 0])[seen]) < 0.3


def test_points_do_not_slide_along_with_what_hides_them():
    tracker, ids, pixels = start()
    for i in range(1, 40):
        tracker.follow(with_cover(shot(), 6 * i - 90), i * STEP)
        seen, now = again(tracker, ids)
        assert (np.linalg.norm(now - pixels, axis=1)[seen] > 3).mean() < 0.04


def test_unseen_points_die_by_the_stamps():
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    tracker, ids, _ = start(unseen_seconds=1.0)
    tracker.follow(black, int(0.9e9))
    assert np.array_equal(tracker.ids, ids) and not tracker.seen.any() and (tracker.last_seen == 0).all()
    tracker.follow(shot(), int(1.0e9))  # they are back in time
    assert again(tracker, ids)[0].mean() > 0.9
    tracker.follow(black, int(2.1e9))
    assert not len(tracker.ids)
    tracker.follow(shot(), int(2.2e9))  # who is forgotten comes back as another
    assert len(tracker.ids) and tracker.ids.min() > ids.max()
    # A gap between the stamps is no reason to forget what is there.
    tracker.follow(shot(), int(9e9))
    assert tracker.seen.mean() > 0.9 and (tracker.last_seen[tracker.seen] == int(9e9)).all()


@settings(max_examples=6)
@given(st.integers(0, 80), st.integers(0, 10))
def test_never_more_than_most_and_none_too_near_another(most, seed):
    rng = np.random.default_rng(seed)
    tracker = Tracker(most)
    for i in range(6):
        image = (shot(), OTHER[:HEIGHT, :WIDTH], np.zeros((HEIGHT, WIDTH, 3), np.uint8))[rng.integers(3)]
        tracker.follow(image, i * STEP)
        assert len(tracker.ids) <= most and len(np.unique(tracker.ids)) == len(tracker.ids)
        apart = np.linalg.norm(tracker.pixels[:, None] - tracker.pixels[None], axis=2)
        apart = apart[np.ix_(tracker.seen, tracker.seen)] + 99 * np.eye(tracker.seen.sum())
        assert (apart > 6).all()


def test_what_is_hidden_keeps_its_place_for_a_while_and_what_has_left_does_not():
    many = int(0.4e9 // STEP) + 1
    cover = shot()
    cover[:, WIDTH // 2 :] = OTHER[:HEIGHT, WIDTH // 2 : WIDTH]
    tracker = followed([shot()] * many, most=60)
    hidden = tracker.ids[tracker.pixels[:, 0] > WIDTH // 2 + 10]
    for i in range(many, 2 * many):
        tracker.follow(cover, i * STEP)
    assert np.isin(hidden, tracker.ids).all() and again(tracker, hidden)[0].mean() < 0.1
    tracker.follow(shot(), 2 * many * STEP)
    assert again(tracker, hidden)[0].mean() > 0.9
    # Half of the view leaves at one side; what comes in at the other is covered at once.
    tracker = followed([shot()] * many, most=60)
    for i in range(8):
        tracker.follow(shot((-20 * (i + 1), 0)), (many + i) * STEP)
    assert (tracker.pixels[tracker.seen, 0] > WIDTH - 150).sum() >= 20


def test_points_are_born_where_they_may_be():
    usable = np.zeros((HEIGHT, WIDTH), bool)
    usable[:, :100] = True
    tracker = Tracker()
    tracker.follow(shot(), 0, usable=usable)
    assert len(tracker.ids) > 20 and tracker.pixels[:, 0].max() < 100
    tracker.follow(shot(), STEP)
    assert tracker.pixels[:, 0].max() > 200


def test_what_the_newest_images_showed_is_remembered():
    tracker = Tracker(most=20)
    for i in range(KEPT + 6):
        tracker.follow(shot((0.2 * i, 0)), i * STEP)
        if i == 30:
            ids, pixels = tracker.ids.copy(), tracker.pixels.copy()
    known = tracker.at(30 * STEP)
    assert (
        np.array_equal(known.ids, ids)
        and np.array_equal(known.pixels, pixels)
        and known.seen.shape == ids.shape
    )
    assert tracker.at(5 * STEP) is None and tracker.at(30 * STEP + 1) is None


def test_forgotten_points_and_a_restart():
    tracker, ids, _ = start()
    tracker.forget(ids[::2])
    assert np.array_equal(tracker.ids, ids[1::2])
    tracker.restart()
    assert not len(tracker.ids) and tracker.at(0) is None
    tracker.follow(shot(), 0)
    assert tracker.ids.min() > ids.max() and (tracker.born == 0).all()


def test_wrong_input_is_refused_and_loses_nothing():
    tracker, ids, pixels = start()
    with pytest.raises(ValueError, match="order of their stamps"):
        tracker.follow(shot(), 0)
    with pytest.raises(ValueError, match="a row"):
        tracker.follow(shot(), STEP, [pixels[1:]])
    assert np.array_equal(tracker.ids, ids) and np.array_equal(tracker.pixels, pixels)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 9), (40, 2000)])
def test_images_of_any_size(size):
    tracker, image = start()[0], np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    for i in range(1, 4):
        tracker.follow(image, i * STEP)
    tracker.follow(shot(), 4 * STEP)
    assert len(tracker.ids)
