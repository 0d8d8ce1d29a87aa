"""What the services answer, and refuse, on a scene that is known exactly."""

import tracemalloc
from array import array

import numpy as np
import pytest

pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from ros_testing import FlatScene, stamp  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, pose_from_quaternion, pose_matrix, transform  # noqa: E402
from d4rt_ros.ros import queries  # noqa: E402
from d4rt_ros.ros.transforms import TransformError  # noqa: E402

OK, NOT_READY = Query.Response.OK, Query.Response.NOT_READY
OUT_OF_WINDOW, INVALID = Query.Response.OUT_OF_WINDOW, Query.Response.INVALID
SIZE, FRAMES = (48, 64), 4
STAMPS = np.array([100_000_000_000 + i * 100_000_000 for i in range(FRAMES)])
WORLD_FROM_CAMERA = pose_from_quaternion([0.1, -0.2, 0.3, 0.9], [1.0, 2.0, 3.0])
GRIPPER_FROM_CAMERA = pose_from_quaternion([0.5, 0.2, -0.3, 0.1], [-1.0, 0.0, 0.5])


def _look_up(target, source, at):
    assert source == "cam" and at in STAMPS
    if target != "gripper":
        raise TransformError(f"TF does not connect 'cam' and '{target}'")
    return GRIPPER_FROM_CAMERA @ pose_matrix(None, [0, 0, at / 1e9])


def _context(encoded=True, run=lambda function: function(), pose=WORLD_FROM_CAMERA, wanted=None, most=1000):
    scene = FlatScene(np.zeros((FRAMES, *SIZE, 3), np.uint8))
    newest = queries.EncodedWindow(scene, STAMPS, "cam", "world", pose) if encoded else None
    return queries.Context(newest, run, _look_up, lambda: wanted.append(1), most)


def _query(context=None, u=(10.0,), v=(20.0,), t_src=(-1,), t_tgt=(-1,), t_cam=(-1,), frame_id="", stamps=()):
    request = Query.Request(frame_id=frame_id, stamps=list(stamps))
    for name, values, code in (
        ("u", u, "f"),
        ("v", v, "f"),
        ("t_src", t_src, "i"),
        ("t_tgt", t_tgt, "i"),
        ("t_cam", t_cam, "i"),
    ):
        setattr(request, name, array(code, values))
    return queries.answer_query(request, Query.Response(), context or _context())


def _tracks(context=None, u=(10.0,), v=(20.0,), t_src=(-1,)):
    request = TrackPoints.Request(u=array("f", u), v=array("f", v), t_src=array("i", t_src))
    return queries.answer_track_points(request, TrackPoints.Response(), context or _context())


def _wall(u, v):
    """Where a pixel of FlatScene is, in the camera frame."""
    return np.stack([(np.asarray(u) - 31.5) / 50, (np.asarray(v) - 23.5) / 50, np.full(np.shape(u), 2.0)], -1)


def _points(response):
    return np.reshape(response.points, (-1, 3))


def test_both_services_number_their_status_alike():
    for name in ("OK", "NOT_READY", "OUT_OF_WINDOW", "INVALID"):
        assert getattr(Query.Response, name) == getattr(TrackPoints.Response, name) == getattr(queries, name)


def test_answers_in_the_camera():
    u, v = np.arange(5) * 10.0, np.arange(5) * 8.0
    response = _query(u=u, v=v, t_cam=(1,))
    assert response.status == OK and response.message == "" and not response.metric
    np.testing.assert_allclose(_points(response), _wall(u, v), atol=1e-6)
    np.testing.assert_array_equal(np.reshape(response.pixels, (-1, 2)), np.stack([u, v], -1))
    assert len(response.visibility) == len(response.confidence) == 5 and len(response.displacements) == 15
    assert response.header.frame_id == "cam" and response.header.stamp == stamp(100.1)
    assert [s.nanosec for s in response.stamps] == [0, 100_000_000, 200_000_000, 300_000_000]


def test_more_points_than_a_slice_come_in_order():
    count = 2 * queries.SLICE + 17
    u = np.linspace(0, 63, count)
    response = _query(_context(most=count), u=u)
    np.testing.assert_allclose(_points(response), _wall(u, np.full(count, 20.0)), atol=1e-5)


def test_answers_in_the_world():
    response = _query(u=(10.0, 30.0), frame_id="world")
    np.testing.assert_allclose(
        _points(response), transform(WORLD_FROM_CAMERA, _wall([10, 30], [20, 20])), atol=1e-5
    )
    np.testing.assert_allclose(response.normals[:3], -WORLD_FROM_CAMERA[:3, 2], atol=1e-6)
    assert response.header.frame_id == "world" and response.header.stamp == stamp(100.3)


def test_answers_in_a_frame_of_tf_at_each_time():
    response = _query(u=(10.0, 30.0), t_cam=(0, 2), frame_id="gripper")
    expected = [transform(_look_up("gripper", "cam", STAMPS[t]), _wall(u, 20)) for u, t in ((10, 0), (30, 2))]
    np.testing.assert_allclose(_points(response), expected, rtol=1e-5)
    assert response.header.frame_id == "gripper"


def test_times_index_the_given_stamps():
    """The second stamp is the window's newest frame; one that went through a float still names its frame."""
    given = [stamp(100.1), stamp(float(np.float64(100.3)))]
    given[0].nanosec += 400
    response = _query(stamps=given, t_src=(0,), t_tgt=(-1,), t_cam=(0,))
    assert response.status == OK and response.header.stamp == stamp(100.1)
    assert _query(stamps=given, t_cam=(-1,)).header.stamp == stamp(100.3)


