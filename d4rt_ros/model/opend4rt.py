"""OpenD4RT's checkpoints: what its tensors are called, and the sizes that they and its model.yaml tell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from torch import Tensor

from d4rt_ros.model.config import ConfigError, ModelConfig

# Our names -> theirs: each pattern is replaced, in this order.
_NAMES = [
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
    (r"^encoder\.aspect_proj\.", "aspect_ratio_proj."),
    (r"^(encoder\.blocks\.\d+)\.qkv\.", r"\1.attn.in_proj_"),
    (r"^(encoder\.blocks\.\d+)\.out_proj\.", r"\1.attn.out_proj."),
    (r"^(decoder\.blocks\.\d+)\.(?:q|kv)_proj\.", r"\1.cross_attn.in_proj_"),
    (r"^(decoder\.blocks\.\d+)\.out_proj\.", r"\1.cross_attn.out_proj."),
    (r"\.ff\.2\.", ".ff.3."),
    (r"^decoder\.memory_proj\.", "memory_proj."),
    (r"^decoder\.embedding\.(t_\w+)\.", r"query_embedder.\1_embed."),
    (r"^decoder\.embedding\.", "query_embedder."),
    (r"^decoder\.heads\.(\w+)\.", r"heads.\1_head."),
]
_ATTENTION = {"interleaved_local_framewise_and_global": "interleaved", "global": "global"}


def _integer(value) -> int:
    if type(value) is not int or value <= 0:
        raise ValueError
    return value


def _integers(count: int):
    def read(value) -> tuple[int, ...]:
        if len(value) != count:
            raise ValueError
        return tuple(_integer(n) for n in value)

    return read


def _ratio(value) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError
    return value


def _flag(value) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


# Where model.yaml says what a ModelConfig's field is, how it is read and what is expected there.
_COUNT, _RATIO = (_integer, "a positive integer"), (_ratio, "a positive number")
_FIELDS = {
    "frames": ("input.clip_frames", *_COUNT),
    "size": ("input.image_size", _integers(2), "[height, width] in pixels"),
    "aspect_token": ("input.use_aspect_ratio_token", _flag, "true or false"),
    "patch": ("encoder.patch_size_t_h_w", _integers(3), "[frames, rows, columns]"),
    "encoder_width": ("encoder.hidden_dim", *_COUNT),
    "encoder_layers": ("encoder.num_layers", *_COUNT),
    "encoder_heads": ("encoder.num_heads", *_COUNT),
    "encoder_mlp_ratio": ("encoder.mlp_ratio", *_RATIO),
    "attention": ("encoder.attention_pattern", _ATTENTION.__getitem__, " or ".join(_ATTENTION)),
    "max_tokens": ("encoder.max_tokens", *_COUNT),
    "decoder_width": ("decoder.hidden_dim", *_COUNT),
    "decoder_layers": ("decoder.num_layers", *_COUNT),
    "decoder_heads": ("decoder.num_heads", *_COUNT),
    "decoder_mlp_ratio": ("decoder.mlp_ratio", *_RATIO),
    "uv_bands": ("query_embedding.uv_num_bands", *_COUNT),
    "rgb_patch": ("query_embedding.local_rgb_patch.patch_size", *_COUNT),
}
# What no tensor's shape tells. Without model.yaml they are those of the public models: ModelConfig's defaults.
_UNSEEN = ("height", "width", "encoder_heads", "decoder_heads", "attention", "max_tokens")


def is_opend4rt(names: Iterable[str]) -> bool:
    """Whether tensors of these names are an OpenD4RT model's."""
    return any(name.startswith("query_embedder.") for name in names)


def opend4rt_shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes that OpenD4RT's tensors have for our state dict, by their names."""
    shapes = {}
    for name, tensor in state.items():
        rows, *rest = tensor.shape
        above = shapes.get(their_name(name), (0,))[0]  # those that share a name there lie in one tensor
        shapes[their_name(name)] = (above + rows, *rest)
    return shapes


