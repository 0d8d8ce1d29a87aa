"""Every size and option of the network, in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

# What is answered, and in how many numbers.
HEADS = {"xyz": 3, "uv": 2, "visibility": 1, "displacement": 3, "normal": 3, "confidence": 1}
LARGEST = 1 << 16  # of any size or number in a configuration
_MAY_BE_NONE = ("rgb_patch", "stem", "encoder_layers", "decoder_layers", "uv_bands")


class ConfigError(ValueError):
    """A model configuration that no network can be built from."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a D4RT. The defaults of the options give OpenD4RT's architecture to the letter.

    The options below the line are what lets a model of a few million parameters learn in an hour.
    """

    frames: int = 48
    height: int = 256
    width: int = 256
    patch: tuple[int, int, int] = (2, 16, 16)  # frames, rows, columns of pixels in a token
    encoder_width: int = 1408
    encoder_layers: int = 40
    encoder_heads: int = 16
    encoder_mlp_ratio: float = 4.3636363636
    attention: str = (
        "interleaved"  # even blocks within a token row of frames, odd blocks over all; or "global"
    )
    aspect_token: bool = True
    max_tokens: int = 6144
    decoder_width: int = 1280
    decoder_layers: int = 8
    decoder_heads: int = 16
    decoder_mlp_ratio: float = 3.5
    uv_bands: int = 8
    rgb_patch: int = 9  # side of the RGB patch of a query in pixels; 0: none
    # ---- options for small models
    position: str = (
        "sinusoidal"  # one table over the token index; or "rotary": 3D sin-cos and rotary attention
    )
    stem: int = 0  # channels of a convolutional stem over neighbouring frames; 0: none
    uv_offset: bool = False  # the uv head answers relative to the query's own uv
    initialisation: str = "normal"  # normal: 0.02 everywhere; xavier
    pixel_mean: float = 0.0  # subtracted from RGB in [0, 1] …
    pixel_std: float = 1.0  # … and divided by

    def __post_init__(self):
        object.__setattr__(self, "patch", tuple(int(p) for p in self.patch))
        _check_numbers(self)
        checks = [
            (self.attention in ("interleaved", "global"), "attention is interleaved or global"),
            (self.position in ("sinusoidal", "rotary"), "position is sinusoidal or rotary"),
            (self.initialisation in ("normal", "xavier"), "initialisation is normal or xavier"),
            (min(self.frames, self.height, self.width, *self.patch) > 0, "sizes are positive"),
            (self.frames % self.patch[0] == 0, "frames is a multiple of the patch's frames"),
            (self.height % self.patch[1] == 0, "height is a multiple of the patch's rows"),
            (self.width % self.patch[2] == 0, "width is a multiple of the patch's columns"),
            (self.encoder_width % self.encoder_heads == 0, "encoder_width is a multiple of encoder_heads"),
            (self.decoder_width % self.decoder_heads == 0, "decoder_width is a multiple of decoder_heads"),
            (self.rgb_patch == 0 or self.rgb_patch % 2 == 1, "rgb_patch is odd, or 0"),
            (
                self.stem == 0 or not any(p % 4 for p in self.patch[1:]),
                "a stem needs a patch of 4n x 4m pixels",
            ),
            (self.position != "rotary" or self.decoder_heads >= 3, "rotary needs 3 decoder heads or more"),
        ]
        for good, rule in checks:
            if not good:
                raise ConfigError(f"bad model configuration: {rule}; got {asdict(self)}")

    @property
    def token_grid(self) -> tuple[int, int, int]:
        """Tokens along time, rows and columns, after the pooling that `max_tokens` asks for."""
        t, rows, columns = (n // p for n, p in zip((self.frames, self.height, self.width), self.patch))
        tokens = t * rows * columns
        if tokens <= self.max_tokens:
            return t, rows, columns
        scale = (self.max_tokens / tokens) ** 0.5
        return t, max(1, round(rows * scale)), max(1, round(columns * scale))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown model options {sorted(unknown)}; was it written by a newer version?")
        return cls(**values)


def _check_numbers(config: ModelConfig) -> None:
    """Raise ConfigError for numbers that no network has, before memory is taken for them: they come from files."""
    for field in fields(config):
        value, example = getattr(config, field.name), field.default
        least = 0 if field.name in _MAY_BE_NONE else 1
        if isinstance(example, tuple):
            good = len(value) == len(example) and all(1 <= v <= LARGEST for v in value)
        elif isinstance(example, float):
            good = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= LARGEST
        elif type(example) is int:
            good = type(value) is int and least <= value <= LARGEST
        else:
            good = type(value) is type(example)
        if not good:
            raise ConfigError(
                f"bad model configuration: {field.name} is {str(value)[:80]}, such as {example} is expected"
            )


PRESETS = {
    "tiny": ModelConfig(
        frames=8,
        height=96,
        width=96,
        patch=(2, 12, 12),
        encoder_width=192,
        encoder_layers=6,
        encoder_heads=3,
        encoder_mlp_ratio=4.0,
        decoder_width=192,
        decoder_layers=3,
        decoder_heads=3,
        position="rotary",
        stem=32,
        uv_offset=True,
        initialisation="xavier",
        pixel_mean=0.45,
        pixel_std=0.25,
    ),
    "base": ModelConfig(
        frames=16,
        encoder_width=768,
        encoder_layers=12,
        encoder_heads=12,
        encoder_mlp_ratio=4.0,
        decoder_width=512,
        decoder_layers=4,
        decoder_heads=8,
    ),
    "large": ModelConfig(
        frames=48,
        encoder_width=1024,
        encoder_layers=24,
        encoder_heads=16,
        encoder_mlp_ratio=4.0,
        decoder_width=768,
        decoder_layers=6,
        decoder_heads=12,
    ),
    "giant": ModelConfig(),
}
