import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import CAMERA
from analytic_stream import COUNT, PERIOD, AnalyticModel, frame, image, pose_error, run, stream_of

from d4rt_ros.geometry import (
    BODY_FROM_OPTICAL,
    Lens,
    Pinhole,
    Region,
    RegionError,
    is_rigid,
    rotation_angle,
    transform,
)
from d4rt_ros.stream import (
    Frame,
    Outputs,
    PipelineConfig,
    StampError,
    WindowFrame,
    fitting_depth_queries,
    only,
)
from d4rt_ros.tasks import tracks_of_points


@pytest.mark.parametrize("method", ["pnp", "rigid"])
@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_exact_answers_give_exact_results(method, camera):
    model = AnalyticModel()
    stream = stream_of(model, PipelineConfig(hop=2, depth_size=(9, 13), pose_method=method))
    results = run(stream, range(COUNT), camera=camera)
    assert [k for k, _ in results] == list(range(5, COUNT, 2))
    for k, result in results:
        assert result.stamp == PERIOD * (k + 1) and result.window.stamps.tolist() == [
            PERIOD * (i + 1) for i in range(k - 5, k + 1)
        ]
        assert result.camera.calibrated == (camera is not None)
        np.testing.assert_allclose(result.camera.pinhole.matrix, CAMERA.matrix, rtol=1e-4)
        assert result.trusted and result.reason == ""
        degrees, metres = pose_error(result, model.world_from_camera(5, k))
        assert degrees < 0.1 and metres < 0.01
        assert is_rigid(result.pose.world_from_camera, 1e-9)
        assert result.scene.query(3, 4, 0, 1, 2).xyz.shape == (1, 3)
    assert (
        np.degrees(
            rotation_angle(results[-1][1].pose.world_from_camera[:3, :3].T @ BODY_FROM_OPTICAL[:3, :3])
        )
        > 40
    )


def test_one_call_a_window_and_one_preparation_a_frame():
    model = AnalyticModel()
    for _, result in run(stream_of(model), range(12), camera=None):
        assert result.scene.calls == 1
    assert model.prepared == 12


def test_points_lie_on_the_cameras_rays_and_wear_the_images_colours():
    stream = stream_of(AnalyticModel(), PipelineConfig(depth_size=(9, 13)))
    k, result = run(stream, range(8))[-1]
    points = result.points
    assert points.xyz.shape == (9, 13, 3) and points.xyz.dtype == np.float32
    assert points.camera == CAMERA.grid(13, 9)
    np.testing.assert_array_equal(points.depth, points.xyz[..., 2])
    np.testing.assert_array_equal(points.rgb, image(k)[::8, ::8])
    u, v = np.meshgrid(np.arange(0, 97, 8), np.arange(0, 65, 8))
    truth = result.scene.query(u.ravel(), v.ravel(), -1, -1, -1).xyz.reshape(9, 13, 3)
    np.testing.assert_allclose(points.xyz, truth, atol=1e-4)


@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_a_budget_that_reaches_the_whole_grid_changes_nothing(camera):
    plain, ample = (
        run(
            stream_of(AnalyticModel(), PipelineConfig(depth_size=(9, 13), depth_queries=n)),
            range(8),
            camera=camera,
        )
        for n in (None, 9 * 13)
    )
    for (_, one), (_, other) in zip(plain, ample, strict=True):
        assert one.scene.calls == other.scene.calls == 1 and one.camera == other.camera
        for name in ("xyz", "rgb", "confidence"):
            np.testing.assert_array_equal(getattr(one.points, name), getattr(other.points, name))
        np.testing.assert_array_equal(one.pose.world_from_camera, other.pose.world_from_camera)


@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_a_depth_grid_on_a_budget(camera):
    counts = []
    model = AnalyticModel(change=lambda answer: counts.append(len(answer)))
    config = PipelineConfig(depth_size=(65, 97), depth_queries=1600)
    k, result = run(stream_of(model, config), range(8), only(points=True), camera=camera)[-1]
    calls = result.scene.calls
    assert 1 < calls <= 5 and sum(counts[-calls:]) == 1600
    np.testing.assert_allclose(result.camera.pinhole.matrix, CAMERA.matrix, rtol=1e-3)
    u, v = np.meshgrid(np.arange(97), np.arange(65))
    truth = (
        result.scene.query(u=u.ravel(), v=v.ravel(), t_src=-1, t_tgt=-1, t_cam=-1).xyz[:, 2].reshape(65, 97)
    )
    wrong = np.abs(result.points.depth / truth - 1)
    assert wrong.mean() < 2e-3 and np.mean(wrong > 0.01) < 0.02
    np.testing.assert_array_equal(result.points.rgb, image(k))