@pytest.mark.parametrize(
    "changes",
    [
        {"u": (), "v": ()},
        {"u": (), "v": (), "t_src": (), "t_tgt": (), "t_cam": ()},
        {"u": (), "v": (), "frame_id": "world"},
    ],
)
def test_an_empty_list_is_answered_with_nothing(changes):
    response = _query(**changes)
    assert response.status == OK and len(response.points) == len(response.visibility) == 0


@pytest.mark.parametrize(
    "changes, status, says",
    [
        ({"u": (1.0, 2.0, 3.0), "v": (1.0, 2.0)}, INVALID, "u 3, v 2"),
        ({"u": (1.0,), "v": (1.0,), "t_src": ()}, INVALID, "t_src 0"),
        ({"u": (), "v": (), "t_cam": (0, 1)}, INVALID, "t_cam 2"),
        ({"u": (np.nan,)}, INVALID, "u = nan is outside"),
        ({"v": (np.inf,)}, INVALID, "v = inf is outside"),
        ({"u": (64.0,)}, INVALID, "pixels run from 0 to 63"),
        ({"v": (-1.0,)}, INVALID, "outside the image"),
        ({"t_src": (4,)}, OUT_OF_WINDOW, "t_src 4 is not one of the 4 frames"),
        ({"t_tgt": (-5,)}, OUT_OF_WINDOW, "t_tgt -5"),
        ({"t_cam": (2**31 - 1,)}, OUT_OF_WINDOW, "t_cam 2147483647"),
        ({"stamps": [stamp(100.1)], "t_cam": (1,)}, OUT_OF_WINDOW, "given stamps"),
        ({"stamps": [stamp(50.0)]}, OUT_OF_WINDOW, "holds 100.000000 to 100.300000"),
        ({"stamps": [stamp(100.15)]}, OUT_OF_WINDOW, "50.000 ms off"),
        ({"stamps": [stamp(100.0)] * 20_000}, INVALID, "too many"),
        (
            {"frame_id": "attic"},
            INVALID,
            "'attic' is not the camera 'cam' nor the world 'world', and TF does not connect",
        ),
        ({"u": np.zeros(1001, np.float32)}, INVALID, "1001 points are more than the 1000"),
    ],
)
def test_what_cannot_be_answered_gets_a_status_and_a_sentence(changes, status, says):
    response = _query(**changes)
    assert response.status == status and says in response.message, response.message
    assert len(response.points) == 0 and len(response.stamps) == 0


def test_before_the_first_window():
    assert _query(_context(encoded=False)).status == _tracks(_context(encoded=False)).status == NOT_READY


def test_a_world_that_is_not_known_yet_is_asked_for():
    wanted = []
    context = _context(pose=None, wanted=wanted)
    assert _query(context).status == OK and wanted == []
    assert _query(context, frame_id="world").status == _tracks(context).status == NOT_READY
    assert len(wanted) == 2


def test_an_error_within_becomes_an_answer():
    def breaks(function):
        raise RuntimeError("the model broke")

    for response in (_query(_context(run=breaks)), _tracks(_context(run=breaks))):
        assert response.status == INVALID and "the model broke" in response.message


def test_ten_million_points_are_refused_before_they_cost_memory():
    count = 10_000_000
    request = Query.Request()
    for name, code in (("u", "f"), ("v", "f"), ("t_src", "i"), ("t_tgt", "i"), ("t_cam", "i")):
        setattr(request, name, array(code, bytes(4 * count)))
    tracemalloc.start()
    try:
        response = queries.answer_query(request, Query.Response(), _context(most=1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert response.status == INVALID and "10000000 points are more than the 1000000" in response.message


def test_tracks_of_points():
    u, v = np.array([10.0, 40.0, 50.0]), np.array([20.0, 5.0, 40.0])
    response = _tracks(u=u, v=v, t_src=(0, -1, 2))
    assert (
        response.status == OK
        and response.header.frame_id == "world"
        and response.header.stamp == stamp(100.3)
    )
    positions = np.reshape(response.positions, (3, FRAMES, 3))
    expected = transform(WORLD_FROM_CAMERA, _wall(u, v))
    np.testing.assert_allclose(positions, np.repeat(expected[:, None], FRAMES, 1), atol=1e-5)
    np.testing.assert_allclose(
        np.reshape(response.pixels, (3, FRAMES, 2))[:, 2], np.stack([u, v], -1), atol=1e-5
    )
    assert (
        len(response.visibility) == len(response.confidence) == 3 * FRAMES and len(response.stamps) == FRAMES
    )


@pytest.mark.parametrize(
    "changes, status, says",
    [
        ({"u": (1.0, 2.0, 3.0), "v": (1.0, 2.0)}, INVALID, "u 3, v 2"),
        ({"u": (np.nan,)}, INVALID, "nan"),
        ({"t_src": (9,)}, OUT_OF_WINDOW, "t_src 9"),
        ({"u": np.zeros(300, np.float32)}, INVALID, "300 points over 4 frames"),
        ({"u": (), "v": ()}, OK, ""),
    ],
)
def test_tracks_that_cannot_be_answered(changes, status, says):
    response = _tracks(**changes)
    assert response.status == status and says in response.message, response.message


def test_the_world_is_body_like_at_the_start():
    """A point straight ahead of the first camera is on the world's x axis (REP 103)."""
    response = _query(_context(pose=BODY_FROM_OPTICAL), u=(31.5,), v=(23.5,), frame_id="world")
    np.testing.assert_allclose(response.points, [2, 0, 0], atol=1e-6)
