"""OpenD4RT's checkpoints: the reference answers, every architecture of theirs, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import d4rt_ros
from d4rt_ros.model.checkpoint import CheckpointError, load_checkpoint
from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.network import D4RT

CONFIG = ModelConfig(
    frames=4,
    height=32,
    width=48,
    patch=(2, 16, 16),
    encoder_width=32,
    encoder_layers=2,
    encoder_heads=4,
    encoder_mlp_ratio=4.0,
    decoder_width=24,
    decoder_layers=2,
    decoder_heads=2,
    decoder_mlp_ratio=3.5,
    uv_bands=5,
    rgb_patch=7,
)
OTHERS = {
    "as it is": {},
    "patch shape": {"patch": (4, 8, 16)},
    "global": {"attention": "global"},
    "no aspect token": {"aspect_token": False},
    "equal widths": {"decoder_width": 32},
    "pooled tokens": {"max_tokens": 4, "patch": (2, 8, 8)},
    "no rgb patch": {"rgb_patch": 0},
    "mlp ratio": {"encoder_mlp_ratio": 4.3636363636},
}


def in_their_names(network: D4RT) -> dict:
    """A network's tensors as OpenD4RT would have saved them, written down from its names independently."""
    state, theirs = network.state_dict(), {}
    for name, tensor in state.items():
        if match := re.match(r"encoder\.blocks\.(\d+)\.(\w+)\.(?:(\d)\.)?(\w+)$", name):
            i, part, index, kind = match.groups()
            part = {
                "qkv": f"attn.in_proj_{kind}",
                "out_proj": f"attn.out_proj.{kind}",
                "ff": f"ff.{'03'[index == '2']}.{kind}",
            }.get(part, f"{part}.{kind}")
            theirs[f"encoder.blocks.{i}.{part}"] = tensor
        elif match := re.match(r"decoder\.blocks\.(\d+)\.(\w+)\.(?:(\d)\.)?(\w+)$", name):
            i, part, index, kind = match.groups()
            if part == "kv_proj":
                continue
            if part == "q_proj":
                tensor = torch.cat((tensor, state[f"decoder.blocks.{i}.kv_proj.{kind}"]))
            part = {
                "q_proj": f"cross_attn.in_proj_{kind}",
                "out_proj": f"cross_attn.out_proj.{kind}",
                "ff": f"ff.{'03'[index == '2']}.{kind}",
            }.get(part, f"{part}.{kind}")
            theirs[f"decoder.blocks.{i}.{part}"] = tensor
        elif name.startswith("encoder.patch_embed.proj."):
            theirs[name.replace(".proj", "")] = tensor
        elif name.startswith("encoder.aspect_proj."):
            theirs[name.replace("encoder.aspect_proj", "aspect_ratio_proj")] = tensor
        elif name.startswith("decoder.memory_proj."):
            theirs[name.removeprefix("decoder.")] = tensor
        elif match := re.match(r"decoder\.embedding\.(t_\w+)\.weight", name):
            theirs[f"query_embedder.{match[1]}_embed.weight"] = tensor
        elif name.startswith("decoder.embedding."):
            theirs[name.replace("decoder.embedding", "query_embedder")] = tensor
        elif match := re.match(r"decoder\.heads\.(\w+)\.(\w+)", name):
            theirs[f"heads.{match[1]}_head.{match[2]}"] = tensor
        else:
            theirs[name] = tensor
    return theirs


def model_yaml(c: ModelConfig) -> dict:
    attention = {"interleaved": "interleaved_local_framewise_and_global"}.get(c.attention, c.attention)
    return {
        "experiment": {"name": "some"},
        "model": {
            "input": {
                "clip_frames": c.frames,
                "image_size": [c.height, c.width],
                "use_aspect_ratio_token": c.aspect_token,
            },
            "encoder": {
                "num_layers": c.encoder_layers,
                "patch_size_t_h_w": list(c.patch),
                "attention_pattern": attention,
                "hidden_dim": c.encoder_width,
                "num_heads": c.encoder_heads,
                "mlp_ratio": c.encoder_mlp_ratio,
                "max_tokens": c.max_tokens,
            },
            "decoder": {
                "num_layers": c.decoder_layers,
                "hidden_dim": c.decoder_width,
                "num_heads": c.decoder_heads,
                "mlp_ratio": c.decoder_mlp_ratio,
            },
            "query_embedding": {
                "uv_num_bands": c.uv_bands,
                "local_rgb_patch": {"enabled": c.rgb_patch > 0, "patch_size": c.rgb_patch or 9},
            },
        },
    }


