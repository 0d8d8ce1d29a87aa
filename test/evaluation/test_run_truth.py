"""Runs whose truth is known: square pixels, repeatable frames, and every pixel's way."""

from itertools import islice

import numpy as np
import pytest

from d4rt_ros.evaluation.run_truth import KINDS, RATE, procedural_run, recorded_run, sequence_times
from d4rt_ros.geometry import Pinhole, invert, transform
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.recorded import RecordedError, RecordedSequence

WIDTH, HEIGHT, COUNT = 48, 32, 12


@pytest.fixture(scope="module")
def run():
    return procedural_run("moving", 3, COUNT, width=WIDTH, height=HEIGHT)


@pytest.fixture(scope="module")
def frames(run):
    return list(run.frames())


def test_frames_come_at_15_hz_with_their_truth(run, frames):
    assert len(frames) == run.count == COUNT
    for k, frame in enumerate(frames):
        assert frame.stamp == round(k * 1e9 / RATE)
        assert frame.image.shape == (HEIGHT, WIDTH, 3) and frame.depth.shape == (HEIGHT, WIDTH)
        assert frame.camera.fx == pytest.approx(frame.camera.fy, rel=1e-5)
    assert not np.array_equal(frames[0].image, frames[-1].image)
    again = next(run.frames())
    np.testing.assert_array_equal(again.image, frames[0].image)


def test_where_a_point_is_agrees_with_depth_and_poses(run, frames):
    """Of points at rest: carried into another camera by depth and poses alone."""
    camera, first, last = frames[0].camera, frames[0], frames[3]
    v, u = (x.ravel() for x in np.meshgrid(np.arange(2, HEIGHT, 3), np.arange(2, WIDTH, 3), indexing="ij"))
    pixels, zeros = np.stack([u, v], 1).astype(float), np.zeros(len(u), int)
    there = run.whereabouts(pixels, zeros, zeros + 3)
    moved = transform(
        invert(last.world_from_camera) @ first.world_from_camera,
        camera.backproject(pixels, first.depth[v, u]),
    )
    rest = ~there.moving & there.visible & np.isfinite(first.depth[v, u])
    np.testing.assert_allclose(camera.project(moved)[rest], there.pixels[rest], atol=0.05)
    assert rest.sum() > 20
    here = run.whereabouts(pixels, zeros, zeros)
    seen = np.isfinite(first.depth[v, u])
    np.testing.assert_allclose(here.pixels[seen], pixels[seen], atol=1e-3)
    assert here.visible[seen].mean() > 0.95


def test_many_points_are_asked_in_parts(run, monkeypatch):
    pixels = np.random.default_rng(0).uniform([0, 0], [WIDTH - 1, HEIGHT - 1], (50, 2))
    times = np.arange(50) % COUNT
    whole = run.whereabouts(pixels, times, times[::-1])
    monkeypatch.setattr("d4rt_ros.evaluation.run_truth.CHUNK", 7)
    parts = run.whereabouts(pixels, times, times[::-1])
    np.testing.assert_allclose(parts.pixels, whole.pixels, atol=1e-4)
    np.testing.assert_array_equal(parts.moving, whole.moving)
    none = run.whereabouts(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int))
    assert none.pixels.shape == (0, 2) and none.visible.shape == (0,)


def test_a_stride_is_more_motion_at_a_lower_rate(run, frames):
    fast = list(procedural_run("moving", 3, 4, stride=3, width=WIDTH, height=HEIGHT).frames())
    for k, frame in enumerate(fast):
        np.testing.assert_array_equal(frame.image, frames[3 * k].image)
        assert frame.stamp == round(k * 1e9 / 5)


def test_a_camera_that_stands_and_one_that_turns():
    times = sequence_times("standing", 120)
    still = np.flatnonzero(np.diff(times) == 0)
    assert len(still) == pytest.approx(4 * RATE, abs=2) and np.all(np.diff(still) == 1)
    assert times[1] - times[0] == pytest.approx(1 / RATE) and np.all(np.diff(times) >= 0)
    taken = list(islice(procedural_run("standing", 3, 70, width=16, height=12).frames(), 34, 36))
    np.testing.assert_array_equal(taken[0].world_from_camera, taken[1].world_from_camera)
    assert not np.array_equal(taken[0].image, taken[1].image)
    assert np.abs(taken[0].image.astype(int) - taken[1].image).mean() < 5
    poses = np.stack(
        [f.world_from_camera for f in procedural_run("panning", 3, 9, width=16, height=12).frames()]
    )
    assert np.ptp(poses[:, :3, 3], axis=0).max() < 1e-6 and np.ptp(poses[:, :3, :3], axis=0).max() > 1e-3


def test_every_kind_can_be_drawn():
    for kind in KINDS:
        assert procedural_run(kind, 1, 5, width=16, height=12).name == f"{kind} 1"


def recording(count):
    camera = Pinhole.centred(40, 40, 16, 12)

    def read(k):
        return Frame(np.full((12, 16, 3), k, np.uint8), 1000 + k, camera, depth=np.ones((12, 16), np.float32))

    return RecordedSequence("recording", True, count, read)


def test_a_recording_as_it_is_and_at_another_rate():
    run = recorded_run(recording(10), stride=3)
    assert run.count == 4 and run.whereabouts is None
    assert [(f.stamp, f.image[0, 0, 0]) for f in run.frames()] == [(1000 + k, k) for k in (0, 3, 6, 9)]
    assert [f.stamp for f in recorded_run(recording(10), 3, rate=10.0).frames()] == [0, 10**8, 2 * 10**8]
    with pytest.raises(RecordedError, match="no frames"):
        recorded_run(recording(0))
