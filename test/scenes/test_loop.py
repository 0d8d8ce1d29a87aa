"""A scene that repeats: its frames in order, its truth."""

import threading

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from d4rt_ros.scenes.loop import enlarge, looping_scene, render_frames, true_tracks  # noqa: E402

WIDTH, HEIGHT = 96, 64


def test_the_loop_closes_and_a_seed_is_a_scene():
    scenes = looping_scene(3, True, 2.0, WIDTH, HEIGHT)
    loop, again, beyond = (
        list(render_frames(looping_scene(3, True, 2.0, WIDTH, HEIGHT), 16, 24, count, 4.0, threading.Event()))
        for count in (8, 8, 9)
    )
    assert [len(frames) for frames in (loop, again, beyond)] == [8, 8, 9]
    for one, other in zip(loop, again, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)
    np.testing.assert_allclose(beyond[8].world_from_camera, loop[0].world_from_camera, atol=1e-4)
    np.testing.assert_allclose(beyond[8].depth, loop[0].depth, rtol=1e-3)
    # A real camera's noise is another one in every picture; what is left of it in the mean is little.
    assert abs(np.mean(beyond[8].rgb.astype(int) - loop[0].rgb)) < 0.5
    assert np.nanmean(np.abs(loop[4].depth / loop[0].depth - 1)) > 0.01, "something moves"
    focal = scenes.focal[0].numpy() * (WIDTH - 1, HEIGHT - 1)
    assert focal[0] == pytest.approx(focal[1]), "square pixels"


def test_without_moving_objects_points_stand_still():
    seconds = np.arange(8) / 15
    moving = true_tracks(looping_scene(5, True, 4.0, WIDTH, HEIGHT), seconds, (WIDTH, HEIGHT), (9, 12))
    still = true_tracks(looping_scene(5, False, 4.0, WIDTH, HEIGHT), seconds, (WIDTH, HEIGHT), (9, 12))
    assert not still.moving.any() and np.ptp(still.positions, axis=1).max() < 1e-3
    assert moving.positions.shape == (9 * 12, 8, 3) and moving.visible[:, -1].all()


def test_enlarging_keeps_outer_pixels_and_straight_lines():
    ramp = np.zeros((16, 24, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 230, 24).round()
    ramp[..., 1] = np.linspace(0, 150, 16).round()[:, None]
    large = enlarge(ramp, WIDTH, HEIGHT)
    assert large.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(large[[0, 0, -1, -1], [0, -1, 0, -1]], ramp[[0, 0, -1, -1], [0, -1, 0, -1]])
    assert np.abs(large[..., 0] - np.linspace(0, 230, WIDTH)).max() < 2
    assert np.abs(large[..., 1] - np.linspace(0, 150, HEIGHT)[:, None]).max() < 2


def test_rendering_ends_when_it_is_told_to():
    stop, frames = threading.Event(), []
    for frame in render_frames(looping_scene(3, True, 2.0, WIDTH, HEIGHT), 16, 24, 500, 30.0, stop):
        frames.append(frame)
        if len(frames) == 3:
            stop.set()
    assert 3 <= len(frames) < 100
