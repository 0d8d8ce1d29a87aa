"""`d4rt benchmark world`, of few and small images."""

import numpy as np
import pytest

from d4rt_ros.cli import benchmark_world
from d4rt_ros.cli.main import main
from d4rt_ros.io.frame import Frame


@pytest.fixture
def small(monkeypatch):
    sizes = {"WIDTH": 64, "HEIGHT": 48, "LENGTH": 9, "EVERY_FRAME": 12, "OFFLINE": 9, "SETTLED": 8}
    for name, value in sizes.items():
        monkeypatch.setattr(benchmark_world, name, value)


def test_costs_memory_and_the_rate(small, capsys):
    assert main(["benchmark", "world", "--images", "20", "--device", "cpu", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    for name in benchmark_world.PARTS.values():
        assert name in text
    assert "everything but the network" in text and "20 images" in text and "MiB" in text
    rate = next(line for line in text.splitlines() if "9 frames of 64x48" in line)
    assert float(rate.split("│")[-2]) > 0


def test_the_film_never_jumps():
    frames = [Frame(np.full((2, 2, 3), k, np.uint8), 0) for k in range(4)]
    shown = list(benchmark_world.repeated(frames, 9))
    assert [frame.image[0, 0, 0] for frame in shown] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert np.ptp(np.diff([frame.stamp for frame in shown])) <= 1


def test_too_few_images_are_a_sentence(capsys):
    assert main(["benchmark", "world", "--images", "5"]) == 1
    assert "--images 5; more than 60 are needed" in capsys.readouterr().err


def test_the_network_is_not_counted_as_ours():
    class Slow:
        num_frames = 2

        def prepare(self, image):
            return image

        def encode(self, frames):
            return self

        def query(self, *_):
            return 5

    from d4rt_ros.evaluation.clock import Clock

    clock = Clock()
    model = benchmark_world.Clocked(Slow(), clock)
    assert model.num_frames == 2
    scene = model.encode([model.prepare(1)])
    assert scene.query() == 5 and scene.num_frames == 2
    assert set(clock.lap()) == {benchmark_world.NETWORK} and not clock.lap()
