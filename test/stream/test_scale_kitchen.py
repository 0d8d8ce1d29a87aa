"""Scale on a real recording: its true depth and poses stand in for a depth camera, a scanner and TF."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from d4rt_ros.geometry import Pinhole
from d4rt_ros.io.rgbd_folder import open_rgbd_folder
from d4rt_ros.stream.scale import NoScale, ScaleFilter
from d4rt_ros.stream.scale_depth import depth_at, depth_scale, points_scale
from d4rt_ros.stream.scale_motion import SPAN, motion_scale

KITCHEN = Path(__file__).parents[3] / "shared" / "data" / "kitchen"
RATE, FRAMES, METRES = 15, 96, 2.3
GRID = (36, 48)

pytestmark = pytest.mark.skipif(
    not KITCHEN.is_dir(), reason="real depth is not here: ../shared/data is absent"
)


@lru_cache
def recording():
    """Depth (N, 480, 640), the same on the grid in units, and positions (N, 3)."""
    sequence = open_rgbd_folder(KITCHEN)
    frames = [sequence.frame(i) for i in range(FRAMES)]
    depth = [frame.depth for frame in frames]
    u, v = np.meshgrid(np.linspace(0, 639, GRID[1]), np.linspace(0, 479, GRID[0]))
    pixels = np.stack([u, v], -1)
    units = [depth_at(image, pixels, (480, 640)) / METRES for image in depth]
    return depth, pixels, units, np.array([frame.world_from_camera[:3, 3] for frame in frames])


def refined(rng, units):
    """Depth with errors as refined depth has them: 10 % that are alike over an eighth of the view, and last."""
    import cv2

    field = cv2.resize(rng.normal(0, 0.1, (6, 8)), GRID[::-1], interpolation=cv2.INTER_CUBIC)
    return units * np.exp(field + rng.normal(0, 0.01, GRID))


def applied(measure):
    """Seconds, errors of the logarithm and sigmas of what was applied while it was metric."""
    filter, out = ScaleFilter(), []
    for i in range(0, FRAMES, 2):
        stamp = round(1e9 * (1 + i / RATE))
        try:
            measured = [measure(i, stamp)]
        except NoScale:
            measured = []
        scale = filter.update(stamp, 0, measured)
        if scale.metric:
            out.append((i / RATE, math.log(scale.metres / METRES), scale.sigma))
    return np.array(out).T


def check(seconds, errors, sigmas):
    assert seconds[0] < 4.0 and np.abs(errors[seconds > 4.9]).max() < 0.05
    assert abs(errors[-1]) < 0.03 and (np.abs(errors) < 2 * sigmas).mean() > 0.9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(480, 640), (60, 80)])
def test_a_depth_camera(seed, size):
    depth, pixels, units, _ = recording()
    rng, step = np.random.default_rng(seed), 480 // size[0]

    def measure(i, stamp):
        image = depth[i][step // 2 :: step, step // 2 :: step]
        return depth_scale(depth_at(image, pixels, (480, 640)), refined(rng, units[i]), stamp)

    check(*applied(measure))


@pytest.mark.parametrize("seed", range(3))
def test_a_scanner_that_sees_a_line(seed):
    depth, pixels, units, _ = recording()
    rng = np.random.default_rng(seed)
    camera = Pinhole.centred(585.0, 585.0, 640, 480)

    def measure(i, stamp):
        row = depth[i][300]
        points = camera.backproject(np.column_stack([np.arange(640), np.full(640, 300)]), row)
        grid = camera.grid(GRID[1], GRID[0])
        return points_scale(points[np.isfinite(row)], refined(rng, units[i]), grid, stamp)

    seconds, errors, sigmas = applied(measure)
    assert seconds[0] < 4.0 and abs(errors[-1]) < 0.06 and (np.abs(errors) < 2 * sigmas).mean() > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_the_robots_motion(seed):
    """The estimated way trembles by 4 mm and drifts by 1 cm in a second."""
    positions, rng = recording()[3], np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    drift = np.cumsum(rng.normal(0, 0.01 / math.sqrt(3 * RATE), positions.shape), axis=0)
    estimated = (positions + drift + rng.normal(0, 0.004 / math.sqrt(3), positions.shape)) @ turn.T / METRES
    stamps = np.round(1e9 * (1 + np.arange(FRAMES) / RATE)).astype(np.int64)

    def measure(i, stamp):
        seen = slice(max(0, i + 1 - int(SPAN * RATE)), i + 1)
        return motion_scale(stamps[seen], estimated[seen], positions[seen])

    check(*applied(measure))
