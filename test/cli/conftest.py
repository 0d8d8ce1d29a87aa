"""What the tests of commands share."""

import sys
from pathlib import Path

import pytest

# For analytic_stream, a stream of images and a model that knows what they show, and for wall, a run of the demo.
sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("cli", "tasks", "stream"))


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    """A model as small as can be, with the weights that it is born with."""
    pytest.importorskip("torch", reason="torch is not installed")
    from d4rt_ros.model.checkpoint import save_checkpoint
    from d4rt_ros.model.config import ModelConfig
    from d4rt_ros.model.network import D4RT

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    small = dict(
        frames=4, height=32, width=32, encoder_width=48, encoder_layers=2, decoder_width=48, decoder_layers=1
    )
    save_checkpoint(path, D4RT(ModelConfig(**small)))
    return path
