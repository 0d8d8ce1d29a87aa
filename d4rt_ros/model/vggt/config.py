"""VGGT's sizes: read off its tensors, and for what they do not tell off a config.yaml beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from d4rt_ros.model.config import LARGEST, ConfigError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class DptConfig:
    """A head of maps. layers: the four whose tokens it takes; channels: of each; features: that they are brought to;
    last, hidden: before and within the last convolutions; out: channels that come out."""

    layers: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    features: int
    last: int
    hidden: int
    out: int


@dataclass(frozen=True)
class VGGTConfig:
    """Sizes of a VGGT.

    patch: side of a token in pixels; grid: side of the square of tokens that positions were trained for.
    patch_…: of the DINOv2 part; layers, heads, registers, hidden: of the frame and the global blocks; camera_…: of the
    camera head's trunk. hidden is the width within a feed-forward. rope: base of the rotary embedding.
    """

    patch: int
    grid: int
    width: int
    patch_layers: int
    patch_heads: int
    patch_hidden: int
    patch_registers: int
    layers: int
    heads: int
    hidden: int
    registers: int
    rope: float
    camera_layers: int
    camera_heads: int
    camera_hidden: int
    pose_hidden: int
    camera_iterations: int
    depth: DptConfig
    points: DptConfig | None

    @property
    def side(self) -> int:
        """Pixels of the square image that positions were trained for: of the width that frames are brought to."""
        return self.patch * self.grid


VGGT_1B = VGGTConfig(
    patch=14, grid=37, width=1024,
    patch_layers=24, patch_heads=16, patch_hidden=4096, patch_registers=4,
    layers=24, heads=16, hidden=4096, registers=4, rope=100.0,
    camera_layers=4, camera_heads=16, camera_hidden=8192, pose_hidden=1024, camera_iterations=4,
    depth=DptConfig((4, 11, 17, 23), (256, 512, 1024, 1024), 256, 128, 32, 2),
    points=DptConfig((4, 11, 17, 23), (256, 512, 1024, 1024), 256, 128, 32, 4),
)  # fmt: skip
# What tensors do not tell, where a config.yaml says it, and what it is in VGGT-1B.
_UNSEEN = {
    "patch_embed.num_heads": 16,
    "camera_head.num_heads": 16,
    "camera_head.num_iterations": 4,
    "aggregator.rope_freq": 100,
    "depth_head.intermediate_layer_idx": [4, 11, 17, 23],
    "point_head.intermediate_layer_idx": [4, 11, 17, 23],
}
# What the network here does in one way only.
_FIXED = {
    "patch_embed.kind": "dinov2_reg",
    "patch_embed.norm_eps": 1e-6,
    "patch_embed.qk_norm": False,
    "patch_embed.interpolate_antialias": True,
    "patch_embed.interpolate_offset": 0.0,
    "aggregator.qk_norm": True,
    "aggregator.norm_eps": 1e-5,
    "aggregator.aa_order": ["frame", "global"],
    "aggregator.aa_block_size": 1,
    "camera_head.norm_eps": 1e-5,
    "camera_head.adaln_norm_eps": 1e-6,
    "camera_head.pose_encoding": "absT_quaR_FoV",
    "camera_head.trans_act": "linear",
    "camera_head.quat_act": "linear",
    "camera_head.fl_act": "relu",
    "depth_head.activation": "exp",
    "depth_head.conf_activation": "expp1",
    "depth_head.pos_embed": True,
    "point_head.activation": "inv_log",
    "point_head.conf_activation": "expp1",
    "point_head.pos_embed": True,
}
_SECTIONS = ("patch_embed", "aggregator", "camera_head", "depth_head", "point_head")
_HIDDEN = "mlp.fc1.weight"


def vggt_config(shapes: Shapes, config_yaml: Path) -> tuple[VGGTConfig, list[str]]:
    """The sizes, and which of them were assumed to be VGGT-1B's though the tensors are not of its sizes.

    shapes: of the tensors by name; `config_yaml`: read where that file is there. Raises ConfigError for tensors from
    which no sizes can be had, for a config.yaml that cannot be read, contradicts them, or asks for what is not
    built, and for numbers that do not go together.
    """
    try:
        return _vggt_config(shapes, config_yaml)
    except KeyError as error:
        raise ConfigError(f"the tensor {error.args[0]} is missing") from None
    except ConfigError:
        raise
    except (IndexError, ValueError, ZeroDivisionError):
        raise ConfigError("its tensors do not have the shapes of a VGGT's") from None


def _vggt_config(shapes: Shapes, config_yaml: Path) -> tuple[VGGTConfig, list[str]]:
    seen = _seen(shapes)
    said = _read_yaml(config_yaml) if config_yaml.is_file() else {}
    known = seen | _FIXED
    for name, value in said.items():
        if name.startswith("point_head.") and "point_head" not in seen:
            continue  # left out of the tensors, as it may be
        if name in known and not _same(value, known[name]):
            why = "the tensors are of a model with" if name in seen else "this network is built with"
            raise ConfigError(f"{config_yaml.name} says {name} {value}, but {why} {known[name]}")
        if name not in known and name not in _UNSEEN:
            raise ConfigError(f"{config_yaml.name} says {name} {value}, which no VGGT has that is known here")
    unseen = [n for n in _UNSEEN if n.startswith(("patch", "agg", "camera", "depth")) or "point_head" in seen]
    values = {name: _checked(config_yaml.name, name, said.get(name, _UNSEEN[name])) for name in unseen}
    config = _config(seen, shapes, values)
    _check(config)
    sizes = [(c.width, c.patch_layers, c.layers, c.camera_layers) for c in (config, VGGT_1B)]
    return config, [] if sizes[0] == sizes[1] else [f"{n} {values[n]}" for n in unseen if n not in said]


def _config(seen: dict, shapes: Shapes, values: dict) -> VGGTConfig:
    return VGGTConfig(
        patch=seen["patch_size"],
        grid=seen["img_size"] // seen["patch_size"],
        width=seen["embed_dim"],
        patch_layers=seen["patch_embed.depth"],
        patch_heads=values["patch_embed.num_heads"],
        patch_hidden=shapes[f"aggregator.patch_embed.blocks.0.{_HIDDEN}"][0],
        patch_registers=seen["patch_embed.num_register_tokens"],
        layers=seen["aggregator.depth"],
        heads=seen["aggregator.num_heads"],
        hidden=shapes[f"aggregator.frame_blocks.0.{_HIDDEN}"][0],
        registers=seen["aggregator.num_register_tokens"],
        rope=float(values["aggregator.rope_freq"]),
        camera_layers=seen["camera_head.trunk_depth"],
        camera_heads=values["camera_head.num_heads"],
        camera_hidden=shapes[f"camera_head.trunk.0.{_HIDDEN}"][0],
        pose_hidden=shapes["camera_head.pose_branch.fc1.weight"][0],
        camera_iterations=values["camera_head.num_iterations"],
        depth=_dpt("depth_head", seen, shapes, values),
        points=_dpt("point_head", seen, shapes, values) if "point_head" in seen else None,
    )


def _dpt(head: str, seen: dict, shapes: Shapes, values: dict) -> DptConfig:
    return DptConfig(
        layers=tuple(values[f"{head}.intermediate_layer_idx"]),
        channels=tuple(seen[f"{head}.out_channels"]),
        features=seen[f"{head}.features"],
        last=shapes[f"{head}.scratch.output_conv1.weight"][0],
        hidden=seen[f"{head}.output_conv2_hidden"],
        out=seen[f"{head}.output_dim"],
    )


def _same(said, known) -> bool:
    """Whether a document says what is known; YAML takes 1e-6, without a point, for text."""
    try:
        return float(said) == known if isinstance(said, str) and isinstance(known, float) else said == known
    except ValueError:
        return False


def _seen(shapes: Shapes) -> dict:
    """What the tensors tell, by the names of a config.yaml."""
    width, _, patch, _ = shapes["aggregator.patch_embed.patch_embed.proj.weight"]
    places = shapes["aggregator.patch_embed.pos_embed"][1] - 1
    grid = round(max(places, 0) ** 0.5)
    if grid**2 != places or not grid:
        raise ConfigError(f"aggregator.patch_embed.pos_embed has {places} places, which are no square")
    head_width = shapes["aggregator.frame_blocks.0.attn.q_norm.weight"][0]
    if width % head_width or head_width % 4:
        raise ConfigError(
            f"a width of {width} in heads of {head_width} (q_norm); a divisor of it and a multiple of 4 is expected"
        )
    trunk = shapes[f"camera_head.trunk.0.{_HIDDEN}"]
    seen = {
        "img_size": grid * patch,
        "patch_size": patch,
        "embed_dim": width,
        "patch_embed.depth": _count(shapes, "aggregator.patch_embed.blocks"),
        "patch_embed.mlp_ratio": shapes[f"aggregator.patch_embed.blocks.0.{_HIDDEN}"][0] / width,
        "patch_embed.num_register_tokens": shapes["aggregator.patch_embed.register_tokens"][1],
        "aggregator.depth": max(_count(shapes, f"aggregator.{kind}_blocks") for kind in ("frame", "global")),
        "aggregator.num_heads": width // head_width,
        "aggregator.mlp_ratio": shapes[f"aggregator.frame_blocks.0.{_HIDDEN}"][0] / width,
        "aggregator.num_register_tokens": shapes["aggregator.register_token"][2],
        "camera_head.dim_in": trunk[1],
        "camera_head.trunk_depth": _count(shapes, "camera_head.trunk"),
        "camera_head.mlp_ratio": trunk[0] / trunk[1],
    }
    for head in ("depth_head", "point_head"):
        if not any(name.startswith(f"{head}.") for name in shapes):
            continue
        last = shapes[f"{head}.scratch.output_conv2.2.weight"]
        seen |= {
            head: {},
            f"{head}.dim_in": shapes[f"{head}.norm.weight"][0],
            f"{head}.output_dim": last[0],
            f"{head}.output_conv2_hidden": last[1],
            f"{head}.features": shapes[f"{head}.scratch.output_conv1.weight"][1],
            f"{head}.out_channels": [shapes[f"{head}.projects.{i}.weight"][0] for i in range(4)],
        }
    return seen


def _count(shapes: Shapes, blocks: str) -> int:
    """How many blocks there are, numbered from 0."""
    pattern = re.compile(re.escape(blocks) + r"\.(\d+)\.")
    numbers = {int(m[1]) for m in map(pattern.match, shapes) if m}
    for i in range(len(numbers)):
        if i not in numbers:
            raise KeyError(f"{blocks}.{i}.*")
    return len(numbers)


def _checked(file: str, name: str, value):
    """A number or numbers that no tensor can contradict."""
    example = _UNSEEN[name]
    numbers = value if isinstance(example, list) else [value]
    good = isinstance(numbers, list) and len(numbers) == (4 if isinstance(example, list) else 1)
    least = 0 if isinstance(example, list) else 1
    kinds = (int, float) if name.endswith("rope_freq") else (int,)
    if not (good and all(type(n) in kinds and least <= n <= LARGEST for n in numbers)):
        raise ConfigError(f"{file} says {name} {str(value)[:80]}; such as {example} is expected")
    return value


def _check(config: VGGTConfig) -> None:
    """Raise ConfigError for numbers that do not go together."""
    hint = "; if it is no VGGT-1B, put its config.yaml beside it"
    sizes = [
        (config.width, config.patch_heads, "patch_embed.num_heads"),
        (2 * config.width, config.camera_heads, "camera_head.num_heads"),
    ]
    for width, heads, name in sizes:
        if width % heads:
            raise ConfigError(f"a width of {width} cannot be split into {heads} heads ({name}){hint}")
    for name, head in (("depth_head", config.depth), ("point_head", config.points)):
        if head is None:
            continue
        if max(head.layers) >= config.layers or sorted(set(head.layers)) != list(head.layers):
            raise ConfigError(
                f"{name}.intermediate_layer_idx {list(head.layers)} for a model of {config.layers} layers; "
                f"four of them are expected, ascending from 0{hint}"
            )
        if any(n % 4 for n in (*head.channels, head.last)):
            raise ConfigError(
                f"{name} has {head.channels} and {head.last} channels; multiples of 4 are expected"
            )
    if config.depth.out != 2 or (config.points is not None and config.points.out != 4):
        raise ConfigError("a depth head with 2 channels out, and a point head with 4, are expected")


def _read_yaml(path: Path) -> dict:
    """Values by "section.name"; sections of what is not built here (track_head, vggt4d) are left out."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path.name} cannot be read: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(document, dict) or not any(isinstance(document.get(s), dict) for s in _SECTIONS):
        raise ConfigError(
            f"{path.name} has none of the sections {', '.join(_SECTIONS)}; put VGGT's there, or move it away if it "
            "belongs to something else"
        )
    values = {}
    for name, value in document.items():
        if name in _SECTIONS and value is not None:
            if not isinstance(value, dict):
                raise ConfigError(f"{path.name} says {name} {str(value)[:80]}; a section is expected")
            values |= {f"{name}.{key}": v for key, v in value.items()}
        elif name in ("img_size", "patch_size", "embed_dim"):
            values[name] = value
    return values
