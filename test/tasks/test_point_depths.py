"""What single pixels of a frame show, and how far that has gone."""

import numpy as np

from d4rt_ros.model.query import Answer
from d4rt_ros.tasks.batch import answered
from d4rt_ros.tasks.depth import point_depths_task


class Corridor:
    """A wall 4 away; what is left of pixel 20 comes nearer by 0.1 a frame."""

    num_frames, size, tells_motion = 5, (48, 64), True

    def query(self, u, v, t_src, t_tgt, t_cam) -> Answer:
        one, zero = np.ones(len(u), np.float32), np.zeros((len(u), 3), np.float32)
        moved = zero.copy()
        moved[:, 2] = np.where(u < 20, 0.1 * (t_src - t_tgt), 0.0)
        return Answer(zero + np.float32([0, 0, 4]) + moved, np.stack([u, v], -1), one, one, zero, moved)


def test_depth_and_the_share_of_it_that_a_point_has_moved():
    pixels = np.array([[10.0, 5.0], [40.0, 5.0], [-9.0, 5.0], [10.0, 30.0]])
    found = answered(Corridor(), point_depths_task(Corridor(), 4, pixels, lambda u, v: v < 20))
    np.testing.assert_allclose(found.log_depth, [np.log(4), np.log(4), np.nan, np.nan])
    np.testing.assert_allclose(found.moved, [0.1, 0.0, np.nan, np.nan], atol=1e-6)
    np.testing.assert_array_equal(found.confidence, [1, 1, 0, 0])
