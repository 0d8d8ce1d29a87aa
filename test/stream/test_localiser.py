"""One world of windows that each have a unit of length of their own, through the stream."""

import re

import numpy as np
import pytest
from analytic_scene import CAMERA, Altered
from analytic_stream import COUNT, PERIOD, AnalyticModel, frame, pose_error, run, stream_of

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, transform
from d4rt_ros.stream import PipelineConfig, only, stitching
from d4rt_ros.stream.offline import reconstruct
from d4rt_ros.tasks import tracks_of_points

CONFIG = PipelineConfig(depth_size=(9, 13), tracks_size=(5, 7))


class ManyUnits(AnalyticModel):
    """Answers of every window in a unit of its own, `units` metres long by the number of its newest frame; spoiled by
    `change` from frame `since` on."""

    def __init__(self, seed=0, spread=0.5, since=COUNT, **room):
        super().__init__(**room)
        self.units, self.since = np.exp(np.random.default_rng(seed).normal(0, spread, COUNT)), since

    def encode(self, frames):
        change, self.change = self.change, None
        scene, self.change = super().encode(frames), change
        newest = int(frames[-1][0, 0, 0]) % COUNT

        def altered(answer):
            answer.xyz[:] /= self.units[newest]
            answer.displacements[:] /= self.units[newest]
            if change and newest >= self.since:
                change(answer)

        return Altered(scene, altered)


@pytest.fixture
def wholly_kept(monkeypatch):
    """The scale does not go back to the model's own."""
    monkeypatch.setattr(stitching, "KEPT", 1.0)


def in_first_unit(model, first, k):
    """(4, 4), where camera k truly is in a world that began with frame `first`."""
    pose = model.world_from_camera(first, k)
    pose[:3, 3] /= model.units[first]
    return pose


@pytest.mark.parametrize("method", ["pnp", "rigid"])
@pytest.mark.parametrize("hop", [1, 2])
@pytest.mark.parametrize("camera", [CAMERA, None], ids=["calibrated", "uncalibrated"])
def test_windows_of_any_unit_make_one_world(wholly_kept, camera, hop, method):
    model = ManyUnits()
    config = PipelineConfig(hop=hop, depth_size=(9, 13), tracks_size=(5, 7), pose_method=method)
    first, u, v = model.units[5], *(x.ravel() for x in np.meshgrid(np.arange(0, 97, 8), np.arange(0, 65, 8)))
    results = run(stream_of(model, config), range(COUNT), camera=camera)
    assert len(results) == len(range(5, COUNT, hop))
    for k, result in results:
        truth = in_first_unit(model, 5, k)
        degrees, metres = pose_error(result, truth)
        assert result.trusted and degrees < 0.1 and metres < 0.01 / first
        assert result.unit == pytest.approx(model.units[k] / first, rel=1e-3)
        # What it shows, how that moves and what a service answers are of one size.
        said = result.unit * result.scene.query(u=u, v=v, t_src=-1, t_tgt=-1, t_cam=-1).xyz
        np.testing.assert_allclose(result.points.xyz.reshape(-1, 3), said, rtol=1e-3, atol=1e-3)
        pixels = result.tracks.pixels[:, -1].astype(float)
        tracks = tracks_of_points(result.scene, pixels[:, 0], pixels[:, 1], -1, t_cam=-1)
        np.testing.assert_allclose(
            result.tracks.positions, transform(truth, result.unit * tracks.xyz), rtol=1e-2, atol=2e-2
        )
        # And of the size that they truly have.
        plain = AnalyticModel.encode(AnalyticModel(), result.scene.frames)
        true = plain.query(u=u, v=v, t_src=-1, t_tgt=-1, t_cam=-1).xyz / first
        np.testing.assert_allclose(result.points.xyz.reshape(-1, 3), true, rtol=2e-3, atol=2e-3)
        known = np.isfinite(result.window.world_from_camera).all(axis=(1, 2))
        for t in np.flatnonzero(known):
            number = k - 5 + t
            np.testing.assert_allclose(
                result.window.world_from_camera[t], in_first_unit(model, 5, number), atol=0.01
            )
        if result.pose.step is not None:
            keyframe = round(result.pose.keyframe / PERIOD) - 1
            step = invert(in_first_unit(model, 5, keyframe)) @ truth
            np.testing.assert_allclose(result.pose.step.i_from_j, step, atol=0.01)


