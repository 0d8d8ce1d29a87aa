"""Masks from outside: of the images as they come, in the view as it is used."""

import cv2
import numpy as np
import pytest

from d4rt_ros.geometry import Pinhole
from d4rt_ros.geometry.lens import Lens
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.image_messages import ImageError
from d4rt_ros.io.masks import mask_in_view, masked_frames, named_mask

HEIGHT, WIDTH = 48, 64
CAMERA = Pinhole(52.0, 53.0, 30.0, 25.0, WIDTH, HEIGHT)
LENS = Lens(np.array([[60.0, 0, 31], [0, 61, 24], [0, 0, 1]]), (-0.3, 0.1, 0, 0, 0), False, np.eye(3), CAMERA)
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[30:, 10:25] = True


def frames(count=3, **parts):
    return [Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), k, CAMERA, **parts) for k in range(count)]


def test_without_a_lens_the_mask_is_the_images():
    assert all(np.array_equal(frame.masked, MASK) for frame in masked_frames(frames(), MASK, "it"))


def test_through_a_lens_no_pixel_is_left_that_a_masked_one_has_a_part_in():
    masked = mask_in_view(MASK, LENS)
    white, black = np.full_like(MASK, 255, np.uint8), np.where(MASK, 0, 255).astype(np.uint8)
    dimmed = LENS.rectify(black) < LENS.rectify(white)
    assert masked[dimmed].all() and masked.sum() < 2 * MASK.sum() and masked.any()
    # A single pixel too.
    one = np.zeros_like(MASK)
    one[20, 40] = True
    u, v = np.rint(LENS.to_view([[40.0, 20.0]])[0]).astype(int)
    assert mask_in_view(one, LENS)[v, u]


def test_what_is_masked_already_stays_so():
    before = np.zeros_like(MASK)
    before[3, 4] = True
    [frame] = masked_frames(frames(1, masked=before), MASK, "it")
    np.testing.assert_array_equal(frame.masked, MASK | before)


def test_another_size_is_refused_with_both():
    with pytest.raises(ImageError, match="arm.png has 32x24 pixels, the images have 64x48"):
        list(masked_frames(frames(), MASK[::2, ::2], "arm.png"))


def test_a_mask_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "arm.png"), MASK.astype(np.uint8))
    mask, name = named_mask(tmp_path / "arm.png")
    assert np.array_equal(mask, MASK) and "arm.png" in name
    assert np.array_equal(named_mask(MASK.astype(np.int64) * 7)[0], MASK)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3, 3), bool), np.zeros((2, 3)), np.zeros(3, bool), "no.png", None]
)
def test_what_is_no_mask_is_refused(wrong):
    with pytest.raises(ImageError, match="mask"):
        named_mask(wrong)
