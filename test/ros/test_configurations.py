"""The parameter files beside d4rt.yaml: names and values that the node takes, and only what differs."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from d4rt_ros.ros.parameters import SETTINGS, pipeline_config, refusal  # noqa: E402

FOLDER = Path(__file__).parents[2] / "config"
OTHERS = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "d4rt.yaml")


def given(name: str) -> dict:
    groups = yaml.safe_load((FOLDER / name).read_text())["/**"]["ros__parameters"]
    return {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}


def test_they_are_there():
    assert OTHERS == ["base.yaml", "opend4rt_desktop.yaml", "opend4rt_orin.yaml"]


@pytest.mark.parametrize("name", OTHERS)
def test_the_node_takes_them(name):
    values = given(name)
    assert values.keys() <= SETTINGS.keys()
    assert [refusal(key, value) for key, value in values.items() if refusal(key, value)] == []
    assert all(type(value) is type(SETTINGS[key].default) for key, value in values.items())
    pipeline_config({key: setting.default for key, setting in SETTINGS.items()} | values)


@pytest.mark.parametrize("name", OTHERS)
def test_each_says_what_memory_it_needs(name):
    text = (FOLDER / name).read_text()
    assert "computed, not measured" in text and "GB" in text
