"""Fine-tuning: what is held out, when it ends, and that the best weights are kept."""

import json
import re
from dataclasses import replace

import pytest
import torch
from training.recorded_scenes import rendered_sequence
from training.small_training import CONFIG, MODEL

from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT
from d4rt_ros.training.config import DataSet
from d4rt_ros.training.finetune import finetune, finetune_config, split
from d4rt_ros.training.loop import TrainingError


@pytest.fixture(scope="module")
def recording():
    return rendered_sequence(count=8)[0]


def network():
    torch.manual_seed(1)
    return D4RT(MODEL).eval()


def quick(scenes=0.0, **changes):
    config = finetune_config(MODEL, DataSet("rgbd", "here"), scenes, steps=6, batch=2, seed=0)
    return replace(config, queries=CONFIG.queries, check_every=1, **changes)


def scores(*values):
    """A measure that gives these errors in turn, then the last one, and the networks that it saw."""
    seen = []

    def measure(network):
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return {"depth": (values[min(len(seen), len(values)) - 1], 2.0)}

    return measure, seen


def same(path, weights):
    kept = load_checkpoint(path).state_dict()
    return all(torch.equal(kept[n].half(), weights[n].half()) for n in weights)


def test_what_is_held_out_comes_last_and_is_not_learned_from(recording):
    first, last = split(recording, 0.4, least=3)
    assert (len(first), len(last)) == (5, 3)
    assert [first.frame(4).stamp, last.frame(0).stamp] == [recording.frame(4).stamp, recording.frame(5).stamp]
    with pytest.raises(RecordedError, match="8 frames are 7 to learn from and 1 to check on; a clip needs 3"):
        split(recording, 0.1, least=3)


def test_the_best_weights_are_kept_and_it_ends_when_nothing_gets_better(tmp_path, recording):
    measure, seen = scores(1.0, 0.9, 0.7, 0.8, 0.75)
    weights = finetune(network(), recording, quick(), tmp_path, measure, patience=2, minutes=5)
    assert weights == tmp_path / "weights.safetensors" and len(seen) == 5, "two checks after the best one"
    assert same(weights, seen[2]) and not same(weights, seen[4])
    assert load_checkpoint(weights).config == MODEL


def test_weights_that_only_get_worse_are_given_back(tmp_path, recording):
    measure, seen = scores(0.5, 0.6)
    assert same(finetune(network(), recording, quick(), tmp_path, measure, 10, 5), seen[0])
    assert len(seen) == 7, "before, and after each of six steps"


def test_wide_models_take_smaller_steps():
    wide = finetune_config(PRESETS["giant"], DataSet("rgbd", "here"), 0.2, steps=5, batch=1, seed=0)
    assert wide.learning_rate < 3e-5 and quick().learning_rate == 2e-4
    assert [data.weight for data in wide.data] == [0.8, 0.2]


def test_it_ends_when_the_time_is_over(tmp_path, recording):
    measure, seen = scores(0.9, 0.8, 0.7)
    weights = finetune(network(), recording, quick(scenes=0.5), tmp_path, measure, patience=10, minutes=0.0)
    assert len(seen) == 2 and same(weights, seen[1])


def test_another_run_does_not_overwrite_the_first(tmp_path, recording):
    measure, _ = scores(0.9)
    weights = finetune(network(), recording, quick(), tmp_path, measure, 1, 5)
    written = weights.read_bytes()
    with pytest.raises(TrainingError, match="is there already: give another folder"):
        finetune(network(), recording, quick(), tmp_path, measure, 1, 5)
    assert weights.read_bytes() == written


def test_at_its_end_a_run_says_what_was_skipped(tmp_path, recording, capsys):
    def read(i):
        if i == 2:
            raise RecordedError("frame-2.png: cannot be decoded")
        return recording.frame(i)

    measure, _ = scores(1.0)
    finetune(network(), replace(recording, read=read), quick(), tmp_path, measure, 10, 5)
    assert re.search(r"skipped \d+ times: frame-2.png: cannot be decoded", capsys.readouterr().out)


def test_it_learns_the_recording(tmp_path, recording):
    """The loss on the recording falls, as the run's log tells."""
    measure, _ = scores(*(1 / n for n in range(1, 200)))
    config = replace(quick(), steps=60, check_every=60, report_every=5, learning_rate=2e-3)
    finetune(network(), recording, config, tmp_path, measure, 10, 5)

    told = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["distance"] for line in told if "distance" in line]
    assert losses[-1] < 0.8 * losses[0]
