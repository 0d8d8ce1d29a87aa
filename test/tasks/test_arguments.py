"""Whatever is given to a public function of the library, what comes out is an answer or a ValueError's sentence."""

import inspect
import re
import warnings

import numpy as np
import pytest
from analytic_scene import CAMERA, AnalyticScene, wandering_camera
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d4rt_ros
from d4rt_ros import geometry, tasks
from d4rt_ros.geometry import Pinhole
from d4rt_ros.model.query import QueryError

FRAMES = 3


class Empty(AnalyticScene):
    """A window without a frame."""

    def __init__(self):
        super().__init__(wandering_camera(1))
        self.num_frames, self.frames = 0, self.frames[:0]


SCENE = AnalyticScene(wandering_camera(FRAMES))
odd = st.sampled_from(
    [
        None,
        True,
        "x",
        "",
        b"5",
        "pnp",
        1.5,
        64,
        0,
        -1,
        3,
        -4,
        10**30,
        -(10**30),
        float("nan"),
        float("inf"),
        1e308,
        1j,
        [],
        (),
        [[]],
        {},
        [1, 2],
        (0, 5),
        (2.5, 3),
        (4, 5),
        (5, True),
        "ab",
        (None, None),
        [[1, 2], [3]],
        np.zeros(3),
        np.ones((4, 3)),
        np.full((3, 3), np.nan),
        np.eye(3),
        np.eye(4),
        -np.eye(4),
        np.eye(4, dtype=complex),
        np.array(["a", "b"]),
        np.array([None, 1]),
        np.array([True, False]),
        np.datetime64("2026-01-01"),
        np.array(7, np.int8),
        object(),
        CAMERA,
        CAMERA.matrix,
    ]
)
FUNCTIONS = {
    name: function
    for module in (tasks, geometry)
    for name in module.__all__
    if inspect.isfunction(function := getattr(module, name))
}


