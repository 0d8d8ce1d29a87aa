"""What launch files look at before anything starts, without the `launch` of a ROS 2 distribution."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("diagnostic_msgs.msg", reason="needs ROS 2's messages")
from d4rt_ros.ros import launching

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "config"


def test_a_file_of_the_package_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launching.parameters_file("base.yaml", CONFIG) == CONFIG / "base.yaml"
    # Where the user stands, a file of that name is the user's.
    (tmp_path / "base.yaml").touch()
    assert launching.parameters_file("base.yaml", CONFIG) == tmp_path / "base.yaml"


def test_a_path_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINE", "mine")
    monkeypatch.chdir(tmp_path)
    for text in (
        "~/mine.yaml",
        "$HOME/${MINE}.yaml",
        "mine.yaml",
        "./mine.yaml",
        str(tmp_path / "mine.yaml"),
    ):
        assert launching.parameters_file(text, CONFIG) == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "bse.yaml",
            "no such file; looked for .*/bse.yaml and .*/config/bse.yaml; the package has base.yaml",
        ),
        ("/no/such.yaml", "no such file; looked for /no/such.yaml; the package has"),
        ("$NOWHERE/x.yaml", r"no such file \(\$NOWHERE is not defined here\)"),
        ("/", "/ is a folder"),
    ],
)
def test_a_file_that_is_not_there(text, words, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ValueError, match=words):
        launching.parameters_file(text, CONFIG)


def test_unknown_arguments(monkeypatch):
    known = ["image", "device", "params_file"]
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "d4rt_ros", "d4rt.launch.py", "devise:=cpu"])
    told = launching.unknown_arguments(["devise:=cpu", "image:=a", "xyz:=1"], known, "/share/d4rt.launch.py")
    assert "devise:= is no argument of it; did you mean device:=?" in told and "xyz:= is no argument" in told
    assert launching.unknown_arguments(["image:=a:=b", "launch-prefix:=gdb"], known, "d4rt.launch.py") == ""
    # Started by a launch file that includes ours, and may have arguments of its own.
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "mine.launch.py", "xyz:=1"])
    assert launching.unknown_arguments(["xyz:=1"], known, "/share/d4rt.launch.py") == ""


def test_a_death_is_an_error_unless_all_is_ending():
    died = SimpleNamespace(process_name="d4rt_node-1", returncode=-9)
    assert launching.end_with(died, SimpleNamespace(is_shutdown=True)) is None
    with pytest.raises(RuntimeError, match="d4rt_node-1 ended with exit code -9"):
        launching.end_with(died, SimpleNamespace(is_shutdown=False))


def test_the_choices_are_the_parameters():
    """Launch files name them again, so that `ros2 launch --show-args` is quick."""
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from d4rt_ros.ros.parameters import SETTINGS

    text = (REPOSITORY / "launch/d4rt.launch.py").read_text()
    modes = re.search(r"^TF = \[(.*)\]$", text, re.M)[1]
    assert {m.strip('" ') for m in modes.split(",")} == set(SETTINGS["tf.publish"].choices)
    assert set(re.findall(r'"(raw|compressed)"', text)) == set(SETTINGS["image_transport"].choices)
    overridden = re.search(r"^OVERRIDES = \{(.*?)^\}", text, re.M | re.S)[1]
    assert set(re.findall(r': "(.*)"', overridden)) - {"use_sim_time"} <= set(SETTINGS)


@pytest.mark.parametrize(
    "text, namespace, frame",
    [
        ("", "", "world"),
        ("", "/fleet/robot/", "fleet/robot/world"),
        ("/**: {ros__parameters: {frames: {world: odom}}}", "robot", "odom"),
        ("/**: {ros__parameters: {frames.world: /odom}}", "", "odom"),
        (
            "/**: {ros__parameters: {x: 1}}\n/robot/d4rt: {ros__parameters: {frames: {world: o}}}",
            "robot",
            "o",
        ),
        ("/other/d4rt: {ros__parameters: {frames: {world: o}}}", "robot", "robot/world"),
        ("d4rt:", "", "world"),
    ],
)
def test_rviz_stands_in_the_world_that_the_file_names(tmp_path, text, namespace, frame):
    (tmp_path / "mine.yaml").write_text(text)
    assert launching.fixed_frame(tmp_path / "mine.yaml", namespace) == frame


def test_rviz_shows_what_the_node_publishes():
    """By relative names, as the launch file puts RViz into the node's namespace and remaps its image."""
    config = yaml.safe_load((CONFIG / "d4rt.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = {d["Topic"]["Value"]: d["Class"].rpartition("/")[2] for d in displays if "Topic" in d}
    assert topics == {
        "d4rt/points": "PointCloud2",
        "d4rt/odometry": "Odometry",
        "d4rt/path": "Path",
        "d4rt/markers": "MarkerArray",
        "d4rt/objects/markers": "MarkerArray",
        "d4rt/depth/image": "Image",
        "image": "Image",
    }
    [covariance] = [d["Covariance"] for d in displays if d["Name"] == "Odometry"]
    assert covariance["Value"] and "TF" in [d["Name"] for d in displays]
