"""The stream over procedural scenes that answer from their ground truth, by way of their images' bytes."""

from functools import lru_cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole, invert, rotation_angle  # noqa: E402
from d4rt_ros.scenes import render, sample_scenes  # noqa: E402
from d4rt_ros.scenes.oracle import Noise, OracleModel  # noqa: E402
from d4rt_ros.stream import Frame, Pipeline, PipelineConfig, Stream  # noqa: E402

HEIGHT, WIDTH, COUNT, PERIOD = 48, 64, 14, 0.05
SEEDS = [1, 11, 15, 20, 28]  # of scenes that no moving thing fills


@lru_cache
def shot(seed):
    """A scene, the times of its frames, and their rendering."""
    scenes = sample_scenes(64, seed)[seed : seed + 1]
    times = PERIOD * torch.arange(COUNT, dtype=torch.float32)
    return scenes, times, render(scenes, times[None], HEIGHT, WIDTH, samples=1)


def film(seed, noise=Noise(), calibrated=True, **config):
    """A stream: its pose errors in degrees and metres, (number of the frame, result), rendering, camera."""
    scenes, times, rendering = shot(seed)
    images = rendering.rgb[0].numpy()
    camera = Pinhole.from_matrix(rendering.intrinsics[0].double().numpy(), WIDTH, HEIGHT)
    poses = rendering.world_from_camera[0].double().numpy()
    stream = Stream(
        Pipeline(OracleModel(scenes, images, times, 8, noise), PipelineConfig(**{"refine": "none"} | config))
    )
    degrees, metres, results = [], [], []
    for k in range(COUNT):
        frame = Frame(images[k], int((1 + k * PERIOD) * 1e9), camera if calibrated else None)
        result = stream.add(frame)
        if result is None:
            continue
        error = invert(BODY_FROM_OPTICAL @ invert(poses[7]) @ poses[k]) @ result.pose.world_from_camera
        degrees.append(np.degrees(rotation_angle(error)))
        metres.append(np.linalg.norm(error[:3, 3]))
        results.append((k, result))
    return np.array(degrees), np.array(metres), results, rendering, camera


@pytest.mark.parametrize("method", ["pnp", "rigid"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_truth_comes_out(seed, method):
    degrees, metres, results, rendering, _ = film(
        seed, depth_size=(HEIGHT, WIDTH), tracks_size=(12, 16), pose_method=method
    )
    assert degrees.max() < 0.1 and metres.max() < 0.01
    for k, result in results:
        assert result.trusted
        truth = rendering.depth[0, k].numpy()
        # At edges a pixel's centre may fall to either side.
        assert np.median(np.abs(result.points.depth / truth - 1)) < 1e-3
        assert np.mean(np.abs(result.points.depth / truth - 1) > 0.01) < 0.02
        np.testing.assert_array_equal(result.points.rgb, rendering.rgb[0, k].numpy())
        rows, columns = np.rint(np.linspace(0, HEIGHT - 1, 12)), np.rint(np.linspace(0, WIDTH - 1, 16))
        moving = rendering.moving[0, k].numpy()[np.ix_(rows.astype(int), columns.astype(int))].ravel()
        speeds = np.linalg.norm(result.tracks.velocities, axis=1)
        # At edges a track may be of the other surface.
        assert np.nanpercentile(speeds[~moving], 95) < 0.05
    if moving.sum() > 10:
        assert np.nanmedian(speeds[moving]) > 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_calibration(seed):
    _, _, results, _, camera = film(seed, calibrated=False)
    for _, result in results:
        # The principal point is taken to be in the middle, and the scenes' is nearly.
        np.testing.assert_allclose(
            [result.camera.pinhole.fx, result.camera.pinhole.fy], [camera.fx, camera.fy], rtol=0.01
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_with_noise(seed):
    degrees, metres, results, _, _ = film(seed, Noise(xyz=0.02, uv=0.3, seed=seed))
    assert all(result.trusted for _, result in results)
    assert degrees.max() < 2 and metres.max() < 0.1