def write(folder, network: D4RT, change=None, document=None):
    """opend4rt.ckpt and model.yaml in `folder`; change(tensors) spoils the first, change of document the second."""
    tensors = {name: tensor.clone() for name, tensor in in_their_names(network).items()}
    if change:
        change(tensors)
    path = folder / "opend4rt.ckpt"
    torch.save({"model": tensors, "optimizer": {"state": {}}, "global_step": 7, "train_config": {}}, path)
    document = model_yaml(network.config) if document is None else document
    (folder / "model.yaml").write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


@torch.no_grad()
def answers(network: D4RT) -> dict:
    c, random = network.config, torch.Generator().manual_seed(3)
    video = torch.rand(1, c.frames, 3, c.height, c.width, generator=random)
    uv = torch.rand(1, 40, 2, generator=random)
    times = torch.randint(c.frames, (1, 40, 3), generator=random)
    scene = network.encode(video, torch.tensor([1.5]))
    return network.decode(scene, video.movedim(2, -1).contiguous(), uv, times)


@torch.no_grad()
def test_memory_and_heads_are_the_references(shared):
    folder = shared / "golden" / "opend4rt"
    io = np.load(folder / "io.npz")
    network = d4rt_ros.load(folder / "opend4rt.ckpt", device="cpu", precision="fp32").network
    frames = torch.from_numpy(io["video"])[None]
    video, aspect = frames.movedim(-1, 2).float() / 255, torch.tensor(io["aspect"]).reshape(1)
    memory = network.decoder.memory_proj(network.encoder(video, aspect))
    np.testing.assert_allclose(memory[0].numpy(), io["memory"], atol=1e-5)

    uv = torch.from_numpy(np.stack((io["u"], io["v"]), -1))[None]
    times = torch.from_numpy(np.stack([io[t] for t in ("t_src", "t_tgt", "t_cam")], -1))[None]
    answer = network.decode(network.encode(video, aspect), frames, uv, times)
    theirs = {"xyz": "xyz_3d", "uv": "uv_2d"}
    assert len(answer) == 6
    for name, found in answer.items():
        expected = io[f"out_{theirs.get(name, name)}"].reshape(found[0].shape)
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5, err_msg=name)


def test_the_reference_answers_through_a_scene(shared):
    """The way of a user: frames of the model's own size in, pixels asked."""
    folder = shared / "golden" / "opend4rt"
    io = np.load(folder / "io.npz")
    model = d4rt_ros.load(folder / "opend4rt.ckpt", device="cpu", precision="fp32")
    scene = model.encode(io["video"])
    height, width = scene.size
    assert io["aspect"] == width / height
    answer = scene.query(
        io["u"] * (width - 1), io["v"] * (height - 1), *(io[t] for t in ("t_src", "t_tgt", "t_cam"))
    )
    np.testing.assert_allclose(answer.xyz, io["out_xyz_3d"], atol=1e-5)
    np.testing.assert_allclose(answer.displacements, io["out_displacement"], atol=1e-5)
    np.testing.assert_allclose(answer.visibility, 1 / (1 + np.exp(-io["out_visibility"])), atol=1e-5)
    np.testing.assert_allclose(answer.confidence, 1 / (1 + np.exp(-io["out_confidence"])), atol=1e-5)
    np.testing.assert_allclose(answer.uv / (width - 1, height - 1), io["out_uv_2d"], atol=1e-5)


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_every_architecture_comes_back(tmp_path, change):
    network = D4RT(replace(CONFIG, **change)).eval()
    loaded = load_checkpoint(write(tmp_path, network))
    assert loaded.config.token_grid == network.config.token_grid
    theirs = loaded.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(theirs.pop(name), tensor), name
    assert not theirs
    found = answers(loaded)
    for name, expected in answers(network).items():
        torch.testing.assert_close(found[name], expected, atol=0, rtol=0, msg=name)


def test_names_of_a_distributed_or_compiled_model_are_known(tmp_path):
    network = D4RT(CONFIG)
    path = write(tmp_path, network)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in in_their_names(network).items()}
    torch.save({"model": wrapped}, path)
    assert load_checkpoint(path).config.frames == CONFIG.frames


def test_the_tensors_may_come_as_safetensors(tmp_path):
    network = D4RT(CONFIG)
    write(tmp_path, network)
    save_file(in_their_names(network), tmp_path / "opend4rt.safetensors")
    loaded = load_checkpoint(tmp_path / "opend4rt.safetensors")
    assert torch.equal(loaded.decoder.blocks[1].kv_proj.weight, network.decoder.blocks[1].kv_proj.weight)


