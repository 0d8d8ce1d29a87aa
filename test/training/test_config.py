"""The configuration: the paper's numbers, recipes in files, and what is refused."""

import pytest

from d4rt_ros.model.config import PRESETS
from d4rt_ros.training.config import CONFIGS, TrainConfig, TrainConfigError, differences, load_config


def test_the_defaults_are_the_papers():
    config = load_config("paper")
    assert config == TrainConfig()
    assert config.model == PRESETS["giant"]
    numbers = (
        config.learning_rate,
        config.final_learning_rate,
        config.warmup,
        config.weight_decay,
        config.clip_norm,
    )
    assert numbers == (1e-4, 1e-6, 2500, 0.03, 10.0) and config.optimiser == "adamw"
    assert (config.queries.count, config.queries.near_edges, config.queries.same_target_and_camera) == (
        2048,
        0.3,
        0.4,
    )
    assert (config.colours.drop_colour, config.colours.blur) == (0.2, 0.4)
    assert (config.crops.area, config.crops.zoom) == ((0.3, 1.0), 0.05)


def test_every_recipe_is_whole_and_survives_a_round_trip():
    for path in CONFIGS.glob("*.yaml"):
        config = load_config(path.stem)
        assert TrainConfig.from_dict(config.to_dict()) == config
    assert load_config("tiny").model == PRESETS["tiny"] and load_config("tiny").loss.uv == 10.0


def test_a_file_says_what_differs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: {preset: tiny, height: 120}\nloss: {uv: 3}\nlearning_rate: 2e-4\n")
    config = load_config(path)
    sizes = config.model.height, config.model.width
    assert (*sizes, config.loss.uv, config.learning_rate) == (120, 96, 3.0, 2e-4)
    assert differences(TrainConfig().loss.__dict__, config.loss.__dict__) == ["uv: 0.1 before, 3.0 now"]
    path.write_text("")
    assert load_config(path) == TrainConfig()


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("losses: {}", "losses: no such key; is it loss?"),
        ("loss: {uvv: 1}", "loss.uvv: no such key; is it loss.uv?"),
        ("loss: {uv: -1}", "loss.uv: -1.0 is out of range; expected at least 0"),
        ("loss: 3", "loss: expected a mapping of keys to values, got 3"),
        ("- 1", "the file: expected a mapping"),
        ("steps: 1.5", "steps: expected a whole number, got 1.5"),
        ("steps: true", "steps: expected a whole number, got True"),
        ("shard: 1", "shard: expected true or false, got 1"),
        ("learning_rate: fast", "learning_rate: expected a number, got 'fast'"),
        ("learning_rate: .nan", "learning_rate: nan is out of range"),
        ("precision: bf8", "precision: 'bf8' is not one of bf16, fp16, fp32"),
        ("crops: {area: [1.0, 0.5]}", r"crops.area: \(1.0, 0.5\) runs backwards"),
        ("crops: {area: 0.5}", "crops.area: expected a list of 2 values, got 0.5"),
        ("crops: {area: [0.5, 2]}", "crops.area: .* expected within 0.01 … 1"),
        ("queries: {near_edges: 0.8, on_moving: 0.5}", "queries.near_edges and on_moving together are more than 1"),
        ("model: {preset: huge}", "model.preset: 'huge' is not one of tiny, base"),
        ("model: {frames: 7}", "model: .*frames is a multiple of the patch's frames"),
        ("data: [{kind: scenes, weigth: 1}]", r"data\[0\].weigth: no such key; is it data\[0\].weight?"),
        ("data: []", "data: no data set has a weight over 0"),
        ("{batch: 6, accumulate: 4}", "accumulate: 4 does not divide batch, 6"),
        ("loss: [", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, text, sentence):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(TrainConfigError, match=f"wrong.yaml: {sentence}"):
        load_config(path)


def test_a_file_that_is_not_there_names_the_recipes(tmp_path):
    with pytest.raises(TrainConfigError, match="No such file or directory.*recipes paper, tiny"):
        load_config(tmp_path / "none.yaml")
