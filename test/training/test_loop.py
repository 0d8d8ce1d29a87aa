"""The loop: learning, going on exactly, several processes, and what stops it."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training.small_training import CONFIG

from d4rt_ros.model.checkpoint import load_checkpoint
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.shards import read_shards
from d4rt_ros.training import checkpoints
from d4rt_ros.training.config import QueryMix
from d4rt_ros.training.loop import EnoughTraining, TrainingError, train
from d4rt_ros.training.scene_examples import SceneSource


def no_check(config, process):
    return lambda step: {"depth AbsRel": (0.5, 1.0)}


def run(config, out, **options):
    return train(config, out, make_check=no_check, **options)


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


class Interrupted(Exception):
    pass


def interrupt_at(step):
    """A source that is pulled away before that step."""

    def make(config, device):
        source = SceneSource(config, device)

        def examples(number, clips):
            if number == step:
                raise Interrupted
            return source(number, clips)

        return examples

    return make


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("straight")
    run(CONFIG, out)
    return out


def test_a_run_writes_what_it_says(straight):
    network = load_checkpoint(straight / "weights.safetensors")
    assert network.config == CONFIG.model
    line, check = log(straight)
    assert line["step"] == check["step"] == 6
    assert {"steps_per_s", "clips_per_s", "data_share", "lr", "total", "xyz", "uv"} <= line.keys()
    assert 0 < line["data_share"] < 1 and line["clips_per_s"] == pytest.approx(
        2 * line["steps_per_s"], rel=0.01
    )
    assert check["figures"] == {"depth AbsRel": [0.5, 1.0]}
    assert (straight / "curves.png").stat().st_size > 10_000


def assert_equal_runs(one, other):
    ours, theirs = (read_shards(out / "state.json")[0] for out in (one, other))
    assert ours.keys() == theirs.keys() and len(ours) > 100
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    ours, theirs = (load_checkpoint(out / "weights.safetensors").state_dict() for out in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("stop", [1, 4])
def test_an_interrupted_run_that_goes_on_equals_one_that_was_not(tmp_path, straight, stop):
    config = replace(CONFIG, save_every=1)
    with pytest.raises(Interrupted):
        run(config, tmp_path, make_source=interrupt_at(stop))
    assert checkpoints.kept_step(tmp_path) == stop
    run(replace(config, save_every=100), tmp_path, resume=True)
    assert_equal_runs(tmp_path, straight)


def test_ctrl_c_keeps_the_step_it_came_in(tmp_path, straight):
    def pressed_in_step_3(config, device):
        source = SceneSource(config, device)

        def examples(number, clips):
            if number == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return source(number, clips)

        return examples

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path, make_source=pressed_in_step_3)
    assert checkpoints.kept_step(tmp_path) == 4
    run(CONFIG, tmp_path, resume=True)
    assert_equal_runs(tmp_path, straight)


def test_a_log_has_each_step_once(tmp_path):
    config = replace(CONFIG, save_every=2, report_every=1, check_every=1)
    with pytest.raises(Interrupted):
        run(config, tmp_path, make_source=interrupt_at(3))
    run(config, tmp_path, resume=True)
    assert [r["step"] for r in log(tmp_path) if "lr" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in log(tmp_path) if "figures" in r] == [1, 2, 3, 4, 5, 6]


def test_parts_of_a_batch_add_up_to_it(tmp_path, straight):
    run(replace(CONFIG, accumulate=2), tmp_path)
    assert log(tmp_path)[0]["total"] == pytest.approx(log(straight)[0]["total"], rel=2e-3)


def test_the_loss_falls_on_one_batch(tmp_path):
    """Two clips over and over: the model must fit them far better than at first."""
    config = replace(CONFIG, steps=120, warmup=10, report_every=20, queries=QueryMix(count=64))

    def always_the_same(config, device):
        examples = SceneSource(config, device)(0, range(2))
        return lambda step, clips: examples

    run(config, tmp_path, make_source=always_the_same)
    totals = [r["total"] for r in log(tmp_path) if "total" in r]
    assert totals[-1] < 0.75 * totals[0]


def test_held_out_figures_are_measured(tmp_path):
    train(replace(CONFIG, steps=1, check_clips=5), tmp_path)
    figures = log(tmp_path)[1]["figures"]
    assert set(figures) == {"depth AbsRel", "static uv px", "moving uv px", "moving 3D cosine"}
    assert 0.1 < figures["depth AbsRel"][1] < 1 and 0.5 < figures["static uv px"][1] < 20


def test_a_check_can_end_the_run(tmp_path):
    def enough(config, process):
        def check(step):
            raise EnoughTraining("it is good enough")

        return check

    weights = train(replace(CONFIG, check_every=2), tmp_path, make_check=enough)
    assert checkpoints.kept_step(tmp_path) == 2 and weights.is_file()


def test_a_run_starts_from_the_network_that_it_is_given(tmp_path):
    network = D4RT(CONFIG.model)
    before = network.decoder.heads["xyz"].weight.detach().clone()
    run(replace(CONFIG, steps=1, learning_rate=1e-9, final_learning_rate=0.0), tmp_path, network=network)
    after = load_checkpoint(tmp_path / "weights.safetensors").decoder.heads["xyz"].weight
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_tensorboard_gets_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    run(replace(CONFIG, steps=2), tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_tensorboard_that_is_missing_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        run(CONFIG, tmp_path, tensorboard=True)


# ---- several processes


SHARED = replace(
    CONFIG,
    steps=2,
    batch=4,
    accumulate=2,
    report_every=1,
    save_every=1,
    precision="fp32",
    optimiser="adamw",
    check_clips=3,
)
TWO_PROCESSES = """
import os
import sys
from dataclasses import replace
from pathlib import Path
from d4rt_ros.training.distributed import processes
from d4rt_ros.training.loop import train
from training.test_loop import SHARED
with processes("cpu"):
    for shard in (False, True):
        out = Path(sys.argv[1]) / str(shard)
        config = replace(SHARED, shard=shard)
        if shard:
            train(replace(config, steps=1), out)
        train(config, out, resume=shard)
