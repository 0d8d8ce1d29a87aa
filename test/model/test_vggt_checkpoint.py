"""VGGT's files: what is read off them, the published size, and every kind of bad file."""

import re
import warnings

import pytest
import torch
from safetensors.torch import save_file
from small_vggt import CONFIG_YAML, SMALL, published, random_vggt, write

from d4rt_ros.model.checkpoint import CheckpointError, load_checkpoint
from d4rt_ros.model.tensor_files import read_tensors
from d4rt_ros.model.vggt.checkpoint import empty_vggt, is_vggt, load_vggt
from d4rt_ros.model.vggt.config import VGGT_1B, vggt_config

BLOCK = {
    "norm1.weight": "C", "norm1.bias": "C", "attn.qkv.weight": "3C,C", "attn.qkv.bias": "3C",
    "attn.proj.weight": "C,C", "attn.proj.bias": "C", "ls1.gamma": "C", "norm2.weight": "C", "norm2.bias": "C",
    "mlp.fc1.weight": "4C,C", "mlp.fc1.bias": "4C", "mlp.fc2.weight": "C,4C", "mlp.fc2.bias": "C", "ls2.gamma": "C",
}  # fmt: skip


def block(prefix: str, width: int, qk_norm: int = 0) -> dict:
    shapes = {
        f"{prefix}.{name}": tuple(int(n[:-1] or 1) * width for n in shape.split(","))
        for name, shape in BLOCK.items()
    }
    norms = {f"{prefix}.attn.{x}_norm.{kind}": (qk_norm,) for x in "qk" for kind in ("weight", "bias")}
    return shapes | norms if qk_norm else shapes


def with_bias(shapes: dict) -> dict:
    """A bias for each weight, of its outputs."""
    return shapes | {n.replace(".weight", ".bias"): s[:1] for n, s in shapes.items() if n.endswith(".weight")}


def dpt(head: str, out: int) -> dict:
    """As the published list has it; a transposed convolution's outputs are as many as its inputs."""
    n = 256
    shapes = {f"{head}.norm.weight": (2048,)}
    for i, c in enumerate((256, 512, 1024, 1024)):
        shapes[f"{head}.projects.{i}.weight"] = (c, 2048, 1, 1)
    for i, shape in ((0, (256, 256, 4, 4)), (1, (512, 512, 2, 2)), (3, (1024, 1024, 3, 3))):
        shapes[f"{head}.resize_layers.{i}.weight"] = shape
    for i in (1, 2, 3, 4):
        shapes[f"{head}.scratch.refinenet{i}.out_conv.weight"] = (n, n, 1, 1)
        for unit in (1, 2) if i < 4 else (2,):
            for conv in (1, 2):
                name = f"{head}.scratch.refinenet{i}.resConfUnit{unit}.conv{conv}.weight"
                shapes[name] = (n, n, 3, 3)
    shapes[f"{head}.scratch.output_conv1.weight"] = (128, n, 3, 3)
    shapes[f"{head}.scratch.output_conv2.0.weight"] = (32, 128, 3, 3)
    shapes[f"{head}.scratch.output_conv2.2.weight"] = (out, 32, 1, 1)
    shapes = with_bias(shapes)
    for i, c in enumerate((256, 512, 1024, 1024), 1):
        shapes[f"{head}.scratch.layer{i}_rn.weight"] = (n, c, 3, 3)
    return shapes


def vggt_1b() -> dict[str, tuple[int, ...]]:
    """Names and shapes of VGGT-1B's tensors but for its track head, written down independently."""
    a, c = "aggregator.", "camera_head."
    shapes = {
        a + "camera_token": (1, 2, 1, 1024),
        a + "register_token": (1, 2, 4, 1024),
        a + "patch_embed.cls_token": (1, 1, 1024),
        a + "patch_embed.pos_embed": (1, 1370, 1024),
        a + "patch_embed.register_tokens": (1, 4, 1024),
        a + "patch_embed.mask_token": (1, 1024),
        c + "empty_pose_tokens": (1, 1, 9),
    }
    shapes |= with_bias(
        {
            a + "patch_embed.patch_embed.proj.weight": (1024, 3, 14, 14),
            a + "patch_embed.norm.weight": (1024,),
            c + "token_norm.weight": (2048,),
            c + "trunk_norm.weight": (2048,),
            c + "embed_pose.weight": (2048, 9),
            c + "poseLN_modulation.1.weight": (6144, 2048),
            c + "pose_branch.fc1.weight": (1024, 2048),
            c + "pose_branch.fc2.weight": (9, 1024),
        }
    )
    for i in range(24):
        shapes |= block(f"{a}patch_embed.blocks.{i}", 1024)
        shapes |= block(f"{a}frame_blocks.{i}", 1024, 64) | block(f"{a}global_blocks.{i}", 1024, 64)
    for i in range(4):
        shapes |= block(f"{c}trunk.{i}", 2048)
    return shapes | dpt("depth_head", 2) | dpt("point_head", 4)


