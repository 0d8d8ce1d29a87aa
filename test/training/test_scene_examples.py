"""Examples of scenes: truth in the model's unit, the same whatever was made before, geometry and pixels agree."""

from dataclasses import replace

import pytest
import torch
from training.small_training import CONFIG

from d4rt_ros.evaluation.scenes import HELD_OUT_SEEDS, held_out
from d4rt_ros.training.check import HELD_OUT_SEED
from d4rt_ros.training.config import Crops, QueryMix, load_config
from d4rt_ros.training.draws import seed_of
from d4rt_ros.training.examples import Examples, join
from d4rt_ros.training.scene_examples import SceneSource

LENGTHS = CONFIG.model.frames, CONFIG.model.height, CONFIG.model.width
EXAMPLES = replace(
    CONFIG, batch=10, crops=Crops(), queries=QueryMix(count=300, on_moving=0.35, same_all=0.25)
)


@pytest.fixture(scope="module")
def source():
    return SceneSource(EXAMPLES)


@pytest.fixture(scope="module")
def examples(source):
    return source(4, range(10))


def same(a: Examples, b: Examples):
    assert a.names == b.names
    a, b = ({**vars(e), "names": None, **e.truth, "truth": None} for e in (a, b))
    for name in a.keys() | b.keys():
        if a[name] is not None:
            torch.testing.assert_close(a[name], b[name], atol=0, rtol=0, equal_nan=True)


def test_shapes_and_ranges(examples):
    assert examples.rgb.shape == (10, *LENGTHS, 3) and examples.rgb.dtype == torch.uint8
    assert examples.uv.shape == (10, 300, 2) and examples.times.shape == (10, 300, 3)
    assert examples.uv.min() >= 0 and examples.uv.max() <= 1
    assert examples.times.min() == 0 and examples.times.max() == LENGTHS[0] - 1
    assert len(set(examples.names)) == 10


def test_a_part_of_a_batch_made_by_another_process_at_another_time_is_the_same(examples):
    other = SceneSource(EXAMPLES)
    other(9, range(3))  # has made something else before
    same(join([other(4, range(0, 7)), other(4, range(7, 10))]), examples)
    same(examples[2:5], other(4, range(2, 5)))


def test_clips_are_asked_again_and_then_are_others(source, examples):
    again, others = source(5, range(10)), source(6, range(10))
    assert torch.equal(again.rgb, examples.rgb) and not torch.equal(again.uv, examples.uv)
    assert not torch.equal(others.rgb, examples.rgb)
    assert not torch.equal(SceneSource(replace(EXAMPLES, seed=1))(4, range(1)).rgb, examples.rgb[:1])


def test_depth_queries_answer_with_the_pixels_depth(source):
    """In units of the clip's mean depth, also in crops; the pixel is the query's, and nothing has moved."""
    config = replace(EXAMPLES, queries=QueryMix(count=300, same_all=0.6, near_edges=0.0))
    source = SceneSource(config)
    examples, depth = source(0, range(10)), source.clips(0, range(10)).rendering.depth
    truth, known = examples.truth, examples.truth["knows_xyz"]
    here = (examples.times == examples.times[..., :1]).all(-1) & known
    torch.testing.assert_close(truth["uv"][here], examples.uv[here], atol=1e-4, rtol=0)
    assert truth["displacement"][here].abs().max() < 1e-5
    t_src, (x, y) = (
        examples.times[..., 0],
        (examples.uv * torch.tensor((LENGTHS[2] - 1, LENGTHS[1] - 1))).unbind(-1),
    )
    pixel = depth[torch.arange(10)[:, None], t_src, y.round().long(), x.round().long()]
    ratio = truth["xyz"][..., 2] * depth.nanmean((1, 2, 3))[:, None] / pixel
    assert (ratio[here] - 1).abs().median() < 0.03


def test_what_stands_still_has_the_same_colour_where_it_is_seen_again(examples):
    """uv of another frame points at the same thing: its colour differs less than that of the query's own place."""
    truth, times = examples.truth, examples.times
    seen = (truth["visibility"] > 0.5) & (times[..., 0] != times[..., 1]) & ~truth["moving"]
    clip = torch.arange(10)[:, None]

    def colour(t, uv):
        x, y = (
            (uv.nan_to_num(0).clamp(0, 1) * torch.tensor((LENGTHS[2] - 1, LENGTHS[1] - 1)))
            .round()
            .long()
            .unbind(-1)
        )
        return examples.rgb[clip, t, y, x].float()

    query = colour(times[..., 0], examples.uv)
    there, stayed = (
        (colour(times[..., 1], uv) - query).abs().mean(-1)[seen] for uv in (truth["uv"], examples.uv)
    )
    assert seen.sum() > 200 and there.mean() < 0.85 * stayed.mean()


def test_masks_say_what_is_known(examples):
    truth = examples.truth
    for name in ("xyz", "displacement", "normal", "uv", "visibility"):
        known = truth[f"knows_{name}"]
        assert (
            known.dtype == torch.bool
            and torch.isfinite(truth[name][known]).all()
            and known.float().mean() > 0.5
        )
    assert not (truth["knows_uv"] & ~truth["knows_xyz"]).any()
    still = truth["knows_displacement"] & ~truth["moving"]
    assert truth["displacement"][still].abs().max() < 1e-5


def test_crops_change_the_aspect(examples):
    whole = SceneSource(replace(EXAMPLES, crops=Crops(probability=0.0)))(4, range(10))
    ratio = examples.aspect / whole.aspect
    assert ratio.max() > 1.05 and ratio.min() < 0.95


def test_joined_examples_have_the_truth_that_all_have(examples):
    other = replace(examples, truth={k: v for k, v in examples.truth.items() if k != "moving"})
    both = join([examples, other])
    assert len(both) == 20 and "moving" not in both.truth and len(both.names) == 20
    assert torch.equal(both.truth["xyz"][10:], examples.truth["xyz"])


def test_training_sees_no_scene_that_is_held_out():
    """Seeds of training are hashes, those of held-out scenes are written down; and scenes differ, for some turns."""
    config = load_config("tiny")
    held_out_scenes = {tuple(row) for row in held_out()[0].camera_target.tolist()}
    for seed in range(3):
        block, _ = SceneSource(replace(config, seed=seed))._scenes(0, range(config.batch))
        assert held_out_scenes.isdisjoint(map(tuple, block.camera_target.tolist()))
    seeds = {
        seed_of(s, "scenes", group, block) for s in range(10) for group in range(4) for block in range(500)
    }
    assert len(seeds) == 10 * 4 * 500 and min(seeds) > max(HELD_OUT_SEED, *HELD_OUT_SEEDS)
