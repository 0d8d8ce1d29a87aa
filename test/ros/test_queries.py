"""What the services answer, and refuse, on a scene that is known exactly."""

import tracemalloc
from array import array
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from ros_testing import FlatScene, stamp  # noqa: E402
from small_results import judged, small_result  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, pose_from_quaternion, pose_matrix, transform  # noqa: E402
from d4rt_ros.io.transform_tree import NotHeardYet, TransformError  # noqa: E402
from d4rt_ros.ros import queries, windows  # noqa: E402
from d4rt_ros.stream import Scale, StreamTracks  # noqa: E402

OK, NOT_READY = Query.Response.OK, Query.Response.NOT_READY
OUT_OF_WINDOW, INVALID = Query.Response.OUT_OF_WINDOW, Query.Response.INVALID
SIZE, FRAMES = (48, 64), 4
STAMPS = np.array([100_000_000_000 + i * 100_000_000 for i in range(FRAMES)])
WORLD_FROM_CAMERA = pose_from_quaternion([0.1, -0.2, 0.3, 0.9], [1.0, 2.0, 3.0])
GRIPPER_FROM_CAMERA = pose_from_quaternion([0.5, 0.2, -0.3, 0.1], [-1.0, 0.0, 0.5])


MAP_FROM_WORLD = pose_from_quaternion([0.2, 0.1, 0.4, 0.7], [5.0, -3.0, 0.5])
LOST, DARK = "too few points agree", "the images are black"


def _look_up(target, source, at):
    """The robot's TF: a gripper that moves before the camera, and a map above the node's own world."""
    assert at in STAMPS
    if (target, source) == ("gripper", "cam"):
        return GRIPPER_FROM_CAMERA @ pose_matrix(None, [0, 0, at / 1e9])
    if (target, source) == ("map", "world"):
        return MAP_FROM_WORLD
    if target == "soon":
        raise NotHeardYet("TF knows 'soon' in 'cam' from 1.000 to 2.000 s, not at 3.000 s")
    raise TransformError(f"TF does not connect '{source}' and '{target}'")


def _window(stamps=STAMPS, pose=WORLD_FROM_CAMERA, lenses=(), scale=Scale(), **judgement):
    """judgement: see `judged`. Images that show nothing are not encoded."""
    scene = None if "problem" in judgement else FlatScene(np.zeros((FRAMES, *SIZE, 3), np.uint8))
    result = judged(small_result(stamps, pose, scene=scene, scale=scale, unit=scale.metres), **judgement)
    return windows.EncodedWindow(result, "cam", lenses)


def _context(encoded=True, run=lambda function: function(), wanted=None, most=1000, kept=None, **changes):
    kept = kept or ([_window(**changes)] if encoded else [])
    return queries.Context(kept, run, _look_up, lambda: wanted.append(1), most)


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


def _tracks(context=None, u=(10.0,), v=(20.0,), t_src=(-1,), stamps=()):
    request = TrackPoints.Request(
        u=array("f", u), v=array("f", v), t_src=array("i", t_src), stamps=list(stamps)
    )
    return queries.answer_track_points(request, TrackPoints.Response(), context or _context())


def _wall(u, v):
    """Where a pixel of FlatScene is, in the camera frame."""
    return np.stack([(np.asarray(u) - 31.5) / 50, (np.asarray(v) - 23.5) / 50, np.full(np.shape(u), 2.0)], -1)


def _points(response):
    return np.reshape(response.points, (-1, 3))


def test_both_services_number_their_status_alike():
    for name in ("OK", "NOT_READY", "OUT_OF_WINDOW", "INVALID"):
        assert getattr(Query.Response, name) == getattr(TrackPoints.Response, name) == getattr(windows, name)


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