def numel(shapes: dict, prefix: str = "") -> int:
    return sum(torch.Size(s).numel() for n, s in shapes.items() if n.startswith(prefix))


def test_vggt_1b_has_the_published_tensors():
    shapes = vggt_1b()
    network = empty_vggt(VGGT_1B)
    assert all(p.is_meta for p in network.parameters())
    ours = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert ours == {n: s for n, s in shapes.items() if not n.endswith("mask_token")}
    assert sum(p.numel() for p in network.parameters()) == 1_190_595_096
    # 1 256 537 516 with a track head of 65.9 M.
    assert 1_256_537_516 - numel(shapes) == pytest.approx(65.9e6, abs=0.05e6)
    parts = {
        "aggregator.patch_embed.": 304.4,
        "aggregator.frame_blocks.": 302.4,
        "aggregator.global_blocks.": 302.4,
    }
    parts |= {"camera_head.": 216.2, "depth_head.": 32.7, "point_head.": 32.7}
    for part, millions in parts.items():
        assert numel(shapes, part) == pytest.approx(1e6 * millions, abs=0.06e6), part


def test_vggt_1b_needs_no_config(tmp_path):
    config, assumed = vggt_config(vggt_1b(), tmp_path / "config.yaml")
    assert config == VGGT_1B and not assumed and config.side == 518


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_sizes_are_read_off_the_file_and_the_config_beside_it(tmp_path, suffix):
    path = write(tmp_path, name=f"model.{suffix}")
    if suffix == "safetensors":
        save_file(published(random_vggt()), path)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = load_vggt(read_tensors(path), progress=seen.append)
    assert network.config == SMALL and not network.training and seen[-1] == 1
    for name, tensor in random_vggt().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_another_size_without_a_config_says_what_is_assumed(tmp_path):
    tensors = published(random_vggt())
    del_layers = CONFIG_YAML.replace("camera_head: {num_heads: 8, num_iterations: 3}", "")
    with pytest.warns(
        UserWarning, match="assumed, as in VGGT-1B.*camera_head.num_heads 16.*num_iterations 4"
    ):
        network = load_vggt(read_tensors(write(tmp_path, tensors, del_layers)))
    assert network.config.camera_heads == 16 and network.config.camera_iterations == 4


def test_a_file_without_points_is_a_vggt(tmp_path):
    tensors = {n: t for n, t in published(random_vggt()).items() if not n.startswith("point_head.")}
    network = load_vggt(read_tensors(write(tmp_path, tensors)))
    assert network.config.points is None and network.point_head is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_only_the_aggregators_products_are_of_lower_precision(tmp_path, dtype):
    network = load_vggt(read_tensors(write(tmp_path)), dtype)
    for name, p in network.named_parameters():
        matrix = re.search(r"(qkv|proj|fc[12])\.(weight|bias)$", name) and name.startswith("aggregator.")
        assert p.dtype == (dtype if matrix else torch.float32), name


def test_tensors_at_half_precision_are_taken(tmp_path):
    tensors = {n: t.half() for n, t in published(random_vggt()).items()}
    assert load_vggt(read_tensors(write(tmp_path, tensors))).depth_head.norm.weight.dtype == torch.float32


def without(prefix):
    return lambda tensors: [tensors.pop(n) for n in [*tensors] if n.startswith(prefix)]


