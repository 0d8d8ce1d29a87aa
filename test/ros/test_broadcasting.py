"""What is broadcast beside the robot's own transforms: never a second parent, and always a reason."""

from dataclasses import replace

import pytest

pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of the distribution or built by us")
from d4rt_ros.geometry import pose_matrix  # noqa: E402
from d4rt_ros.io.transform_tree import TransformTree  # noqa: E402
from d4rt_ros.ros.broadcasting import (
    ERROR,
    OK,
    WARN,
    FrameNames,
    chosen,
    map_fault,
    map_frame,
    mended,
    world_frame,
)  # noqa: E402
from d4rt_ros.ros.transforms import TF_MODES, broadcast  # noqa: E402

NAMES = FrameNames("world", "base_link", "cam")


def _robot(*links):
    tree = TransformTree(history=10**10)
    for parent, child in links:
        assert tree.insert(broadcast(0, parent, child, pose_matrix()).transforms[0]) == ""
    return tree


@pytest.mark.parametrize(
    "links, kind, child, level, says",
    [
        ((), "world_to_camera", "cam", None, ""),
        ((("odom", "base_link"),), "world_to_camera", "cam", None, ""),
        ((("map", "world"),), "world_to_camera", "cam", None, ""),
        ((("base_link", "cam"),), "world_to_base", "base_link", None, ""),
        ((("base_link", "mast"), ("mast", "cam")), "world_to_base", "base_link", None, ""),
        ((("odom", "base_link"), ("base_link", "cam")), "none", "base_link", OK, "in 'odom' is on TF already"),
        (
            (("base_footprint", "base_link"), ("base_link", "cam")),
            "none", "base_link", OK, "set frames.base to 'base_footprint'",
        ),
        ((("cam_link", "cam"),), "none", "cam", WARN, "'base_link' is not above it, but: cam_link"),
        ((("world", "cam"),), "none", "cam", WARN, "the parent 'world'"),
        ((("cam", "world"),), "none", "cam", WARN, "'world' is below 'cam'"),
        ((("base_link", "cam"), ("base_link", "world")), "none", "base_link", WARN, "'world' is below 'base_link'"),
    ],
)  # fmt: skip
def test_auto(links, kind, child, level, says):
    robot = _robot(*links)
    decision = chosen("auto", NAMES, robot, 5.0)
    assert (decision.kind, decision.child) == (kind, child)
    assert [(x, says in s) for x, s in decision.problems] == ([(level, True)] if level is not None else [])
    given = {"world_to_camera": "cam", "world_to_base": "base_link"}.get(decision.kind)
    assert given is None or robot.parent(given) is None


def test_auto_waits_until_tf_was_heard_but_not_for_more():
    nothing = chosen("auto", NAMES, _robot(), 0.5)
    assert (nothing.kind, nothing.child) == ("none", None) and not nothing.problems
    assert chosen("auto", NAMES, _robot(), 1.0).kind == "world_to_camera"
    assert chosen("auto", NAMES, _robot(("base_link", "cam")), 0.0).kind == "world_to_base"


def test_auto_decides_anew_when_a_driver_starts_later():
    robot = _robot()
    assert chosen("auto", NAMES, robot, 5.0).kind == "world_to_camera"
    robot.insert(broadcast(0, "cam_link", "cam", pose_matrix()).transforms[0], static=True)
    assert chosen("auto", NAMES, robot, 5.0).kind == "none"
    robot.insert(broadcast(0, "base_link", "cam_link", pose_matrix()).transforms[0], static=True)
    assert chosen("auto", NAMES, robot, 5.0).kind == "world_to_base"
    robot.insert(broadcast(0, "odom", "base_link", pose_matrix()).transforms[0])
    assert chosen("auto", NAMES, robot, 5.0).kind == "none"


