"""A whole video as arrays: the truth comes out, nothing is known too early, and whatever cannot be is said."""

import weakref
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from analytic_scene import AnalyticScene
from analytic_stream import BALL, CAMERA, COUNT, PERIOD, AnalyticModel, frame, image

import d4rt_ros
from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, transform
from d4rt_ros.stream import Pipeline, PipelineConfig, Scale, Stream
from d4rt_ros.stream.offline import OptionError
from d4rt_ros.stream.reconstruction import Reconstruction, at_edges
from d4rt_ros.stream.recorder import Recorder
from d4rt_ros.stream.results import scaled

FRAMES, WINDOW, GRID = 16, 6, (9, 13)
STAMPS = PERIOD * np.arange(1, COUNT + 1)
BLACK = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)


def images(numbers=range(FRAMES)):
    return (image(k) for k in numbers)


def made(frames=None, stamps=STAMPS[:FRAMES], **options) -> Reconstruction:
    """By the model alone, which here is exact, unless `refine` says otherwise."""
    options = {
        "model": AnalyticModel(), "intrinsics": CAMERA.matrix, "depth_size": GRID, "refine": "none", **options,
    }  # fmt: skip
    return d4rt_ros.reconstruct(images() if frames is None else frames, stamps, **options)


@lru_cache
def room(numbers=tuple(range(COUNT))):
    model = AnalyticModel()
    return AnalyticScene(model.poses[list(numbers)], model.ball[list(numbers)], camera=CAMERA)


def true_depth(k):
    return d4rt_ros.tasks.depth_map(room(), k, GRID)


def true_pose(k, first=WINDOW - 1):
    """In a world that begins with frame `first`."""
    return AnalyticModel().world_from_camera(first, k)


def test_the_truth_comes_out_for_every_frame():
    result = made()
    assert len(result) == FRAMES and result.trusted.all() and set(result.reason) == {""}
    np.testing.assert_array_equal(result.stamps, STAMPS[:FRAMES])
    np.testing.assert_array_equal(result.world, np.zeros(FRAMES))
    for k in range(FRAMES):
        np.testing.assert_allclose(result.world_from_camera[k], true_pose(k), atol=1e-5)
        np.testing.assert_allclose(result.depth[k], true_depth(k), rtol=1e-5)
        np.testing.assert_array_equal(result.intrinsics[k], CAMERA.matrix)
    rows, columns = (np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(BLACK.shape, GRID))
    np.testing.assert_array_equal(result.rgb[3], image(3)[rows[:, None], columns])
    variances = np.diagonal(result.pose_covariance, axis1=1, axis2=2)
    assert (variances > 0).all() and (variances < 0.1).all()
    assert not result.metric and np.isnan(result.scale_sigma)


def test_shapes_and_types():
    result = made()
    n, (h, w) = FRAMES, GRID
    for name, shape, dtype in (
        ("stamps", (n,), np.int64),
        ("world_from_camera", (n, 4, 4), np.float64),
        ("trusted", (n,), bool),
        ("pose_covariance", (n, 6, 6), np.float64),
        ("world", (n,), np.int32),
        ("intrinsics", (n, 3, 3), np.float64),
        ("depth", (n, h, w), np.float32),
        ("depth_sigma", (n, h, w), np.float32),
        ("confidence", (n, h, w), np.float32),
        ("rgb", (n, h, w, 3), np.uint8),
    ):
        array = getattr(result, name)
        assert (array.shape, array.dtype) == (shape, dtype), name
    m = len(result.tracks.ids)
    for name, shape, dtype in (
        ("ids", (m,), np.uint64),
        ("positions", (m, n, 3), np.float32),
        ("pixels", (m, n, 2), np.float32),
        ("visible", (m, n), bool),
    ):
        array = getattr(result.tracks, name)
        assert (array.shape, array.dtype) == (shape, dtype), name
    xyz, rgb = result.points
    assert (
        xyz.shape == rgb.shape and xyz.shape[1:] == (3,) and (xyz.dtype, rgb.dtype) == (np.float32, np.uint8)
    )
    assert type(result.metric) is bool and type(result.scale_sigma) is float and result.image_size == (65, 97)