def test_answers_in_our_map():
    window = _window(map_from_world=MAP_FROM_WORLD @ MAP_FROM_WORLD)
    response = _query(replace(_context(kept=[window]), map_frame="site"), frame_id="/site")
    corrected = MAP_FROM_WORLD @ MAP_FROM_WORLD @ WORLD_FROM_CAMERA
    np.testing.assert_allclose(_points(response), transform(corrected, _wall([10], [20])), rtol=1e-5)
    assert response.header.frame_id == "site" and response.header.stamp == stamp(100.3)
    lost = _query(replace(_context(lost=LOST), map_frame="site"), frame_id="site")
    assert lost.status == NOT_READY and LOST in lost.message
    assert "nor the map 'site'" in _query(replace(_context(), map_frame="site"), frame_id="attic").message
    # One that TF has is the robot's.
    robots = _query(replace(_context(kept=[window]), map_frame="map"), frame_id="map")
    expected = transform(MAP_FROM_WORLD @ WORLD_FROM_CAMERA, _wall([10], [20]))
    np.testing.assert_allclose(_points(robots), expected, rtol=1e-5)


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
    "asked, answers", [(100.14, 100.1), (100.16, 100.2), (99.96, 100.0), (100.34, 100.3)]
)
def test_a_time_between_frames_is_answered_from_the_nearest_and_that_is_told(asked, answers):
    response = _query(stamps=[stamp(asked)])
    assert response.status == OK and response.header.stamp == stamp(answers)
    assert response.header.stamp in response.stamps
    assert _tracks(stamps=[stamp(asked)]).status == OK


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
        ({"stamps": [stamp(50.0)]}, OUT_OF_WINDOW, "kept are 100.000000 to 100.300000"),
        (
            {"stamps": [stamp(100.36)]},
            OUT_OF_WINDOW,
            "period of the stamp 100.360000; the nearest of 4 is 60",
        ),
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


# Trust, scale, lenses, windows that are kept


def test_every_answer_says_whether_the_pose_is_trusted():
    for response in (_query(), _tracks(), _query(frame_id="world")):
        assert response.status == OK and response.trusted and response.reason == ""


@pytest.mark.parametrize("frame_id", ["", "cam", "gripper"])
def test_lost_the_camera_and_what_hangs_on_it_still_answer_and_say_so(frame_id):
    response, good = _query(_context(lost=LOST), frame_id=frame_id), _query(frame_id=frame_id)
    assert response.status == OK and not response.trusted and response.reason == LOST
    assert response.points == good.points and len(response.points) == 3


@pytest.mark.parametrize("frame_id", ["world", "map"])
def test_lost_nothing_is_answered_in_the_world_nor_through_it(frame_id):
    for response in (_query(_context(lost=LOST), frame_id=frame_id), _tracks(_context(lost=LOST))):
        assert response.status == NOT_READY and LOST in response.message
        assert not response.trusted and response.reason == LOST and len(response.stamps) == 0
        assert len(getattr(response, "points", getattr(response, "positions", ()))) == 0


@pytest.mark.parametrize("frame_id", ["", "world", "gripper", "map"])
def test_images_that_show_nothing_are_not_asked(frame_id):
    def run(function):
        raise AssertionError("the scene was asked")

    context = _context(problem=DARK, run=run)
    for response in (_query(context, frame_id=frame_id), _tracks(context)):
        assert response.status == NOT_READY and DARK in response.message and not response.trusted


def test_a_frame_that_tf_connects_to_our_world_is_answered_through_it():
    response = _query(u=(10.0, 30.0), t_cam=(0, 2), frame_id="map")
    expected = transform(MAP_FROM_WORLD @ WORLD_FROM_CAMERA, _wall([10, 30], [20, 20]))
    np.testing.assert_allclose(_points(response), expected, atol=1e-5)
    assert response.header.frame_id == "map" and response.header.stamp == stamp(100.3)
    wanted = []
    assert _query(_context(pose=None, wanted=wanted), frame_id="map").status == NOT_READY and wanted


