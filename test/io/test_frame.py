import numpy as np

from d4rt_ros.geometry import CameraModel
from d4rt_ros.io import Frame
from d4rt_ros.io.frame import even_stamp


def test_what_a_lens_leaves_black_is_not_filled():
    matrix = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])
    view = CameraModel(64, 48, matrix, (0.3, 0.1, 0.0, 0.0, 0.0), "plumb_bob").view(64, 48, False)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0, view.camera, view.lens)
    v, u = (x.ravel() for x in np.mgrid[:48, :64])
    assert 0 < frame.filled(u, v).sum() < 48 * 64
    np.testing.assert_array_equal(frame.filled(u, v), view.lens.valid.ravel())
    assert frame.filled(np.array([31.6]), np.array([23.4])) == [True]


def test_an_image_without_a_lens_is_filled_everywhere():
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0)
    assert frame.valid is None and frame.filled(np.arange(5.0), np.arange(5.0)).all()


def test_stamps_of_frames_at_an_even_pace():
    assert [even_stamp(i, 15.0) for i in (0, 1, 2, 15)] == [0, 66_666_667, 133_333_333, 10**9]
    assert even_stamp(30) == 10**9