# Once in some fifteen runs an idle thread of gloo's aborts the interpreter on its way out, when all is written.
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """A folder of what two processes trained: with DDP in False; with FSDP, each step as a run of its own, in True."""
    out = tmp_path_factory.mktemp("two")
    (out / "two.py").write_text(TWO_PROCESSES)
    tests = Path(__file__).resolve().parents[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(out / "two.py"), str(out)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(tests), *filter(None, sys.path)])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    train(SHARED, out)
    return out


@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP"])
def test_two_processes_are_as_one(by_one, by_two, shard):
    by_two = by_two / str(shard)
    one, two = ([r for r in log(out) if "total" in r] for out in (by_one, by_two))
    for a, b in zip(one, two, strict=True):
        for name in ("total", "xyz", "uv", "displacement", "normal", "visibility", "confidence"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), name
    one, two = ([r["figures"] for r in log(out) if "figures" in r][-1] for out in (by_one, by_two))
    assert all(two[name] == pytest.approx(one[name], rel=1e-3) for name in one) and len(one) == 4
    ours, theirs = (read_shards(out / "state.json")[0] for out in (by_one, by_two))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"precision": "fp16"}, "precision: fp16 needs a GPU"),
        ({"shard": True}, "muon needs whole matrices"),
        ({"shard": True, "optimiser": "adamw"}, "torchrun"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(TrainingError, match=sentence):
        run(replace(CONFIG, **changes), tmp_path)


# ---- what stops a run


def test_nothing_to_go_on_from(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        run(CONFIG, tmp_path, resume=True)


def test_a_new_run_does_not_overwrite_another(straight):
    with pytest.raises(TrainingError, match="holds a run already: go on with --resume"):
        run(CONFIG, straight)


def test_another_configuration_is_named_field_by_field(straight):
    other = replace(CONFIG, batch=4, loss=replace(CONFIG.loss, uv=1.0), steps=20)
    with pytest.raises(TrainingError) as error:
        run(other, straight, resume=True)
    assert "batch: 2 before, 4 now; loss.uv: 10.0 before, 1.0 now. Only " in str(error.value)
    assert "steps: " not in str(error.value)


def test_a_damaged_state_is_a_sentence(tmp_path, straight):
    for path in straight.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(straight)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    next((tmp_path / "state").iterdir()).write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match="cannot be gone on from .*not a whole safetensors file"):
        run(CONFIG, tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_batch(tmp_path):
    def make(config, device):
        source = SceneSource(config, device)

        def examples(step, clips):
            made = source(step, clips)
            if step == 3:
                made.truth["xyz"][1, 5] = torch.nan  # although it is said to be known
            return made

        return examples

    with pytest.raises(TrainingError) as error:
        run(replace(CONFIG, save_every=2), tmp_path, make_source=make)
    assert "step 3: loss or gradient is not finite" in str(error.value)
    assert "scene 0 of batch 1, seed 0, scene 1 of batch 1, seed 0" in str(error.value)
    assert "The state of step 2 is intact" in str(error.value)
    state, notes, _ = read_shards(tmp_path / "state.json")
    assert notes["step"] == 2 and all(torch.isfinite(t).all() for t in state.values())
    run(replace(CONFIG, save_every=100), tmp_path, resume=True)


def test_a_full_disk_is_a_sentence_and_the_last_good_state_stays(tmp_path):
    """No file may grow beyond 60 kB from a step on: the operating system refuses the write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make(config, device):
        source = SceneSource(config, device)

        def examples(step, clips):
            if step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
            return source(step, clips)

        return examples

    try:
        with pytest.raises(TrainingError, match="step 4 cannot be written to .*step 2 is intact"):
            run(replace(CONFIG, save_every=2), tmp_path, make_source=make)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    files = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert files == ["1-00001.safetensors"]
    assert load_checkpoint(tmp_path / "weights.safetensors")
    run(CONFIG, tmp_path, resume=True)
    assert checkpoints.kept_step(tmp_path) == 6


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="No space left on device.*make room"):
        run(CONFIG, tmp_path)