def values_of(name, data):
    """An argument that may well be one, or anything."""
    if name == "scene":
        return data.draw(st.sampled_from([SCENE, SCENE, SCENE, Empty()]), label=name)
    sensible = {
        "t": 0,
        "i": 0,
        "j": 1,
        "t_cam": 0,
        "t_src": 0,
        "u": [1.0, 2.0],
        "v": 3.0,
        "stride": 16,
        "size": (4, 5),
        "image_size": (65, 97),
        "grid": (6, 6),
        "batch": 64,
        "budget": 10,
        "queries": 12,
        "seconds": None,
        "frames": [0, 1],
        "method": "pnp",
        "camera": None,
    }
    return data.draw(st.one_of(odd, st.just(sensible.get(name, np.eye(4)))), label=name)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_but_a_value_error_comes_out(name, data):
    function = FUNCTIONS[name]
    given_ = {
        n: values_of(n, data)
        for n, p in inspect.signature(function).parameters.items()
        if p.default is inspect.Parameter.empty or data.draw(st.booleans(), label=f"give {n}")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numbers as large as 1e308
        try:
            function(**given_)
        except ValueError as error:
            assert re.search(r"[a-z]{3} ?", str(error)), "no sentence"


SENTENCES = {
    "size = 64": (
        lambda: tasks.depth_map(SCENE, size=64),
        r"a grid of size 64; its size is \(rows, columns\)",
    ),
    "size = ab": (
        lambda: tasks.depth_map(SCENE, size="ab"),
        "a grid's rows = 'a'; a whole number is expected",
    ),
    "size = (0, 5)": (
        lambda: tasks.depth_map(SCENE, size=(0, 5)),
        "0x5 rows x columns; it needs 2x2 or more",
    ),
    "size = (2.5, 3)": (lambda: tasks.depth_map(SCENE, size=(2.5, 3)), "rows = 2.5; a whole number"),
    "size = 0": (lambda: tasks.point_map(SCENE, size=0), "a grid of size 0"),
    "size = ()": (lambda: tasks.point_cloud(SCENE, size=()), "a grid of size"),
    "t = x": (lambda: tasks.depth_map(SCENE, t="x"), "frame number = 'x'; a whole number is expected"),
    "t = 1.5": (lambda: tasks.depth_map(SCENE, t=1.5), "frame number = 1.5"),
    "t = None": (lambda: tasks.depth_map(SCENE, t=None), "frame number = None"),
    "t = True": (lambda: tasks.point_map(SCENE, t=True), "frame number = True"),
    "i = 7": (lambda: tasks.relative_pose(SCENE, 7, 0), "frame 7 is outside the window of 3"),
    "no window": (lambda: tasks.depth_map(Empty()), "frame -1 is asked of a window that has no frames"),
    "no poses": (lambda: tasks.camera_poses(Empty()), "no frames to ask"),
    "no tracks": (lambda: tasks.dense_tracks(Empty()), "no frames to ask"),
    "no cost": (lambda: tasks.tracking_cost(Empty()), "no frames to ask"),
    "no points": (lambda: tasks.tracks_of_points(Empty(), 1, 2, 0), "no frames to ask"),
    "no camera": (lambda: tasks.intrinsics(Empty()), "no frames to ask"),
    "no cloud": (lambda: tasks.point_cloud(SCENE, frames=[]), "no frames to ask"),
    "frames = x": (lambda: tasks.point_cloud(SCENE, frames=["x"]), "frame number = 'x'"),
    "queries = x": (lambda: tasks.adaptive_depth_map(SCENE, queries="x"), "queries = 'x'; a whole number"),
    "queries = 9.5": (lambda: tasks.adaptive_depth_map(SCENE, queries=9.5), "queries = 9.5"),
    "seconds = x": (lambda: tasks.adaptive_depth_map(SCENE, seconds="x"), "seconds = 'x'"),
    "seconds = nan": (lambda: tasks.adaptive_depth_map(SCENE, seconds=np.nan), "nan seconds"),
    "seconds = inf": (lambda: tasks.adaptive_depth_map(SCENE, seconds=np.inf), "inf seconds.* an end"),
    "seconds = [1]": (lambda: tasks.adaptive_depth_map(SCENE, seconds=[1]), r"seconds has shape \(1,\)"),
    "method": (
        lambda: tasks.relative_pose(SCENE, 0, 1, method=None),
        "no pose method 'None'; there are pnp, rigid",
    ),
    "grid": (lambda: tasks.relative_pose(SCENE, 0, 1, grid=12), "a grid of size 12"),
    "stride": (lambda: tasks.dense_tracks(SCENE, stride=None), "stride = None; a whole number from 1"),
    "u": (lambda: tasks.tracks_of_points(SCENE, "x", 2, 0), "u = 'x' has type"),
    "broadcast": (lambda: tasks.tracks_of_points(SCENE, [1, 2], [1, 2, 3], 0), "give arrays of one length"),
    "umeyama": (lambda: geometry.umeyama([["a"] * 3] * 4, np.ones((4, 3))), "a point set = .* real numbers"),
    "umeyama shape": (lambda: geometry.umeyama(np.ones(3), np.ones(3)), r"give two of one \(N, 3\)"),
    "iterations": (lambda: geometry.robust_umeyama(np.eye(3), np.eye(3), iterations=0), "iterations = 0"),
    "pose": (lambda: geometry.invert(np.eye(3)), r"a pose has shape \(3, 3\); \(\.\.\., 4, 4\) is expected"),
    "points": (lambda: geometry.transform(np.eye(4), np.ones(4)), r"points has shape \(4,\); \(\.\.\., 3\)"),
    "image": (lambda: tasks.pixel_grid((2, 2), 5), r"an image of size 5; its size is \(rows, columns\)"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_it_says_what_was_wrong_and_what_is_expected(case):
    call, words = SENTENCES[case]
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    "make",
    [
        Pinhole,
        Pinhole.centred,
        Pinhole.from_matrix,
        CAMERA.grid,
        CAMERA.project,
        CAMERA.backproject,
        CAMERA.backproject_map,
    ],
)
@settings(max_examples=50)
@given(data=st.data())
def test_a_camera_is_made_and_asked_or_refused(make, data):
    number = st.one_of(st.sampled_from([90.0, 97, np.int32(65)]), odd)
    given_ = [data.draw(number) for _ in inspect.signature(make).parameters]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            make(*given_)
        except ValueError as error:
            assert re.search(r"[a-z]{3} ?", str(error))


fields = st.one_of(odd, st.floats(), st.integers(-5, 5), st.lists(st.floats(0, 30), max_size=3))


@given(fields, fields, fields, fields, fields)
def test_a_query_is_answered_or_refused(u, v, t_src, t_tgt, t_cam):
    try:
        SCENE.query(u, v, t_src, t_tgt, t_cam)
    except QueryError as error:
        assert re.search("[a-z]{3} ", str(error))


@pytest.mark.parametrize(
    "field, value",
    [(f, x) for f in ("u", "v") for x in (np.nan, "1", None, 1j, True, [[1], [2, 3]], 1e300, -np.inf)]
    + [(f, x) for f in ("t_src", "t_tgt", "t_cam") for x in (np.nan, "1", None, 1j, True, 1.0, 10**30, -4)],
)
def test_a_field_of_a_query_that_cannot_be(field, value):
    asked = {"u": 1.0, "v": 2.0, "t_src": 0, "t_tgt": 0, "t_cam": 0, field: value}
    with pytest.raises(QueryError, match=f"^{field} "):
        SCENE.query(**asked)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"device": "mps"}, "unknown device 'mps'; use auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, "device cuda:99 asked for, but this torch .* sees"),
        ({"device": "cuda:-1"}, "unknown device"),
        ({"device": "cuda:1:2"}, "unknown device"),
        ({"device": "cuda:x"}, "unknown device"),
        ({"device": "cpu:0"}, "unknown device"),
        ({"device": "meta"}, "unknown device"),
        ({"device": ""}, "unknown device"),
        ({"device": None}, "unknown device None"),
        ({"device": 0}, "unknown device 0"),
        ({"precision": "fp64"}, "unknown precision 'fp64'; use auto, fp32, bf16, fp16"),
        ({"precision": None}, "unknown precision None"),
        ({"precision": 16}, "unknown precision 16"),
        ({"backend": "tpu"}, "unknown backend 'tpu'; use auto, torch, onnx"),
        ({"backend": None}, "unknown backend None"),
        ({"backend": ["torch"]}, "unknown backend"),
        ({"patch_source": "sky"}, "unknown patch_source 'sky'"),
        ({"patch_source": 3}, "unknown patch_source 3"),
        ({"checkpoint": 3}, "checkpoint = 3; give the path of a file or a folder, or None"),
        ({"checkpoint": b"x"}, "checkpoint = b'x'"),
        ({"checkpoint": ["a"]}, "checkpoint = "),
        ({"checkpoint": True}, "checkpoint = True"),
        ({"checkpoint": "no such file"}, "no such file"),
        ({"checkpoint": "a\0b"}, "no such file|null"),
        ({"progress": 3}, "progress = 3; give a function"),
    ],
    ids=str,
)
def test_arguments_of_load(arguments, words):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=words):
        d4rt_ros.load(**{"device": "cpu", **arguments})


@pytest.mark.parametrize("count, seen", [(0, "no CUDA device"), (1, "0 to 0 alone"), (2, "0 to 1 alone")])
def test_a_gpu_that_is_not_there(monkeypatch, count, seen):
    torch = pytest.importorskip("torch")
    from d4rt_ros.runtime.torch_model import chosen_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    for device in (f"cuda:{count}", "cuda:99", *["cuda"] * (count == 0)):
        with pytest.raises(ValueError, match=seen):
            chosen_device(device)
    assert str(chosen_device("auto")) == ("cuda" if count else "cpu")
    if count:
        assert [str(chosen_device(d)) for d in ("cuda", f"cuda:{count - 1}")] == ["cuda", f"cuda:{count - 1}"]
