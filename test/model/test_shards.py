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


def written_index(tmp_path, change):
    """An index of whole files, once `change` has been at its content."""
    write_shards(tmp_path / "state.json", TENSORS.items(), {"step": 7}, LIMIT)
    content = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(change(content)))
    return tmp_path / "state.json"


@pytest.mark.parametrize(
    "file",
    [
        "../secret.safetensors", "/etc/secret.safetensors", "a/b.safetensors", "a\\b.safetensors", "..", "", ".",
        "state.ckpt", ".hidden.safetensors", "x" * 300 + ".safetensors", "a\0.safetensors",
        "a\n.safetensors", 7, None, ["a"],
    ],
)  # fmt: skip
def test_an_index_leads_nowhere_else(tmp_path, file):
    (tmp_path / "secret.safetensors").write_bytes(b"")
    index = written_index(tmp_path, lambda c: {**c, "tensors": {**c["tensors"], "scalar": file}})
    with pytest.raises(ValueError, match="the file of 'scalar' is .*expected a name such as"):
        read_shards(index)
    with pytest.raises(CheckpointError, match="state.json: not the index of weights that are all there"):
        load_checkpoint(index)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: [], "no tensors and notes"),
        (lambda c: {"weight_map": {}}, "Hugging Face"),
        (lambda c: c.update(notes=[]), "no tensors and notes"),
        (lambda c: c["tensors"].update(other=c["tensors"]["scalar"]), "lacks the tensor other"),
        (lambda c: c["tensors"].pop("large#1"), "of the tensor large pieces are missing"),
        (
            lambda c: c["tensors"].update({"large#999999999999": "1-00001.safetensors"}),
            "no piece of a tensor",
        ),
        (lambda c: c["tensors"].update({"large#x": "1-00001.safetensors"}), "no piece of a tensor"),
        (lambda c: c["tensors"].update({"large#-1": "1-00001.safetensors"}), "no piece of a tensor"),
    ],
)
def test_an_index_that_is_wrong(tmp_path, change, says):
    def spoil(content):
        changed = change(content)
        return changed if isinstance(changed, (list, dict)) else content

    with pytest.raises(ValueError, match=says):
        read_shards(written_index(tmp_path, spoil))


def test_pieces_are_joined_in_their_order_whatever_the_indexs(tmp_path):
    def turned(content):
        return {**content, "tensors": dict(reversed(content["tensors"].items()))}

    tensors, _, _ = read_shards(written_index(tmp_path, turned))
    assert torch.equal(tensors["large"], TENSORS["large"])


def test_an_index_that_is_no_json_and_one_that_is_huge(tmp_path, monkeypatch):
    for text in ("{", "[" * 100_000, '{"tensors": '):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(CheckpointError, match="state.json: not the index of weights"):
            load_checkpoint(tmp_path / "state.json")
    monkeypatch.setattr("d4rt_ros.model.shards.INDEX_BYTES", 100)
    with pytest.raises(ValueError, match="too many for an index"):
        read_shards(written_index(tmp_path, lambda content: content))
