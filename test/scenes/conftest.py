import pytest
import torch

from d4rt_ros.scenes import sample_scenes, sample_times


@pytest.fixture(scope="session")
def scenes():
    """16 scenes; some stand still, in others things move."""
    return sample_scenes(16, seed=5)


@pytest.fixture(scope="session")
def times(scenes):
    return sample_times(len(scenes), 6, torch.Generator().manual_seed(2))