def replaced(name, tensor):
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    "change, words",
    [
        (without("depth_head."), r"a VGGT without depth_head\.\* tensors"),
        (without("camera_head."), r"a VGGT without camera_head\.\* tensors"),
        (without("aggregator.global_blocks."), "missing: aggregator.global_blocks"),
        (without("aggregator.frame_blocks."), "the tensor aggregator.frame_blocks.0.attn.q_norm.weight is missing"),
        (without("aggregator.patch_embed."), "the tensor aggregator.patch_embed.* is missing"),
        (without("aggregator.frame_blocks.3."), r"tensor aggregator.frame_blocks.3.\* is missing"),
        (without("aggregator.frame_blocks.4."), "missing: aggregator.frame_blocks.4.attn"),
        (without("camera_head.pose_branch"), "camera_head.pose_branch.fc1.weight is missing"),
        (without("depth_head.scratch.output_conv2"), "depth_head.scratch.output_conv2.2.weight is missing"),
        (without("point_head.scratch.refinenet2"), "missing: point_head.scratch.refinenet2"),
        (replaced("aggregator.camera_token", torch.zeros(1, 3, 1, 32)), r"camera_token \(1, 3, 1, 32\) instead of"),
        (replaced("aggregator.patch_embed.pos_embed", torch.zeros(1, 36, 32)), "35 places, which are no square"),
        (replaced("aggregator.patch_embed.pos_embed", torch.zeros(36)), "not have the shapes of a VGGT"),
        (replaced("depth_head.scratch.output_conv2.2.weight", torch.zeros(4, 32, 1, 1)), "a depth head with 2"),
        (replaced("aggregator.frame_blocks.0.attn.q_norm.weight", torch.zeros(5)), "a width of 32 in heads of 5"),
        (replaced("aggregator.time_blocks.0.weight", torch.zeros(5)), "1 tensor extra: aggregator.time_blocks"),
        (replaced("aggregator.frame_blocks.9999999.weight", torch.zeros(5)), r"frame_blocks.5.\* is missing"),
        (replaced("depth_head.norm.bias", torch.full((64,), torch.nan)), "tensor depth_head.norm.bias holds NaN"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_named(tmp_path, change, words):
    tensors = published(random_vggt())
    change(tensors)
    path = write(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}: .*({words})"):
        load_vggt(read_tensors(path))


def test_a_value_beyond_half_precision_is_named(tmp_path):
    tensors = published(random_vggt())
    tensors["aggregator.frame_blocks.0.mlp.fc1.weight"][0, 0] = 1e6
    with pytest.raises(CheckpointError, match="fc1.weight holds values beyond the range of torch.float16"):
        load_vggt(read_tensors(write(tmp_path, tensors)), torch.float16)


@pytest.mark.parametrize(
    "text, words",
    [
        ("aggregator: {num_heads: 4}", "aggregator.num_heads 4, but the tensors are of a model with 2"),
        ("embed_dim: 64\naggregator: {}", "embed_dim 64, but the tensors are of a model with 32"),
        ("camera_head: {num_heads: 7}", r"64 cannot be split into 7 heads \(camera_head"),
        ("camera_head: {num_heads: many}", "camera_head.num_heads many; such as 16"),
        ("camera_head: {num_heads: true}", "camera_head.num_heads True; such as 16"),
        ("camera_head: {num_iterations: 0}", "num_iterations 0; such as 4"),
        ("camera_head: {nr_heads: 4}", "camera_head.nr_heads 4, which no VGGT has"),
        ("camera_head: {fl_act: exp}", "camera_head.fl_act exp, but this network is built with relu"),
        ("depth_head: {pos_embed: false}", "depth_head.pos_embed False, but this network is built with True"),
        ("aggregator: {norm_eps: 1e-6}", "norm_eps 1e-6, but this network is built with 1e-05"),
        ("depth_head: {intermediate_layer_idx: [0, 1, 2, 5]}", "for a model of 5 layers"),
        ("depth_head: {intermediate_layer_idx: [0, 2, 1, 4]}", "ascending"),
        ("depth_head: {intermediate_layer_idx: 4}", "intermediate_layer_idx 4; such as"),
        ("aggregator: 5", "none of the sections"),
        ("aggregator: 5\ndepth_head: {}", "aggregator 5; a section is expected"),
        ("model: {num_heads: 4}", "none of the sections"),
        ("[1, 2", "config.yaml cannot be read"),
        ("", "none of the sections"),
        (None, "23] for a model of 5 layers.*put its config.yaml beside it"),
    ],
)
def test_a_wrong_config_is_named(tmp_path, text, words):
    with pytest.raises(CheckpointError, match=f"model.pt: a VGGT that cannot be used: .*{words}"):
        load_vggt(read_tensors(write(tmp_path, config_yaml=text)))


def test_a_d4rts_loader_says_what_takes_a_vggt(tmp_path):
    path = write(tmp_path)
    assert is_vggt(read_tensors(path).tensors) and not is_vggt(["encoder.blocks.0.qkv.weight"])
    with pytest.raises(CheckpointError, match="weights of VGGT, which d4rt_ros.load .* take as they are"):
        load_checkpoint(path)
