"""Recorded sequences as a source: the same for every step and clip, whatever was made before; bad data is skipped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import PLAIN
from training.recorded_scenes import rendered_sequence, wall_sequence

from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.config import Crops, QueryMix, TrainConfig
from d4rt_ros.training.losses import composite_loss
from d4rt_ros.training.recorded_examples import RecordedSource

CONFIG = TrainConfig(
    model=PLAIN,
    batch=4,
    reuse=2,
    stride=(1, 2),
    queries=QueryMix(count=64, on_moving=0.0, same_all=0.1),
    crops=Crops(area=(0.5, 1.0)),
)


def equal(a, b):
    same = [torch.equal(getattr(a, name), getattr(b, name)) for name in ("rgb", "aspect", "uv", "times")]
    return all(same) and all(torch.equal(a.truth[n].nan_to_num(), b.truth[n].nan_to_num()) for n in a.truth)


@pytest.fixture(scope="module")
def still():
    return rendered_sequence(count=8)[0]


def test_a_clip_depends_on_nothing_but_seed_step_and_number(still):
    source, other = RecordedSource([still], CONFIG), RecordedSource([still], CONFIG)
    for step in (0, 1, 5):
        source(step, range(4))
    whole = source(7, range(4))
    assert equal(whole[1:3], other(7, range(1, 3)))
    assert torch.equal(other(6, range(4)).rgb, whole.rgb), "clips are reused for two steps …"
    assert not torch.equal(other(6, range(4)).uv, whole.uv), "… with other queries"
    assert not torch.equal(other(8, range(4)).rgb, whole.rgb)
    assert not equal(RecordedSource([still], replace(CONFIG, seed=1))(7, range(4)), whole)


def test_shapes_and_that_losses_are_finite(still):
    examples = RecordedSource([still, wall_sequence()], CONFIG)(0, range(4))
    assert examples.rgb.shape == (4, 4, 32, 48, 3) and examples.rgb.dtype == torch.uint8
    assert len(examples.names) == 4 and all("frames" in name for name in examples.names)
    assert examples.uv.shape == (4, 64, 2) and examples.times.dtype == torch.int64
    assert examples.uv.dtype == torch.float32 and ((examples.uv >= 0) & (examples.uv <= 1)).all()
    sizes = {"xyz": 3, "uv": 2, "visibility": 1, "displacement": 3, "normal": 3, "confidence": 1}
    answer = {name: torch.zeros(4, 64, size, requires_grad=True) for name, size in sizes.items()}
    answer["normal"] = torch.ones(4, 64, 3, requires_grad=True)
    terms = composite_loss(answer, examples.truth, CONFIG.loss)
    terms["total"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(torch.isfinite(a.grad).all() for a in answer.values())


def test_the_mean_depth_is_the_unit(still):
    config = replace(CONFIG, queries=QueryMix(count=2000, near_edges=0.0, same_all=1.0, same_target_and_camera=0.0),
                     crops=Crops(probability=0.0, zoom=0.0))  # fmt: skip
    truth = RecordedSource([still], config)(0, range(2)).truth
    np.testing.assert_allclose(truth["xyz"][..., 2].nanmean(1), 1, atol=0.05)


def test_sequences_with_tracks_are_asked_for_them():
    examples = RecordedSource([wall_sequence()], replace(CONFIG, stride=(1, 1)))(0, range(4))
    by_depth, by_track = examples.times[:, :32], examples.times[:, 32:]
    assert torch.equal(by_depth[..., 0], by_depth[..., 1]), "depth follows nothing that moves"
    assert (by_track[..., 0] != by_track[..., 1]).any()
    truth = {name: value[:, 32:] for name, value in examples.truth.items()}
    assert truth["knows_displacement"].all()
    # The third point moves by 0.05 m a frame; half of the tracks that are asked for are its.
    moved = truth["displacement"][..., 1] != 0
    frames = by_track[..., 1] - by_track[..., 0]
    assert moved[:, :16].float().mean() > 0.5
    ratio = (truth["displacement"][..., 1][moved] / frames[moved]).numpy()
    np.testing.assert_allclose(ratio, 0.05 / 4, rtol=1e-3)


def test_strides_stay_within_the_range_and_the_sequence():
    source = RecordedSource([wall_sequence(12)], replace(CONFIG, stride=(2, 8)))
    chosen = [source._choose(number, 0, 0)[1] for number in range(60)]
    assert {frames[1] - frames[0] for frames in chosen} == {2, 3}, "12 frames leave no room for a stride of 4"
    assert {frames[0] for frames in chosen} >= {0, 5} and max(map(max, chosen)) == 11


def without_poses(sequence):
    return replace(sequence, read=lambda i: replace(sequence.frame(i), world_from_camera=None))


def test_without_poses_only_depth_is_asked_for(still):
    examples = RecordedSource([without_poses(still)], CONFIG)(0, range(4))
    assert (examples.times == examples.times[..., :1]).all()
    assert examples.truth["knows_xyz"].float().mean() > 0.9


def failing(sequence, bad, message="frame.png: cannot be decoded"):
    def read(i):
        if i in bad:
            raise RecordedError(message)
        return sequence.frame(i)

    return replace(sequence, read=read)


def test_bad_samples_are_skipped_counted_and_named(still, caplog):
    source = RecordedSource([failing(still, {2})], CONFIG)
    made = source(3, range(4)), source(9, range(4))
    assert source.skipped["frame.png: cannot be decoded"] >= 1
    assert caplog.text.count("skipped: frame.png: cannot be decoded") == 1
    again = RecordedSource([failing(still, {2})], CONFIG)
    assert equal(again(9, range(4)), made[1]), (
        "what takes a bad clip's place does not depend on what was before"
    )


def test_data_that_is_useless(still):
    with pytest.raises(RecordedError, match="20 clips in a row cannot be used; the last one: frame.png"):
        RecordedSource([failing(still, range(8))], CONFIG)(0, range(4))
    blind = replace(still, read=lambda i: replace(still.frame(i), depth=None))
    with pytest.raises(RecordedError, match="no depth is known"):
        RecordedSource([blind], CONFIG)(0, range(4))
    with pytest.raises(RecordedError, match="has 3 frames; the model's clips have 4"):
        RecordedSource([replace(still, count=3)], CONFIG)


def test_a_sequence_that_is_too_short_is_left_out(still):
    source = RecordedSource([replace(still, name="short", count=3), still], CONFIG)
    assert source.sequences == [still]
    assert source.skipped == {"short: has 3 frames; the model's clips have 4": 1}