def test_online_nothing_is_known_before_the_window_is_full():
    result = made(online=True)
    early, later = slice(0, WINDOW - 1), slice(WINDOW - 1, None)
    assert not result.trusted[early].any() and result.trusted[later].all()
    assert np.isnan(result.world_from_camera[early]).all() and np.isnan(result.pose_covariance[early]).all()
    assert np.isnan(result.depth[early]).all() and (result.world[early] == -1).all()
    assert result.reason[0] == "the window is not full: it has 1 of 6 frames"
    assert not result.tracks.frame.size or result.tracks.frame.min() == WINDOW - 1
    for k in range(WINDOW - 1, FRAMES):
        np.testing.assert_allclose(result.world_from_camera[k], true_pose(k), atol=1e-5)
        np.testing.assert_allclose(result.depth[k], true_depth(k), rtol=1e-5)


def noisy():
    return AnalyticModel(noise=0.03, spoiled=0.05)


@pytest.mark.parametrize("known", [7, 11])
def test_online_no_frame_knows_the_future(known):
    """What is said of a frame is the same whatever comes after it, bit by bit."""
    whole = made(images(), model=noisy(), online=True, intrinsics=None)
    begun = made(images(range(known)), STAMPS[:known], model=noisy(), online=True, intrinsics=None)
    for name in ("world_from_camera", "trusted", "pose_covariance", "world", "intrinsics", "depth", "rgb"):
        np.testing.assert_array_equal(getattr(begun, name), getattr(whole, name)[:known], err_msg=name)
    assert begun.reason == whole.reason[:known]
    early = whole.tracks.frame < known
    for name in ("frame", "position", "pixel", "seen"):
        np.testing.assert_array_equal(getattr(begun.tracks, name), getattr(whole.tracks, name)[early])
    np.testing.assert_array_equal(begun.tracks.ids, whole.tracks.part(0, known).ids)


def test_points_lie_on_the_room():
    result = made(depth_size=(33, 49))
    xyz, rgb = result.points
    # In the room's own frame a wall is where a coordinate is 5; the ball is where it was.
    inside = transform(
        AnalyticModel().poses[WINDOW - 1], transform(invert(true_pose(WINDOW - 1)), xyz.astype(float))
    )
    wall = np.abs(np.abs(inside).max(axis=1) - 5.0)
    ball = np.linalg.norm(inside[:, None] - BALL[:FRAMES], axis=2).min(axis=1)
    assert len(xyz) > 2000 and ((wall < 0.1) | (ball < 0.8)).all()
    assert np.ptp(rgb.astype(int), axis=0).min() > 50
    few, _ = result.cloud(voxel=0.5)
    assert 100 < len(few) < len(xyz) / 3
    cells = np.floor(few.astype(np.float64) / 0.5)
    assert len(np.unique(cells, axis=0)) > 0.98 * len(few)


def test_the_cloud_leaves_out_edges_and_what_is_least_sure():
    one = made(images(range(WINDOW)), STAMPS[:WINDOW], depth_size=(10, 12))
    depth, confidence = np.full_like(one.depth, 2.0), np.ones_like(one.confidence)
    depth[:, :, 6:] = 4.0
    confidence[:, 0] = 0.1  # less than a fifth of the grid
    still = np.broadcast_to(np.eye(4), one.world_from_camera.shape)
    near = replace(one, world_from_camera=still, depth=depth, confidence=confidence)
    xyz, rgb = near.cloud(0.01)
    columns = np.rint(CAMERA.grid(12, 10).project(xyz.astype(float))).astype(int)
    assert {tuple(pixel) for pixel in columns} == {
        (x, y) for y in range(1, 10) for x in range(12) if x not in (5, 6)
    }
    # What is not trusted, and what moves with another world, is no part of it.
    assert len(replace(near, trusted=np.zeros(WINDOW, bool)).cloud(0.01)[0]) == 0


def test_tracks_are_where_their_points_are():
    result = made()
    tracks = result.tracks
    assert len(tracks) > 100 and (np.diff(tracks.frame) >= 0).all() and tracks.count == FRAMES
    # Pixels are of the frame's image, positions in the world.
    for k in (0, 3, WINDOW, FRAMES - 1):
        rows = (tracks.frame == k) & tracks.seen
        assert rows.sum() > 50
        seen = CAMERA.project(transform(invert(true_pose(k)), tracks.position[rows].astype(float)))
        np.testing.assert_allclose(seen, tracks.pixel[rows], atol=0.01)
    # No point twice in one frame, and the dense arrays say the same.
    assert len(np.unique(tracks.frame.astype(int) * len(tracks) + tracks.track)) == len(tracks.track)
    np.testing.assert_array_equal(tracks.positions[tracks.track, tracks.frame], tracks.position)
    np.testing.assert_array_equal(tracks.pixels[tracks.track, tracks.frame], tracks.pixel)
    assert np.isfinite(tracks.pixels[..., 0]).sum() == len(tracks.track)
    assert tracks.visible.sum() == tracks.seen.sum()


