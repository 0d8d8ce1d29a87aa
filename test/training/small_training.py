"""A training run small enough for a test."""

from dataclasses import replace

from d4rt_ros.model.config import PRESETS
from d4rt_ros.training import scene_examples
from d4rt_ros.training.config import QueryMix, TrainConfig, load_config

scene_examples.AT_ONCE = 8  # a test takes few scenes

MODEL = replace(
    PRESETS["tiny"],
    frames=4,
    height=24,
    width=36,
    encoder_width=36,
    encoder_layers=1,
    decoder_width=36,
    decoder_layers=1,
    stem=4,
)
CONFIG: TrainConfig = replace(
    load_config("tiny"),
    model=MODEL,
    steps=6,
    batch=2,
    reuse=2,
    warmup=2,
    save_every=100,
    report_every=100,
    check_every=100,
    check_clips=2,
    queries=QueryMix(count=32, on_moving=0.35, same_all=0.25),
)