def from_opend4rt(theirs: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """OpenD4RT's tensors under our `names`, without a copy: the two projections are parts of theirs."""
    ours = {}
    for name in names:
        tensor = theirs[their_name(name)]
        width = len(tensor) // 3
        if ".q_proj." in name:
            tensor = tensor[:width]
        elif ".kv_proj." in name:
            tensor = tensor[width:]
        ours[name] = tensor
    return ours


def their_name(name: str) -> str:
    """What OpenD4RT calls our tensor; the projections of a cross-attention share one name there."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def opend4rt_config(tensors: dict[str, Tensor], model_yaml: Path) -> tuple[ModelConfig, list[str]]:
    """The configuration of an OpenD4RT checkpoint, and what had to be assumed of it ("encoder_heads = 16", …).

    Sizes come from the tensors' shapes; `model_yaml`, where that file is there, says the rest. Raises ConfigError
    where it cannot be read or contradicts the tensors, where a tensor that tells a size is missing, and where the
    sizes make no model.
    """
    sizes = _sizes_of_tensors(tensors)
    said = _read_yaml(model_yaml) if model_yaml.is_file() else {}
    for name, size in sizes.items():
        if name in said and not _agree(name, said[name], size, sizes):
            raise ConfigError(
                f"{model_yaml.name} says {_FIELDS[name][0]} {said[name]}, but the tensors are of a model with {size}; "
                "is it another model's file?"
            )
    default = ModelConfig()
    assumed = [f"{name} = {getattr(default, name)}" for name in _UNSEEN if name not in said]
    try:
        return ModelConfig(**{**said, **sizes}), assumed
    except ConfigError as error:
        hint = f" (assumed, as {model_yaml.name} does not say: {', '.join(assumed)})" if assumed else ""
        raise ConfigError(f"{error}{hint}") from None


def _sizes_of_tensors(tensors: dict[str, Tensor]) -> dict:
    """The ModelConfig fields that shapes tell. Raises ConfigError naming a tensor that is missing or misshapen."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors:
            raise ConfigError(f"tensor {name} is missing, which tells a size of the model")
        if tensors[name].dim() != dimensions or 0 in tensors[name].shape:
            got = tuple(tensors[name].shape)
            raise ConfigError(f"tensor {name} has shape {got}, where {dimensions} dimensions are expected")
        return tuple(tensors[name].shape)

    def layers(part: str) -> int:
        blocks = [re.match(rf"{part}\.blocks\.(\d+)\.", name) for name in tensors]
        return 1 + max((int(block[1]) for block in blocks if block), default=-1)

    encoder_width, _, *patch = shape("encoder.patch_embed.weight", 5)
    frames, decoder_width = shape("query_embedder.t_src_embed.weight", 2)
    has_patch = any(name.startswith("query_embedder.patch_proj.") for name in tensors)
    return {
        "frames": frames,
        "patch": tuple(patch),
        "encoder_width": encoder_width,
        "encoder_layers": layers("encoder"),
        "encoder_mlp_ratio": shape("encoder.blocks.0.ff.0.weight", 2)[0] / encoder_width,
        "aspect_token": any(name.startswith("aspect_ratio_proj.") for name in tensors),
        "decoder_width": decoder_width,
        "decoder_layers": layers("decoder"),
        "decoder_mlp_ratio": shape("decoder.blocks.0.ff.0.weight", 2)[0] / decoder_width,
        "uv_bands": (shape("query_embedder.uv_proj.weight", 2)[1] - 2) // 4,
        "rgb_patch": math.isqrt(shape("query_embedder.patch_proj.0.weight", 2)[1] // 3) if has_patch else 0,
    }


def _agree(name: str, said, size, sizes: dict) -> bool:
    if not name.endswith("_mlp_ratio"):
        return said == size
    # The hidden width is the ratio's, rounded somehow.
    return abs(said - size) * sizes[name.replace("mlp_ratio", "width")] < 8


def _read_yaml(path: Path) -> dict:
    """The ModelConfig fields that a model.yaml gives. Raises ConfigError for what is not one."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path.name} cannot be read: {problem}") from None
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise ConfigError(f"{path.name} has no section `model`; expected OpenD4RT's model.yaml")

    def value(where: str):
        found = model
        for key in where.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    said = {}
    for name, (where, read, expected) in _FIELDS.items():
        found = value(where)
        try:
            said |= {} if found is None else {name: read(found)}
        except (TypeError, ValueError, KeyError):
            raise ConfigError(f"{path.name}: {where} is {found!r}; expected {expected}") from None
    if "size" in said:
        said["height"], said["width"] = said.pop("size")
    if value("query_embedding.local_rgb_patch.enabled") is False:
        said["rgb_patch"] = 0
    return said
