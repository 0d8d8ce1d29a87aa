"""VGGT's network: the reference's tokens, and what must hold of any weights."""

import math

import numpy as np
import pytest
import torch
from small_vggt import SMALL, random_vggt

from d4rt_ros.model.tensor_files import read_tensors
from d4rt_ros.model.vggt import aggregator, layers
from d4rt_ros.model.vggt.checkpoint import load_vggt
from d4rt_ros.model.vggt.heads import place_embedding

LIMIT = 5e-5  # of the largest value


def close(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= LIMIT * np.abs(theirs).max()


class Heard:
    """A listener that keeps everything."""

    def begin(self, count, rows, columns):
        self.begun, self.q, self.k = (count, rows, columns), [], []

    def attention(self, layer, q, k):
        assert layer == len(self.q)
        self.q.append(q.clone())
        self.k.append(k.clone())

    def features(self, tokens):
        self.tokens = tokens


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(params=["", "shallow"], ids=["main", "shallow"], scope="module")
def golden(request, shared):
    folder = shared / "golden/vggt" / request.param
    if not (folder / "io.npz").is_file():
        pytest.skip(f"{folder} is not there")
    return load_vggt(read_tensors(folder / "model.pt")), np.load(folder / "io.npz"), folder


def test_tokens_queries_and_poses_are_the_references(golden):
    network, answers, _ = golden
    images, one = torch.from_numpy(answers["images"]), int(answers["frame"])
    heard, wanted = Heard(), answers["tokens_layers"].tolist()
    tokens, cameras = network.aggregator(images, wanted, listener=heard)
    rows, columns = (n // 14 for n in images.shape[1:3])
    assert heard.begun == (network.config.layers, rows, columns)
    close(heard.tokens, answers["patch_tokens"])
    for layer, expected in zip(wanted, answers["tokens"]):
        close(tokens[layer][one].flatten(0, 1), expected[5:])
    close(cameras[one], answers["tokens"][-1, 0])
    for name, ours in (("global_q", heard.q), ("global_k", heard.k)):
        for layer, expected in zip(answers["qk_layers"], answers[name]):
            theirs = expected.reshape(len(expected), len(images), -1, expected.shape[-1])
            close(ours[layer], theirs[:, :, 5:])
    close(network.camera_head(cameras), answers["pose_enc_iterations"])


def test_queries_within_a_frame_are_the_references(golden):
    network, answers, _ = golden
    images, one, told = torch.from_numpy(answers["images"]), int(answers["frame"]), []
    block = network.aggregator.frame_blocks[0]
    forward = block.forward
    block.forward = lambda x, angles, keep: forward(x, angles, keep, lambda q, k: told.append((q, k)))
    network.aggregator(images, [])
    block.forward = forward
    q, k = (torch.cat(x)[one] for x in zip(*told))
    close(q, answers["frame0_q"])
    close(k, answers["frame0_k"])


@pytest.mark.parametrize("name, count", [("early", 5), ("all", 24), ("own", 5)])
def test_masked_tokens_are_the_references(shared, name, count):
    folder = shared / "golden/vggt"
    if not (folder / "vggt4d.npz").is_file():
        pytest.skip(f"{folder} is not there")
    network, answers = load_vggt(read_tensors(folder / "model.pt")), np.load(folder / "vggt4d.npz")
    images, one = torch.from_numpy(np.load(folder / "io.npz")["images"]), int(answers["frame"])
    masked = answers["given_token_mask"]
    if name == "own":
        masked = answers["mask"].reshape(8, 5, 14, 7, 14).any((2, 4))
    tokens, cameras = network.aggregator(images, [23], torch.from_numpy(masked), count)
    close(tokens[23][one].flatten(0, 1), answers[f"tokens_{name}"][5:])
    close(network.camera_head(cameras)[-1], answers[f"pose_enc_{name}"])


def clip(frames=5, height=42, width=70, seed=1):
    shape = (frames, height, width, 3)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def test_only_the_first_frame_is_another_than_the_rest():
    network, images = random_vggt(), clip()
    order = [0, 3, 1, 4, 2]
    (one, cameras), (other, permuted) = (network.aggregator(x, [4]) for x in (images, images[order]))
    torch.testing.assert_close(one[4][order], other[4])
    torch.testing.assert_close(cameras[order], permuted)
    first = network.aggregator(images[[1, 0, 2, 3, 4]], [4])[0][4]
    assert (first[[1, 0, 2, 3, 4]] - one[4]).abs().max() > 0.01


def test_memory_is_saved_without_another_answer(monkeypatch):
    network, images = random_vggt(), clip()
    mask = torch.rand(5, 3, 5, generator=torch.Generator().manual_seed(0)) > 0.7
    one, cameras = network.aggregator(images, [0, 4], mask, 2)
    monkeypatch.setattr(aggregator, "FRAMES", 2)
    monkeypatch.setattr(layers, "ROWS", 7)
    other, others = network.aggregator(images, [0, 4], mask, 2)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(cameras, others)


def test_what_is_masked_everywhere_is_not_heard_of():
    network, images = random_vggt(), clip()
    mask = torch.zeros(5, 3, 5, dtype=torch.bool)
    mask[1, 2, 3] = mask[4] = mask[0, 0, 0] = True
    patches = {}

    def told(factor):
        """Image tokens and cameras where the masked patches look like something else."""
        tokens = torch.randn(5, 3, 5, SMALL.width, generator=torch.Generator().manual_seed(3))
        tokens[mask] *= factor
        patches[0] = tokens
        return network.aggregator(images, [4], mask, count)

    network.aggregator.patch_embed.forward = lambda part: patches[0]
    count = SMALL.layers
    (one, cameras), (other, others) = told(1.0), told(-1.0)
    torch.testing.assert_close(cameras, others)
    torch.testing.assert_close(one[4][~mask], other[4][~mask])
    assert (one[4][mask] - other[4][mask]).abs().max() > 0.1  # they go on asking themselves
    count = 2
    (_, cameras), (_, others) = told(1.0), told(-1.0)
    assert (cameras - others).abs().max() > 1e-3


def test_a_frame_without_any_token_left_still_has_a_camera():
    network, images = random_vggt(), clip(2)
    tokens, cameras = network.aggregator(images, [4], torch.ones(2, 3, 5, dtype=torch.bool), SMALL.layers)
    assert cameras.isfinite().all() and tokens[4].isfinite().all()


def test_a_mask_of_nothing_changes_nothing():
    network, images = random_vggt(), clip(2)
    plain = network.aggregator(images, [4])[1]
    torch.testing.assert_close(
        network.aggregator(images, [4], torch.zeros(2, 3, 5, dtype=torch.bool), 2)[1], plain
    )


def test_turns_are_by_row_and_by_column():
    """Against complex numbers: each pair of a half's channels is turned by place · base^(-2i/d)."""
    rows, columns, width, base = 3, 4, 16, 50.0
    cos, sin = layers.place_angles(rows, columns, 2, width, base, "cpu")
    x = torch.randn(1, 2, 2 * (2 + rows * columns), width)
    turned = layers.rotate(x, cos, sin)
    torch.testing.assert_close(turned[:, :, :2], x[:, :, :2])
    # Tokens of the first and of the second time: two without a place, then row by row.
    for n, place in ((2, (1, 1)), (2 + 6, (2, 3)), (14 + 2 + 9, (3, 2))):
        for half, position in enumerate(place):
            part = x[0, 1, n, 8 * half : 8 * half + 8].double()
            angle = torch.tensor([position * base ** (-2 * i / 8) for i in range(4)], dtype=torch.float64)
            z = torch.complex(part[:4], part[4:]) * torch.polar(torch.ones(4, dtype=torch.float64), angle)
            expected = torch.cat((z.real, z.imag)).float()
            torch.testing.assert_close(turned[0, 1, n, 8 * half : 8 * half + 8], expected)


def test_places_in_a_map_are_told_apart():
    waves = place_embedding(torch.zeros(1, 8, 3, 5), (42, 70))[0] * 10
    side = (70 / 42) / math.hypot(70 / 42, 1) * 4 / 5
    torch.testing.assert_close(waves[:4, 1, 0], torch.tensor(_sin_cos(-side)))
    torch.testing.assert_close(waves[4:, 2, 3], torch.tensor(_sin_cos(1 / math.hypot(70 / 42, 1) * 2 / 3)))


def _sin_cos(x):
    return [math.sin(x), math.sin(x / 10), math.cos(x), math.cos(x / 10)]
