"""Configurations: presets, token grids, and what is refused."""

import pytest

from d4rt_ros.model.config import PRESETS, ConfigError, ModelConfig


def test_presets_have_the_sizes_that_they_are_named_for():
    assert PRESETS["giant"].token_grid == (24, 16, 16)
    assert PRESETS["tiny"].token_grid == (4, 8, 8)


def test_token_grid_is_pooled_to_max_tokens():
    grid = ModelConfig(frames=4, height=256, width=128, max_tokens=100).token_grid
    assert grid[0] == 2 and grid[1] * grid[2] <= 60 and grid[1] == 2 * grid[2]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"attention": "local"}, "interleaved or global"),
        ({"frames": 7}, "multiple of the patch's frames"),
        ({"encoder_width": 100}, "multiple of encoder_heads"),
        ({"rgb_patch": 8}, "odd"),
        ({"stem": 8, "patch": (2, 6, 6), "height": 96, "width": 96}, "4n"),
        ({"position": "rotary", "decoder_heads": 2}, "3 decoder heads"),
    ],
)
def test_bad_values_are_refused_with_the_rule(change, words):
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**change)


def test_round_trip_and_unknown_options():
    config = PRESETS["tiny"]
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="no_such_option"):
        ModelConfig.from_dict({**config.to_dict(), "no_such_option": 1})