def test_a_transform_that_may_still_come_is_no_wrong_request():
    response = _query(frame_id="soon")
    assert response.status == NOT_READY and "not at 3.000 s" in response.message


def test_lengths_are_scaled_and_directions_are_not():
    """The pose is in metres already, the scene's points are not."""
    scale = Scale(2.5, 0.0, "fixed")
    near, far = _query(u=(10.0, 60.0)), _query(_context(scale=scale), u=(10.0, 60.0))
    np.testing.assert_allclose(_points(far), 2.5 * _points(near), rtol=1e-6)
    assert far.normals == near.normals and far.metric and not near.metric
    world = _query(_context(scale=scale), u=(10.0,), frame_id="world")
    expected = transform(WORLD_FROM_CAMERA, 2.5 * _wall([10.0], [20.0]))
    np.testing.assert_allclose(_points(world), expected, rtol=1e-5)
    tracks = _tracks(_context(scale=scale))
    np.testing.assert_allclose(np.reshape(tracks.positions, (FRAMES, 3))[0], expected[0], rtol=1e-5)
    assert tracks.metric


def test_displacements_are_scaled(monkeypatch):
    ask = FlatScene.query

    def moving(self, *asked):
        answer = ask(self, *asked)
        answer.displacements[:] = [1.0, 2.0, 3.0]
        return answer

    monkeypatch.setattr(FlatScene, "query", moving)
    np.testing.assert_allclose(
        _query(_context(scale=Scale(0.5, 0.0, "fixed"))).displacements, [0.5, 1.0, 1.5]
    )


class Lens:
    """Raw pixels are the rectified ones, moved; right of column 50 the lens sees what the view has not."""

    def __init__(self, shift):
        self.shift = np.array([shift, 0.0])

    def to_view(self, pixels):
        assert np.isfinite(pixels).all()
        moved = pixels - self.shift
        return np.where(pixels[..., :1] > 50, np.nan, moved)

    def to_image(self, pixels):
        assert np.isfinite(pixels).all()
        return pixels + self.shift


LENSES = (None, Lens(3.0), Lens(5.0), Lens(5.0))


def test_pixels_are_those_of_the_topic_both_ways_and_each_frames_own():
    response = _query(
        _context(lenses=LENSES), u=(20.0, 20.0, 20.0), v=(9.0,) * 3, t_src=(0, 1, 2), t_tgt=(0, 2, 1)
    )
    np.testing.assert_allclose(_points(response), _wall([20, 17, 15], [9, 9, 9]), atol=1e-6)
    np.testing.assert_allclose(np.reshape(response.pixels, (-1, 2)), [[20, 9], [22, 9], [18, 9]])
    tracks = _tracks(_context(lenses=LENSES), u=(20.0,), v=(9.0,), t_src=(-1,))
    np.testing.assert_allclose(np.reshape(tracks.pixels, (-1, 2))[:, 0], [15, 18, 20, 20])
    expected = transform(WORLD_FROM_CAMERA, _wall([15.0], [9.0]))
    np.testing.assert_allclose(
        np.reshape(tracks.positions, (-1, 3)), np.repeat(expected, FRAMES, 0), atol=1e-5
    )


def test_raw_pixels_that_the_view_does_not_show_are_unknown_and_lose_the_others_nothing():
    """One beyond the lens's fold, one left of the view."""
    response = _query(_context(lenses=LENSES), u=(55.0, 30.0, 2.0), v=(9.0,) * 3)
    assert response.status == OK
    for field in (response.points, response.normals, response.displacements):
        rows = np.reshape(field, (3, 3))
        assert np.isnan(rows[[0, 2]]).all() and np.isfinite(rows[1]).all()
    assert np.isnan(np.reshape(response.pixels, (3, 2))[[0, 2]]).all()
    assert list(response.confidence) == list(response.visibility) == [0.0, 1.0, 0.0]
    tracks = _tracks(_context(lenses=LENSES), u=(55.0, 30.0), v=(9.0, 9.0))
    positions = np.reshape(tracks.positions, (2, FRAMES, 3))
    assert np.isnan(positions[0]).all() and np.isfinite(positions[1]).all()
    assert list(tracks.visibility) == [0.0] * FRAMES + [1.0] * FRAMES
    assert _query(_context(lenses=LENSES), u=(64.0,)).status == INVALID, "outside the topic's image"