@pytest.mark.parametrize("online", [False, True])
def test_tracks_with_identity_are_one_each(online):
    """Points keep their name from window to window; one is away for longer than a window and comes back."""
    ids = np.arange(100, 110, dtype=np.uint64)

    def change(k, result):
        names = ("positions", "visible", "confidence", "pixels", "velocities")
        few = replace(result.tracks, ids=ids, **{name: getattr(result.tracks, name)[:10] for name in names})
        if 8 <= k < 16:
            few.positions[3] = np.nan
        return replace(result, tracks=few)

    tracks = recorded(change, online, 24).tracks
    np.testing.assert_array_equal(tracks.ids, ids)
    cells = tracks.track * 24 + tracks.frame
    assert len(np.unique(cells)) == len(cells)
    first = WINDOW - 1 if online else 0
    np.testing.assert_array_equal(tracks.frame[tracks.track == 2], range(first, 24))
    away = tracks.frame[tracks.track == 3]
    # Offline its window's past comes back with it.
    np.testing.assert_array_equal(away, [*range(first, 8), *range(16 if online else 16 - WINDOW + 1, 24)])


def test_a_part_of_the_tracks():
    tracks = made().tracks
    some = tracks.part(4, 9)
    inside = np.isfinite(tracks.positions[:, 4:9, 0]).any(axis=1)
    np.testing.assert_array_equal(some.ids, tracks.ids[inside])
    np.testing.assert_array_equal(some.positions, tracks.positions[inside, 4:9])
    np.testing.assert_array_equal(some.visible, tracks.visible[inside, 4:9])
    assert len(tracks.part(9, 4)) == 0 and tracks.part(9, 4).positions.shape == (0, 0, 3)
    np.testing.assert_array_equal(tracks.part(-3, 99).ids, tracks.part(FRAMES - 3, FRAMES).ids)


