"""What moves, on topics: right, or not said at all."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Objects as ObjectsMessage  # noqa: E402
from d4rt_ros.msg import Tracks  # noqa: E402
from ros_testing import Running, alter, image, info, set_parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField  # noqa: E402
from small_results import CAMERA, judged, small_result  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from d4rt_ros.dynamics.moving import Moving  # noqa: E402
from d4rt_ros.dynamics.objects import Objects  # noqa: E402
from d4rt_ros.geometry import Pinhole  # noqa: E402
from d4rt_ros.geometry.lens import Lens  # noqa: E402
from d4rt_ros.ros import messages, publishing  # noqa: E402
from d4rt_ros.ros.broadcasting import FrameNames  # noqa: E402
from d4rt_ros.ros.publishing import result_messages  # noqa: E402
from d4rt_ros.stream import Points, StreamTracks, only  # noqa: E402

STAMP = 1_700_000_000_123_456_789
FRAMES = FrameNames("world", "base", "eye")
EVERYTHING = {
    publishing.POINTS, publishing.STATIC, publishing.DYNAMIC, publishing.MASK, publishing.MASK_INFO,
    publishing.OBJECTS, publishing.TRACKS,
}  # fmt: skip
HEIGHT, WIDTH = 48, 64
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[10:30, 20:50] = True


def moving(grid, mask=MASK):
    return Moving(mask, grid, np.where(grid, 0.9, 0.1).astype(np.float32))


def bodies(count=1):
    nothing = np.empty(0, np.uint64)
    return Objects(
        np.arange(7, 7 + count).astype(np.uint64), np.ones((count, 3)), np.ones((count, 3)), np.ones((count, 3)),
        np.tile(np.eye(6), (count, 1, 1)), tuple([nothing] * count),
    )  # fmt: skip


def result(**parts):
    """Of a grid of 6 x 8 points, one of which is none, and one track."""
    rng = np.random.default_rng(0)
    xyz = rng.random((6, 8, 3)).astype(np.float32) + 1
    xyz[0, 0] = np.nan
    dynamic = MASK[4::8, 4::8].copy()
    confidence = np.where(np.isnan(xyz[..., 2]), 0, 0.5).astype(np.float32)
    points = Points(
        xyz, rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), confidence, CAMERA.pinhole.grid(8, 6),
        np.full((6, 8), np.nan, np.float32), dynamic,
    )  # fmt: skip
    tracks = StreamTracks(
        np.array([3], np.uint64), np.array([STAMP]), np.ones((1, 1, 3), np.float32), np.ones((1, 1), bool),
        np.ones((1, 1), np.float32), np.ones((1, 1, 2), np.float32), np.ones((1, 3), np.float32), np.array([True]),
    )  # fmt: skip
    parts = {"points": points, "tracks": tracks, "moving": moving(dynamic), "objects": bodies()} | parts
    return small_result([STAMP], np.eye(4), **parts)


def made(given, topics=EVERYTHING, **options):
    return result_messages(given, FRAMES, topics, "eye", None, **options)


def cloud(msg):
    formats = {PointField.FLOAT32: "<f4", PointField.UINT8: "u1"}
    layout = np.dtype(
        {
            "names": [f.name for f in msg.fields],
            "formats": [formats[f.datatype] for f in msg.fields],
            "offsets": [f.offset for f in msg.fields],
            "itemsize": msg.point_step,
        }
    )
    return np.frombuffer(msg.data, layout).reshape(msg.height, msg.width)


def pixels(msg):
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)


def test_the_cloud_says_of_each_point_whether_it_moves_and_its_parts_are_split_by_that():
    given = result()
    out, dynamic = made(given), given.points.dynamic
    whole, static, moves = (cloud(out[t]) for t in (publishing.POINTS, publishing.STATIC, publishing.DYNAMIC))
    np.testing.assert_array_equal(whole["dynamic"], dynamic)
    known = np.isfinite(whole["x"])
    assert known.sum() == 47 and dynamic.any()
    np.testing.assert_array_equal(np.isfinite(static["x"]), known & ~dynamic)
    np.testing.assert_array_equal(np.isfinite(moves["x"]), known & dynamic)
    for part in (static, moves):
        here = np.isfinite(part["x"])
        np.testing.assert_array_equal(part[here], whole[here])
        assert (part["confidence"][~here] == 0).all() and np.isnan(part["z"][~here]).all()
    for topic in (publishing.STATIC, publishing.DYNAMIC):
        assert (
            out[topic].header == out[publishing.POINTS].header
            and out[topic].fields == out[publishing.POINTS].fields
        )
        assert out[topic].header.frame_id == "eye" and messages.nanoseconds(out[topic].header.stamp) == STAMP


def test_the_mask_has_the_images_size_stamp_and_frame():
    out = made(result())
    mask, camera = out[publishing.MASK], out[publishing.MASK_INFO]
    assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", HEIGHT, WIDTH, WIDTH)
    np.testing.assert_array_equal(pixels(mask), np.where(MASK, 255, 0))
    assert messages.nanoseconds(mask.header.stamp) == STAMP and mask.header.frame_id == "eye"
    assert camera.header == mask.header and (camera.width, camera.height) == (WIDTH, HEIGHT)


def test_the_masks_camera_info_is_the_cameras_own_where_it_has_one():
    own = info(focal=80.0)
    own.d, own.p[3] = [0.1, 0.0, 0.0, 0.0, 0.0], -4.0
    camera = made(result(), info=own)[publishing.MASK_INFO]
    assert list(camera.d) == [0.1, 0, 0, 0, 0] and camera.p[3] == -4.0 and camera.k[0] == 80.0
    assert messages.nanoseconds(camera.header.stamp) == STAMP and camera.header.frame_id == "eye"
    # One that is not used is not said to be the image's.
    estimated = result()
    estimated = replace(estimated, camera=replace(CAMERA, calibrated=False))
    assert made(estimated, info=own)[publishing.MASK_INFO].k[0] == CAMERA.pinhole.fx


def test_behind_a_lens_the_mask_is_of_the_raw_image():
    view = Pinhole(52.0, 53.0, 30.0, 25.0, WIDTH, HEIGHT)
    lens = Lens(
        np.array([[60.0, 0, 31], [0, 61, 24], [0, 0, 1]]), (-0.3, 0.1, 0, 0, 0), False, np.eye(3), view
    )
    raw = pixels(made(result(), lenses=(None, lens))[publishing.MASK]) > 0
    assert not np.array_equal(raw, MASK)
    again = lens.rectify(np.where(raw, 255, 0).astype(np.uint8)) > 127
    assert np.count_nonzero(again != MASK) < 0.1 * MASK.sum()


def test_tracks_and_objects_say_what_moves():
    out = made(result(objects=bodies(2)))
    assert list(out[publishing.TRACKS].dynamic) == [True] and list(out[publishing.OBJECTS].ids) == [7, 8]
    assert out[publishing.OBJECTS].header.frame_id == "world" and out[publishing.OBJECTS].trusted
    assert list(made(result(objects=bodies(0)))[publishing.OBJECTS].ids) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda given: replace(given, moving=None, objects=None, points=replace(given.points, dynamic=None)),
        lambda given: replace(given, moving=None),
        lambda given: judged(given, lost="too few points agree"),
        lambda given: judged(given, problem="the images are black"),
    ],
    ids=["off", "not determined", "lost", "dark"],
)
def test_what_is_not_determined_is_not_said(change):
    given = change(result())
    out = made(given)
    assert not set(out) & (EVERYTHING - {publishing.POINTS, publishing.TRACKS})
    if publishing.POINTS in out:
        assert (cloud(out[publishing.POINTS])["dynamic"] == messages.NOT_DETERMINED).all()
    assert (publishing.POINTS in out) == (not given.problem) and (publishing.TRACKS in out) == given.trusted


def test_only_what_is_listened_to_is_made(monkeypatch):
    monkeypatch.setattr(messages, "mask_image", None)
    assert set(made(result(), {publishing.STATIC})) == {publishing.STATIC}


# Through the node


TOPICS = {
    "/d4rt/dynamic_mask": Image, "/d4rt/dynamic_mask/camera_info": CameraInfo, "/d4rt/points/static": PointCloud2,
    "/d4rt/points/dynamic": PointCloud2, "/d4rt/objects": ObjectsMessage, "/d4rt/objects/markers": MarkerArray,
    "/d4rt/tracks": Tracks,
}  # fmt: skip


def test_the_node_of_a_raw_camera():
    """A mask that fits the raw images, with their own camera_info; bodies that go are no longer drawn; silence."""
    own = info(focal=60.0)
    own.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    now = {"bodies": 2, "known": True}

    def change(given):
        grid = np.zeros(given.points.confidence.shape, bool)
        grid[:, :20] = True
        found = {"moving": moving(grid), "objects": bodies(now["bodies"])}
        if not now["known"]:
            return replace(given, moving=None, objects=None)
        return replace(given, points=replace(given.points, dynamic=grid), **found)

    with Running() as running:
        user, heard = running.active().user, running.user.heard
        wanted = running.node._outputs.wanted
        running.send_info(own)
        running.stream(count=4)
        for topic, expected in {
            "/d4rt/dynamic_mask": only(pose=True, masks=True),
            "/d4rt/objects": only(pose=True, objects=True),
            "/d4rt/points/static": only(pose=True, masks=True, points=True),
        }.items():
            hearing = running.listen(TOPICS[topic], topic)
            assert user.until(lambda: wanted(True) == expected), wanted(True)
            user.node.destroy_subscription(hearing)
            assert user.until(lambda: wanted(True) == only(pose=True))
        for topic, kind in TOPICS.items():
            running.listen(kind, topic)
        alter(running, change)
        running.stream(begin=4, count=1)
        now["bodies"] = 1
        running.stream(begin=5, count=1)
        now["known"] = False
        running.stream(begin=6, count=2)
        assert user.until(
            lambda: len(heard["/d4rt/objects/markers"]) == 3 and len(heard["/d4rt/tracks"]) == 4
        )
        counts = {topic: len(messages) for topic, messages in heard.items() if topic in TOPICS}
        assert counts == dict.fromkeys(TOPICS, 2) | {"/d4rt/objects/markers": 3, "/d4rt/tracks": 4}

        lens = running.node._streaming.window.clip()[-1].frame.lens
        mask, camera = heard["/d4rt/dynamic_mask"][0], heard["/d4rt/dynamic_mask/camera_info"][0]
        np.testing.assert_array_equal(pixels(mask) > 0, lens.unrectify(MASK))
        assert mask.header == camera.header == image(100.4).header and list(camera.d) == list(own.d)
        static = cloud(heard["/d4rt/points/static"][0])
        assert np.isnan(static["x"][:, :20]).all() and np.isfinite(static["x"][:, 20:]).any()

        assert [len(msg.ids) for msg in heard["/d4rt/objects"]] == [2, 1]
        actions = [[marker.action for marker in msg.markers] for msg in heard["/d4rt/objects/markers"]]
        assert actions[0] == [Marker.DELETEALL] + [Marker.ADD] * 6
        assert actions[1] == [Marker.DELETE] * 3 + [Marker.ADD] * 3 and actions[2] == [Marker.DELETE] * 3


def test_switched_off_it_is_silent_and_on_again_a_still_world_is_at_rest(monkeypatch):
    with Running({"dynamics.method": "off"}) as running:
        user, heard = running.active().user, running.user.heard
        for topic in ("/d4rt/points/static", "/d4rt/dynamic_mask", "/d4rt/objects"):
            running.listen(TOPICS[topic], topic)
        running.listen(PointCloud2, "/d4rt/points")
        running.send_info(info())
        pipeline, asked = running.node._streaming.pipeline, []
        encode = pipeline.encode
        monkeypatch.setattr(
            pipeline, "encode", lambda seen, wanted: asked.append(wanted) or encode(seen, wanted)
        )
        running.stream(count=5)
        assert asked[-1] == only(points=True, pose=True)
        assert set_parameter(user, "dynamics.method", "motion").successful
        running.stream(begin=5, count=6)
        assert asked[-1] == only(points=True, pose=True, masks=True, objects=True)
        assert user.until(lambda: len(heard["/d4rt/points"]) == 8)
        # What has been seen for a while alone is known to be at rest.
        said = [np.unique(cloud(msg)["dynamic"]).tolist() for msg in heard["/d4rt/points"]]
        assert said[:2] == [[messages.NOT_DETERMINED]] * 2 and said[-1] == [messages.AT_REST]
        determined = sum(values != [messages.NOT_DETERMINED] for values in said)
        for topic in ("/d4rt/points/static", "/d4rt/dynamic_mask", "/d4rt/objects"):
            assert user.until(lambda: len(heard[topic]) == determined), topic
        assert not pixels(heard["/d4rt/dynamic_mask"][-1]).any() and not heard["/d4rt/objects"][-1].ids
