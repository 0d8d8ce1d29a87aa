"""Files of parameters on the command line, before ROS reads them."""

import pytest

from d4rt_ros.ros.arguments import ArgumentsError, check_files, check_names, complaint, parameter_files

GOOD = "/**:\n  ros__parameters:\n    depth: {rate: 0}\n"


def test_files_are_found_between_ros_args_and_its_end():
    words = ["node", "--params-file", "no.yaml", "--ros-args", "-p", "a:=1", "--params-file", "a.yaml"]
    words += ["--params-file", "b.yaml", "--", "--params-file", "c.yaml"]
    assert parameter_files(words) == ["a.yaml", "b.yaml"]
    assert parameter_files(["node", "--ros-args", "--params-file"]) == [""]


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "no such file"),
        ("a: [", "is not YAML"),
        ("\tx: 1", "is not YAML"),
        ("", "has no parameters"),
        ("just text", "has no parameters"),
        ("- 1\n- 2\n", "has no parameters"),
        ("d4rt:\n  depth: {rate: 0}\n", "ros__parameters"),
        ("d4rt:\n  ros__parameters: 5\n", "has no parameters"),
        ("model: {device: cpu}\n", "ros__parameters"),
        (b"\xff\xfe\x00PK", "cannot be read"),
    ],
)
def test_what_is_no_file_of_parameters_is_said_in_a_sentence(tmp_path, content, says):
    file = tmp_path / "p.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArgumentsError) as raised:
        check_files(["--ros-args", "--params-file", str(file)])
    assert says in str(raised.value) and str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_a_folder_is_no_file_of_parameters(tmp_path):
    with pytest.raises(ArgumentsError, match="cannot be read"):
        check_files(["--ros-args", "--params-file", str(tmp_path)])


@pytest.mark.parametrize(
    "name, node, fits",
    [
        ("/**", "/d4rt", True),
        ("/**", "/a/b/d4rt", True),
        ("d4rt", "/d4rt", True),
        ("/d4rt", "/d4rt", True),
        ("d4rt", "/robot/d4rt", False),
        ("/robot/d4rt", "/robot/d4rt", True),
        ("/robot/**", "/robot/d4rt", True),
        ("/*/d4rt", "/robot/d4rt", True),
        ("/*/d4rt", "/d4rt", False),
        ("/**/d4rt", "/a/b/d4rt", True),
        ("/*", "/d4rt", True),
        ("camera", "/d4rt", False),
        ("d4rt2", "/d4rt", False),
    ],
)
def test_a_file_must_be_for_this_node(tmp_path, name, node, fits):
    file = tmp_path / "p.yaml"
    file.write_text(f"{name}:\n  ros__parameters:\n    depth.rate: 0\n")
    files = check_files(["--ros-args", "--params-file", str(file)])
    if fits:
        check_names(files, node)
    else:
        with pytest.raises(ArgumentsError, match=f"this node is {node}"):
            check_names(files, node)


def test_names_may_be_nested_by_namespace_and_one_of_several_is_enough(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("camera: {ros__parameters: {a: 1}}\nrobot:\n  d4rt: {ros__parameters: {a: 1}}\n")
    files = check_files(["--ros-args", "--params-file", str(file)])
    assert files == {str(file): ["/camera", "/robot/d4rt"]}
    check_names(files, "/robot/d4rt")


def test_what_ros_says_of_arguments_loses_the_lines_of_its_source():
    said = complaint(
        RuntimeError(
            "failed to initialize rcl: Couldn't parse it: '-p a:=[1'. Error: x, at /s/p.c:927, at /a.c:3"
        )
    )
    assert said.startswith("Couldn't parse it: '-p a:=[1'. Error: x (special")