def test_queries_about_the_recent_past():
    older = _window(STAMPS - 200_000_000, pose=pose_matrix(None, [7, 0, 0]))
    context = _context(kept=[_window(), older])
    past = [stamp(99.8), stamp(100.1)]
    response = _query(context, stamps=past, t_src=(0,), t_tgt=(1,), t_cam=(1,), frame_id="world")
    assert response.status == OK and response.header.stamp == stamp(100.1)
    assert [s.nanosec for s in response.stamps] == [800_000_000, 900_000_000, 0, 100_000_000]
    np.testing.assert_allclose(_points(response), _wall([10], [20]) + [7, 0, 0], atol=1e-6)
    tracks = _tracks(context, stamps=past, t_src=(0,))
    assert tracks.status == OK and tracks.header.stamp == stamp(100.1)
    np.testing.assert_allclose(np.reshape(tracks.positions, (-1, 3))[0], _points(response)[0], atol=1e-6)
    assert _query(context, stamps=[stamp(100.0)], t_cam=(0,)).stamps[0] == stamp(100.0), (
        "the newest that holds it"
    )
    assert _query(context).stamps[0] == _tracks(context).stamps[0] == stamp(100.0)
    apart = _query(context, stamps=[stamp(99.8), stamp(100.3)])
    assert apart.status == OUT_OF_WINDOW and "no one window holds all the stamps" in apart.message


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"lost": LOST}, LOST),
        ({"world": 1}, "of a world that was lost"),
        ({"problem": DARK}, DARK),
    ],
)
def test_a_past_pose_answers_only_if_it_was_trusted_and_of_the_present_world(changes, says):
    context = _context(kept=[_window(world=2), _window(STAMPS - 10**9, **{"world": 2} | changes)])
    for response in (
        _query(context, stamps=[stamp(99.0)], frame_id="world"),
        _tracks(context, stamps=[stamp(99.0)]),
    ):
        assert response.status == NOT_READY and says in response.message
    in_camera = _query(context, stamps=[stamp(99.0)], t_cam=(0,))
    assert in_camera.status == (NOT_READY if "problem" in changes else OK)


def test_a_point_that_is_followed_goes_where_its_track_goes():
    """The model's answer for the same pixel would be another."""
    pixels = np.tile(np.float32([[[10.0, 20.0]], [[40.0, 30.0]]]), (1, FRAMES, 1))
    pixels[0, :-1] += 3.0
    positions = np.arange(2 * FRAMES * 3, dtype=np.float32).reshape(2, FRAMES, 3)
    tracks = StreamTracks(
        np.uint64([7, 8]), np.array(STAMPS, np.int64), positions, np.ones((2, FRAMES), bool),
        np.full((2, FRAMES), 0.75, np.float32), pixels, np.zeros((2, 3), np.float32),
    )  # fmt: skip
    window = _window()
    window = replace(window, result=replace(window.result, tracks=tracks))
    response = _tracks(_context(kept=[window]), u=(10.1, 25.0), v=(20.0, 20.0), t_src=(-1, -1))
    got = np.reshape(response.positions, (2, FRAMES, 3))
    np.testing.assert_array_equal(got[0], positions[0])
    np.testing.assert_array_equal(np.reshape(response.pixels, (2, FRAMES, 2))[0], pixels[0])
    assert set(response.confidence[:FRAMES]) == {0.75}
    alone = _tracks(_context(kept=[_window()]), u=(25.0,), v=(20.0,), t_src=(-1,))
    np.testing.assert_allclose(got[1].ravel(), alone.positions)
