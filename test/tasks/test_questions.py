import numpy as np
import pytest
from analytic_scene import AnalyticScene, wandering_camera

from d4rt_ros.tasks.questions import ask, finite_rows, pixel_grid, questions


def test_a_grid_has_the_images_corners():
    u, v = pixel_grid((3, 5), (65, 97))
    assert u.shape == v.shape == (3, 5)
    np.testing.assert_array_equal(u[0], [0, 24, 48, 72, 96])
    np.testing.assert_array_equal(v[:, 0], [0, 32, 64])
    u, v = pixel_grid((65, 97), (65, 97))
    np.testing.assert_array_equal(u[7], np.arange(97))


@pytest.mark.parametrize("size", [(1, 5), (5, 0)])
def test_a_grid_of_one_row_is_refused(size):
    with pytest.raises(ValueError, match="2x2"):
        pixel_grid(size, (65, 97))


def test_several_questions_are_one_call_with_their_own_answers():
    scene = AnalyticScene(wandering_camera(3))
    parts = [questions([1, 2, 3], 4, 0, 0, 0), questions(5, 6, 1, [0, 1, 2], 2), questions(7, 8, 2, 2, 2)]
    answers = ask(scene, *parts)
    assert scene.calls == 1 and [len(a) for a in answers] == [3, 3, 1]
    for part, answer in zip(parts, answers):
        np.testing.assert_array_equal(answer.xyz, ask(scene, part)[0].xyz)


def test_finite_rows():
    values = np.array([[[0, 1], [np.nan, 1], [0, np.inf]]])
    np.testing.assert_array_equal(finite_rows(values), [[True, False, False]])


def test_a_grid_of_a_hundred_million_points_is_refused():
    with pytest.raises(ValueError, match="100,000,000 points; at most 33,554,432"):
        pixel_grid((10_000, 10_000), (65, 97))
