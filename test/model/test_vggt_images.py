"""Preprocessing as published, and where pixels and masks come to be in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4rt_ros.model.vggt.images import fit, masked_tokens, on_white

PATCH = 14


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("i", [0, 1, 2])
def test_images_are_prepared_as_published(shared, mode, i):
    file = shared / "golden/vggt/preprocess.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    golden = np.load(file)
    raw, expected = golden[f"raw_{i}"], golden[f"{mode}_{i}"][0]
    pixels = fit(on_white(raw) if raw.shape[2] == 4 else raw, 518, PATCH, mode).pixels
    step = 3 if mode == "crop" else 5
    assert pixels.shape == tuple(golden[f"{mode}_{i}_shape"][1:])
    assert np.abs(pixels[::step, ::step].astype(int) - expected).max() <= 1


def test_sides_divisible_by_the_patch_are_taken_as_they_are():
    image = np.zeros((42, 700, 3), np.uint8)
    assert fit(image, 84, PATCH, "crop").pixels is image


@pytest.mark.parametrize(
    "mode, size, expected",
    [
        ("crop", (480, 640), (392, 518)),
        ("crop", (640, 480), (518, 518)),
        ("crop", (3, 900), (14, 518)),
        ("pad", (480, 640), (518, 518)),
        ("pad", (640, 481), (518, 518)),
        ("pad", (900, 3), (518, 518)),
    ],
)
def test_sizes(mode, size, expected):
    assert fit(np.zeros((*size, 3), np.uint8), 518, PATCH, mode).pixels.shape == (*expected, 3)


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("size", [(300, 200), (200, 301), (40, 61)])
def test_a_spot_is_found_where_its_pixel_is_said_to_be(mode, size):
    image = np.zeros((*size, 3), np.uint8)
    row, column = size[0] // 2 - 9, size[1] // 3
    image[row - 2 : row + 3, column - 2 : column + 3] = 255
    fitted = fit(image, 518, PATCH, mode)
    weight = fitted.pixels[..., 0].astype(float)
    inside = np.ones(weight.shape, bool)
    if mode == "pad":  # not the white around it
        low, high = fitted.offset, fitted.offset + fitted.scale * size[::-1]
        y, x = np.indices(weight.shape)
        inside = (x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1])
    weight *= inside
    centre = [(weight * at).sum() / weight.sum() for at in np.indices(weight.shape)[::-1]]
    said = (np.array((column, row)) + 0.5) * fitted.scale + fitted.offset - 0.5
    np.testing.assert_allclose(centre, said, atol=0.05)


def test_transparent_is_white():
    image = np.zeros((2, 3, 4), np.uint8)
    image[0, :, 3] = 255
    assert (on_white(image)[0] == 0).all() and (on_white(image)[1] == 255).all()


def test_a_mask_at_the_patch_is_pooled():
    masks = np.random.default_rng(0).random((3, 42, 70)) > 0.995
    fitted = fit(np.zeros((42, 70, 3), np.uint8), 518, PATCH, "crop")
    expected = masks.reshape(3, 3, 14, 5, 14).any((2, 4))
    assert expected.any() and not expected.all()
    assert (masked_tokens(masks, fitted, PATCH) == expected).all()


@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from(["crop", "pad"]), st.data())
def test_a_masked_pixel_masks_the_tokens_that_show_it(height, width, mode, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((1, height, width), bool)
    mask[0, row, column] = True
    fitted = fit(np.zeros((height, width, 3), np.uint8), 84, PATCH, mode)
    tokens = masked_tokens(mask, fitted, PATCH)[0]
    low = (np.array((column, row))) * fitted.scale + fitted.offset
    high = low + fitted.scale
    expected = np.zeros_like(tokens)
    for r, c in np.ndindex(tokens.shape):
        at = PATCH * np.array((c, r))
        expected[r, c] = (np.minimum(high, at + PATCH) - np.maximum(low, at) > 1e-6).all()
    assert (tokens == expected).all()
