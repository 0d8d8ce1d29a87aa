"""Every backend, and what stands for one in tests, has what stream and tasks ask of it."""

import numpy as np
import pytest
import torch
from small_models import PLAIN

from d4rt_ros.model.network import D4RT
from d4rt_ros.model.protocol import Model, Scene
from d4rt_ros.runtime import Model as TorchModel
from d4rt_ros.scenes import OracleModel, render, sample_scenes


def torch_model():
    return TorchModel(D4RT(PLAIN))


def oracle_model():
    scenes, times = sample_scenes(1, 3), np.arange(PLAIN.frames) / 10
    images = render(scenes, torch.tensor(times, dtype=torch.float32)[None], 36, 50, samples=1).rgb[0].numpy()
    return OracleModel(scenes, images, times, PLAIN.frames)


@pytest.mark.parametrize("make", [torch_model, oracle_model])
def test_a_model_and_its_scenes_are_what_is_asked_for(make):
    model = make()
    images = [*getattr(model, "_times", ())] or [bytes(36 * 50 * 3)] * model.num_frames
    frames = [np.frombuffer(image, np.uint8).reshape(36, 50, 3) for image in images]
    scene = model.encode([model.prepare(frame) for frame in frames])
    assert isinstance(model, Model) and isinstance(scene, Scene)
    assert scene.num_frames == model.num_frames == len(scene.frames) and scene.size == (36, 50)
    assert isinstance(scene.nbytes, int) and scene.query(3.0, [1, 2], -1, 0, 0).xyz.shape == (2, 3)
    model.between_chunks = lambda: None
