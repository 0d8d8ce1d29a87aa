"""Truth from depth and poses, against what a rendered scene is known to be; from tracks, computed by hand."""

import numpy as np
import pytest
import torch
from training.recorded_scenes import FRAMES, HEIGHT, WIDTH, rendered_sequence, wall_sequence

from d4rt_ros.scenes import ground_truth
from d4rt_ros.training.recorded_clips import cut_clip, nearest, reduced
from d4rt_ros.training.recorded_truth import answerable_times, depth_truth, track_candidates, track_truth

SIZE = 24, 40  # of the model's images
WHOLE = np.array([0.0, 0, 1, 1])


def clip_of(sequence, frames=range(FRAMES), window=WHOLE, size=SIZE):
    return cut_clip(sequence, list(frames), window, size, lambda i: reduced(sequence.frame(i), *size))


def asked(clip, count=600, seed=0, centres=True):
    """uv at the centres of the depth's pixels, and any times."""
    random = np.random.default_rng(seed)
    height, width = clip.depth.shape[1:]
    pixels = np.stack((random.integers(0, width, count), random.integers(0, height, count)), -1)
    return clip.uv(pixels), random.integers(0, len(clip.rgb), (count, 3))


@pytest.fixture(scope="module")
def still():
    return rendered_sequence()


def known_of(scenes, times, clip, uv, frames):
    """What the scene itself says of the same queries."""
    place = torch.from_numpy(clip.pixels(uv) / (WIDTH - 1, HEIGHT - 1)).float()[None]
    return ground_truth(scenes, times, place, *torch.from_numpy(frames.T.copy())[:, None])


def test_a_still_scene_is_known_at_all_times(still):
    sequence, scenes, times = still
    clip = clip_of(sequence)
    uv, frames = asked(clip)
    truth, exact = depth_truth(clip, uv, frames), known_of(scenes, times, clip, uv, frames)
    known = truth["knows_xyz"]
    assert known.mean() > 0.95
    np.testing.assert_allclose(
        truth["xyz"][known] * clip.unit, exact.xyz[0].numpy()[known], atol=2e-3, rtol=1e-3
    )
    assert (truth["displacement"] == 0).all()
    where = clip.uv(exact.uv[0].numpy() * (WIDTH - 1, HEIGHT - 1))
    np.testing.assert_allclose(truth["uv"][truth["knows_uv"]], where[truth["knows_uv"]], atol=2e-3)
    sure = truth["knows_visibility"]
    assert (truth["visibility"][sure] == exact.visibility[0].numpy()[sure]).mean() > 0.95
    assert truth["visibility"][sure].mean() < 0.99, "some points are hidden or out of view"


def test_normals_are_those_of_the_surface(still):
    sequence, scenes, times = still
    clip = clip_of(sequence)
    uv, frames = asked(clip)
    truth, exact = depth_truth(clip, uv, frames), known_of(scenes, times, clip, uv, frames)
    smooth = truth["knows_normal"]
    assert smooth.mean() > 0.4
    cosine = (truth["normal"] * exact.normal[0].numpy()).sum(-1)[smooth]
    assert np.median(cosine) > 0.999 and (cosine > 0.9).mean() > 0.95


def test_colours_agree_where_points_are_seen(still):
    """A crop: the picture at uv of t_src and at the answer in t_tgt show the same point."""
    clip = clip_of(still[0], window=np.array([0.1, 0.2, 0.8, 0.9]), size=(36, 60))
    assert clip.depth.shape[1:] == (34, 56) and clip.aspect == pytest.approx(56 / 34)
    uv, frames = asked(clip)
    truth = depth_truth(clip, uv, frames)
    inside = (truth["visibility"] > 0) & truth["knows_uv"] & (frames[:, 0] != frames[:, 1])
    height, width = clip.rgb.shape[1:3]

    def colour(t, place):
        x, y = np.clip(place * (width - 1, height - 1), 0, (width - 1, height - 1)).round().astype(int).T
        return clip.rgb[t, y, x].astype(float)

    here, there = colour(frames[inside, 0], uv[inside]), colour(frames[inside, 1], truth["uv"][inside])
    same = np.median(np.abs(here - there).mean(-1))
    others = np.median(np.abs(here - np.roll(there, 7, 0)).mean(-1))
    assert same < 12 and same < others / 2


