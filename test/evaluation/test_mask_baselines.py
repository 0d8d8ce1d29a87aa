"""Masks without any network, on pictures that are moved by hand."""

import cv2
import numpy as np

from d4rt_ros.evaluation.mask_baselines import frame_difference, nothing_moves, rigid_flow
from d4rt_ros.evaluation.masks import region_similarity

HEIGHT, WIDTH = 120, 160


def texture(height, width, seed):
    image = np.random.default_rng(seed).uniform(0, 255, (height // 5, width // 5, 3)).astype(np.uint8)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def video(moving, count=8):
    """A wall over a floor: the camera goes sideways; and a patch goes up, where it is to move."""
    wall, thing = texture(HEIGHT, 2 * WIDTH, 0), texture(30, 36, 2)
    images, masks = [], []
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    parallax = 0.5 + 2.0 * np.maximum(v / HEIGHT - 0.4, 0)  # pixels an image, of each row
    for k in range(count):
        image = cv2.remap(wall, u + k * parallax, v, cv2.INTER_LINEAR)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        if moving:
            top = 80 - k
            image[top : top + 30, 60:96] = thing
            mask[top : top + 30, 60:96] = True
        images.append(image)
        masks.append(mask)
    return images, masks


def test_nothing_moves():
    assert list(nothing_moves(video(True, 3)[0])) == [None] * 3


def test_flow_finds_what_leaves_its_epipolar_line_and_lets_parallax_be():
    images, masks = video(moving=True)
    said = list(rigid_flow(images))
    assert said[0] is None
    assert region_similarity(said[-1], masks[-1]) > 0.6
    assert list(rigid_flow(video(moving=False)[0]))[-1].mean() < 0.03


def test_a_difference_finds_what_no_homography_explains():
    images, masks = video(moving=True)
    said = list(frame_difference(images))
    assert said[0] is None and said[-1][masks[-1]].mean() > 0.4
    # One plane is one homography.
    plane = [texture(HEIGHT, 2 * WIDTH, 0)[:, 2 * k : 2 * k + WIDTH] for k in range(8)]
    assert list(frame_difference(plane))[-1].mean() < 0.02


def test_images_that_show_nothing():
    plain = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 5
    for method in (frame_difference, rigid_flow):
        assert all(mask is None or not mask.any() for mask in method(plain))
