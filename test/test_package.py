"""The package as installed: light to import, complete, found by the ament index, the same everywhere."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import d4rt_ros

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = ("d4rt", "d4rt_node", "d4rt_scene_camera", "d4rt_video_camera")
HEAVY = ("torch", "cv2", "scipy", "matplotlib", "rclpy")

installed = pytest.mark.skipif(
    Path(d4rt_ros.__file__).is_relative_to(REPOSITORY / "d4rt_ros"),
    reason="d4rt_ros is imported from the source tree; this looks at an installed one (make test)",
)


def python(code: str) -> str:
    """What a fresh Python prints that finds d4rt_ros where this one does."""
    path = os.pathsep.join(filter(None, sys.path))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path)
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture(scope="module")
def share() -> Path:
    packages = pytest.importorskip("ament_index_python.packages")
    return Path(packages.get_package_share_directory("d4rt_ros"))


def loaded_heavy(statements: str) -> list[str]:
    return python(f"{statements}; import sys; print(*(m for m in {HEAVY} if m in sys.modules))").split()


def test_import_is_light():
    assert loaded_heavy("import d4rt_ros; d4rt_ros.__version__") == []


def test_messages_are_light():
    pytest.importorskip("rosidl_parser", reason="needs ROS 2")
    assert loaded_heavy("import d4rt_ros.msg, d4rt_ros.srv") == []


def test_subpackages_and_load_come_on_first_use():
    names = "geometry", "io", "model", "runtime", "stream", "tasks"
    printed = python(f"import d4rt_ros; print(*(getattr(d4rt_ros, n).__name__ for n in {names}))")
    assert printed.split() == [f"d4rt_ros.{name}" for name in names]
    for name in ("load", "reconstruct", "Reconstruction"):
        assert getattr(d4rt_ros, name).__name__ == name and callable(getattr(d4rt_ros, name))
    assert {"load", "reconstruct", "Reconstruction", "tasks"} <= set(dir(d4rt_ros))


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        d4rt_ros.no_such_thing


def test_the_node_needs_neither_the_tools_nor_what_is_under_the_gpl():
    """rich and matplotlib are in the extra [tools], evo (GPL-3) in [eval]."""
    pytest.importorskip("rclpy", reason="needs ROS 2")
    everything = "d4rt_ros.ros.node, d4rt_ros.ros.scene_camera, d4rt_ros.ros.video_camera, d4rt_ros.runtime.torch_model"
    code = f"import {everything}; import sys; print(*({{'rich', 'matplotlib', 'evo'}} & set(sys.modules)))"
    assert python(code) == ""
    required = (REPOSITORY / "setup.py").read_text().split("install_requires=[")[1].split("],")[0]
    assert not re.search("evo|rich|matplotlib", required)


@pytest.mark.parametrize("name", ("geometry", "tasks", "stream"))
def test_layers_that_promise_no_torch(name):
    assert "torch" not in loaded_heavy(f"import d4rt_ros.{name}")


def test_package_xml_agrees():
    package = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("name") == "d4rt_ros"
    assert package.findtext("version") == d4rt_ros.__version__
    assert package.findtext("license") == "Apache-2.0"
    assert package.find("export/build_type").text == "ament_cmake"


# What is imported as something else than its package is called; what only others import.
IMPORTED_AS = {"tf2_ros_py": "tf2_ros"}
NOT_IMPORTED = {"rosidl_default_runtime", "std_msgs", "lifecycle_msgs"}  # the last by rclpy.lifecycle


def test_package_xml_names_the_ros_packages_that_are_used_and_no_more():
    package = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    named = {e.text for tag in ("depend", "exec_depend") for e in package.iter(tag)}
    named = {name for name in named if not name.startswith("python3-")}
    for_tests = named | {e.text for e in package.iter("test_depend")}
    ours = [*MODULES, *(p.relative_to(REPOSITORY) for p in (REPOSITORY / "launch").glob("*.py"))]
    tests = [p.relative_to(REPOSITORY) for p in (REPOSITORY / "test").rglob("*.py")]
    of_ros = re.compile(
        r"(rclpy|cv_bridge|launch\w*|ament_\w+|tf2_\w+|sensor_msgs_py|\w+_(msgs|interfaces)|std_srvs)$"
    )
    used, used_by_tests = (
        {name.split(".")[0] for module in modules for name in imports(module)} for modules in (ours, tests)
    )
    used, used_by_tests = ({n for n in names if of_ros.match(n)} for names in (used, used_by_tests))
    assert used - {IMPORTED_AS.get(name, name) for name in named} == set()
    assert {IMPORTED_AS.get(name, name) for name in named - NOT_IMPORTED} - used == set()
    assert used_by_tests - {IMPORTED_AS.get(name, name) for name in for_tests} == set()


def test_the_same_python_versions_everywhere():
    checked = (REPOSITORY / "scripts/check_machine.sh").read_text()
    assert "(3, 10) <= sys.version_info < (3, 15)" in checked
    for name in ("scripts/check_machine.sh", "Makefile", "README.md"):
        assert set(re.findall(r"3\.\d+ to 3\.\d+", (REPOSITORY / name).read_text())) == {"3.10 to 3.14"}, name
    assert 'python_requires=">=3.10"' in (REPOSITORY / "setup.py").read_text()


@installed
def test_metadata_agrees_with_package_xml():
    metadata = pytest.importorskip("importlib.metadata")
    try:
        distribution = metadata.distribution("d4rt_ros")
    except metadata.PackageNotFoundError:
        pytest.skip("built by colcon: there is no pip metadata")
    if distribution.metadata.get_all("Provides-Extra") is None:
        pytest.skip("built by colcon: the metadata are those of the generated interfaces alone")
    package = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    assert distribution.metadata["Name"] == package.findtext("name")
    assert distribution.version == package.findtext("version")
    assert {"ros", "gpu", "tools", "eval", "train", "test"} <= set(
        distribution.metadata.get_all("Provides-Extra")
    )
    assert {e.name for e in distribution.entry_points if e.group == "console_scripts"} == set(PROGRAMS)
    # One release of ROS builds the interfaces and runs them.
    build = set(re.findall(r'^ +"(ros-[^"]+)"', (REPOSITORY / "pyproject.toml").read_text(), re.M))
    run = {re.sub(r"\s*;.*", "", r) for r in distribution.requires if r.startswith("ros-")}
    both = {r.split("~=")[0] for r in build} & {r.split("~=")[0] for r in run}
    assert both and {r for r in build if r.split("~=")[0] in both} <= run


@installed
def test_share_is_complete(share):
    for name in ("package.xml", "config", "launch", "msg/Tracks.msg", "srv/Query.srv", "srv/TrackPoints.srv"):
        assert (share / name).exists(), f"{name} is missing from {share}"
    assert (share / "config/d4rt.yaml").is_file()
    assert (share / "launch/d4rt.launch.py").is_file()


@installed
def test_ament_index_needs_no_sourcing_in_a_venv(share):
    if share.parents[1] != Path(sys.prefix):
        pytest.skip("built by colcon: its local_setup.bash says where the ament index is")
    code = "import ament_index_python.packages as a; print(a.get_package_share_directory('d4rt_ros'))"
    environment = {k: v for k, v in os.environ.items() if k != "AMENT_PREFIX_PATH"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout.strip() == str(share), run.stderr


@installed
def test_programs_are_there(share):
    for name in PROGRAMS:
        program = share.parents[1] / "lib/d4rt_ros" / name
        assert os.access(program, os.X_OK), f"{program} is not an executable"


@installed
def test_every_source_file_is_installed():
    """Modules, and the weights beside them."""
    here = Path(d4rt_ros.__file__).parent
    source = REPOSITORY / "d4rt_ros"
    wanted = [p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert [str(p) for p in wanted if not (here / p.relative_to(source)).is_file()] == []


@installed
def test_command_line_answers(share):
    if shutil.which("d4rt", path=str(share.parents[1] / "bin")) is None:
        pytest.skip("built by colcon: there are no console scripts")
    for program in (share.parents[1] / "bin/d4rt", share.parents[1] / "lib/d4rt_ros/d4rt"):
        run = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        assert "demo" in run.stdout


INTERFACES = {
    "msg.Tracks": {
        "header": "std_msgs/Header",
        "stamps": "sequence<builtin_interfaces/Time>",
        "ids": "sequence<uint64>",
        "positions": "sequence<float>",
        "visible": "sequence<boolean>",
        "confidence": "sequence<float>",
        "pixels": "sequence<float>",
        "velocities": "sequence<float>",
        "dynamic": "sequence<boolean>",
        "metric": "boolean",
        "trusted": "boolean",
        "reason": "string",
    },
    "srv.Query.Request": {
        "stamps": "sequence<builtin_interfaces/Time>",
        "u": "sequence<float>",
        "v": "sequence<float>",
        "t_src": "sequence<int32>",
        "t_tgt": "sequence<int32>",
        "t_cam": "sequence<int32>",
        "frame_id": "string",
    },
    "srv.Query.Response": {
        "status": "uint8",
        "message": "string",
        "header": "std_msgs/Header",
        "stamps": "sequence<builtin_interfaces/Time>",
        "points": "sequence<float>",
        "pixels": "sequence<float>",
        "visibility": "sequence<float>",
        "confidence": "sequence<float>",
        "normals": "sequence<float>",
        "displacements": "sequence<float>",
        "metric": "boolean",
        "trusted": "boolean",
        "reason": "string",
    },
    "srv.TrackPoints.Request": {
        "stamps": "sequence<builtin_interfaces/Time>",
        "u": "sequence<float>",
        "v": "sequence<float>",
        "t_src": "sequence<int32>",
    },
    "srv.TrackPoints.Response": {
        "status": "uint8",
        "message": "string",
        "header": "std_msgs/Header",
        "stamps": "sequence<builtin_interfaces/Time>",
        "positions": "sequence<float>",
        "pixels": "sequence<float>",
        "visibility": "sequence<float>",
        "confidence": "sequence<float>",
        "metric": "boolean",
        "trusted": "boolean",
        "reason": "string",
    },
}


@pytest.mark.parametrize("name", INTERFACES)
def test_interface_fields(name):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    import d4rt_ros.msg
    import d4rt_ros.srv

    interface = d4rt_ros
    for part in name.split("."):
        interface = getattr(interface, part)
    assert interface.get_fields_and_field_types() == INTERFACES[name]


def test_status_constants():
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from d4rt_ros.srv import Query, TrackPoints

    for response in (Query.Response, TrackPoints.Response):
        assert (response.OK, response.NOT_READY, response.OUT_OF_WINDOW, response.INVALID) == (0, 1, 2, 3)


def test_tf2_msgs_is_there():
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from tf2_msgs.msg import TFMessage

    types = TFMessage.get_fields_and_field_types()
    assert types == {"transforms": "sequence<geometry_msgs/TransformStamped>"}


# Each layer knows those before it and nothing after it.
LAYERS = "geometry model runtime tasks dynamics io stream scenes training evaluation ros cli".split()
MODULES = [p.relative_to(REPOSITORY) for p in sorted((REPOSITORY / "d4rt_ros").glob("*/**/*.py"))]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_layers(module):
    layer = LAYERS.index(module.parts[1])
    ours = [name for name in imports(module) if name.startswith("d4rt_ros.")]
    assert [name for name in ours if name.split(".")[1] in LAYERS[layer + 1 :]] == []
    if layer < LAYERS.index("ros"):
        ros = re.compile(
            r"(rclpy|ament_index_python|launch|cv_bridge|tf2_\w+|tf_transformations|d4rt_ros\.(msg|srv)|\w+_msgs(_py)?)(\.|$)"
        )
        assert [name for name in imports(module) if ros.match(name)] == []


def imports(module: Path) -> list[str]:
    """Absolute names of all that a module (its path from the repository's root) imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse((REPOSITORY / module).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module.parts[: -node.level]) if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