def test_a_given_camera_rules_over_the_models_rays():
    other = Pinhole(100.0, 60.0, 40.0, 35.0, 97, 65)
    stream = stream_of(AnalyticModel(), PipelineConfig(depth_size=(9, 13)))
    points = run(stream, range(6), camera=other)[-1][1].points
    u, v = np.meshgrid(np.arange(13), np.arange(9))
    np.testing.assert_allclose(other.grid(13, 9).project(points.xyz), np.stack([u, v], -1), atol=1e-3)


def test_tracks_in_the_world():
    model = AnalyticModel()
    stream = stream_of(model, PipelineConfig(tracks_size=(9, 13)))
    seen_ids = set()
    for k, result in run(stream, range(10)):
        tracks = result.tracks
        assert tracks.positions.shape == (117, 6, 3) and tracks.positions.dtype == np.float32
        assert tracks.pixels.shape == (117, 6, 2) and tracks.velocities.shape == (117, 3)
        assert tracks.visible.shape == tracks.confidence.shape == (117, 6) and tracks.visible.dtype == bool
        assert tracks.ids.dtype == np.uint64 and len(set(tracks.ids.tolist())) == 117
        assert seen_ids.isdisjoint(tracks.ids.tolist())
        seen_ids.update(tracks.ids.tolist())
        u, v = np.meshgrid(np.linspace(0, 96, 13), np.linspace(0, 64, 9))
        truth = tracks_of_points(result.scene, u.ravel(), v.ravel(), -1, t_cam=-1)
        positions = transform(model.world_from_camera(5, k), truth.xyz)
        np.testing.assert_allclose(tracks.positions, positions, atol=1e-2)
        inside = ((truth.uv >= -0.5) & (truth.uv <= np.array([96.5, 64.5]))).all(axis=2)
        np.testing.assert_array_equal(tracks.visible, (truth.visibility > 0.5) & inside)
        np.testing.assert_allclose(tracks.pixels, truth.uv)


def test_velocities_are_the_balls_or_nothing():
    model = AnalyticModel()
    _, result = run(stream_of(model, PipelineConfig(tracks_size=(33, 49))), range(6))[-1]
    speeds = np.linalg.norm(result.tracks.velocities, axis=1)
    ball = np.linalg.norm(model.ball[1] - model.ball[0]) / (PERIOD / 1e9)
    moving = speeds > 0.1
    assert 20 < moving.sum() < 400
    np.testing.assert_allclose(speeds[moving], ball, rtol=1e-3)
    turned = (
        model.world_from_camera(5, 5)[:3, :3] @ model.poses[5][:3, :3].T @ (model.ball[1] - model.ball[0])
    )
    np.testing.assert_allclose(result.tracks.velocities[moving][0] * PERIOD / 1e9, turned, atol=1e-4)
    assert np.nanmax(speeds[~moving]) < 1e-2


def test_noise_gross_errors_and_a_moving_ball():
    model = AnalyticModel(noise=0.01, spoiled=0.1)
    results = run(stream_of(model, PipelineConfig(hop=2)), range(20), camera=None)
    for k, result in results:
        degrees, metres = pose_error(result, model.world_from_camera(5, k))
        assert result.trusted and degrees < 5 and metres < 0.5
        np.testing.assert_allclose([result.camera.pinhole.fx, result.camera.pinhole.fy], [90, 95], rtol=0.01)
    # The uncertainty grows along the chain.
    first, last = results[1][1].pose.covariance, results[-1][1].pose.covariance
    assert (np.diag(last) > np.diag(first)).all()


def test_errors_do_not_pile_up_with_every_window():
    """Windows share a keyframe; with a new one at every step 6 degrees are off after 34 of them."""
    degrees = []
    for seed in range(4):
        model = AnalyticModel(noise=0.01, speed=0.2)
        model.seed = seed
        k, result = run(stream_of(model), range(COUNT), only(pose=True))[-1]
        degrees.append(pose_error(result, model.world_from_camera(5, k))[0])
    assert np.mean(degrees) < 1.5


def test_a_camera_that_stands_still_stays_at_the_origin():
    model = AnalyticModel(speed=0.0, noise=0.002)
    for _, result in run(stream_of(model), range(15)):
        degrees, metres = pose_error(result, BODY_FROM_OPTICAL)
        assert result.trusted and degrees < 0.5 and metres < 0.05


