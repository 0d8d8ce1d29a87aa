from dataclasses import replace

import torch

from d4rt_ros.scenes import SceneConfig, render, sample_scenes
from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.sensor import SENSOR_COLUMNS, develop, sample_sensors

TIMES = torch.tensor([[0.0, 0.1, 0.1]])


def pictures():
    return torch.randint(
        60, 190, (1, 3, 18, 26, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def sensor(**values) -> torch.Tensor:
    return torch.tensor([[values.get(name, 0.0) for name in SENSOR_COLUMNS]])


def test_a_perfect_sensor_changes_nothing():
    assert torch.equal(develop(pictures(), TIMES, sensor()), pictures())


def test_noise_is_as_large_as_told_new_in_every_frame_and_the_same_at_the_same_time():
    grey = torch.full((1, 3, 60, 80, 3), 255, dtype=torch.uint8) // 2
    out = develop(grey, TIMES, sensor(noise=0.04, seed=5.0)).float()
    assert torch.equal(out[:, 1], out[:, 2]) and not torch.equal(out[:, 0], out[:, 1])
    # The sum of two numbers, even in -1..1, times the root of the brightness.
    assert abs(out.std().item() / 255 - 0.04 * (2 / 3) ** 0.5 * 0.5**0.5) < 2e-3
    assert abs(out.mean() - 127) < 0.5
    assert not torch.equal(out, develop(grey, TIMES, sensor(noise=0.04, seed=6.0)).float())


def test_exposure_aims_at_the_middle_and_drifts_over_time():
    dark = pictures() // 3
    assert 100 < develop(dark, TIMES, sensor(auto_exposure=1.0)).float().mean() < 128
    out = develop(pictures(), TIMES, sensor(drift=0.1, drift_frequency=15.7)).float().mean((2, 3, 4))[0]
    assert abs(out[1] / out[0] - 1.1) < 0.02


def test_softness_and_vignetting():
    soft = develop(pictures(), TIMES, sensor(softness=0.2)).float()
    assert soft.std() < 0.6 * pictures().float().std() and abs(soft.mean() - pictures().float().mean()) < 2
    dim = develop(pictures(), TIMES, sensor(vignetting=0.5)).float() / pictures().float()
    assert (dim[:, :, 0, 0] < 0.55).all() and (dim[:, :, 9, 13] > 0.97).all()


def test_geometry_does_not_depend_on_the_sensor():
    scenes = sample_scenes(3, 2, SceneConfig(real_sensors=1.0))
    perfect = replace(scenes, sensor=0 * scenes.sensor)
    a, b = (render(s, TIMES.expand(3, 3), 18, 26) for s in (scenes, perfect))
    assert torch.equal(a.depth.nan_to_num(-1), b.depth.nan_to_num(-1)) and not torch.equal(a.rgb, b.rgb)


def test_the_share_of_real_sensors():
    drawn = sample_sensors(Draw(500, torch.Generator().manual_seed(1)), SceneConfig(real_sensors=0.7))
    assert 0.62 < (drawn != 0).any(-1).float().mean() < 0.78
