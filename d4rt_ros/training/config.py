"""What a training run is made of. Numbers from the D4RT paper's appendix A unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LossWeights:
    """λ of each term of the loss.

    The paper has 0.1 for uv and displacement; in a model of a few million parameters both terms then never
    take part: 8 and 10 are what was seen to be learned from.
    """

    xyz: float = 1.0
    uv: float = 8.0
    visibility: float = 0.1
    displacement: float = 10.0
    normal: float = 0.5
    confidence: float = 0.2


@dataclass(frozen=True)
class QueryMix:
    """How the queries of a clip are drawn."""

    count: int = 256  # paper: 2048
    near_edges: float = 0.3  # share near depth discontinuities
    on_moving: float = (
        0.35  # share on things that move, where there are any; without it displacement collapses to 0
    )
    same_target_and_camera: float = 0.4  # probability of t_tgt = t_cam
    same_all: float = 0.15  # probability of t_src = t_tgt = t_cam: the depth query, which users ask most


@dataclass(frozen=True)
class Augmentation:
    """Consistent over the frames of a clip. Probabilities and ranges."""

    brightness: float = 0.3  # ± relative
    contrast: float = 0.3
    saturation: float = 0.4
    white_balance: float = 0.12  # ± relative, a channel
    gamma: float = 0.25
    drop_colour: float = 0.2
    noise: float = (
        0.03  # largest deviation of the sensor's noise, in [0, 1] units; not consistent over frames
    )
    blur: float = 0.2  # probability; the paper's 0.4 is for 256 pixels, at 64 little detail is left


@dataclass(frozen=True)
class TrainConfig:
    preset: str = "tiny"
    steps: int = 6600
    batch: int = 8  # clips a step; small batches and many steps learn correspondence sooner
    frame_interval: tuple[float, float] = (0.05, 0.4)  # seconds between frames of a clip, log-uniform
    reuse: int = 2  # steps that take other queries of the same clips before new ones are rendered
    learning_rate: float = 5e-4  # paper: 1e-4 for a model two hundred times larger
    final_learning_rate: float = 5e-6
    matrix_rate: float = 2.0  # of Muon's updates, relative
    head_rate: float = (
        0.3  # of the heads, relative: at the full rate each step shakes every answer by several pixels
    )
    warmup: int = 200  # paper: 2,500 of 500,000
    weight_decay: float = 0.03
    clip_norm: float = 10.0
    seed: int = 0
    loss: LossWeights = field(default_factory=LossWeights)
    queries: QueryMix = field(default_factory=QueryMix)
    augmentation: Augmentation = field(default_factory=Augmentation)