@pytest.mark.parametrize(
    "outputs, asked",
    [
        (Outputs(), 9 * 13 + 4 * 64 + 6 * 16),
        (only(points=True), 9 * 13),
        (only(tracks=True), 4 * 64 + 6 * 16),
        (only(pose=True), 4 * 64),
        (only(), 0),
    ],
)
def test_only_what_was_asked_for_is_computed(outputs, asked):
    counts = []
    model = AnalyticModel(change=lambda answer: counts.append(len(answer)))
    stream = stream_of(model, PipelineConfig(depth_size=(9, 13), tracks_size=(4, 4), pose_grid=(8, 8)))
    result = run(stream, range(8), outputs)[-1][1]
    assert counts[-1:] == ([asked] if asked else [])
    assert (result.points is not None, result.tracks is not None) == (outputs.points, outputs.tracks)
    assert (result.pose is not None) == (outputs.pose or outputs.tracks)
    assert result.trusted == (result.pose is not None)
    assert result.camera.pinhole == CAMERA


def test_an_uncalibrated_camera_is_estimated_for_the_pose_alone():
    result = run(stream_of(AnalyticModel()), range(8), only(pose=True), camera=None)[-1][1]
    assert not result.camera.calibrated and result.camera.pinhole.fx == pytest.approx(90, rel=1e-3)
    assert result.trusted


def test_the_estimated_camera_settles():
    rng = np.random.default_rng(0)

    def shake(answer):
        answer.xyz[:, :2] *= rng.uniform(0.8, 1.25)

    results = run(stream_of(AnalyticModel(change=shake)), range(35), only(points=True), camera=None)
    focal = np.array([result.camera.pinhole.fx for _, result in results])
    assert np.abs(np.diff(focal[15:])).max() < 0.2 * np.abs(np.diff(focal[:5])).max()
    assert focal[-1] == pytest.approx(90, rel=0.08)


def test_a_pose_that_cannot_be_trusted_is_bridged():
    spoil = [False]

    def change(answer):
        if spoil[0]:
            answer.uv[:] = np.random.default_rng(0).uniform(0, 60, answer.uv.shape)

    model = AnalyticModel(change=change)
    stream = stream_of(model, PipelineConfig(hop=1))
    good = run(stream, range(8))[-1][1]
    spoil[0] = True
    bad = [result for _, result in run(stream, [8, 9])]
    spoil[0] = False
    for result in bad:
        assert not result.trusted and result.reason
        np.testing.assert_array_equal(result.pose.world_from_camera, good.pose.world_from_camera)
        np.testing.assert_array_equal(result.pose.covariance, 1e6 * np.eye(6))
        assert result.pose.step is None and result.tracks is None and result.points is not None
    again = run(stream, [10])[0][1]
    # Frame 7 is still in the window: nothing was lost.
    assert again.trusted and again.pose.covariance[0, 0] < 0.1
    degrees, metres = pose_error(again, model.world_from_camera(5, 10))
    assert degrees < 0.1 and metres < 0.01


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0, 1e38])
@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_nothing_that_is_not_finite_leaves(value, camera):
    def spoil(answer):
        for field in (answer.xyz, answer.uv, answer.visibility, answer.confidence, answer.normals):
            field[:] = value

    for _, result in run(stream_of(AnalyticModel(change=spoil)), range(9), camera=camera):
        assert np.isfinite(result.camera.pinhole.matrix).all()
        assert is_rigid(result.pose.world_from_camera, 1e-9) and np.isfinite(result.pose.covariance).all()
        points, tracks = result.points, result.tracks
        assert not np.isinf(points.xyz).any() and np.isfinite(points.confidence).all()
        none = np.isnan(points.xyz).any(axis=2)
        assert np.isnan(points.xyz[none]).all() and (points.confidence[none] == 0).all()
        if tracks is None:
            assert not result.trusted
            continue
        for array in (tracks.positions, tracks.pixels, tracks.velocities):
            assert not np.isinf(array).any()
        assert not tracks.visible[np.isnan(tracks.positions).any(axis=2)].any()
        assert np.isfinite(tracks.confidence).all()
    assert not result.trusted


def test_a_few_answers_that_are_not_finite_do_no_harm():
    def spoil(answer):
        answer.xyz[::7], answer.uv[3::11], answer.confidence[5::13] = np.nan, np.inf, np.nan

    model = AnalyticModel(change=spoil)
    for k, result in run(stream_of(model), range(9), camera=None):
        degrees, metres = pose_error(result, model.world_from_camera(5, k))
        assert result.trusted and degrees < 0.1 and metres < 0.01
        assert 0.1 < np.isnan(result.points.depth).mean() < 0.3


