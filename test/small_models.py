"""Configurations of networks small enough to build anew in every test."""

from d4rt_ros.model.config import ModelConfig

PLAIN = ModelConfig(
    frames=4,
    height=32,
    width=48,
    patch=(2, 8, 8),
    encoder_width=48,
    encoder_layers=2,
    encoder_heads=3,
    decoder_width=36,
    decoder_layers=2,
    decoder_heads=3,
)