def test_a_thing_that_is_gone_is_not_known(still):
    sequence, *_ = still
    clip = clip_of(sequence)
    clip.depth[3] *= 1.5  # all that is seen there in frame 3 is farther than it was
    uv, frames = asked(clip)
    truth = depth_truth(clip, uv, frames)
    inside = ((truth["uv"] > 0) & (truth["uv"] < 1)).all(-1)
    into = (frames[:, 1] == 3) & (frames[:, 0] != 3) & inside
    assert into.any() and truth["knows_xyz"][into].mean() < 0.1
    assert truth["knows_xyz"][(frames == 2).all(-1)].all()


def test_unknown_depth(still):
    clip = clip_of(still[0])
    clip.depth[:, :, : WIDTH // 2] = np.nan
    uv, frames = asked(clip)
    truth = depth_truth(clip, uv, frames)
    assert not truth["knows_xyz"][uv[:, 0] < 0.45].any()
    into = (
        truth["knows_xyz"]
        & (truth["uv"] < 0.4).all(-1)
        & (truth["uv"] > 0).all(-1)
        & (frames[:, 0] != frames[:, 1])
    )
    assert not truth["knows_visibility"][into].any() and truth["knows_uv"][into].all()
    assert truth["knows_visibility"][truth["knows_xyz"] & (frames[:, 0] == frames[:, 1])].all()


def test_times_that_can_be_answered():
    times = np.array([[0, 1, 2], [0, 1, 1], [2, 2, 0]])
    np.testing.assert_array_equal(answerable_times(times, static=True, posed=True), times)
    np.testing.assert_array_equal(answerable_times(times, False, True), [[0, 0, 2], [0, 0, 0], [2, 2, 0]])
    np.testing.assert_array_equal(answerable_times(times, True, False), [[0] * 3, [0] * 3, [2] * 3])


def test_tracks_by_hand():
    clip = clip_of(wall_sequence(), range(4))
    pairs, uv, moving = track_candidates(clip)
    assert len(pairs) == 4 + 2 + 4 and {tuple(p) for p in pairs[pairs[:, 0] == 1]} == {(1, 0), (1, 2)}
    np.testing.assert_array_equal(moving, pairs[:, 0] == 2)
    # Camera at x = 0.1 t, focal length 60 pixels, centre (40, 24); point 2 is at (0, 0.05 t, 2).
    place = clip.pixels(uv[(pairs == (2, 3)).all(-1)][0])
    np.testing.assert_allclose(place, [40 - 0.3 / 2 * 60, 24 + 0.15 / 2 * 60])

    truth = track_truth(clip, np.array([2, 1, 0]), np.array([[0, 3, 1], [0, 1, 1], [2, 2, 0]]))
    np.testing.assert_allclose(truth["xyz"] * 4, [[-0.1, 0.15, 2], [0.5, -0.3, 4], [-0.5, 0.2, 4]], atol=1e-6)
    np.testing.assert_allclose(truth["displacement"] * 4, [[0, 0.15, 0], [0] * 3, [0] * 3], atol=1e-6)
    np.testing.assert_allclose(clip.pixels(truth["uv"].astype(float))[0], [31, 28.5], atol=1e-4)
    np.testing.assert_array_equal(truth["visibility"], [1, 0, 1])
    assert truth["knows_uv"].all() and not truth["knows_normal"].any()


def test_nearest_takes_the_middle_of_each_new_pixel():
    image = np.arange(48).reshape(6, 8)
    np.testing.assert_array_equal(nearest(image, 2, 4), [[9, 11, 13, 15], [33, 35, 37, 39]])
    np.testing.assert_array_equal(nearest(image, 6, 8), image)
