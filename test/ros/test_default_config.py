"""config/d4rt.yaml shows the node's parameters as they are."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from d4rt_ros.ros.parameters import SETTINGS  # noqa: E402

CONFIG = Path(__file__).parents[2] / "config" / "d4rt.yaml"


def flattened(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_it_has_every_parameter_at_its_default_and_no_other():
    shown = dict(flattened(yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]))
    assert shown == {name: setting.default for name, setting in SETTINGS.items()}
    for name, setting in SETTINGS.items():
        assert type(shown[name]) is type(setting.default), f"{name}: YAML gives {type(shown[name])}"
