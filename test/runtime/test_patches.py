"""Pixels that are gathered on the host make the patches that torch samples from the whole clip."""

import tracemalloc

import numpy as np
import torch

from d4rt_ros.model.decoder import interpolate_patches, sample_patches
from d4rt_ros.runtime.patches import gather_pixels


def test_patches_are_those_of_the_network():
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (4, 30, 40, 3), np.uint8)
    uv = np.concatenate((random.random((50, 2)), [[0, 0], [1, 1], [0.999, 0]])).astype(np.float32)
    t = random.integers(0, 4, len(uv))
    pixels, fraction = gather_pixels(list(frames), uv * np.float32((39, 29)), t, 9)
    assert pixels.shape == (len(uv), 10, 10, 3) and pixels.dtype == np.uint8
    ours = interpolate_patches(torch.from_numpy(pixels)[None], torch.from_numpy(fraction)[None])
    whole = sample_patches(torch.from_numpy(frames)[None], *(torch.from_numpy(x)[None] for x in (uv, t)), 9)
    torch.testing.assert_close(ours, whole, atol=1e-6, rtol=0)


def test_beyond_the_border_its_pixels_are_repeated():
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    pixels, _ = gather_pixels([frame], np.array([[-0.4, 1.4]]), np.array([0]), 1)
    np.testing.assert_array_equal(pixels[0, 0, 0], frame[1, 0])


def test_no_frames_make_grey_patches():
    pixels, fraction = gather_pixels(None, np.zeros((2, 2)), np.zeros(2, int), 3)
    assert (pixels == 128).all() and pixels.shape == (2, 4, 4, 3) and not fraction.any()


def test_a_frame_that_is_no_contiguous_array_serves():
    frame = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    a, _ = gather_pixels([frame[..., ::-1]], np.array([[2.5, 2.5]]), np.array([0]), 3)
    b, _ = gather_pixels([np.ascontiguousarray(frame[..., ::-1])], np.array([[2.5, 2.5]]), np.array([0]), 3)
    np.testing.assert_array_equal(a, b)


def test_no_frame_is_copied():
    frames = [np.zeros((1080, 1920, 3), np.uint8)] * 4
    place = np.random.default_rng(0).random((1000, 2)) * (1919, 1079)
    t = np.arange(1000) % 4
    gather_pixels(frames, place, t, 9)
    tracemalloc.start()
    try:
        gather_pixels(frames, place, t, 9)
        assert tracemalloc.get_traced_memory()[1] < 2e6 < frames[0].nbytes
    finally:
        tracemalloc.stop()