def test_still_things_stand_still_and_the_balls_speed_is_of_the_worlds_unit(wholly_kept):
    model = ManyUnits()
    config = PipelineConfig(tracks_size=(33, 49))
    ball = np.linalg.norm(model.ball[1] - model.ball[0]) / (PERIOD / 1e9) / model.units[5]
    for k, result in run(stream_of(model, config), range(10), only(tracks=True, pose=True)):
        speeds = np.linalg.norm(result.tracks.velocities, axis=1)
        moving = speeds > 0.3 * ball
        assert 5 < moving.sum() < 400
        np.testing.assert_allclose(speeds[moving], ball, rtol=5e-3)
        assert np.nanmax(speeds[~moving]) < 0.02 * ball


def test_metres_are_of_the_worlds_unit(wholly_kept):
    model = ManyUnits()
    config = PipelineConfig(metres=float(model.units[5]), depth_size=(9, 13))
    for k, result in run(stream_of(model, config), range(14)):
        degrees, metres = pose_error(result, model.world_from_camera(5, k))
        assert result.trusted and degrees < 0.1 and metres < 0.01
        assert result.unit == pytest.approx(model.units[k], rel=1e-3)


def test_noise_and_gross_errors_do_little_and_the_covariance_grows(wholly_kept):
    model = ManyUnits(noise=0.01, spoiled=0.05, speed=0.2)
    results = run(stream_of(model, CONFIG), range(COUNT), only(pose=True))
    assert all(result.trusted for _, result in results)
    for k, result in results[10:]:
        off = result.pose.world_from_camera[:3, 3] - in_first_unit(model, 5, k)[:3, 3]
        assert off @ np.linalg.solve(result.pose.covariance[:3, :3], off) < 4**2
        assert result.unit == pytest.approx(model.units[k] / model.units[5], rel=0.1)
    assert results[-1][1].pose.covariance[0, 0] > results[6][1].pose.covariance[0, 0]


def test_the_scale_goes_back_to_the_models_own():
    model = ManyUnits(spread=0.0)
    model.units[5] = 2.0  # one window in which all is half as large
    units = [result.unit for _, result in run(stream_of(model, CONFIG), range(COUNT), only(pose=True))]
    assert units[0] == 1.0 and units[1] == pytest.approx(0.5, rel=1e-3)
    assert np.all(np.diff(units[1:]) > -1e-4) and 0.55 < units[-1] < 0.75


def nothing(answer):
    answer.xyz[:] = np.nan


def nothing_of_the_keyframe(answer):
    """What is asked after the depth grid: of the keyframe, then of the newest frame."""
    answer.xyz[9 * 13 :][:144] = np.nan


def nonsense(answer):
    answer.xyz[:, 2] = np.random.default_rng(0).uniform(0.5, 50.0, len(answer.xyz))


def wrong_pixels(answer):
    answer.uv[:] = np.random.default_rng(0).uniform(0, 60, answer.uv.shape)


@pytest.mark.parametrize(
    "change, message",
    [
        (nothing, "the depth of 0 of 144 points of the newest image"),
        (nothing_of_the_keyframe, "0 of 144 points that two windows share are usable in both"),
        (nonsense, "ratio of their depths scatters by"),
        (wrong_pixels, "agree with the camera's motion|do not determine a pose|do not fit"),
    ],
)
def test_a_join_that_fails_says_why_and_is_bridged(wholly_kept, change, message):
    model = ManyUnits(change=change, since=9)
    stream = stream_of(model, CONFIG)
    good = run(stream, range(9))[-1][1]
    for _, result in run(stream, range(9, 11)):
        assert not result.trusted and result.tracks is None and result.pose.step is None
        np.testing.assert_array_equal(result.pose.world_from_camera, good.pose.world_from_camera)
        assert re.search(message, result.reason)
    model.since = COUNT
    k, again = run(stream, [11])[0]
    degrees, metres = pose_error(again, in_first_unit(model, 5, k))
    assert again.trusted and again.pose.world == 0 and degrees < 0.1 and metres < 0.01
    assert again.unit == pytest.approx(model.units[k] / model.units[5], rel=1e-3)


def test_a_world_does_not_begin_where_the_model_says_nothing():
    model = ManyUnits(change=nothing, since=0)
    stream = stream_of(model, PipelineConfig(recover_seconds=0.0))
    assert not any(result.trusted for _, result in run(stream, range(9)))
    model.since = COUNT
    results = run(stream, range(9, 14))
    assert all(result.trusted and result.pose.world == 0 for _, result in results)
    assert results[0][1].unit == 1.0 and results[0][1].pose.step is None


