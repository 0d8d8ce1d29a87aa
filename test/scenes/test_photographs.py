from dataclasses import replace

import pytest
import torch

from d4rt_ros.scenes import SceneConfig, photographs, render, sample_scenes
from d4rt_ros.scenes.scene import TEXTURE_COLUMNS

TIMES = torch.zeros(4, 1)
CONFIG = SceneConfig(photographs=0.8, lettered=0.0, real_sensors=0.0)


def test_photographs_are_drawn_and_the_same_every_time():
    pytest.importorskip("skimage")
    scenes = sample_scenes(4, 1, CONFIG)
    column = scenes.texture[..., TEXTURE_COLUMNS.index("photo")]
    assert (column >= 0).float().mean() > 0.4 and column.max() < len(photographs.NAMES)
    first, again = (render(scenes, TIMES, 40, 52).rgb for _ in range(2))
    assert torch.equal(first, again)
    texture = scenes.texture.clone()
    texture[..., TEXTURE_COLUMNS.index("photo")] = -1
    plain = replace(scenes, texture=texture)
    assert (render(plain, TIMES, 40, 52).rgb != first).float().mean() > 0.2


def test_every_level_of_the_atlas_has_the_same_mean():
    pytest.importorskip("skimage")
    texels = photographs.atlas(torch.device("cpu")).reshape(len(photographs.NAMES), -1)
    assert texels.shape[1] == photographs.TEXELS
    red, start = (texels & 255).float(), 0
    means = []
    for level in range(photographs.LEVELS):
        count = (photographs.SIDE >> level) ** 2
        means.append(red[:, start : start + count].mean(1))
        start += count
    assert torch.allclose(means[0], means[-1], atol=3.0)


def test_without_the_package_only_scenes_with_photographs_are_refused(monkeypatch):
    monkeypatch.setattr(photographs, "atlas", lambda device: None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        render(sample_scenes(4, 1, CONFIG), TIMES, 20, 30)
    assert render(sample_scenes(4, 1), TIMES, 20, 30).rgb.any()
