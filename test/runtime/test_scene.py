"""What every backend shares, with a network that says what it was asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import PLAIN

from d4rt_ros.model.query import QueryError
from d4rt_ros.runtime import FrameError, SceneModel
from d4rt_ros.runtime import scene as module

SIZE = (90, 250)
HEIGHT, WIDTH = PLAIN.height, PLAIN.width


class Telling(SceneModel):
    """Its answers are its questions: xyz has u, v and t_src, displacements t_src, t_tgt, t_cam."""

    def __init__(self, chunk=1000):
        super().__init__(PLAIN, chunk)

    def _encode(self, small, aspect, images, mask=None, listener=None):
        self.small, self.aspect, self.mask = small, aspect, mask
        return None, None

    def decode(self, keys_values, frames, uv, times):
        n = len(uv)
        return {
            "xyz": np.concatenate([uv, times[:, :1]], axis=1, dtype=np.float32),
            "uv": uv[:, :2] * [0.5, 0.25],
            "visibility": np.full((n, 1), np.log(3.0), np.float32),
            "displacement": times.astype(np.float32),
            "normal": np.tile(np.float32([0, 3, -4]), (n, 1)),
            "confidence": np.full((n, 1), -np.log(9.0), np.float32),
        }


@pytest.fixture
def model():
    return Telling()


@pytest.fixture
def scene(model):
    return model.encode(np.zeros((PLAIN.frames, *SIZE, 3), np.uint8))


def test_a_pixel_s_place_in_the_network_s_image_is_where_resizing_by_areas_puts_it(scene):
    """Pixel x covers [x - 1/2, x + 1/2] of W; of w that is the same share, and u is 0 and 1 at the outer centres."""
    u, v = np.array([0.0, 249, 124.5, 77.25]), np.array([0.0, 89, 44.5, 3.5])
    found = scene.query(u, v, 0, 0, 0).xyz
    np.testing.assert_allclose(found[:, 0], ((u + 0.5) / 250 * WIDTH - 0.5) / (WIDTH - 1), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], ((v + 0.5) / 90 * HEIGHT - 0.5) / (HEIGHT - 1), atol=1e-6)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_a_spot_of_an_image_is_found_where_its_pixel_is_said_to_be(rows, columns, seed):
    """To a hundredth of a pixel: the centre of brightness of an image is that of the image resized."""
    model, rng = Telling(), np.random.default_rng(seed)
    height, width = HEIGHT * rows, WIDTH * columns
    image = np.zeros((height, width, 3), np.uint8)
    v, u = rng.integers(0, height - rows), rng.integers(0, width - columns)
    image[v : v + rows, u : u + columns] = 200  # as large as one of the network's pixels
    small = model.prepare(image).small[..., 0].astype(float)
    y, x = (np.sum(g * small) / small.sum() for g in np.indices(small.shape))
    scale, shift = model.pixel_map(height, width)
    place = np.array([u + (columns - 1) / 2, v + (rows - 1) / 2]) * scale + shift
    np.testing.assert_allclose([x, y], place * (WIDTH - 1, HEIGHT - 1), atol=0.02)


@given(st.integers(2, 2000), st.integers(2, 2000), st.floats(0, 1), st.floats(0, 1))
def test_pixels_undo_the_pixel_map(height, width, u, v):
    model = Telling()
    pixel = np.array([u * (width - 1), v * (height - 1)])
    scale, shift = model.pixel_map(height, width)
    np.testing.assert_allclose(model.pixels(pixel * scale + shift, height, width), pixel, atol=1e-9 * width)


def test_every_head_comes_out_under_its_name(scene):
    answer = scene.query([10, 20], [30, 40], [0, 1], [1, -1], -2)
    np.testing.assert_array_equal(answer.xyz[:, 2], [0, 1])
    np.testing.assert_array_equal(answer.displacements, [[0, 1, 2], [1, 3, 2]])
    np.testing.assert_allclose(answer.visibility, 0.75, rtol=1e-6)
    np.testing.assert_allclose(answer.confidence, 0.1, rtol=1e-6)
    np.testing.assert_allclose(answer.normals, [[0, 0.6, -0.8]] * 2, rtol=1e-6)
    asked = answer.xyz[:, :2] * [0.5, 0.25]  # in the network's u, v
    expected = (asked * (WIDTH - 1, HEIGHT - 1) + 0.5) / (WIDTH, HEIGHT) * (250, 90) - 0.5
    np.testing.assert_allclose(answer.uv, expected, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_are_put_together_in_order(chunk):
    scene = Telling(chunk).encode(np.zeros((PLAIN.frames, *SIZE, 3), np.uint8))
    u = np.linspace(0, 249, 17)
    answer = scene.query(u, 5, np.arange(17) % 4, 0, 0)
    np.testing.assert_allclose(np.diff(answer.xyz[:, 0]), np.diff(answer.xyz[:2, 0])[0], rtol=1e-3)
    np.testing.assert_array_equal(answer.displacements[:, 0], np.arange(17) % 4)


def test_the_network_is_told_the_aspect_and_small_frames(model):
    frames = np.random.default_rng(0).integers(0, 255, (PLAIN.frames, *SIZE, 3), dtype=np.uint8)
    scene = model.encode(frames)
    assert model.aspect == 250 / 90 and model.small.shape == (PLAIN.frames, HEIGHT, WIDTH, 3)
    assert scene.size == SIZE and scene.num_frames == PLAIN.frames
    np.testing.assert_array_equal(model.small[2], module.resize(frames[2], HEIGHT, WIDTH))


def test_what_just_fits_is_encoded_and_a_byte_more_is_not(model, monkeypatch):
    frames = np.zeros((PLAIN.frames, *SIZE, 3), np.uint8)
    need = model._scene_bytes(list(frames))
    monkeypatch.setattr(model, "_free_bytes", lambda: need - 1)
    with pytest.raises(FrameError, match="of memory are free"):
        model.encode(frames)
    monkeypatch.setattr(model, "_free_bytes", lambda: need)
    model.encode(frames)


def test_what_a_few_arguments_make_together_is_checked_against_memory(scene, monkeypatch):
    """Small arrays broadcast to many queries."""
    monkeypatch.setattr(module, "available_bytes", lambda: 10_000_000)
    u, v = np.zeros((1000, 1)), np.zeros((1, 1000))
    with pytest.raises(QueryError, match="1000000 queries at once"):
        scene.query(u, v, 0, 0, 0)


def test_the_rate_follows_slowly(model):
    model.chunk = 100
    model.measured(49, 1.0)
    assert model.queries_per_second is None
    model.measured(50, 0.5)
    assert model.queries_per_second == 100.0
    model.measured(100, 0.5)
    assert model.queries_per_second == pytest.approx(120.0)


GOOD = np.zeros((PLAIN.frames, 9, 12, 3), np.uint8)


@pytest.mark.parametrize(
    "frames",
    [
        None,
        3,
        1.5,
        "abcd",
        np.uint8(3),
        np.zeros(PLAIN.frames, np.uint8),
        GOOD.astype(float),
        GOOD.astype(np.int64),
        GOOD.astype(bool),
        GOOD.astype(complex),
        GOOD[..., :1],
        GOOD[..., 0],
        GOOD[:0],
        GOOD[:, :1],
        GOOD[None],
        [],
        [None] * PLAIN.frames,
        ["a", "b", "c", "d"],
        [[[1, 2], [3]]] * PLAIN.frames,
        [*GOOD[:-1], np.zeros((9, 13, 3), np.uint8)],
        dict.fromkeys(range(PLAIN.frames)),
        (x for x in GOOD),
        object(),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'shape', '')} {getattr(x, 'dtype', '')}",
)
def test_what_are_no_frames_is_said(model, frames):
    with pytest.raises(FrameError, match="[a-z]{3}.* "):
        model.encode(frames)


def test_images_that_are_no_arrays_yet_will_do(model):
    class Picture:
        def __array__(self, dtype=None, copy=None):
            return GOOD[0]

    assert model.encode([Picture()] * PLAIN.frames).size == (9, 12)