def test_time_that_goes_back_restarts_the_world():
    model = AnalyticModel()
    stream = stream_of(model)
    ids = run(stream, range(12))[-1][1].tracks.ids
    # A bag that loops, from frame 3 on.
    results = run(stream, range(3, 15))
    assert [k for k, _ in results][0] == 8
    np.testing.assert_array_equal(results[0][1].pose.world_from_camera, BODY_FROM_OPTICAL)
    for k, result in results:
        degrees, metres = pose_error(result, model.world_from_camera(8, k))
        assert result.trusted and degrees < 0.1 and metres < 0.01
        assert result.pose.covariance[0, 0] < 0.1
    assert results[0][1].tracks.ids.min() > ids.max()


def test_a_small_jump_back_is_a_new_epoch_too():
    """The first window after it is newer than the last one before it: only the epoch tells."""
    stream = stream_of(AnalyticModel())
    before = run(stream, range(12))[-1][1]
    first = run(stream, [7, 8, 9, 10, 11, 12])
    assert [k for k, _ in first] == [12] and first[0][1].pose.world == before.pose.world + 1
    np.testing.assert_array_equal(first[0][1].pose.world_from_camera, BODY_FROM_OPTICAL)


def test_a_reset_and_a_new_size_restart_the_world():
    stream = stream_of(AnalyticModel())
    run(stream, range(12))
    stream.reset()
    results = run(stream, range(12, 20))
    assert [k for k, _ in results][0] == 17
    np.testing.assert_array_equal(results[0][1].pose.world_from_camera, BODY_FROM_OPTICAL)
    stream.window.add(Frame(np.zeros((10, 20, 3), np.uint8), PERIOD * 30))
    results = run(stream, range(30, 38))
    np.testing.assert_array_equal(results[0][1].pose.world_from_camera, BODY_FROM_OPTICAL)
    assert stream.window.restarts == 3


def test_a_refused_frame_changes_nothing():
    model = AnalyticModel()
    stream = stream_of(model)
    run(stream, range(8))
    with pytest.raises(StampError):
        stream.add(frame(20, stamp=PERIOD * 8))
    k, result = run(stream, [8])[0]
    assert result.trusted and pose_error(result, model.world_from_camera(5, 8))[0] < 0.1


def test_the_same_clip_twice_is_the_same_place():
    stream = stream_of(AnalyticModel())
    run(stream, range(9))
    clip = [WindowFrame(frame(k)) for k in range(4, 10)]
    first, again = stream.pipeline.process(clip), stream.pipeline.process(clip)
    assert again.trusted
    np.testing.assert_array_equal(first.pose.world_from_camera, again.pose.world_from_camera)


def test_results_do_not_change_afterwards():
    stream = stream_of(AnalyticModel())
    first = run(stream, range(6))[0][1]
    pose, covariance = first.pose.world_from_camera.copy(), first.pose.covariance.copy()
    run(stream, range(6, 12))
    np.testing.assert_array_equal(first.pose.world_from_camera, pose)
    np.testing.assert_array_equal(first.pose.covariance, covariance)


def test_the_memory_is_bounded():
    stream = stream_of(AnalyticModel())

    def loop(rounds):
        for _ in range(rounds):
            run(stream, range(COUNT), only(points=True, pose=True))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = loop(1)
        assert loop(3) < before + 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "bad, words",
    [
        (dict(depth_size=(1, 64)), "depth_size"),
        (dict(depth_size=(10_000, 10_000)), "100,000,000 points; at most"),
        (dict(depth_queries=3), "depth_queries = 3; it must be 4 or more"),
        (dict(tracks_size=(4,)), "tracks_size"),
        (dict(pose_grid=(2, 4)), "pose_grid"),
        (dict(pose_method="icp"), "pnp, rigid"),
        (dict(pose_min_inliers=1.5), "0..1"),
        (dict(frames=7), "takes 6"),
        (dict(frames=0), "takes 6"),
        (dict(stride=0), "1 or more"),
    ],
)
def test_configurations_that_cannot_be(bad, words):
    with pytest.raises(ValueError, match=words):
        stream_of(AnalyticModel(), PipelineConfig(**bad))


