"""Every number of a training run in one place.

The defaults are the recipe of the D4RT paper, appendix A, unless a comment says otherwise; recipes for other sizes
are the files in `configs/`.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

import yaml

from d4rt_ros.model.config import PRESETS, ConfigError, ModelConfig
from d4rt_ros.scenes import SceneConfig

CONFIGS = Path(__file__).parent / "configs"
# What may differ from the interrupted run: how long it goes on, and what is told and kept of it.
MAY_CHANGE = {"steps", "accumulate", "save_every", "report_every", "check_every", "check_clips"}


class TrainConfigError(ValueError):
    """A training configuration that cannot be used; the sentence names the key."""


def _within(default, low: float, high: float = math.inf):
    """A field with a smallest and a largest value; of a pair, of both of its values."""
    return field(default=default, metadata={"range": (low, high)})


def _one_of(default: str, *choices: str):
    return field(default=default, metadata={"choices": choices})


def _check_value(f, value) -> None:
    """Raise TrainConfigError where a field's value is out of its range."""
    if "choices" in f.metadata and value not in f.metadata["choices"]:
        raise TrainConfigError(f"{f.name}: {value!r} is not one of {', '.join(f.metadata['choices'])}")
    if "range" not in f.metadata:
        return
    low, high = f.metadata["range"]
    values = value if isinstance(value, tuple) else (value,)
    if not all(low <= v <= high for v in values):  # NaN fails too
        rule = f"at least {low:g}" if high == math.inf else f"within {low:g} … {high:g}"
        raise TrainConfigError(f"{f.name}: {value} is out of range; expected {rule}")
    if list(values) != sorted(values):
        raise TrainConfigError(f"{f.name}: {value} runs backwards; give the smaller value first")


class _Checked:
    def __post_init__(self):
        for f in fields(self):
            _check_value(f, getattr(self, f.name))


@dataclass(frozen=True)
class LossWeights(_Checked):
    """λ of each term of the loss."""

    xyz: float = _within(1.0, 0)
    uv: float = _within(0.1, 0)
    visibility: float = _within(0.1, 0)
    displacement: float = _within(0.1, 0)
    normal: float = _within(0.5, 0)
    confidence: float = _within(0.2, 0)
    # What follows is not in the paper, whose confidence lets go of what is hard: near, far, and slow things.
    log_depth: float = _within(0.0, 0)  # of depth in front of t_cam, but for a scale
    direction: float = _within(0.0, 0)  # of a point as seen from t_cam
    heading: float = _within(0.0, 0)  # of the displacement of what moves


@dataclass(frozen=True)
class QueryMix(_Checked):
    """How the queries of a clip are drawn. Shares and probabilities."""

    count: int = _within(2048, 1)  # a clip; main paper, section 3
    near_edges: float = _within(0.3, 0, 1)  # share near jumps of depth and borders of what moves
    on_moving: float = _within(0.0, 0, 1)  # share on what moves, where something does; not in the paper
    same_target_and_camera: float = _within(0.4, 0, 1)  # probability of t_tgt = t_cam
    same_all: float = _within(0.0, 0, 1)  # of t_src = t_tgt = t_cam, the depth query; not in the paper

    def __post_init__(self):
        super().__post_init__()
        for a, b in (("near_edges", "on_moving"), ("same_target_and_camera", "same_all")):
            if getattr(self, a) + getattr(self, b) > 1:
                raise TrainConfigError(f"{a} and {b} together are more than 1; they are shares of one whole")


@dataclass(frozen=True)
class Colours(_Checked):
    """Colour augmentation, alike in all frames of a clip (but for the noise). Strengths are not in the paper."""

    brightness: float = _within(0.3, 0, 1)  # ± relative
    contrast: float = _within(0.3, 0, 1)
    saturation: float = _within(0.4, 0, 1)
    hue: float = _within(0.1, 0, 0.5)  # ± turns of the colour circle
    drop_colour: float = _within(0.2, 0, 1)  # probability
    blur: float = _within(0.4, 0, 1)  # probability
    # pixels; as in SimCLR (Chen et al. 2020)
    blur_sigma: tuple[float, float] = _within((0.1, 2.0), 0.01, 100)
    # ± relative, a channel; this and what follows is not in the paper
    white_balance: float = _within(0.0, 0, 1)
    gamma: float = _within(0.0, 0, 0.9)  # ± of the exponent
    noise: float = _within(0.0, 0, 1)  # largest deviation of the sensor's noise, white being 1


@dataclass(frozen=True)
class Crops(_Checked):
    """Which part of the image is seen."""

    probability: float = _within(1.0, 0, 1)  # of a clip to be cropped
    area: tuple[float, float] = _within((0.3, 1.0), 0.01, 1)  # share of the image's
    # Log-uniform, of the window's aspect to the image's; the paper has no bound but the image's border.
    stretch: tuple[float, float] = _within((0.3, 10 / 3), 0.1, 10)
    zoom: float = _within(0.05, 0, 1)  # probability of a smaller window of the same aspect
    zoom_factor: tuple[float, float] = _within((1.0, 2.0), 1, 10)  # log-uniform; not in the paper
    centred: float = _within(0.0, 0, 1)  # share of the crops around the image's middle; not in the paper


@dataclass(frozen=True)
class DataSet(_Checked):
    """A source of clips: procedural scenes, or recorded sequences below `path`."""

    kind: str = "scenes"
    path: str = ""
    weight: float = _within(1.0, 0)  # its share of the clips, relative to the others'


