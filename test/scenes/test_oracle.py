import numpy as np
import pytest
import torch

from d4rt_ros.model.query import QueryError
from d4rt_ros.scenes import Noise, OracleModel, OracleScene, SceneConfig, ground_truth, render, sample_scenes

H, W, COUNT = 36, 50, 12
TIMES = np.arange(COUNT) / 8.0


@pytest.fixture(scope="module")
def scene():
    return sample_scenes(1, 3, SceneConfig(period=3.0, still_scenes=0.0, still_cameras=0.0, outdoors=0.0))


@pytest.fixture(scope="module")
def rendering(scene):
    return render(scene, torch.tensor(TIMES)[None], H, W)


@pytest.fixture(scope="module")
def images(rendering):
    return rendering.rgb[0].numpy()


def grid():
    v, u = np.mgrid[:H, :W]
    return u.ravel(), v.ravel()


def test_depth_queries_are_the_rendered_depth(scene, rendering):
    oracle = OracleScene(scene, TIMES, H, W)
    answer = oracle.query(*grid(), 2, 2, 2)
    assert np.allclose(answer.xyz[:, 2].reshape(H, W), rendering.depth[0, 2], rtol=1e-4)
    assert np.allclose(answer.uv, np.stack(grid(), 1), atol=1e-3)
    assert (answer.visibility == 1).all() and (answer.confidence == 1).all()
    assert all(x.dtype == np.float32 for x in vars(answer).values())
    assert oracle.num_frames == COUNT and oracle.size == (H, W)
    assert np.array_equal(oracle.frames, rendering.rgb[0])


def test_it_answers_as_ground_truth_does_in_pixels(scene):
    oracle = OracleScene(scene, TIMES, H, W)
    u, v = np.array([3.25, 40.0]), np.array([7.5, 30.0])
    answer = oracle.query(u, v, 0, -1, [3, 4])
    uv = torch.tensor(np.stack([u / (W - 1), v / (H - 1)], -1), dtype=torch.float32)[None]
    t = [torch.tensor([x]) for x in ([0, 0], [COUNT - 1, COUNT - 1], [3, 4])]
    truth = ground_truth(scene, torch.tensor(TIMES)[None], uv, *t)
    assert np.allclose(answer.xyz, truth.xyz[0], atol=1e-5)
    assert np.allclose(answer.uv, truth.uv[0].numpy() * (W - 1, H - 1), atol=1e-3)
    assert np.allclose(answer.displacements, truth.displacement[0], atol=1e-5)
    assert np.allclose(answer.normals, truth.normal[0], atol=1e-5)


def test_noise_is_as_large_as_asked_and_seeded(scene):
    u, v = np.tile(grid(), 6)
    exact = OracleScene(scene, TIMES, H, W).query(u, v, 0, 1, 1)
    noisy, again, other = (
        OracleScene(scene, TIMES, H, W, Noise(xyz=0.03, uv=0.7, seed=s)).query(u, v, 0, 1, 1)
        for s in (1, 1, 2)
    )
    assert np.array_equal(noisy.xyz, again.xyz) and not np.array_equal(noisy.xyz, other.xyz)
    relative = (noisy.xyz - exact.xyz) / np.linalg.norm(exact.xyz, axis=1, keepdims=True)
    assert relative.std() == pytest.approx(0.03, rel=0.05) and abs(relative.mean()) < 1e-3
    assert np.nanstd(noisy.uv - exact.uv) == pytest.approx(0.7, rel=0.05)


def test_what_cannot_be_asked_is_refused(scene):
    oracle = OracleScene(scene, TIMES, H, W)
    with pytest.raises(QueryError, match="outside the image"):
        oracle.query(W + 3, 0, 0, 0, 0)
    with pytest.raises(QueryError, match="outside the window"):
        oracle.query(0, 0, COUNT, 0, 0)
    assert oracle.query([], [], 0, 0, 0).xyz.shape == (0, 3)
    with pytest.raises(ValueError, match="one scene"):
        OracleScene(sample_scenes(2, 1), TIMES, H, W)


def test_many_queries_are_answered_in_parts(scene, monkeypatch):
    oracle = OracleScene(scene, TIMES, H, W)
    whole = oracle.query(*grid(), 0, 3, 2)
    monkeypatch.setattr("d4rt_ros.scenes.oracle.CHUNK", 100)
    assert np.allclose(oracle.query(*grid(), 0, 3, 2).xyz, whole.xyz)


def test_the_model_finds_the_times_of_its_images(scene, images):
    model = OracleModel(scene, images, TIMES, num_frames=4)
    order = [2, 3, 5, 8]
    expected = OracleScene(scene, TIMES[order], H, W).query(*grid(), 1, 3, 0)
    for clip in (images[order], [model.prepare(images[i]) for i in order]):
        window = model.encode(clip)
        assert window.num_frames == 4 and window.size == (H, W)
        assert np.array_equal(window.query(*grid(), 1, 3, 0).xyz, expected.xyz)
        assert np.array_equal(np.stack(window.frames), images[order])


def test_the_model_knows_an_image_that_is_a_view(scene, images):
    model = OracleModel(scene, images, TIMES)
    padded = np.zeros((H, W + 2, 3), np.uint8)
    padded[:, 1:-1] = images[4]
    assert model.prepare(padded[:, 1:-1]).time == TIMES[4]


def test_foreign_images_and_clips_of_another_length_are_refused(scene, images):
    model = OracleModel(scene, images, TIMES, num_frames=4)
    with pytest.raises(ValueError, match="none of the 12"):
        model.prepare(np.zeros((H, W, 3), np.uint8))
    with pytest.raises(ValueError, match="clips of 4"):
        model.encode(images[:3])