def test_dense_tracks_that_memory_cannot_hold(monkeypatch):
    monkeypatch.setattr("d4rt_ros.stream.reconstruction.available_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match=r"take a part\(start, stop\)"):
        made().tracks.positions


def test_where_nothing_is_seen_nothing_is_said():
    """The camera is covered, and uncovered where it was."""
    shown = [*images(range(10)), *[BLACK] * 4, *images(range(10, 20))]
    for online in (False, True):
        result = made(shown, PERIOD * np.arange(1, 25), online=online)
        dark = slice(10, 14)
        assert not result.trusted[dark].any() and np.isnan(result.world_from_camera[dark]).all()
        assert np.isnan(result.depth[dark]).all() and (result.world[dark] == -1).all()
        assert all("nothing to measure" in reason for reason in result.reason[dark])
        assert result.trusted[[9, -1]].all() and result.world[-1] == 0
        assert not np.isin(result.tracks.frame[result.tracks.seen], range(10, 14)).any()
        for k in (9, 23):
            np.testing.assert_allclose(
                result.world_from_camera[k], true_pose(k if k < 10 else k - 4), atol=0.05
            )


def test_worlds_that_could_not_be_joined():
    """A cut to where nothing is known of the old place, and it is not looked for."""
    shown, stamps = [*images(range(9)), *images(range(25, 37))], PERIOD * np.arange(1, 22)
    stamps[9:] += 10**10
    result = made(shown, stamps, recover_seconds=0.0)
    assert list(np.unique(result.world[result.trusted])) == [0, 1] and result.main_world == 1
    for k in np.flatnonzero(result.world == 1):
        np.testing.assert_allclose(result.world_from_camera[k], true_pose(16 + k, 25 + WINDOW - 1), atol=1e-5)
    # Path and cloud are of one world, the one that is asked for.
    path = result.world_from_camera[result.world == 1, :3, 3]
    assert result.path_length == pytest.approx(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    np.testing.assert_array_equal(result.cloud(0.1)[0], result.cloud(0.1, world=1)[0])
    assert len(result.cloud(0.1, world=0)[0]) and not len(result.cloud(0.1, world=7)[0])


def test_after_a_pause_the_first_window_tells_of_its_older_frames_too():
    stamps = STAMPS[:FRAMES] + np.where(np.arange(FRAMES) < 8, 0, 2 * 10**9)
    offline, online = (made(images(), stamps, online=online, recover_seconds=0.0) for online in (False, True))
    assert offline.trusted.all() and list(np.unique(offline.world)) == [0, 1]
    for k in range(8, FRAMES):
        np.testing.assert_allclose(offline.world_from_camera[k], true_pose(k, 13), atol=1e-5)
        np.testing.assert_allclose(offline.depth[k], true_depth(k), rtol=1e-5)
    refilled = slice(8, 8 + WINDOW - 1)
    assert not online.trusted[refilled].any() and np.isnan(online.depth[refilled]).all()
    assert online.trusted[8 + WINDOW - 1 :].all()


def test_with_a_stride_the_frames_between_are_not_made_up():
    result = made(images(range(22)), STAMPS[:22], stride=2, depth_size=GRID)
    kept = np.arange(22) % 2 == 0
    np.testing.assert_array_equal(np.isfinite(result.depth).all(axis=(1, 2)), kept)
    assert result.trusted[kept].all()
    for k in np.flatnonzero(result.trusted):
        np.testing.assert_allclose(result.world_from_camera[k], true_pose(k, 10), atol=1e-5)


def test_metres():
    model, metric = made(), made(metres=2.5)
    assert metric.metric and metric.scale_sigma == 0.0
    np.testing.assert_allclose(metric.depth, 2.5 * model.depth, rtol=1e-6)
    np.testing.assert_allclose(
        metric.world_from_camera[:, :3, 3], 2.5 * model.world_from_camera[:, :3, 3], atol=1e-9
    )
    np.testing.assert_allclose(
        metric.world_from_camera[:, :3, :3], model.world_from_camera[:, :3, :3], atol=1e-9
    )
    np.testing.assert_allclose(metric.tracks.position, 2.5 * model.tracks.position, rtol=1e-5)
    assert metric.path_length == pytest.approx(2.5 * model.path_length)


def recorded(change, online=False, count=FRAMES, placed=lambda k: []):
    """The reconstruction of results that `change(k, result)` has changed, k the number of the newest frame; and of what
    `placed(k)` says the pipeline knows by then."""
    recorder = Recorder(AnalyticModel(), PipelineConfig(depth_size=GRID, refine="none"), online)
    add = recorder.stream.add

    def changed(frame):
        result = add(frame)
        result = result and change(len(recorder), result)
        recorder.stream.pose = result and result.pose
        return result

    recorder.stream.add = changed
    recorder.stream.pipeline.placed = lambda: placed(len(recorder) - 1)
    for k in range(count):
        recorder.add(frame(k))
    return recorder.reconstruction()


def test_a_scale_that_becomes_known_serves_all_frames_unless_it_must_not():
    def change(k, result):
        # It is measured from frame 9 on, and settles.
        return (
            scaled(result, Scale(1.5 + 0.1 * k, 0.05, "tf") if k < 12 else Scale(2.5, 0.02, "tf"))
            if k > 8
            else result
        )

    model, offline, online = made(), recorded(change), recorded(change, online=True)
    assert (
        offline.metric and offline.scale_sigma == 0.02 and not online.metric and np.isnan(online.scale_sigma)
    )
    np.testing.assert_allclose(offline.depth, 2.5 * model.depth, rtol=1e-5)
    places, metric = (x.world_from_camera[:, :3, 3] for x in (model, offline))
    np.testing.assert_allclose(metric, 2.5 * places, atol=1e-9)
    np.testing.assert_allclose(offline.tracks.position, 2.5 * model.tracks.position, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(offline.pose_covariance[:, :3, :3], 2.5**2 * model.pose_covariance[:, :3, :3])
    np.testing.assert_allclose(offline.pose_covariance[:, :3, 3:], 2.5 * model.pose_covariance[:, :3, 3:])
    factor = [np.nanmedian(online.depth[k] / model.depth[k]) for k in range(WINDOW - 1, FRAMES)]
    np.testing.assert_allclose(factor, [1, 1, 1, 1, 2.4, 2.5, 2.6, 2.5, 2.5, 2.5, 2.5], rtol=1e-5)


def test_offline_what_is_known_later_corrects_what_was_said():
    """The world is corrected by a map; of the newest frames by then places and tracks move with it."""
    moved = pose_from_quaternion([0.0, 0.0, 0.2, 1.0], [0.3, -0.2, 0.1])
    model = made()

    def change(k, result):
        return replace(result, pose=replace(result.pose, map_from_world=moved)) if k >= 12 else result

    def placed(k):
        known = range(max(k - 5, 0), k + 1)
        return [
            (int(STAMPS[i]), 0, (moved if k >= 12 else np.eye(4)) @ model.world_from_camera[i]) for i in known
        ]

    offline, online = (recorded(change, online, placed=placed) for online in (False, True))
    for k in range(FRAMES):
        truth = moved @ model.world_from_camera[k] if k >= 7 else model.world_from_camera[k]
        np.testing.assert_allclose(offline.world_from_camera[k], truth, atol=1e-9)
        if k >= WINDOW - 1:
            np.testing.assert_allclose(online.world_from_camera[k], model.world_from_camera[k], atol=1e-9)
        rows = (offline.tracks.frame == k) & offline.tracks.seen
        seen = CAMERA.project(transform(invert(truth), offline.tracks.position[rows].astype(float)))
        np.testing.assert_allclose(seen, offline.tracks.pixel[rows], atol=0.01)


def test_offline_a_frame_that_is_placed_later_is_placed():
    """It was lost when it came, but by what is known now it is not."""
    model = made()

    def change(k, result):
        lost = replace(result.pose, trusted=False, reason="lost", covariance=1e6 * np.eye(6))
        return replace(result, pose=lost, tracks=None) if k == 9 else result

    def placed(k):
        return [(int(STAMPS[9]), 0, model.world_from_camera[9])] if k >= 10 else []

    offline, online = (recorded(change, online, placed=placed) for online in (False, True))
    assert offline.trusted.all() and offline.reason[9] == ""
    np.testing.assert_allclose(offline.world_from_camera[9], true_pose(9), atol=1e-5)
    assert not online.trusted[9] and online.reason[9] == "lost" and online.trusted.sum() == FRAMES - WINDOW


def test_a_camera_that_is_not_given_is_estimated():
    result = made(intrinsics=None)
    np.testing.assert_allclose(result.intrinsics, np.broadcast_to(CAMERA.matrix, (FRAMES, 3, 3)), rtol=0.01)
    online = made(intrinsics=None, online=True)
    np.testing.assert_array_equal(result.intrinsics, np.broadcast_to(online.intrinsics[-1], (FRAMES, 3, 3)))
    assert np.isnan(online.intrinsics[: WINDOW - 1]).all() and online.camera(0) is None
    assert isinstance(online.camera(-1), Pinhole) and online.camera(-1).width == 97


def test_frames_without_stamps_come_at_15_hz():
    result = made(stamps=None)
    assert result.stamps[0] == 0 and result.stamps[15] == 10**9
    assert result.trusted.all()


def test_what_is_masked_has_no_depth():
    mask = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    mask[CAMERA.height // 2 :, : CAMERA.width // 2] = 255
    result = made(mask=mask)
    depth = np.isfinite(result.depth)
    assert not depth[:, 5:, :6].any() and depth[:, :4].all() and depth[:, :, 7:].all()
    for k in range(FRAMES):
        np.testing.assert_allclose(result.world_from_camera[k], true_pose(k), atol=1e-4)


def test_a_generator_is_taken_frame_by_frame():
    """Images are let go once they have left the window, and tracks and depth are all that grows."""
    shown, most = [], 0

    class Image(np.ndarray):
        """One that can be referred to weakly."""

    def endless():
        nonlocal most
        for k in range(40):
            one = image(k).copy().view(Image)
            shown.append(weakref.ref(one))
            yield one
            del one
            most = max(most, sum(ref() is not None for ref in shown))

    result = made(endless(), STAMPS)
    assert len(result) == 40 and result.trusted.all()
    assert 0 < most <= WINDOW + 3


def test_what_is_known_so_far():
    """A recorder tells at any time, and goes on."""
    recorder = Recorder(AnalyticModel(), PipelineConfig(depth_size=GRID, refine="none"))
    with pytest.raises(ValueError, match="no frames"):
        recorder.reconstruction()
    for k in range(9):
        recorder.add(frame(k))
        assert len(recorder) == k + 1
    assert recorder.trusted == 9 and recorder.reason == ""
    first = recorder.reconstruction()
    recorder.add(frame(9))
    again = recorder.reconstruction()
    assert len(first) == 9 and len(again) == 10
    np.testing.assert_array_equal(again.depth[:9], first.depth)


def test_a_video_shorter_than_a_window_says_so():
    result = made(images(range(4)), None)
    assert not result.trusted.any() and "the window is not full: it has 4 of 6 frames" in result.reason[-1]
    assert result.points[0].shape == (0, 3) and result.main_world == -1 and result.path_length == 0
    assert len(result.tracks) == 0 and result.tracks.positions.shape == (0, 4, 3)


def large():
    return np.zeros((70, 97, 3), np.uint8)


@pytest.mark.parametrize(
    "frames, stamps, options, words",
    [
        ([], None, {}, "no frames"),
        (np.zeros((0, 65, 97, 3), np.uint8), None, {}, "no frames"),
        (7, None, {}, "frames of type int; give a path, or an iterable"),
        (None, [0, 1], {}, "2 stamps and more frames"),
        (None, STAMPS, {}, "40 stamps and 16 frames"),
        (None, [*STAMPS[:5], STAMPS[4], *STAMPS[6:FRAMES]], {}, "stamps must increase; stamp 5 is"),
        (None, STAMPS[:FRAMES] / 1e9, {}, "integer nanoseconds are expected, not seconds"),
        (None, STAMPS[FRAMES::-1].astype(np.uint64), {}, "stamps must increase; stamp 1 is"),
        (None, 5, {}, "stamps has shape"),
        (None, [-5, *STAMPS[1:FRAMES]], {}, "must not be negative"),
        (None, STAMPS[:FRAMES, None], {}, "stamps has shape"),
        (lambda: [*images(range(3)), image(3).astype(np.float32)], None, {}, r"frame 3 has shape .* float32"),
        (lambda: [image(0)[..., 0]], None, {}, r"frame 0 has shape \(65, 97\) .* expected \(H, W, 3\) uint8"),
        (lambda: image(0), None, {}, r"frame 0 has shape \(97, 3\).*expected \(H, W, 3\) uint8"),
        (lambda: [*images(range(3)), large()], None, {}, "frame 3 is 97x70, those before it are 97x65"),
        (lambda: [image(0), None], None, {}, "frame 1 is no array of numbers|frame 1 = None"),
        (None, None, {"intrinsics": np.eye(4)}, "intrinsics has shape"),
        (None, None, {"intrinsics": np.zeros((3, 3))}, "not a camera"),
        (None, None, {"depth_size": (1, 5)}, "a grid of 1x5"),
        (None, None, {"depth_size": 36}, r"a grid of size 36; its size is \(rows, columns\)"),
            (None, None, {"metres": "2"}, "of another type"),
        (None, None, {"hop": 0}, "hop = 0"),
        (None, None, {"strides": 2}, "no option strides; is it stride?"),
        (None, None, {"colour": 2}, "no option colour; there are model, "),
        (None, None, {"checkpoint": "x.safetensors"}, "a model and checkpoint are given"),
        ("no/such/video.mp4", None, {}, "no/such/video.mp4"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(frames, stamps, options, words):
    frames = frames() if callable(frames) else frames
    with pytest.raises(ValueError, match=words):
        made(frames, stamps, **options)


def test_an_unknown_option_is_an_unexpected_argument_too():
    with pytest.raises(TypeError, match="no option tracks_sizes; is it tracks_size?"):
        made(tracks_sizes=(3, 4))
    assert issubclass(OptionError, ValueError)


def test_files(tmp_path):
    result = made(online=True)
    files = {file.name: file for file in result.save(tmp_path)}
    assert set(files) == {"trajectory.txt", "cloud.ply", "depth.npz", "tracks.npz"}
    path = np.loadtxt(files["trajectory.txt"])
    assert len(path) == result.trusted.sum()
    np.testing.assert_allclose(path[:, 0], result.stamps[result.trusted] / 1e9)
    np.testing.assert_allclose(path[:, 1:4], result.world_from_camera[result.trusted, :3, 3], atol=1e-6)
    assert f"element vertex {len(result.points[0])}\n".encode() in files["cloud.ply"].read_bytes()[:300]
    depth, tracks = np.load(files["depth.npz"]), np.load(files["tracks.npz"])
    for name in (
        "stamps",
        "depth",
        "world_from_camera",
        "trusted",
        "pose_covariance",
        "world",
        "intrinsics",
        "rgb",
    ):
        np.testing.assert_array_equal(depth[name], getattr(result, name))
    assert tuple(depth["reason"]) == result.reason and not depth["metric"]
    np.testing.assert_array_equal(tracks["ids"], result.tracks.ids)
    np.testing.assert_array_equal(tracks["position"], result.tracks.position)


def test_edges_of_depth():
    depth = np.full((6, 7), 2.0, np.float32)
    depth[:, 4:] = 3.0
    depth[5, 0] = np.nan
    edge = at_edges(depth)
    assert edge[:5, 3:5].all() and not edge[:4, :3].any() and not edge[:, 5:].any()
    assert edge[5, 0] and edge[4, 0] and edge[5, 1]
    assert not at_edges(1.1 * np.arange(1, 40, dtype=np.float32)[None].repeat(3, 0) + 40).any()


# Refined by the pixels


PIXELS = 30  # frames


@lru_cache
def refined(online=False, stride=1):
    return made(images(range(PIXELS)), STAMPS[:PIXELS], refine="pixels", online=online, stride=stride)


@lru_cache
def streamed(stride=1):
    """What the stream says of each image when it comes: (pose, result); and where it has each in the end."""
    stream = Stream(Pipeline(AnalyticModel(), PipelineConfig(depth_size=GRID, stride=stride)))
    said, placed = [], {}
    for k in range(PIXELS):
        result = stream.add(frame(k))
        said.append((stream.pose, result))
        placed |= {stamp: pose for stamp, _, pose in stream.pipeline.placed()}
    return said, [placed.get(int(stamp)) for stamp in STAMPS[:PIXELS]]


@pytest.mark.parametrize("stride", [1, 2])
def test_online_it_is_what_the_stream_says(stride):
    result, (said, _) = refined(True, stride), streamed(stride)
    assert result.trusted.sum() > 15
    for k, (pose, window) in enumerate(said):
        pose = window.pose if pose is None and window is not None else pose
        assert result.trusted[k] == (pose is not None and pose.trusted)
        if result.trusted[k]:
            np.testing.assert_array_equal(result.world_from_camera[k], pose.world_from_camera)
            np.testing.assert_array_equal(result.pose_covariance[k], pose.covariance)
        if window is None:
            assert np.isnan(result.depth[k]).all() and np.isnan(result.depth_sigma[k]).all()
        else:
            np.testing.assert_array_equal(result.depth[k], window.points.depth)
            np.testing.assert_array_equal(result.depth_sigma[k], window.points.sigma)


@pytest.mark.parametrize("stride", [1, 2])
def test_offline_it_is_where_the_stream_has_it_in_the_end(stride):
    result, (_, placed) = refined(False, stride), streamed(stride)
    known = [k for k, pose in enumerate(placed) if pose is not None]
    assert len(known) > 15 and result.trusted[known].all() and result.trusted[::stride].all()
    for k in known:
        np.testing.assert_allclose(result.world_from_camera[k], placed[k], atol=1e-12)
    online = refined(True, stride)
    assert not np.array_equal(
        result.world_from_camera[known], online.world_from_camera[known]
    )  # it was corrected
    # Points keep their names, and those at rest are seen where they are.
    assert len(result.tracks) < 300 and np.median(np.bincount(result.tracks.track)) > 5
    assert len(result.points[0]) > 500


def test_refined_no_frame_knows_the_future():
    whole, known = refined(True), 12
    begun = made(images(range(known)), STAMPS[:known], refine="pixels", online=True)
    for name in (
        "world_from_camera",
        "trusted",
        "pose_covariance",
        "world",
        "intrinsics",
        "depth",
        "depth_sigma",
    ):
        np.testing.assert_array_equal(getattr(begun, name), getattr(whole, name)[:known], err_msg=name)
