"""The trivial answer, as a scene."""

import numpy as np
import pytest

from d4rt_ros.model.query import Answer


class Still:
    """Says that nothing moves and that all is at one depth: the trivial answer."""

    def __init__(self, images):
        self.num_frames, self.size = len(images), images[0].shape[:2]

    def query(self, u, v, t_src, t_tgt, t_cam):
        u, v, *_ = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
        u, v = u.reshape(-1).astype(float), v.reshape(-1).astype(float)
        n, (height, width) = len(u), self.size
        rays = np.stack(((u - (width - 1) / 2) / width, (v - (height - 1) / 2) / width, np.ones(n)), 1)
        ones = np.ones(n, np.float32)
        return Answer(rays.astype(np.float32), np.stack((u, v), 1), ones, ones, -rays, np.zeros((n, 3)))


@pytest.fixture
def still_scene():
    return Still