def test_without_model_yaml_the_public_models_options_are_assumed_aloud(tmp_path):
    config = replace(CONFIG, height=256, width=256, encoder_heads=16, decoder_width=32, decoder_heads=16)
    network = D4RT(config).eval()
    path = write(tmp_path, network)
    (tmp_path / "model.yaml").unlink()
    with pytest.warns(UserWarning, match="assumed.*no model.yaml.*encoder_heads = 16.*attention = interl"):
        loaded = load_checkpoint(path)
    assert loaded.config == config


def test_without_model_yaml_impossible_options_are_explained(tmp_path):
    path = write(tmp_path, D4RT(CONFIG))
    (tmp_path / "model.yaml").unlink()
    with pytest.raises(CheckpointError, match="multiple of decoder_heads.*assumed.*decoder_heads = 16"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("encoder.final_norm.weight"), "1 tensor missing: encoder.final_norm.weight"),
        (lambda t: t.pop("encoder.patch_embed.weight"), "encoder.patch_embed.weight is missing"),
        (lambda t: t.pop("aspect_ratio_proj.0.bias"), "missing: aspect_ratio_proj.0.bias"),
        (lambda t: t.pop("memory_proj.weight"), "missing: memory_proj.weight"),
        (
            lambda t: t.pop("decoder.blocks.0.cross_attn.in_proj_weight"),
            "missing: decoder.blocks.0.cross_attn.in_proj_weight",
        ),
        (
            lambda t: [t.pop(f"encoder.blocks.0.{n}.bias") for n in ("ff.0", "ff.3", "norm_ff", "norm_attn")],
            r"4 tensors missing: encoder.blocks.0.ff.0.bias, \S+, \S+ and 1 more",
        ),
        (lambda t: t.update({"heads.colour_head.weight": torch.zeros(3)}), "extra: heads.colour_head.weight"),
        (
            lambda t: t.update({"decoder.blocks.1.cross_attn.in_proj_bias": torch.zeros(70)}),
            r"decoder.blocks.1.cross_attn.in_proj_bias \(70,\) instead of \(72,\)",
        ),
        (lambda t: t.update({"encoder.patch_embed.weight": torch.zeros(3, 4)}), r"patch_embed.weight has sh"),
        (lambda t: t["heads.xyz_head.bias"].fill_(float("nan")), "tensor heads.xyz_head.bias holds NaN"),
    ],
)
def test_bad_tensors_are_named(tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(write(tmp_path, D4RT(CONFIG), change))


def changed(where: str, value) -> dict:
    document = model_yaml(CONFIG)
    *sections, key = where.split(".")
    place = document["model"]
    for section in sections:
        place = place[section]
    place[key] = value
    return document


@pytest.mark.parametrize(
    "where, value, words",
    [
        ("encoder.hidden_dim", 64, "says encoder.hidden_dim 64, but the tensors are of a model with 32"),
        ("encoder.num_layers", 40, "says encoder.num_layers 40, but .* 2"),
        ("encoder.patch_size_t_h_w", [2, 8, 8], r"patch_size_t_h_w \(2, 8, 8\), but .* \(2, 16, 16\)"),
        ("decoder.num_layers", 8, "says decoder.num_layers 8"),
        ("decoder.mlp_ratio", 2.5, "says decoder.mlp_ratio 2.5"),
        ("input.clip_frames", 48, "says input.clip_frames 48, but .* 4"),
        ("input.use_aspect_ratio_token", False, "use_aspect_ratio_token False, but .* True"),
        ("query_embedding.local_rgb_patch.patch_size", 9, "local_rgb_patch.patch_size 9, but .* 7"),
        ("encoder.attention_pattern", "axial", "attention_pattern is 'axial'; expected .* or global"),
        ("encoder.num_heads", "many", "num_heads is 'many'; expected a positive integer"),
        ("encoder.num_heads", 5, "multiple of encoder_heads"),
        ("input.image_size", [32], r"image_size is \[32\]; expected \[height, width\]"),
        ("decoder.mlp_ratio", 0, "expected a positive number"),
    ],
)
def test_a_model_yaml_that_contradicts_is_refused(tmp_path, where, value, words):
    path = write(tmp_path, D4RT(CONFIG), document=changed(where, value))
    with pytest.raises(CheckpointError, match=f"opend4rt.ckpt.*{words}"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("model: [", "model.yaml cannot be read"),
        ("just words", "no section `model`"),
        ("a: !!python/object/apply:os.system [x]", "cannot be read"),
    ],
)
def test_what_is_no_model_yaml_is_refused(tmp_path, text, words):
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(write(tmp_path, D4RT(CONFIG), document=text))