def test_a_configuration_may_change_between_windows():
    stream = stream_of(AnalyticModel())
    run(stream, range(7))
    stream.pipeline.change(
        PipelineConfig(depth_size=(5, 6), tracks_size=(2, 3), pose_grid=(8, 8), pose_method="rigid")
    )
    result = run(stream, [7])[0][1]
    assert (
        result.points.xyz.shape == (5, 6, 3)
        and len(result.tracks.ids) == 6
        and result.pose.step.method == "rigid"
    )


def test_the_depth_grid_asks_what_a_budget_leaves_time_for():
    config = PipelineConfig(depth_size=(30, 40))
    slow = fitting_depth_queries(config, budget=0.1, took=0.3, per_second=4000)
    assert slow == 1200 - 400  # half of the 800 that 0.2 s are worth
    assert fitting_depth_queries(config, budget=0.1, took=9.0, per_second=4000) == 300  # a quarter
    fewer = replace(config, depth_queries=slow)
    assert fitting_depth_queries(fewer, budget=0.2, took=0.1, per_second=4000) == slow + 200
    assert fitting_depth_queries(fewer, budget=1.0, took=0.1, per_second=4000) is None


# A region of interest


@pytest.mark.parametrize("queries", [None, 40])
@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_a_region_is_an_image_of_its_own(camera, queries):
    """8 x 12 points over 22 x 34 pixels: each is a pixel of the image, and lies where the whole image has it."""
    region = Region(40, 21, 34, 22)
    config = PipelineConfig(depth_size=(8, 12), depth_queries=queries, tracks_size=(3, 4), region=region)
    k, result = run(stream_of(AnalyticModel(), config), range(8), camera=camera)[-1]
    u, v = np.meshgrid(np.arange(40, 74, 3), np.arange(21, 43, 3))
    truth = result.scene.query(u.ravel(), v.ravel(), -1, -1, -1).xyz.reshape(8, 12, 3)
    points = result.points
    np.testing.assert_allclose(points.xyz, truth, atol=1e-4 if queries is None else 0.3)
    np.testing.assert_array_equal(points.rgb, image(k)[v, u])
    np.testing.assert_allclose(points.camera.project(points.xyz.astype(float))[0, 0], [0, 0], atol=1e-5)
    np.testing.assert_allclose(points.camera.project(points.xyz.astype(float))[-1, -1], [11, 7], atol=1e-5)
    pixels = result.tracks.pixels[:, -1]
    assert len(pixels) == 12
    np.testing.assert_allclose([pixels.min(0), pixels.max(0)], [[40, 21], [73, 42]], atol=1e-3)


def test_a_region_changes_nothing_of_the_camera_and_its_place():
    """A camera without a calibration too, whose focal lengths are of the whole image."""
    whole, part = (
        run(stream_of(AnalyticModel(), PipelineConfig(region=region)), range(12), camera=None)
        for region in (None, Region(3, 5, 9, 8))
    )
    for (_, one), (_, other) in zip(whole, part, strict=True):
        assert other.camera.pinhole.fx == pytest.approx(one.camera.pinhole.fx, rel=1e-3)
        degrees, metres = pose_error(other, one.pose.world_from_camera)
        assert degrees < 0.01 and metres < 1e-3


@pytest.mark.parametrize("raw", [True, False])
def test_a_region_of_a_raw_image_is_where_the_lens_has_it(raw):
    """The lens only shifts: the raw image is the view, seen by a camera whose centre is 5 pixels to the right."""
    matrix = CAMERA.matrix + [[0, 0, 5], [0, 0, 0], [0, 0, 0]]
    lens = Lens(matrix, (0.0, 0.0, 0.0, 0.0), False, np.eye(3), CAMERA)
    stream = stream_of(AnalyticModel(), PipelineConfig(depth_size=(5, 7), region=Region(30, 10, 13, 9, raw)))
    result = [stream.add(Frame(image(k), PERIOD * (k + 1), CAMERA, lens)) for k in range(8)][-1]
    u, v = np.meshgrid(np.arange(25 if raw else 30, 43, 2)[:7], np.arange(10, 19, 2))
    truth = result.scene.query(u.ravel(), v.ravel(), -1, -1, -1).xyz.reshape(5, 7, 3)
    np.testing.assert_allclose(result.points.xyz, truth, atol=1e-4)


def test_a_region_that_the_images_do_not_have_is_an_error():
    with pytest.raises(RegionError, match="not within the image of 97x65"):
        run(stream_of(AnalyticModel(), PipelineConfig(region=Region(60, 0, 40, 40))), range(8))
