"""Tensors in several files: nothing too large, nothing lost, the old ones whole until the new ones are."""

import json
import resource

import pytest
import torch
from small_models import PLAIN

from d4rt_ros.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.shards import read_shards, write_shards

TENSORS = {
    "large": torch.arange(40_000.0).reshape(2000, 20),
    "scalar": torch.tensor(3.5),
    "halves": torch.ones(100, 7, dtype=torch.bfloat16),
    **{f"small.{i}": torch.full((50,), float(i)) for i in range(100)},
}
LIMIT = 50_000


def test_what_is_written_is_read(tmp_path):
    index = tmp_path / "state.json"
    write_shards(index, TENSORS.items(), {"step": 7}, LIMIT)
    tensors, notes, mapped = read_shards(index)
    assert notes == {"step": 7} and not mapped and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    sizes = [path.stat().st_size for path in (tmp_path / "state").iterdir()]
    assert len(sizes) > 4 and max(sizes) <= LIMIT


def test_writing_again_leaves_nothing_of_the_old(tmp_path):
    index = tmp_path / "state.json"
    write_shards(index, TENSORS.items(), {}, LIMIT)
    write_shards(index, [("a", torch.ones(3))], {}, LIMIT)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["2-00001.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "state.json"]
    assert read_shards(index)[2]


def test_a_disk_that_is_full_leaves_the_old(tmp_path):
    index = tmp_path / "state.json"
    write_shards(index, TENSORS.items(), {"step": 7}, LIMIT)
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(OSError, match="2-0000"):
            write_shards(index, [("b", torch.zeros(10)), *TENSORS.items()], {"step": 8}, LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.rglob("*")) == before and read_shards(index)[1] == {"step": 7}


def test_a_checkpoint_may_be_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("d4rt_ros.model.checkpoint.write_shards.__defaults__", (LIMIT,))
    network = D4RT(PLAIN)
    save_checkpoint(tmp_path / "weights.json", network, torch.float16, {"step": "3"})
    assert max(path.stat().st_size for path in (tmp_path / "weights").iterdir()) <= LIMIT
    loaded = load_checkpoint(tmp_path / "weights.json")
    assert loaded.config == PLAIN
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_files_that_are_missing_are_a_sentence(tmp_path):
    save_checkpoint(tmp_path / "weights.json", D4RT(PLAIN))
    next((tmp_path / "weights").iterdir()).unlink()
    with pytest.raises(CheckpointError, match="weights.json: not the index of weights that are all there"):
        load_checkpoint(tmp_path / "weights.json")
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="other.json: not the index"):
        load_checkpoint(tmp_path / "other.json")