@pytest.mark.parametrize(
    "mode, link, child",
    [
        ("world_to_camera", ("mast", "cam"), "cam"),
        ("world_to_base", ("odom", "base_link"), "base_link"),
        ("camera_to_world", ("map", "world"), "cam"),
    ],
)
def test_a_mode_by_name_does_what_it_says_and_a_second_parent_is_an_error(mode, link, child):
    good, bad = chosen(mode, NAMES, _robot(), 0.0), chosen(mode, NAMES, _robot(link), 0.0)
    assert good.kind == bad.kind == mode and good.child == bad.child == child and not good.problems
    [(level, sentence)] = bad.problems
    assert level == ERROR and f"'{link[1]}' has two parents on TF, '{link[0]}'" in sentence


def test_none_broadcasts_nothing_and_has_nothing_to_say():
    decision = chosen("none", NAMES, _robot(("odom", "base_link"), ("base_link", "cam")), 0.0)
    assert (decision.kind, decision.child, decision.problems) == ("none", "cam", ())


@pytest.mark.parametrize("mode", TF_MODES)
def test_a_camera_that_is_named_as_the_world_has_no_pose(mode):
    decision = chosen(mode, FrameNames("world", "base_link", "world"), _robot(), 5.0)
    assert decision.kind == "none" and decision.child is None and decision.problems[0][0] == ERROR


@pytest.mark.parametrize(
    "given, namespace, expected",
    [
        ("", "/", "world"),
        ("", "", "world"),
        ("", "/robot", "robot/world"),
        ("", "/a/b", "a/b/world"),
        ("map", "/a/b", "map"),
    ],
)
def test_two_namespaces_have_two_worlds(given, namespace, expected):
    assert world_frame(given, namespace) == expected


def test_names_that_tf_does_not_take_are_mended_with_a_sentence_or_refused():
    assert mended("cam", "x") == ("cam", "")
    assert mended("/cam", "the images' frame_id") == (
        "cam", "the images' frame_id is '/cam': it begins with a slash, which TF refuses; 'cam' is taken"
    )  # fmt: skip
    assert mended("", "it", "camera") == ("camera", "it is '': it names no frame; 'camera' is taken")
    assert mended("/", "it", "camera")[0] == "camera"
    for name in ("", "/", "//"):
        with pytest.raises(ValueError, match="frames.base is '.*it must name a frame"):
            mended(name, "frames.base")


@pytest.mark.parametrize(
    "links, names, kind, level, says",
    [
        ((), {}, "world_to_camera", None, ""),
        ((("base_link", "cam"),), {}, "world_to_base", None, ""),
        ((("earth", "odom"),), {}, "world_to_camera", None, ""),
        ((("map", "odom"),), {}, "world_to_camera", OK, "the robot's TF has a 'map'; give ours another name"),
        ((("earth", "map"),), {}, "world_to_camera", OK, "the robot's TF has a 'map'"),
        ((("map", "odom"),), {"map": "d4rt_map"}, "world_to_camera", None, ""),
        ((("odom", "world"),), {}, "world_to_camera", OK, "'world' has the parent 'odom' on TF already"),
        ((), {}, "camera_to_world", OK, "the camera is the parent of 'world'"),
        ((), {"map": "cam"}, "world_to_camera", WARN, "the name of the images' frame_id too"),
        ((), {"map": "base_link"}, "world_to_camera", WARN, "the name of frames.base too"),
    ],
)  # fmt: skip
def test_the_map_is_ours_where_the_robot_has_none(links, names, kind, level, says):
    fault = map_fault(replace(NAMES, **{"map": "map"} | names), kind, _robot(*links))
    assert (fault and fault[0]) == level and (fault is None or says in fault[1])


@pytest.mark.parametrize(
    "given, namespace, frame",
    [
        ("map", "/", "map"),
        ("map", "/fleet/robot", "fleet/robot/map"),
        ("", "/robot", ""),
        ("site", "/robot", "site"),
    ],
)
def test_the_maps_name(given, namespace, frame):
    assert map_frame(given, namespace) == frame
