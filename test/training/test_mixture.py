"""Mixtures of sources, and the data that a configuration names."""

from collections import Counter
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import PLAIN

from d4rt_ros.geometry.transforms import pose_matrix
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.training.config import DataSet, QueryMix, TrainConfig, TrainConfigError
from d4rt_ros.training.examples import Examples
from d4rt_ros.training.mixture import Mixture, make_source, open_sequences

CONFIG = TrainConfig(model=PLAIN, batch=8, reuse=1, queries=QueryMix(count=4))


@dataclass
class Marked:
    """A source whose clips carry its number, the step and their own number."""

    mark: int
    skipped: Counter = field(default_factory=Counter)

    def __call__(self, step, clips):
        rows = torch.tensor([[self.mark, step, clip] for clip in clips])
        return Examples(rows, rows, rows, rows, {"xyz": rows})


def marks(mixture, step, clips=range(8)):
    return mixture(step, clips).rgb


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=4), st.integers(0, 1000))
def test_each_source_has_its_share_of_every_batch(weights, step):
    mixture = Mixture([Marked(i) for i in range(len(weights))], weights, CONFIG)
    rows = marks(mixture, step)
    assert rows[:, 2].tolist() == list(range(8)) and (rows[:, 1] == step).all()
    for i, weight in enumerate(weights):
        assert abs(int((rows[:, 0] == i).sum()) - 8 * weight / sum(weights)) < 1.001


def test_shares_are_right_in_the_mean():
    mixture = Mixture([Marked(0), Marked(1), Marked(2)], [1, 2.5, 0.3], CONFIG)
    taken = torch.cat([marks(mixture, step)[:, 0] for step in range(1000)]).bincount() / 8000
    np.testing.assert_allclose(taken, np.array([1, 2.5, 0.3]) / 3.8, atol=0.01)


@given(st.integers(0, 50), st.integers(0, 7), st.integers(1, 8))
def test_part_of_a_batch_is_what_the_whole_has_there(step, start, count):
    mixture = Mixture([Marked(0), Marked(1)], [0.7, 0.3], CONFIG)
    clips = range(start, min(8, start + count))
    assert torch.equal(marks(mixture, step, clips), marks(mixture, step)[start : clips.stop])


def test_while_clips_are_reused_the_cut_stays():
    mixture = Mixture([Marked(0), Marked(1)], [0.53, 0.47], replace(CONFIG, reuse=4))
    kinds = [tuple(marks(mixture, step)[:, 0].tolist()) for step in range(80)]
    assert all(kinds[i] == kinds[i // 4 * 4] for i in range(80)) and len(set(kinds)) == 2


def test_what_was_skipped_is_added_up():
    sources = [Marked(0, Counter({"a": 2})), lambda step, clips: None, Marked(2, Counter({"a": 1, "b": 1}))]
    assert Mixture(sources, [1, 1, 1], CONFIG).skipped == Counter({"a": 3, "b": 1})


def write_recording(folder, count=6):
    folder.mkdir(parents=True)
    np.savetxt(folder / "camera-intrinsics.txt", np.array([[60.0, 0, 40], [0, 60, 24], [0, 0, 1]]))
    for i in range(count):
        colour = np.random.default_rng(i).integers(0, 255, (48, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"frame-{i:06d}.color.png"), colour)
        cv2.imwrite(str(folder / f"frame-{i:06d}.depth.png"), np.full((48, 80), 2000 + i, np.uint16))
        np.savetxt(folder / f"frame-{i:06d}.pose.txt", pose_matrix(translation=(0.01 * i, 0, 0)))


def test_scenes_and_recordings_of_a_configuration(tmp_path):
    write_recording(tmp_path / "seq-01")
    write_recording(tmp_path / "seq-02")
    data = (DataSet(weight=0.5), DataSet("rgbd", f"{tmp_path}/seq-*", 0.5), DataSet("kubric", "none", 0.0))
    source = make_source(replace(CONFIG, data=data))
    examples = source(0, range(8))
    assert len(examples) == 8 and torch.isfinite(examples.truth["xyz"][examples.truth["knows_xyz"]]).all()
    assert {sequence.name for sequence in source.sources[1].sequences} == {"seq-01", "seq-02"}
    # The recordings are noise in colour, before a wall.
    assert (examples.truth["xyz"][4:, :, 2] - 1).abs().nan_to_num().max() < 0.05
    alone = make_source(replace(CONFIG, data=(DataSet("rgbd", f"{tmp_path}/seq-01"),)))
    assert len(alone.sequences) == 1


def test_data_that_is_not_there(tmp_path, caplog):
    with pytest.raises(TrainConfigError, match="kind 'rgdb' is not one of scenes, rgbd, bag"):
        open_sequences("rgdb", str(tmp_path))
    with pytest.raises(RecordedError, match="matches nothing"):
        open_sequences("rgbd", f"{tmp_path}/seq-*")
    (tmp_path / "seq-01").mkdir()
    (tmp_path / "seq-02").mkdir()
    with pytest.raises(RecordedError, match=r"seq-01: holds no images.*\(and 1 more like it\)"):
        open_sequences("rgbd", f"{tmp_path}/seq-*")
    write_recording(tmp_path / "seq-03")
    assert len(open_sequences("rgbd", f"{tmp_path}/seq-*")) == 1
    assert caplog.text.count("left out") == 2