@dataclass(frozen=True)
class TrainConfig(_Checked):
    model: ModelConfig = PRESETS["giant"]
    data: tuple[DataSet, ...] = (DataSet(),)
    scenes: SceneConfig = SceneConfig()
    # s, log-uniform, of scenes; not theirs
    frame_interval: tuple[float, float] = _within((0.05, 0.4), 1e-3, 60)
    # frames, of recorded sequences; the paper does not say which
    stride: tuple[int, int] = _within((1, 8), 1)
    steps: int = _within(500_000, 1)  # main paper, section 3
    # clips a step, of all processes together; main paper: 64 chips, one clip each
    batch: int = _within(64, 1)
    accumulate: int = _within(1, 1)  # parts that each process computes its clips in: less memory, same step
    reuse: int = _within(1, 1)  # steps that ask other queries of the same clips before new ones are made
    # muon: for matrices beneath the heads (Jordan et al. 2024)
    optimiser: str = _one_of("adamw", "adamw", "muon")
    learning_rate: float = _within(1e-4, 0)
    final_learning_rate: float = _within(1e-6, 0)
    warmup: int = _within(2500, 0)  # steps
    matrix_rate: float = _within(1.0, 0)  # of Muon's updates, relative
    head_rate: float = _within(1.0, 0)  # of the heads, relative
    weight_decay: float = _within(0.03, 0)
    clip_norm: float = _within(10.0, 1e-6)
    average: float = _within(0.9999, 0, 0.999999)  # decay of the averaged weights; not in the paper
    # of what autocast lowers; the heads stay in fp32
    precision: str = _one_of("bf16", "bf16", "fp16", "fp32")
    shard: bool = (
        False  # split weights and optimiser among the processes (FSDP): for models too large for one
    )
    seed: int = _within(0, 0)
    save_every: int = _within(1000, 1)  # steps, as are:
    report_every: int = _within(100, 1)
    check_every: int = _within(1000, 1)  # held-out figures
    check_clips: int = _within(16, 1)
    loss: LossWeights = LossWeights()
    queries: QueryMix = QueryMix()
    colours: Colours = Colours()
    crops: Crops = Crops()

    def __post_init__(self):
        super().__post_init__()
        if self.batch % self.accumulate:
            raise TrainConfigError(f"accumulate: {self.accumulate} does not divide batch, {self.batch}")
        if not any(data.weight for data in self.data):
            raise TrainConfigError("data: no data set has a weight over 0; there is nothing to train on")

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> TrainConfig:
        """Of nested mappings, as a YAML file has them; what is left out has its default.

        `model` may name a `preset` that its other keys change. Raises TrainConfigError for an unknown key, a value of
        the wrong type or out of its range.
        """
        return _build(cls, values, "")


def load_config(name: str | Path) -> TrainConfig:
    """One of the package's recipes by name, such as "tiny", or a YAML file. Raises TrainConfigError."""
    path = CONFIGS / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
    try:
        text = path.read_text()
    except OSError as error:
        recipes = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise TrainConfigError(
            f"{name}: cannot be read ({error.strerror}); give a YAML file, or one of the recipes {recipes}"
        ) from None
    try:
        return TrainConfig.from_dict(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise TrainConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except TrainConfigError as error:
        raise TrainConfigError(f"{path}: {error}") from None


def differences(before: dict, after: dict, prefix: str = "") -> list[str]:
    """What differs between two configurations as mappings, as sentences such as "loss.uv: 0.1 before, 8.0 now"."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        a, b = (_plain(values.get(key)) for values in (before, after))
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} before, {b} now")
    return found


def _plain(value):
    """Tuples as JSON has them."""
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _build(kind: type, values, prefix: str):
    """A dataclass of a mapping."""
    if not isinstance(values, dict):
        raise TrainConfigError(
            f"{prefix.rstrip('.') or 'the file'}: expected a mapping of keys to values, got {values!r}"
        )
    hints, given = typing.get_type_hints(kind), dict(values)
    start = {}
    if kind is ModelConfig and "preset" in given:
        preset = given.pop("preset")
        if preset not in PRESETS:
            raise TrainConfigError(f"{prefix}preset: {preset!r} is not one of {', '.join(PRESETS)}")
        start = vars(PRESETS[preset])
    for key in given:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            raise TrainConfigError(
                f"{prefix}{key}: no such key" + (f"; is it {prefix}{near[0]}?" if near else "")
            )
    built = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in given.items()}
    try:
        return kind(**{**start, **built})
    except TrainConfigError as error:
        raise TrainConfigError(f"{prefix}{error}") from None
    except (ConfigError, TypeError) as error:
        raise TrainConfigError(f"{prefix.rstrip('.')}: {error}") from None


def _convert(kind, value, key: str):
    """A value of YAML as the type that a field has."""
    if is_dataclass(kind):
        return _build(kind, value, f"{key}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # float | None
        return None if value is None else _convert(arguments[0], value, key)
    if origin is tuple:
        many = arguments[-1] is Ellipsis
        if not isinstance(value, (list, tuple)) or not (many or len(value) == len(arguments)):
            count = "any number of" if many else len(arguments)
            raise TrainConfigError(f"{key}: expected a list of {count} values, got {value!r}")
        kinds = [arguments[0]] * len(value) if many else arguments
        return tuple(_convert(k, v, f"{key}[{i}]") for i, (k, v) in enumerate(zip(kinds, value)))
    if kind is float and isinstance(value, str):  # YAML takes 1e-4, without a point, for text
        try:
            return float(value)
        except ValueError:
            pass
    good = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not good or (isinstance(value, bool) and kind is not bool):
        names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise TrainConfigError(f"{key}: expected {names.get(kind, kind)}, got {value!r}")
    return kind(value)