def test_after_a_gap_the_unit_is_found_with_the_place(wholly_kept):
    model = ManyUnits()
    stream = stream_of(model, CONFIG)
    run(stream, range(12))
    results = [(k, stream.add(frame(k, stamp=PERIOD * (k + 61)))) for k in range(13, 22)]
    results = [(k, result) for k, result in results if result is not None]
    assert [result.trusted and result.pose.world == 0 for _, result in results] == [True] * 4
    assert results[0][1].pose.step is None and results[1][1].pose.step is not None
    for k, result in results:
        assert result.unit == pytest.approx(model.units[k] / model.units[5], rel=0.05)
        degrees, metres = pose_error(result, in_first_unit(model, 5, k))
        assert degrees < 2 and metres < 0.1 / model.units[5]


def test_windows_that_share_no_frame_are_joined_by_what_their_images_share(wholly_kept):
    model = ManyUnits(speed=0.2)
    results = run(stream_of(model, PipelineConfig(hop=7)), range(COUNT), only(pose=True))
    assert len(results) == 5
    for k, result in results:
        assert result.trusted and result.pose.world == 0
        assert result.unit == pytest.approx(model.units[k] / model.units[results[0][0]], rel=0.1)


def test_a_new_world_has_the_unit_of_its_first_window():
    model = ManyUnits()
    stream = stream_of(model, PipelineConfig(recover_seconds=0.0))
    run(stream, range(12))
    results = [(k, stream.add(frame(k, stamp=PERIOD * (k + 4000)))) for k in range(32, COUNT)]
    (first, begun), (k, after), *_ = [(k, result) for k, result in results if result is not None]
    assert begun.pose.world == after.pose.world == 1 and begun.unit == 1.0
    assert after.trusted and after.unit == pytest.approx(model.units[k] / model.units[first], rel=1e-3)
    assert pose_error(after, in_first_unit(model, first, k))[1] < 0.01


@pytest.mark.parametrize("hop", [1, 8])
def test_an_image_that_stands_still_does_so_in_any_unit(wholly_kept, hop):
    """Also where windows share no frame."""
    model = ManyUnits(spread=0.0)
    stream = stream_of(model, PipelineConfig(hop=hop, depth_size=(9, 13)))
    results = []
    for k in range(40):
        model.units[5] = 1.0 + 0.5 * (k % 3) * (k > 9)
        if (result := stream.add(frame(min(k, 5), stamp=PERIOD * (k + 1)))) is not None:
            results.append((model.units[5], result))
    before = results[0][1]
    for unit, result in results[1:]:
        assert result.trusted and result.pose.step is None
        np.testing.assert_array_equal(result.pose.world_from_camera, BODY_FROM_OPTICAL)
        assert result.unit == pytest.approx(unit, rel=1e-3)
        np.testing.assert_allclose(result.points.xyz, before.points.xyz, rtol=2e-3, atol=2e-3)


def test_a_place_that_nobody_asked_for_is_none():
    """The keyframe goes while only the cloud is wanted: the last known place is not the newest camera's."""
    stream = stream_of(AnalyticModel(speed=0.2), CONFIG)
    run(stream, range(8))

    def later(k, outputs):
        return stream.add(frame(k, stamp=PERIOD * (k + 20), speed=0.2), outputs)

    cloud = [later(k, only(points=True)) for k in range(8, 14)][-1]
    assert cloud.points is not None and not cloud.trusted
    assert np.isnan(later(14, only(pose=True)).window.world_from_camera[:-1]).all()


@pytest.mark.parametrize("online", [False, True])
def test_a_video_is_of_one_unit(wholly_kept, online):
    """Also its first frames, which are told by the first window."""
    model = ManyUnits()
    frames = [frame(k) for k in range(16)]
    result = reconstruct(frames, depth_size=(9, 13), online=online, refine="none", model=model)
    first = 5 if online else 0
    assert result.trusted[first:].all()
    u, v = (x.ravel() for x in np.meshgrid(np.arange(0, 97, 8), np.arange(0, 65, 8)))
    for k in range(first, 16):
        np.testing.assert_allclose(result.world_from_camera[k], in_first_unit(model, 5, k), atol=0.01)
        scene = AnalyticModel.encode(AnalyticModel(), [frames[k].image])
        true = scene.query(u=u, v=v, t_src=0, t_tgt=0, t_cam=0).xyz[:, 2] / model.units[5]
        np.testing.assert_allclose(result.depth[k].ravel(), true, rtol=5e-3)


@pytest.mark.parametrize("grid", [(5, 6), (12, 12), (21, 13)])
def test_the_grid_of_poses_may_change_between_windows(wholly_kept, grid):
    model = ManyUnits()
    stream = stream_of(model, CONFIG)
    run(stream, range(9))
    stream.pipeline.change(PipelineConfig(pose_grid=grid, depth_size=(9, 13)))
    for k, result in run(stream, range(9, 14)):
        assert result.trusted and result.unit == pytest.approx(model.units[k] / model.units[5], rel=0.02)
