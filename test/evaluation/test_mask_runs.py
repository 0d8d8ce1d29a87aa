"""Methods that say what moves, over sequences."""

from dataclasses import replace

import numpy as np
import pytest

from d4rt_ros.dynamics.moving import Moving
from d4rt_ros.evaluation import mask_runs
from d4rt_ros.evaluation.mask_runs import (
    MaskedSequence,
    attention,
    baselines,
    evaluate_masks,
    online,
    scene_sequence,
)
from d4rt_ros.evaluation.mask_scenes import LEAST, mask_scenes
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.runtime import load


@pytest.fixture(scope="module")
def model():
    return load(device="cpu")


def sequence(name, count=6, judged=range(1, 6), least=0.0, moving=True):
    """A box in the left half; each image tells its number by its grey level."""

    def frames():
        for k in range(count):
            mask = np.zeros((30, 40), bool)
            mask[5:25, 2:18] = moving
            truth = {"depth": np.ones((30, 40), np.float32), "world_from_camera": np.eye(4)}
            yield Frame(np.full((30, 40, 3), k, np.uint8), even_stamp(k), **truth), mask

    return MaskedSequence(name, frames, judged, least)


def test_each_method_is_judged_by_its_own_masks_and_sees_nothing_of_the_truth(tmp_path):
    seen = []

    def right(frames):
        seen.extend(frames)
        mask = np.zeros((30, 40), bool)
        mask[5:25, 2:18] = True
        return [
            mask if frame.image[0, 0, 0] else ~mask for frame in frames
        ]  # wrong in the first, which does not count

    def half(frames):
        masks = np.zeros((len(frames), 30, 40), bool)
        masks[:, 5:25, 2:10] = True
        return masks

    methods = {"right": right, "half": half, "silent": lambda frames: [None] * len(frames)}
    figures = evaluate_masks([sequence("a b/1"), sequence("c", 4, range(1, 3))], 2, methods, tmp_path)
    by_name = {figure.method: figure for figure in figures}
    assert by_name["right"].j_mean == by_name["right"].f_mean == 1 and by_name["right"].frames == 7
    assert by_name["half"].j_mean == 0.5 and by_name["half"].j_recall == 0 and by_name["half"].false == 0
    assert by_name["silent"].j_mean == by_name["silent"].f_mean == 0
    assert set(by_name["half"].sequences) == {"a b/1", "c"}
    assert all(frame.depth is None and frame.world_from_camera is None for frame in seen)
    assert {p.name for p in tmp_path.iterdir()} == {"a_b_1_masks.png", "c_masks.png"}


def test_where_nothing_moves_masks_are_judged_by_what_rests():
    everything = {"all": lambda frames: [np.ones((30, 40), bool)] * len(frames)}
    (figure,) = evaluate_masks([sequence("a", least=LEAST, moving=False)], 1, everything)
    assert figure.frames == 0 and np.isnan(figure.j_mean) and figure.false == 1


def test_scenes_are_judged_from_when_their_truth_was_seen():
    scene = next(mask_scenes("moving", 1, seconds=1.0))
    judged = scene_sequence(scene)
    assert list(judged.judged) == list(range(8, 15)) and judged.least == LEAST


class TellingStream:
    """Says of every second frame what moves."""

    def __init__(self, pipeline):
        self.config, self.count = pipeline, 0

    def add(self, frame, outputs):
        assert outputs.masks and not outputs.points
        self.count += 1
        if self.count % 2:
            return None
        moving = Moving(frame.image[..., 0] > 0, np.zeros((2, 2), bool), np.zeros((2, 2), np.float32))
        return type("Result", (), {"moving": moving if self.count > 2 else None})


def test_the_pipeline_says_it_frame_by_frame(monkeypatch):
    monkeypatch.setattr(mask_runs, "Stream", TellingStream)
    monkeypatch.setattr(mask_runs, "Pipeline", lambda model, config: config)
    frames = [frame for frame, _ in sequence("a").frames()]
    said = list(online(None, "motion")(frames))
    assert [mask is None for mask in said] == [True, True, True, False, True, False] and said[3].all()


def test_the_pipeline_and_the_attention_of_a_model(model):
    scene = replace(next(mask_scenes("moving", 1)), size=(48, 64), times=np.arange(11) / 15)
    names = {"motion": online(model, "motion"), "attention": attention(model)}
    figures = evaluate_masks([scene_sequence(scene)], 1, names | baselines())
    assert [figure.method for figure in figures] == [*names, *baselines()]
    assert all(0 <= figure.j_mean <= 1 and figure.frames == 3 for figure in figures)
    assert figures[1].j_mean + figures[1].false > 0  # attention always says something


def test_attention_takes_clips_that_cover_all_frames(monkeypatch):
    asked = []

    def told(model, frames):
        asked.append(list(frames))
        return np.array([np.full((2, 3), k % 2 == 1) for k in frames])

    class Model:
        num_frames = 4

        def prepare(self, image):
            return int(image[0, 0, 0])

    monkeypatch.setattr(mask_runs, "attention_masks", told)
    frames = [Frame(np.full((2, 3, 3), k, np.uint8), even_stamp(k)) for k in range(10)]
    said = list(attention(Model())(frames))
    assert asked == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert [mask.all() for mask in said] == [k % 2 == 1 for k in range(10)]
    Model.num_frames, asked[:] = None, []
    assert len(list(attention(Model())(frames))) == 10 and len(asked) == 1
    Model.num_frames = 12
    with pytest.raises(ValueError, match="10 frames, and this model takes clips of 12"):
        list(attention(Model())(frames))
