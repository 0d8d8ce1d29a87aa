"""Answers at one precision against another."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from d4rt_ros.evaluation.precision import answers, precision_error, read_clips
from d4rt_ros.io.frames import SourceError
from d4rt_ros.runtime import load


@pytest.fixture
def folder(tmp_path):
    g = np.random.default_rng(0)
    for i in range(18):
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), g.integers(0, 256, (24, 32, 3), np.uint8))
    return tmp_path


def test_clips_follow_each_other(folder):
    clips = read_clips(folder, 4)
    assert [clip.shape for clip in clips] == [(4, 24, 32, 3)] * 2
    assert len(read_clips(folder, 4, stride=1, most=3)) == 3


def test_a_short_video_is_a_sentence(folder):
    with pytest.raises(SourceError, match="has 9 frames"):
        read_clips(folder, 10)


def test_half_precision_is_near_and_nothing_is_nearest(folder):
    clips = read_clips(folder, 8, stride=1, most=1)
    exact = answers(load(device="cpu", precision="fp32"), clips)
    nothing = precision_error(exact, exact)
    assert nothing.depth == nothing.pixels == (0, 0) and nothing.visibility == 1
    half = precision_error(answers(load(device="cpu", precision="bf16"), clips), exact)
    assert 0 < half.depth[0] < 0.05 and half.visibility > 0.9


def test_differences_are_told_as_they_are(folder):
    ((dense, tracks),) = exact = answers(load(device="cpu"), read_clips(folder, 8, stride=1, most=1))
    moved = replace(tracks, uv=tracks.uv + np.float32([3, 4]), visibility=1 - tracks.visibility)
    error = precision_error([(replace(dense, xyz=1.1 * dense.xyz), moved)], exact)
    np.testing.assert_allclose(error.depth, 0.1, rtol=1e-4)
    np.testing.assert_allclose(error.pixels, 5, rtol=1e-3)
    assert error.visibility == 0
